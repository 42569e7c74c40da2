"""The parameters of a kind of friction: numbers, texts, lists of texts, or a number for each of several names."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from schemas.entries import DictionaryError

Parameter = int | float | str | tuple[str, ...] | Mapping[str, int | float]

#: In a table of numbers: of every name that it does not have.
ANY = "*"
#: Days of a stage that are read from the data: what stands in the place of stall_days then.
FIT = "fit"
FITTED_PARAMETER = "stall_days"
#: Parameters that are a span of time. So long a span no data has, and a moment that lies further off is none.
SPANS = ("seconds", "hours", "days", FITTED_PARAMETER)
LONGEST_SPAN = 1_000_000
_NAME = re.compile(r"[a-z_][a-z0-9_]*")
#: Parameters that name types of event.
EVENT_TYPES = ("finished_by",)
#: Parameters of a run that every SQL has.
_TAKEN = ("as_of",)


def read_parameters(file: Path, given: Any) -> dict[str, Parameter]:
    """The table `parameters` of an entry."""
    if not isinstance(given, dict):
        raise DictionaryError(f"{file}: parameters is a table [parameters] of names with their values")
    read = {}
    for name, value in given.items():
        if not _NAME.fullmatch(name) or name in _TAKEN:
            raise DictionaryError(
                f"{file}: parameters.{name}: a parameter's name has small letters, digits and _, and is not as_of"
            )
        try:
            read[name] = _read(name, value)
        except ValueError as error:
            raise DictionaryError(f"{file}: parameters.{name} is {value!r}; {error}") from None
    return read


def overridden(file: Path, own: Mapping[str, Parameter], given: Any) -> dict[str, Parameter]:
    """A kind's parameters with those of the settings in their place; each must be of the entry's own form."""
    kind = file.stem
    made = dict(own)
    for name, value in given.items():
        where = f"friction_parameters.{kind}.{name}"
        if name not in own:
            has = f"it has {', '.join(own)}" if own else "it has none"
            raise DictionaryError(f"{where}: {kind} has no such parameter; {has}")
        try:
            made[name] = _of_the_form(own[name], _read(name, value))
        except ValueError as error:
            raise DictionaryError(f"{where} is {value!r}; {error}") from None
    return made


def _read(name: str, value: Any) -> Parameter:
    """A value as TOML has it. Raises ValueError with what it may be."""
    if name == FITTED_PARAMETER and value == FIT:
        return FIT
    if isinstance(value, Mapping):
        if not value or not all(isinstance(key, str) and _is_number(number) for key, number in value.items()):
            raise ValueError('a table has a number for each name, such as { consideration = 14, "*" = 30 }')
        for days in value.values():
            _check_span(name, days)
        return dict(value)
    if isinstance(value, list | tuple):
        if not all(isinstance(text, str) and text for text in value):
            raise ValueError('a list has texts, such as ["+", "next%"]')
        return tuple(value)
    if isinstance(value, str):
        return value
    if not _is_number(value):
        raise ValueError("it is a number, a text, a list of texts, or a table of numbers")
    _check_span(name, value)
    number: int | float = value
    return number


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _check_span(name: str, value: float) -> None:
    if name in SPANS and not 0 <= value <= LONGEST_SPAN:
        raise ValueError(f"{name} lies between 0 and {LONGEST_SPAN:,}")


def _of_the_form(own: Parameter, value: Parameter) -> Parameter:
    """The value, if it is of the form of the entry's own. In the place of a table one number may stand: of every name."""
    if isinstance(own, Mapping) or own == FIT:
        if isinstance(value, Mapping) or value == FIT:
            return value
        if isinstance(value, int | float):
            return {ANY: value}
        raise ValueError("it is a number, or a table with one for each name")
    if isinstance(own, tuple):
        if not isinstance(value, tuple):
            raise ValueError(f"it is a list of texts, such as {json.dumps(list(own or ('+', 'next%')))}")
    elif isinstance(own, str):
        if not isinstance(value, str):
            raise ValueError(f"it is a text, such as {own!r}")
    elif not isinstance(value, int | float):
        raise ValueError(f"it is a number, such as {own}")
    return value


def sql_value(value: Parameter) -> Any:
    """A parameter as DuckDB takes it: a list of texts as a list, a table of numbers as a map."""
    if isinstance(value, Mapping):
        return {"key": list(value), "value": [float(number) for number in value.values()]}
    return list(value) if isinstance(value, tuple) else value


def told_parameter(value: Parameter) -> str:
    """A parameter as a settings file would have it.

    >>> told_parameter(4000), told_parameter(("+", "next%")), told_parameter({"service": 14, "*": 30})
    ('4000', '["+", "next%"]', '{ service = 14, "*" = 30 }')
    """
    if isinstance(value, Mapping):
        numbers = (f"{key if _NAME.fullmatch(key) else json.dumps(key)} = {number}" for key, number in value.items())
        return "{ " + ", ".join(numbers) + " }"
    if isinstance(value, tuple):
        return "[" + ", ".join(json.dumps(text, ensure_ascii=False) for text in value) + "]"
    return json.dumps(value, ensure_ascii=False)
