"""Beam's fixed costs, paid once: of a run over a thousand events they are most of the time.

What Beam asks itself again and again is remembered, and what it waits for or does thoroughly for each small step is done
lightly; no result depends on it. Only the launcher's process does so; on a managed runner workers start as they always do.
"""

from __future__ import annotations

import bz2
import gc
import types
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any, Self
from weakref import WeakKeyDictionary

from apache_beam.internal import cloudpickle_pickler, pickler
from apache_beam.options.pipeline_options import PipelineOptions, PipelineOptionsT
from apache_beam.runners.worker import bundle_processor, operations, statesampler
from apache_beam.transforms import core, userstate

_SAMPLE_MS = 2
_KEPT_BYTES = 1_000_000
#: Objects that are made before the next look for cycles of them; columns are not among them.
_GARBAGE_AFTER = 50_000


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
    """Spares each step, or each bundle:

    - the question whether it keeps state, asked ten times by reading the signatures of all its methods: it is remembered;
    - the signatures of methods, which belong to classes of which there are many steps: they are, too;
    - bz2 at its hardest, which first clears 8 MB for each small step: they are compressed lightly;
    - to decompress for each bundle what this process compressed: it is kept;
    - the wait, at a bundle's end, until the thread awakes that looks where time goes: it sleeps 2 ms, and not up to 200;
    - a look into the source of its `process` for a `return` beside a `yield`, which our linter would have found;
    - a thread for each bundle that only makes its steps, so that one which hangs could be told;
    - to pickle a step once more in order to hand it from the function that makes a bundle to the one that sets it up.
    """
    specs_of: Any = userstate.get_dofn_specs
    known: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()

    def get_dofn_specs(step: Any) -> Any:
        # One of Beam's may hold a function with parameters of its own.
        of_beam = type(step).__module__.partition(".")[0] == "apache_beam"
        asked = step if of_beam else type(step)
        try:
            if asked not in known:
                known[asked] = specs_of(step)
            return known[asked]
        except TypeError:  # a step that has no hash is asked each time
            return specs_of(step)

    arguments_of: Any = core.get_function_args_defaults
    read: dict[Any, Any] = {}

    def get_function_args_defaults(function: Any) -> Any:
        if not isinstance(function, types.MethodType):
            return arguments_of(function)
        if function.__func__ not in read:
            read[function.__func__] = arguments_of(function)
        arguments, defaults = read[function.__func__]
        return list(arguments), list(defaults)

    userstate.get_dofn_specs = get_dofn_specs
    core.get_function_args_defaults = get_function_args_defaults
    cloudpickle_pickler.bz2 = _LightBz2()
    statesampler.StateSampler.__init__.__defaults__ = (_SAMPLE_MS,)
    core._check_fn_use_yield_and_return = lambda function: False
    at_once = SimpleNamespace(ThreadPoolExecutor=_DoneAtOnce, TimeoutError=futures.TimeoutError)
    bundle_processor.concurrent = SimpleNamespace(futures=at_once)
    bundle_processor.pickler = operations.pickler = _HandsOver()


@contextmanager
def seldom_looking_for_garbage() -> Iterator[None]:
    """As long as it lasts, none is looked for in what was imported and planned, which stays, nor 400 times in the rest.

    Of a small run that is a twentieth.
    """
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(_GARBAGE_AFTER)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


class _DoneAtOnce:
    """A ThreadPoolExecutor that does what it is given at once, and in the thread that gives it."""

    def __init__(self, **_: Any) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, function: Any, *args: Any) -> futures.Future[Any]:
        done: futures.Future[Any] = futures.Future()
        try:
            done.set_result(function(*args))
        except BaseException as error:
            done.set_exception(error)
        return done


class _InHand(bytes):
    """What stands for a pickled value, and holds the value itself."""

    value: Any


class _HandsOver:
    """A pickler that pickles nothing, and reads what others have pickled."""

    def dumps(self, value: Any) -> bytes:
        held = _InHand()
        held.value = value
        return held

    def loads(self, pickled: bytes) -> Any:
        return pickled.value if isinstance(pickled, _InHand) else pickler.loads(pickled)


class _LightBz2:
    """The functions of bz2 that Beam's pickler uses."""

    def __init__(self) -> None:
        self._known: dict[bytes, bytes] = {}

    def compress(self, pickled: bytes, compresslevel: int = 9) -> bytes:
        compressed = bz2.compress(pickled, min(compresslevel, 1))
        if len(pickled) <= _KEPT_BYTES:  # a step with a large lookup table is not held twice
            self._known[compressed] = pickled
        return compressed

    def decompress(self, compressed: bytes) -> bytes:
        known = self._known.get(compressed)
        return bz2.decompress(compressed) if known is None else known
