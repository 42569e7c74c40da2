"""Rows that must not be there, as Great Expectations finds them on DuckDB: all of them, whole, or an error."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from schemas import suites

_ASK = """
import duckdb, json, sys
from pipelines.gx_on_duckdb import GreatExpectations

rows, queries = json.loads(sys.argv[1])
con = duckdb.connect()
con.execute(f"create table t as select i as a, 'k' || i as k from range({rows}) r(i)")
asked = [
    {"type": "unexpected_rows_expectation", "kwargs": {"unexpected_rows_query": query}, "severity": "critical",
     "meta": {"rule": f"r{number}"}}
    for number, query in enumerate(queries)
]
for outcome in GreatExpectations(con).validate("t", asked, {}, ["a"]):
    print(json.dumps([outcome.success, outcome.unexpected, len(outcome.sample), outcome.error is not None]))
"""


def asked(rows: int, *queries: str) -> list[list[Any]]:
    """success, unexpected, samples and whether it is an error, of each query; in a process of its own, as the audit is."""
    command = [sys.executable, "-c", _ASK, json.dumps([rows, queries])]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]


@pytest.mark.timeout(300)
def test_the_rows_are_counted_however_many_they_are() -> None:
    queries = [f"select a, k from {{batch}} where a < {n}" for n in (0, 1, 999, 1000, 1001, 2500)]
    found = asked(
        5000, *queries, "select a from {batch} where a < 2000 -- with a word at the end", "select a, a from {batch}"
    )
    assert [(success, unexpected) for success, unexpected, *_ in found] == [
        (True, None), (False, 1), (False, 999), (False, 1000), (False, 1001), (False, 2500), (False, 2000), (False, 5000),
    ]  # fmt: skip
    assert [samples for _, _, samples, _ in found] == [0, 1, 5, 5, 5, 5, 5, 5]
    assert not any(is_error for *_, is_error in found)


@pytest.mark.timeout(300)
def test_what_cannot_be_asked_is_an_error_and_no_success() -> None:
    """A second statement would answer in the place of the first; a row that fails may come late."""
    found = asked(
        200_000,
        "select a from {batch}; select 1 where false",
        "select a from {batch}; select 0",
        "select a, case when a = 199000 then k::int else a end as b from {batch}",
        "select nothing from {batch}",
    )
    assert [(success, is_error) for success, _, _, is_error in found] == [(False, True)] * 4


@pytest.mark.timeout(300)
def test_each_kind_of_great_expectations_is_known_before_the_run() -> None:
    """The suites' reader knows them by their files, without the import; a name that it refused might be one that works."""
    code = (
        "import great_expectations.expectations.core\n"
        "from great_expectations.expectations import registry\n"
        "print(*registry.list_registered_expectation_implementations())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    registered = set(done.stdout.splitlines()[-1].split())
    assert len(registered) > 40
    assert registered <= suites._known_types()
