"""Great Expectations' fixed costs, paid once: of the audit of a small run they are most of the time.

Its own `__init__` imports all that it can do: connectors to two dozen stores, checkpoints, pages, sixty kinds of
expectations. The audit asks a database, by its validator and its SQL engine, for some kinds; so packages are opened without
that, what those modules name and never use is empty, and a kind is imported when it is asked for. This is for the kinds
that the shipped suites ask: tests/pipelines/test_gx_on_duckdb.py holds their answers, and those of most others, to the whole
package. Where a user's suite asks another kind, nothing is left out. What is empty can be named and asked for instances,
of which there are none; any other use is an error, and an error forbids publication.
"""

from __future__ import annotations

import gc
import importlib
import importlib.abc
import importlib.metadata
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

_GX = "great_expectations"
#: Packages that are opened without what their `__init__` imports.
_OPENED = (_GX, f"{_GX}.expectations", f"{_GX}.expectations.core")
#: Named by what is imported, and not used by an audit: modules in which every name is an empty class.
_EMPTY = tuple(
    f"{_GX}.{name}"
    for name in (
        "checkpoint", "core.freshness_diagnostics", "core.partitioners", "core.validation_definition",
        "data_context.data_context", "data_context.data_context_variables", "data_context.store", "datasource.fluent",
        "experimental", "metrics", "render.view",
    )
)  # fmt: skip
#: For statistics, charts and schemas: loaded when they are first used, if ever.
_LATER = ("altair", "jsonschema", "mistune", "scipy.spatial", "scipy.stats")


def import_quickly() -> None:
    """Imports the validator and the SQL engine of Great Expectations; a second call does nothing."""
    if _GX in sys.modules:
        return
    collects = gc.isenabled()
    gc.disable()  # a hundred thousand objects that all stay: looking for garbage among them finds none
    sys.meta_path.insert(0, _Spare())
    sys.modules["pandas"] = _without_data_frames()
    try:
        for package in _OPENED:
            _open(package)
        sys.modules[_GX].__version__ = importlib.metadata.version(_GX)  # type: ignore[attr-defined]
        context = importlib.import_module(f"{_GX}.data_context.data_context.context_factory")
        context.project_manager = SimpleNamespace(is_using_cloud=lambda: False)  # type: ignore[attr-defined]
        # In this order: they import each other.
        for name in ("execution_engine", "core.batch", "validator.validator", "expectations.metrics"):
            importlib.import_module(f"{_GX}.{name}")
    finally:
        if collects:
            gc.enable()
    _remember_what_is_asked()
    _remember_ids()


def import_kind(kind: str) -> None:
    """Imports one kind of expectation, which registers itself; nothing where there is none of that name."""
    name = f"{_OPENED[-1]}.{kind}"
    if kind.isidentifier() and importlib.util.find_spec(name):
        importlib.import_module(name)


def _open(package: str) -> None:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        importlib.import_module(package)  # which says what is wrong with it
        raise ModuleNotFoundError(f"{package!r} is not a package", name=package)
    module = sys.modules[package] = importlib.util.module_from_spec(spec)
    parent, _, name = package.rpartition(".")
    if parent:
        setattr(sys.modules[parent], name, module)


class _LeftOut(type):
    """The class of the classes in empty modules: there is no instance of them, which is what `isinstance` says."""

    def __call__(cls, *arguments: Any, **named: Any) -> Any:
        if cls.__dict__.get("_is_left_out"):
            raise TypeError(f"{cls.__module__}.{cls.__name__} is left out of the audit: see {__name__}")
        return super().__call__(*arguments, **named)


class _EmptyModule(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        made = _LeftOut(name, (), {"__module__": self.__name__, "_is_left_out": True})
        setattr(self, name, made)
        return made


class _Empty(importlib.abc.Loader):
    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _EmptyModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is in it."""


class _Spare(importlib.abc.MetaPathFinder):
    """Gives empty modules, and modules that the standard library's LazyLoader loads when they are first used."""

    def __init__(self) -> None:
        self._looking = False

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if any(name == empty or name.startswith(f"{empty}.") for empty in _EMPTY):
            return ModuleSpec(name, _Empty(), is_package=True)
        if name not in _LATER or self._looking:
            return None
        self._looking = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._looking = False
        if spec is not None and spec.loader is not None:
            spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec


def _without_data_frames() -> ModuleType:
    """What is asked of pandas where there are no data frames: whether a value is one, and whether it is missing."""
    pandas = _EmptyModule("pandas")
    pandas.__version__ = "0"  # type: ignore[attr-defined]  # of which PyArrow says that it is too old to be used
    pandas.isna = pandas.isnull = lambda value: value is None or value != value  # type: ignore[attr-defined]
    return pandas


def _remember_what_is_asked() -> None:
    """An expectation and its configuration are made of each other dozens of times a validation: once is enough.

    Nothing changes an expectation while it is validated; of a configuration its arguments may be.
    """
    from great_expectations.expectations.expectation import Expectation
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    configuration_of, expectation_of = Expectation.configuration.fget, ExpectationConfiguration.to_domain_obj

    def configuration(self: Any) -> Any:
        remembered = self.__dict__.get("_parcours_configuration")
        if remembered is None:
            remembered = self.__dict__["_parcours_configuration"] = configuration_of(self)
        return remembered

    def to_domain_obj(self: Any) -> Any:
        whose, arguments, remembered = self.__dict__.get("_parcours_expectation", (None, None, None))
        if whose != id(self) or arguments != self.kwargs:  # a copy has its own
            remembered = expectation_of(self)
            self.__dict__["_parcours_expectation"] = id(self), dict(self.kwargs), remembered
        return remembered

    Expectation.configuration = property(configuration)
    ExpectationConfiguration.to_domain_obj = to_domain_obj


def _remember_ids() -> None:
    """A question's arguments get their id, a hash of them as JSON, some 20 times a validation: once is enough."""
    from great_expectations.core.id_dict import IDDict

    made = IDDict.to_id
    known: dict[Any, Any] = {}

    def to_id(self: Any, id_keys: Any = None, id_ignore_keys: Any = None) -> Any:
        if id_keys is not None or id_ignore_keys is not None:
            return made(self, id_keys, id_ignore_keys)
        try:
            content = type(self), frozenset((key, type(value), value) for key, value in self.items())
            if content not in known:
                known[content] = made(self)
            return known[content]
        except TypeError:  # a list or a table among them
            return made(self)

    IDDict.to_id = to_id
