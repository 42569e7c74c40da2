"""What broke a rule is kept whole: the record's own text, where it stood, and each rule."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from schemas.tables import QUARANTINE_ERRORS
from transforms.candidates import Block, Candidates, Finding, lines_at
from transforms.quarantine import quarantine, quarantine_unreadable, row_as_json


def block(n: int) -> Block:
    return Block(
        "shop", "f.jsonl", "jsonl", pa.table({"record": [f"record {i} é" for i in range(n)]}), np.arange(n) * 100
    )


def found(code: str, path: str, *rows: int) -> Finding:
    return Finding(code, path, "this", np.array(rows), pa.array([f"that {row}" for row in rows]))


def run(
    findings: list[Finding], unreadable: list[Finding], record_of: list[int], raw_cap: int = 100
) -> tuple[Any, Any]:
    own = block(6)
    records = own.records["record"].combine_chunks()
    events = pa.table(
        {"event_id": [f"e{n}" for n in range(len(record_of))], "event_type": ["ad_view"] * len(record_of)}
    )
    candidates = Candidates(
        own, events, np.array(record_of), lambda rows: lines_at(records, rows), findings, unreadable, records_in=6
    )
    table, by_code = quarantine(candidates, events, findings, raw_cap)
    return table.to_pylist(), by_code


def test_one_row_an_event_with_its_rules_in_order() -> None:
    findings = [
        found("field.type", "score", 2, 0),
        found("field.missing", "page_url", 0),
        found("field.enum", "score", 0),
    ]
    rows, by_code = run(findings, [], [0, 1, 3])
    assert [(r["event_id"], r["position"], r["raw"]) for r in rows] == [
        ("e0", 0, "record 0 é"),
        ("e2", 300, "record 3 é"),
    ]
    assert [(e["path"], e["code"], e["observed"]) for e in rows[0]["errors"]] == [
        ("page_url", "field.missing", "that 0"), ("score", "field.enum", "that 0"), ("score", "field.type", "that 0"),
    ]  # fmt: skip
    assert rows[1]["errors"] == [{"code": "field.type", "path": "score", "expected": "this", "observed": "that 2"}]
    assert by_code == {"field.type": 2, "field.missing": 1, "field.enum": 1}


def test_two_events_of_one_record_are_two_rows_with_its_text() -> None:
    rows, _ = run([found("field.type", "score", 0, 1)], [], [4, 4])
    assert [(r["event_id"], r["position"], r["raw"]) for r in rows] == [
        ("e0", 400, "record 4 é"),
        ("e1", 400, "record 4 é"),
    ]


def test_unreadable_records_have_no_event() -> None:
    rows, by_code = run([found("field.type", "score", 0)], [found("json.malformed", "", 5, 2)], [0])
    assert [(r["event_id"], r["event_type"], r["position"], r["errors"][0]["code"]) for r in rows] == [
        ("e0", "ad_view", 0, "field.type"), (None, None, 200, "json.malformed"), (None, None, 500, "json.malformed"),
    ]  # fmt: skip
    assert by_code == {"field.type": 1, "json.malformed": 2}


@pytest.mark.parametrize(
    ("cap", "raw"), [(0, ""), (9, "record 0 "), (10, "record 0 "), (11, "record 0 é"), (12, "record 0 é")]
)
def test_the_text_is_cut_between_characters(cap: int, raw: str) -> None:
    rows, _ = run([found("field.type", "score", 0)], [], [0], raw_cap=cap)
    assert (rows[0]["raw"], rows[0]["raw_bytes"]) == (raw, 11)


def test_nothing_broken() -> None:
    assert run([], [], [0]) == ([], {})


def test_records_that_never_became_text() -> None:
    validated = quarantine_unreadable(block(0), "record.too_long", "at most 9 bytes", ["abc", "é"], [10, 12], [0, 77])
    assert validated.quarantine.schema.field("errors").type == QUARANTINE_ERRORS
    assert [(r["position"], r["raw"], r["raw_bytes"], r["errors"]) for r in validated.quarantine.to_pylist()] == [
        (
            0,
            "abc",
            10,
            [{"code": "record.too_long", "path": "", "expected": "at most 9 bytes", "observed": "10 bytes"}],
        ),
        (77, "é", 12, [{"code": "record.too_long", "path": "", "expected": "at most 9 bytes", "observed": "12 bytes"}]),
    ]
    assert set(validated.tallies) == {
        ("records_in", "shop", "", 2), ("records_unreadable", "shop", "", 2), ("quarantined", "shop", "record.too_long", 2),
    }  # fmt: skip


def test_both_kinds_of_quarantine_go_into_one_table() -> None:
    one, _ = quarantine(
        Candidates(block(1), pa.table({"event_id": ["a"]}), np.array([0]), lambda rows: pa.array(["x"] * len(rows))),
        pa.table({"event_id": ["a"]}), [found("field.type", "score", 0)], 10,
    )  # fmt: skip
    other = quarantine_unreadable(block(0), "encoding.invalid", "UTF-8 text", ["x"], [1], [0]).quarantine
    assert pa.concat_tables([one, other]).num_rows == 2


def test_a_row_of_parquet_as_json() -> None:
    table = pa.table({
        "n": [1, 2], "s": ["é\n", None], "amount": pa.array([Decimal("1.50")] * 2), "tags": [["a", None], []],
        "day": [datetime.date(2026, 1, 1)] * 2, "raw": [b"\xff\x00"] * 2, "who": [{"id": 1}] * 2,
        "at": pa.array([1_767_225_600_123_456_789] * 2, pa.timestamp("ns", "UTC")),
        "naive": pa.array([1_767_225_600_123_456_789] * 2, pa.timestamp("ns")), "took": pa.array([1] * 2, pa.duration("ns")),
        "nan": [float("nan"), 1.0], "late": pa.array([2**62, None], pa.timestamp("us", "UTC")),
    })  # fmt: skip
    row, other = (json.loads(text) for text in row_as_json(table, np.array([0, 1])).to_pylist())
    assert {k: row[k] for k in ("n", "s", "amount", "tags", "day", "who")} == {
        "n": 1, "s": "é\n", "amount": "1.50", "tags": ["a", None], "day": "2026-01-01", "who": {"id": 1},
    }  # fmt: skip
    assert row["at"].startswith("2026-01-01 00:00:00.123456789")
    assert "4611686018427387904" in row["late"]
    assert other["late"] is None
