"""What a parameter of a kind of friction may be, and what the settings may put into its place."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from schemas.entries import DictionaryError
from schemas.parameters import overridden, read_parameters, sql_value, told_parameter
from transforms import duck

FILE = Path("kinds/slow_page.toml")
OWN = {"limit": 4000, "share": 0.5, "word": "a", "ignore": (), "stall_days": {"service": 14}, "hours": 24}


def test_an_entrys_parameters() -> None:
    given = {"limit": 4000, "share": 0.5, "word": "a", "ignore": [], "words": ["+", "next%"], "stall_days": {"*": 3}}
    assert read_parameters(FILE, given) == {**given, "ignore": (), "words": ("+", "next%")}
    assert read_parameters(FILE, {"stall_days": "fit"}) == {"stall_days": "fit"}
    assert read_parameters(FILE, {}) == {}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "parameters is a table [parameters] of names with their values"),
        ({"as_of": 1}, "parameters.as_of: a parameter's name has small letters, digits and _, and is not as_of"),
        ({"Hours": 1}, "parameters.Hours: a parameter's name"),
        ({"x": True}, "parameters.x is True; it is a number, a text, a list of texts, or a table of numbers"),
        ({"x": math.inf}, "parameters.x is inf; it is a number"),
        ({"x": math.nan}, "parameters.x is nan; it is a number"),
        ({"x": [1]}, "parameters.x is [1]; a list has texts"),
        ({"x": [""]}, "a list has texts"),
        ({"x": {}}, "a table has a number for each name"),
        ({"x": {"a": "b"}}, "a table has a number for each name"),
        ({"x": {"a": True}}, "a table has a number for each name"),
        ({"hours": -1}, "hours lies between 0 and 1,000,000"),
        ({"days": 1_000_001}, "days lies between 0 and 1,000,000"),
        ({"stall_days": {"service": -0.1}}, "stall_days lies between 0 and 1,000,000"),
    ],
)
def test_a_slip_in_an_entrys_parameters_is_named(given: Any, message: str) -> None:
    with pytest.raises(DictionaryError) as error:
        read_parameters(FILE, given)
    assert str(error.value).startswith(f"{FILE}: ") and message in str(error.value)


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("limit", 1, 1), ("limit", 0.5, 0.5), ("share", 1, 1), ("word", "b", "b"), ("word", "", ""), ("ignore", ["/a"], ("/a",)),
        ("ignore", ("/a",), ("/a",)), ("stall_days", {"usage": 3}, {"usage": 3}), ("stall_days", 7, {"*": 7}),
        ("stall_days", "fit", "fit"), ("limit", -5, -5),
    ],
)  # fmt: skip
def test_settings_put_a_value_of_the_same_form_into_its_place(name: str, value: Any, read: Any) -> None:
    assert overridden(FILE, OWN, {name: value}) == {**OWN, name: read}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("limt", 1, "slow_page has no such parameter; it has limit, share, word, ignore, stall_days, hours"),
        ("limit", "fast", "friction_parameters.slow_page.limit is 'fast'; it is a number, such as 4000"),
        ("limit", ["a"], "it is a number, such as 4000"),
        ("limit", {"a": 1}, "it is a number, such as 4000"),
        ("limit", "fit", "it is a number, such as 4000"),
        ("limit", True, "it is a number, a text"),
        ("word", 1, "it is a text, such as 'a'"),
        ("ignore", "/a", 'it is a list of texts, such as ["+", "next%"]'),
        ("ignore", 1, "it is a list of texts"),
        ("ignore", [1], "a list has texts"),
        ("stall_days", "fitted", "it is a number, or a table with one for each name"),
        ("stall_days", ["usage"], "it is a number, or a table with one for each name"),
        ("stall_days", -1, "stall_days lies between 0 and 1,000,000"),
        ("hours", 1e9, "hours lies between 0 and 1,000,000"),
    ],
)
def test_a_value_of_another_form_is_refused(name: str, value: Any, message: str) -> None:
    with pytest.raises(DictionaryError) as error:
        overridden(FILE, OWN, {name: value})
    assert str(error.value).startswith(f"friction_parameters.slow_page.{name}") and message in str(error.value)


def test_a_kind_without_parameters_says_so() -> None:
    with pytest.raises(DictionaryError, match="slow_page has no such parameter; it has none"):
        overridden(FILE, {}, {"x": 1})


@pytest.mark.parametrize(
    ("value", "sql", "answer"),
    [
        (3, "$x + 1", 4), (0.5, "$x * 2", 1), ("a", "$x || 'b'", "ab"), (("a", "b"), "list_contains($x, 'b')", True),
        ((), "len($x::varchar[])", 0), ({"a": 1, "*": 2.5}, "$x['*']", 2.5), ({"a": 1}, "$x['b']", None),
    ],
)  # fmt: skip
def test_values_reach_duckdb(value: Any, sql: str, answer: Any) -> None:
    assert duck.connect().execute(f"select {sql}", {"x": sql_value(value)}).fetchall() == [(answer,)]


def test_a_parameter_is_told_as_a_settings_file_has_it() -> None:
    assert told_parameter(("−", 'a"b')) == '["−", "a\\"b"]'
    assert told_parameter({"a": 1, "*": 0.5}) == '{ a = 1, "*" = 0.5 }'
    assert (told_parameter("fit"), told_parameter(4000), told_parameter(())) == ('"fit"', "4000", "[]")
