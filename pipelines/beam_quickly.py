"""Beam's fixed costs, paid once: of a run over a thousand events they are most of the time.

Each of these asks Beam for the same again and again. Nothing else changes: what Beam would answer the second time, it answered
the first. Only the launcher's process does so; on a managed runner workers start as they always do.
"""

from __future__ import annotations

import bz2
import types
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

from apache_beam.internal import cloudpickle_pickler
from apache_beam.options.pipeline_options import PipelineOptions, PipelineOptionsT
from apache_beam.transforms import userstate


class BeamOptions(PipelineOptions):
    """PipelineOptions as the launcher's pipeline holds them.

    Beam asks for a view at every step that it builds, some 400 times, and makes a parser of all its flags for each: half a
    second of a small run. Views share the options themselves, so one of each kind will do.
    """

    def view_as(self, cls: type[PipelineOptionsT]) -> PipelineOptionsT:
        views = self.__dict__.setdefault("_views", {})
        if cls not in views:
            views[cls] = super().view_as(cls)
        view: PipelineOptionsT = views[cls]
        return view


@cache
def spare_beam() -> None:
    """Remembers which step keeps state (asked ten times a step, by reading the signatures of all its methods), and
    compresses steps lightly (they are small, and at its hardest bz2 first clears 8 MB for each)."""
    specs_of: Any = userstate.get_dofn_specs
    known: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()

    def get_dofn_specs(step: Any) -> Any:
        try:
            if step not in known:
                known[step] = specs_of(step)
            return known[step]
        except TypeError:  # a step that has no hash is asked each time
            return specs_of(step)

    userstate.get_dofn_specs = get_dofn_specs
    cloudpickle_pickler.bz2 = types.SimpleNamespace(compress=_compress, decompress=bz2.decompress)


def _compress(pickled: bytes, compresslevel: int = 9) -> bytes:
    return bz2.compress(pickled, min(compresslevel, 1))
