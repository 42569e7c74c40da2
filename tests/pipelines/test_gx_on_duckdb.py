"""Rows that must not be there, as Great Expectations finds them on DuckDB: all of them, whole, or an error."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipelines import gx_quickly
from pipelines.run import run
from pipelines.settings import load_settings
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


_PARSED = """
import sys; sys.path.insert(0, "")
from pipelines import audit_process, gx_on_duckdb
from pipelines.lake import Lake
shipped, asked = audit_process._prepared(), []
answering = gx_on_duckdb._RowsOnce._found
gx_on_duckdb._RowsOnce._found = lambda rows, text: (asked.append(text), answering(rows, text))[1]
lake = Lake(sys.argv[1])
found = [audit_process.audit(lake, lake.published().run_id, given) for given in (shipped, shipped, None)]
assert len(asked) == 3 * len(shipped) > 300, (len(asked), len(shipped))
assert set(asked) == set(shipped), "each question is parsed before it is asked"
assert found[0] == found[1] == found[2], "and its answer is the same, as often as it is asked"
print("all", flush=True)
"""


def test_shipped_rules_of_tables_wait_for_nothing() -> None:
    """What a thread makes while the tables are asked is read by the measures, and by no rule of a table."""
    made = {"tallies", "limits", "past_runs", "past_measures", "timeline_breaks", "footers", *suites.measures()}
    for file in sorted(suites.SHIPPED.glob("*.json")):
        if file.stem not in suites.measures():
            assert not made & set(re.findall(r"\w+", file.read_text(encoding="utf-8"))), file.name


@pytest.mark.timeout(300)
def test_what_the_shipped_suites_ask_is_parsed_ahead(tmp_path: Path) -> None:
    event = {"event_id": "e1", "event_type": "purchase", "occurred_at": "2026-01-05T10:00:00Z", "customer_id": "c"}
    (tmp_path / "events.jsonl").write_text(
        json.dumps(event | {"amount": 5, "currency": "EUR", "order_id": "o-1"}) + "\n"
    )
    run([str(tmp_path / "events.jsonl")], str(tmp_path / "lake"), load_settings(as_of="2026-02-01T00:00:00Z"))
    command = [sys.executable, "-c", _PARSED, str(tmp_path / "lake")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout == "all\n", done.stderr


@pytest.mark.timeout(300)
def test_what_cannot_be_asked_is_an_error_and_no_success() -> None:
    """A second statement would answer in the place of the first; a row that fails may come late."""
    found = asked(
        200_000,
        "select a from {batch}; select 1 where false",
        "select a from {batch}; select 0",
        "select a, case when a = 199000 then k::int else a end as b from {batch}",
        "select nothing from {batch}",
        # What is no question has no rows that must not be there, and would change what the next one sees.
        "create or replace view main.other as select 1 as x",
        "set threads = 1",
        "begin",
        "delete from t where a < 10 returning a",
        "drop table if exists nothing",
        "with gone as (delete from t returning a) select a from gone where false",
        "select a from {batch} where a < 0",
        "select count(*) as rows from {batch} having count(*) <> 200000",
    )
    assert [(success, is_error) for success, _, _, is_error in found] == [(False, True)] * 10 + [(True, False)] * 2


_KINDS = """
import duckdb, json, sys
if sys.argv[1] == "whole":
    import great_expectations, great_expectations.expectations.core
from pipelines.gx_on_duckdb import GreatExpectations

con = duckdb.connect()
con.execute(
    "create table t as select i as a, i % 7 as b, 'k' || (i % 5) as k, nullif(i % 11, 3) as n, i / 3 as x, "
    "timestamptz '2026-01-01' + to_days(i::int) as at, (i * 1.25)::decimal(18, 4) as d, i % 2 = 0 as yes from range(100) r(i)"
)
asked = [
    {"type": kind, "kwargs": kwargs, "severity": "critical", "meta": {"rule": f"{kind} {json.dumps(kwargs)}"}}
    for kind, kwargs in json.loads(sys.argv[2])
]
for entry, o in zip(asked, GreatExpectations(con).validate("t", asked, {"limit": 3}, ["a"]), strict=True):
    told = [entry["meta"]["rule"], o.success, o.observed, o.unexpected, list(o.sample), o.error]
    print(json.dumps(told, default=str))
"""
#: Of the kinds that ask a table, one that holds and one that does not, and some that end in an error.
_ASKED: list[tuple[str, dict[str, Any]]] = [
    *[("expect_column_values_to_be_between", {"column": "b", "min_value": 0, "max_value": most}) for most in (6, 3)],
    *[("expect_column_values_to_be_between", {"column": "d", "max_value": most}) for most in (200, 100.5)],
    *[("expect_column_values_to_be_between", {"column": "b", "max_value": {"$PARAMETER": name}}) for name in ("limit", "no")],
    *[("expect_column_values_to_be_in_set", {"column": "k", "value_set": values}) for values in (["k0", "k1"], [f"k{i}" for i in range(5)])],
    *[("expect_column_values_to_be_in_set", {"column": "k", "value_set": ["k0"], "mostly": share}) for share in (0.2, 0.21)],
    *[("expect_column_values_to_not_be_in_set", {"column": "k", "value_set": values}) for values in (["k9"], ["k1"])],
    *[("expect_column_values_to_not_be_null", {"column": column}) for column in ("a", "n", "nothing")],
    *[("expect_column_values_to_be_null", {"column": column}) for column in ("a", "n")],
    *[("expect_column_values_to_be_unique", {"column": column}) for column in ("a", "b")],
    *[("expect_column_values_to_match_regex", {"column": "k", "regex": regex}) for regex in ("^k", "^k[0-3]$")],
    *[("expect_column_values_to_match_like_pattern", {"column": "k", "like_pattern": like}) for like in ("k%", "k1")],
    *[("expect_column_value_lengths_to_equal", {"column": "k", "value": value}) for value in (2, 3)],
    *[("expect_column_pair_values_a_to_be_greater_than_b", {"column_A": "a", "column_B": "b", "or_equal": e}) for e in (True, False)],
    *[("expect_compound_columns_to_be_unique", {"column_list": columns}) for columns in (["a", "b"], ["b", "k"])],
    *[("expect_column_max_to_be_between", {"column": "a", "max_value": most}) for most in (99, 98)],
    *[("expect_column_min_to_be_between", {"column": "at", "min_value": least}) for least in ("2026-01-01", "2026-01-02")],
    *[("expect_column_mean_to_be_between", {"column": "x", "min_value": least}) for least in (1, 20)],
    *[("expect_column_median_to_be_between", {"column": "a", "min_value": least}) for least in (49, 60)],
    *[("expect_column_stdev_to_be_between", {"column": "x", "max_value": most}) for most in (100, 1)],
    *[("expect_column_sum_to_be_between", {"column": "d", "max_value": most}) for most in (10_000, 1)],
    *[("expect_column_unique_value_count_to_be_between", {"column": "k", "max_value": most}) for most in (5, 4)],
    *[("expect_column_proportion_of_unique_values_to_be_between", {"column": "k", "max_value": m}) for m in (0.05, 0.01)],
    *[("expect_column_distinct_values_to_equal_set", {"column": "k", "value_set": v}) for v in (["k0"], [f"k{i}" for i in range(5)])],
    *[("expect_column_quantile_values_to_be_between",
       {"column": "a", "quantile_ranges": {"quantiles": [0.5], "value_ranges": [[least, 60]]}}) for least in (40, 55)],
    *[("expect_table_row_count_to_be_between", {"min_value": least}) for least in (100, 101)],
    *[("expect_table_column_count_to_equal", {"value": value}) for value in (8, 9)],
    *[("expect_column_to_exist", {"column": column}) for column in ("a", "nothing")],
    *[("unexpected_rows_expectation", {"unexpected_rows_query": f"select * from {{batch}} where a > {a}"}) for a in (98, 99)],
    ("unexpected_rows_expectation", {"unexpected_rows_query": "select"}),
    ("expect_column_values_to_be_increasing", {"column": "a"}),
    ("expect_column_values_to_be_between", {}),
    ("expect_nothing_of_the_kind", {"column": "a"}),
]  # fmt: skip


@pytest.mark.timeout(300)
def test_what_is_not_imported_changes_no_answer() -> None:
    """Beside the whole package, imported as it imports itself: gx_quickly.py leaves most of it out."""
    told = {}
    for which in ("whole", "quick"):
        command = [sys.executable, "-c", _KINDS, which, json.dumps(_ASKED)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        told[which] = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(told["whole"]) == len(_ASKED)
    for whole, quick in zip(told["whole"], told["quick"], strict=True):
        assert quick == whole
    successes = [success for _, success, *_ in told["whole"]]
    errors = [error for *_, error in told["whole"] if error is not None]
    assert (successes.count(True), successes.count(False), len(errors)) == (24, 37, 10)


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


def test_what_is_left_out_can_only_be_named() -> None:
    module = gx_quickly._EmptyModule("left_out")
    assert not isinstance(1, module.Anything) and module.Anything is module.Anything
    with pytest.raises(TypeError, match=r"left_out\.Anything is left out of the audit"):
        module.Anything()
    with pytest.raises(AttributeError):
        module.Anything.something()
