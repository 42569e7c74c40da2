"""Keeps out of the launcher's process what nothing here uses and Beam imports at each start wherever it finds it.

pandas comes with Great Expectations, and Beam's modules for MongoDB and BigQuery bring their clients: together a second to
four. The audit's own process needs pandas, and Dataflow's runner BigQuery, which is held back only while Beam itself is imported.
"""

import importlib.abc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType

#: As if they were not installed: who imports them does without.
_MISSING = ("pandas",)
_MISSING_TO_BEAM = ("apache_beam.io.gcp.bigquery",)
#: Empty modules: Beam insists on them.
_EMPTY = ("apache_beam.io.mongodbio",)


class _EmptyModule(importlib.abc.Loader):
    def exec_module(self, module: ModuleType) -> None:
        """Nothing is in it."""


class _Unused(importlib.abc.MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:  # fmt: skip
        if name in _MISSING or (name in _MISSING_TO_BEAM and _is_being_imported("apache_beam")):
            raise ModuleNotFoundError(f"{name} is kept out of this process: see pipelines/without_unused.py", name=name)
        return ModuleSpec(name, _EmptyModule()) if name in _EMPTY else None


def _is_being_imported(name: str) -> bool:
    return getattr(getattr(sys.modules.get(name), "__spec__", None), "_initializing", False)


def hide_unused() -> None:
    """From now on they are, for this process, not there. Nothing happens to what was imported before."""
    if not any(isinstance(finder, _Unused) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Unused())


@contextmanager
def unused_hidden() -> Iterator[None]:
    """They are not there while this lasts: for a process that has pandas, or what stands for it, and imports Beam."""
    kept = {name: sys.modules.pop(name) for name in _MISSING if name in sys.modules}
    finder = _Unused()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        sys.modules.update(kept)
