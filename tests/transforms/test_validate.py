"""Checks of whole columns, held against the package jsonschema on one event at a time."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from schemas.contracts import SHIPPED, load_contracts
from transforms.candidates import FINGERPRINT, Block
from transforms.parse_json import parse_json
from transforms.quarantine import Validated
from transforms.validate import Limits, validate

Event = dict[str, Any]
Broken = set[tuple[str, str]]  # (code, path)
ANY_TIME = Limits(as_of=2**62, earliest=-(2**62))
DOCUMENTS = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(SHIPPED.glob("*/*.json"))]
REGISTRY: Registry = Registry().with_resources((d["$id"], Resource.from_contents(d)) for d in DOCUMENTS)
OWN = {d["title"]: d["properties"] for d in DOCUMENTS if d["title"] != "envelope"}
ENVELOPE = next(d["properties"] for d in DOCUMENTS if d["title"] == "envelope")
VALIDATORS = {d["title"]: Draft202012Validator(d, registry=REGISTRY) for d in DOCUMENTS}
PERSONS = ("customer_id", "anonymous_id", "email")
ENTITIES = ("ticket_id", "subscription_id", "order_id")
CODES = {
    "type": "field.type", "enum": "field.enum", "required": "field.missing", "pattern": "field.range",
    "minimum": "field.range", "exclusiveMinimum": "field.range", "maximum": "field.range",
}  # fmt: skip


def run(steps: Any, events: list[Event | str], limits: Limits = ANY_TIME, raw_cap: int = 4096) -> Validated:
    """Events (or lines) through the reader of JSON and the checks."""
    lines = [event if isinstance(event, str) else json.dumps(event) for event in events]
    block = Block("events", "file", "jsonl", pa.table({"record": lines}), np.arange(len(lines)) * 10)
    candidates = parse_json(block, steps.contracts, steps.connection)
    limits = dataclasses.replace(limits, raw_cap=raw_cap)
    return validate(candidates, steps.contracts, limits, steps.connection)


def tallies_of(validated: Validated) -> dict[str, int]:
    return {f"{name} {code}".strip(): count for name, _, code, count in validated.tallies}


def broken_by(validated: Validated, count: int) -> list[Broken]:
    """For each line which rules it broke."""
    found: list[Broken] = [set() for _ in range(count)]
    for row in validated.quarantine.to_pylist():
        errors = [(e["code"], e["path"]) for e in row["errors"]]
        assert len(errors) == len(set(errors)) > 0
        found[row["position"] // 10] = set(errors)
    return found


def visit(**fields: Any) -> Event:
    return {
        "event_id": "e", "event_type": "site_visit", "occurred_at": "2026-01-01T00:00:00Z", "customer_id": "c",
        "page_url": "/", **fields,
    }  # fmt: skip


def one(steps: Any, event: Event | str, **limits: Any) -> Broken:
    return broken_by(run(steps, [event], Limits(**{"as_of": 2**62, "earliest": -(2**62), **limits})), 1)[0]


# --- against jsonschema ----------------------------------------------------------------------------------------------


NOBODY = ("-1", "null", "none", "n/a", "nan", "undefined", "unknown", "anonymous", "guest", "test")


def means_nobody(value: Any) -> bool:
    return isinstance(value, str) and (value.strip().lower() in NOBODY or not value.strip().strip("0-"))


def ignored(event: Event) -> dict[str, str]:
    """What was sent, trimmed, in place of an identifier that the event's type knows; an empty text is absent."""
    known = (*PERSONS, *(name for name in ENTITIES if name in OWN[event["event_type"]]))
    sent = {name: event[name] for name in known if means_nobody(event.get(name)) and event[name] != ""}
    cleaned = {name: value.strip().lower() if name == "email" else value.strip() for name, value in sent.items()}
    return {name: value for name, value in cleaned.items() if value or name in ENTITIES}


def check_slowly(event: Event) -> Broken:
    """What jsonschema says, after what the design says beside it: a null and an empty string are absent fields.

    So is a value of a person that means nobody; an entity's stays, for its type may require it, and identifies nothing.
    """
    event = {k: v for k, v in event.items() if v is not None and v != "" and not (k in PERSONS and means_nobody(v))}
    broken: Broken = set()
    for error in VALIDATORS[event["event_type"]].iter_errors(event):
        if error.validator == "required":
            broken |= {("field.missing", name) for name in error.validator_value if name not in event}
        else:
            broken.add((CODES[error.validator], str(error.absolute_path[0])))
    no_type = {path for code, path in broken if code == "field.type"}
    broken = {(code, path) for code, path in broken if code == "field.type" or path not in no_type}

    def number(name: str) -> float | None:
        value = event.get(name)
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None

    for name, spec in OWN[event["event_type"]].items():
        for rule, holds in (
            ("x-at-least-field", lambda a, b: a >= b),
            ("x-at-most-field", lambda a, b: a <= b),
            ("x-less-than-field", lambda a, b: a < b),
        ):
            here, there = number(name), number(spec.get(rule, ""))
            if here is not None and there is not None and not holds(here, there):
                broken.add(("field.range", name))
    identifiers = [*PERSONS, *(name for name in ENTITIES if name in OWN[event["event_type"]])]
    if not any(isinstance(event.get(name), str) and not means_nobody(event[name]) for name in identifiers):
        broken.add(("identity.missing", ""))
    return broken


texts = st.one_of(
    st.sampled_from(
        [
            "a",
            "",
            " ",
            " Guest",
            "00-0",
            "EUR",
            "EURO",
            "eur",
            "USD ",
            "1",
            "true",
            "null",
            "é",
            "completed",
            "Requested",
        ]
    ),
    st.text("ab 1", max_size=3),
)
money = st.decimals(-5, 10**9, places=4).map(float)
numbers = st.one_of(
    st.sampled_from([0, -1, 1, 10, 0.0, 10.0, -0.5, 0.5, 1.5, 3, 5, -0.0, 10**13]), st.integers(-3, 12), money
)
anything = st.one_of(
    texts, numbers, st.booleans(), st.none(), st.lists(st.integers(0, 1), max_size=1),
    st.dictionaries(st.sampled_from(["a", "b"]), st.integers(0, 1), max_size=1),
)  # fmt: skip


def value_of(spec: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Mostly a right value."""
    if "enum" in spec:
        right: st.SearchStrategy[Any] = st.sampled_from(spec["enum"])
    elif spec.get("pattern"):
        right = st.sampled_from(["EUR", "CHF"])
    elif spec.get("format") == "date-time":
        right = st.just("2026-01-01T00:00:00Z")
    else:
        right = {
            "string": st.sampled_from(["a", "b", "0"]), "boolean": st.booleans(), "integer": st.integers(1, 12),
            "number": st.sampled_from([1, 2.5, 3, 4, 10.0, 0]),
        }[spec["type"]]  # fmt: skip
    return st.one_of(right, right, right, anything)


@st.composite
def events(draw: st.DrawFn) -> Event:
    event_type = draw(st.sampled_from(sorted(OWN)))
    event: Event = {"event_type": event_type}
    for name, spec in {**ENVELOPE, **OWN[event_type]}.items():
        if name not in ("event_type", "schema_version", "occurred_at", "received_at") and draw(st.booleans()):
            event[name] = draw(value_of(spec))
    event["occurred_at"] = draw(st.sampled_from(["2026-01-01T00:00:00Z"] * 5 + ["", None, 5, True]))
    if draw(st.booleans()):
        event["customer_id"] = "c"
    if draw(st.booleans()):  # a field of another type: no rule of that type applies
        event.setdefault(draw(st.sampled_from(sorted({n for own in OWN.values() for n in own}))), draw(anything))
    return event


NOT_SENT = ("contract", "extra", "ignored_identifiers")


def kept(event: Event, accepted: Event) -> None:
    """An accepted event holds what was sent: its own fields typed, all others as JSON in `extra`."""
    known = {**ENVELOPE, **OWN[event["event_type"]]}
    sent = {k: v for k, v in event.items() if v is not None}
    for name, value in sent.items():
        if name in known and name not in ("occurred_at", *PERSONS):
            got = accepted[name]
            if value == "":
                assert got is None or got == known[name].get("default")
            else:
                assert float(got) == value if isinstance(got, Decimal) else got == value, (name, value, got)
    foreign = {k: v for k, v in sent.items() if k not in known and v != ""}
    assert json.loads(accepted["extra"] or "{}") == foreign
    assert json.loads(accepted["ignored_identifiers"] or "{}") == ignored(event)
    assert all(accepted.get(name) is None for name in PERSONS if means_nobody(event.get(name)))
    for name in accepted:
        if name not in sent and "default" not in known.get(name, {}) and name not in NOT_SENT:
            assert accepted[name] is None, f"{name} appeared from nowhere"


@settings(max_examples=40)
@given(st.lists(events(), min_size=1, max_size=25))
def test_breaks_the_rules_that_jsonschema_breaks(steps: Any, batch: list[Event]) -> None:
    batch = [{**event, "event_id": str(number)} for number, event in enumerate(batch)]
    validated = run(steps, batch)
    expected = [check_slowly(event) for event in batch]
    for event, found, wanted in zip(batch, broken_by(validated, len(batch)), expected, strict=True):
        assert found == wanted, json.dumps(event)
    good = [event for event, rules in zip(batch, expected, strict=True) if not rules]
    rows = validated.events.drop_columns([FINGERPRINT]).to_pylist()
    assert [row["event_id"] for row in rows] == [event["event_id"] for event in good], "the accepted, in their order"
    for event, row in zip(good, rows, strict=True):
        kept(event, {**dict.fromkeys((*event, *NOT_SENT)), **row})


# --- what JSON Schema does not say -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "broken"),
    [
        ({"occurred_at": "2026-01-01T00:00:00"}, {("time.no_offset", "occurred_at")}),
        ({"occurred_at": "2026-01-01 00:00:00Z"}, {("time.invalid", "occurred_at")}),
        ({"occurred_at": "2026-12-31T23:59:60Z"}, {("time.invalid", "occurred_at")}),
        ({"occurred_at": "yesterday"}, {("time.invalid", "occurred_at")}),
        ({"occurred_at": None}, {("field.missing", "occurred_at")}),
        ({"occurred_at": 1767225600}, {("field.type", "occurred_at")}),
        ({"received_at": "2026-01-01"}, {("time.invalid", "received_at")}),
        ({"received_at": "2020-01-01T00:00:00"}, {("time.no_offset", "received_at")}),
        ({"received_at": "2025-12-31T23:00:00Z"}, set()),
        ({"received_at": "2025-12-31T22:59:59.999999Z"}, {("time.future", "occurred_at")}),
        ({"received_at": "2999-01-01T00:00:00Z"}, set()),
        ({"event_type": "visit"}, {("type.unknown", "event_type")}),
        ({"event_type": None}, {("field.missing", "event_type")}),
        ({"event_type": " site_visit"}, {("type.unknown", "event_type")}),
        ({"schema_version": "1-0-0"}, set()),
        ({"schema_version": "9-0-0"}, {("version.unknown", "schema_version")}),
        ({"event_id": ""}, {("field.missing", "event_id")}),
        ({"event_id": " "}, set()),
        ({"customer_id": " \t"}, {("identity.missing", "")}),
        ({"customer_id": None, "order_id": "o"}, {("identity.missing", "")}),  # no field of a visit
        ({"customer_id": None, "account_id": "acme"}, {("identity.missing", "")}),
        ({"customer_id": None, "email": "a@b"}, set()),
        ({"page_url": None, "load_ms": -1, "page_kind": "x"},
         {("field.missing", "page_url"), ("field.range", "load_ms"), ("field.enum", "page_kind")}),
        ({"load_ms": 1e400}, {("field.range", "load_ms")}),
        ({"load_ms": "5"}, {("field.type", "load_ms")}),
        ({"http_status": 200.0}, set()),
        ({"http_status": 2**53}, {("field.range", "http_status")}),
    ],
)  # fmt: skip
def test_codes(steps: Any, fields: Event, broken: Broken) -> None:
    event = visit(**fields)
    line = json.dumps(event).replace("Infinity", "1e400")
    assert one(steps, line) == broken


@pytest.mark.parametrize(
    ("event_type", "fields", "broken"),
    [
        ("refund", {"amount": 0}, {("field.range", "amount")}),
        ("refund", {"amount": 0.0001}, set()),
        ("purchase", {"amount": 0}, set()),
        ("purchase", {"amount": -0.0001}, {("field.range", "amount")}),
        ("renewal", {"amount": 0, "period_months": 0}, {("field.range", "period_months")}),
        ("renewal", {"amount": 0, "period_months": 1}, set()),
        ("review", {"rating": 1, "scale_min": 1, "scale_max": 5}, set()),
        ("review", {"rating": 5, "scale_min": 1, "scale_max": 5}, set()),
        ("review", {"rating": 0.9, "scale_min": 1, "scale_max": 5}, {("field.range", "rating")}),
        ("review", {"rating": 5.1, "scale_min": 1, "scale_max": 5}, {("field.range", "rating")}),
        ("review", {"rating": 3, "scale_min": 3, "scale_max": 3}, {("field.range", "scale_min")}),
        ("review", {"rating": 3, "scale_min": 3, "scale_max": 3.5}, set()),
    ],
)
def test_limits(steps: Any, event_type: str, fields: Event, broken: Broken) -> None:
    event = visit(event_type=event_type, order_id="o", subscription_id="s", currency="EUR", **fields)
    assert one(steps, event) == broken


def test_a_currency_is_three_capitals_and_nothing_else(steps: Any) -> None:
    order = visit(event_type="purchase", order_id="o", amount=1, currency="EUR\n")
    assert one(steps, order) == {("field.range", "currency")}


def test_an_event_with_an_entity_of_its_type_needs_no_identifier(steps: Any) -> None:
    event = {"event_id": "e", "event_type": "ticket_resolved", "occurred_at": "2026-01-01T00:00:00Z", "ticket_id": "t"}
    assert one(steps, event) == set()
    assert one(steps, {**event, "ticket_id": ""}) == {("field.missing", "ticket_id"), ("identity.missing", "")}


# --- values that mean nobody -----------------------------------------------------------------------------------------


def reply(**fields: Any) -> Event:
    return visit(event_type="ticket_replied", author="agent", page_url=None, **fields)


def told(row: Event) -> Any:
    return None if row["ignored_identifiers"] is None else json.loads(row["ignored_identifiers"])


def test_a_value_that_means_nobody_is_absent_and_is_told(steps: Any) -> None:
    sent = [
        visit(event_id="a", customer_id=" NULL ", email="Guest", anonymous_id="dev"),
        visit(event_id="b"),
        visit(event_id="c", anonymous_id="0000-0000"),
    ]
    rows = run(steps, sent).events.to_pylist()
    assert [(row["customer_id"], row["email"], row["anonymous_id"]) for row in rows] == [
        (None, None, "dev"), ("c", None, None), ("c", None, None),
    ]  # fmt: skip
    assert [told(row) for row in rows] == [
        {"customer_id": "NULL", "email": "guest"},
        None,
        {"anonymous_id": "0000-0000"},
    ]


def test_an_entitys_value_stays_in_its_column(steps: Any) -> None:
    """Its contract requires it. It identifies nothing: the event needs another identifier."""
    (row, white) = run(
        steps, [reply(ticket_id=" N/A", order_id="0"), reply(event_id="f", ticket_id=" ")]
    ).events.to_pylist()
    assert (row["ticket_id"], told(row)) == (" N/A", {"ticket_id": "N/A"})
    assert (white["ticket_id"], told(white)) == (" ", {"ticket_id": ""})
    assert json.loads(row["extra"]) == {"order_id": "0"}, "no field of a reply: an unknown field, and no identifier"


def test_an_optional_entity_that_means_nobody(steps: Any) -> None:
    (row,) = run(
        steps, [visit(event_type="survey_sent", survey_type="csat", ticket_id="0", order_id="o")]
    ).events.to_pylist()
    assert (row["ticket_id"], row["order_id"], told(row)) == ("0", "o", {"ticket_id": "0"})


@pytest.mark.parametrize(
    ("event", "broken"),
    [
        (visit(customer_id="0"), {("identity.missing", "")}),
        (visit(customer_id="unknown", email="NONE", anonymous_id="-1"), {("identity.missing", "")}),
        (visit(customer_id="unknown", email="NONE", anonymous_id="-10"), set()),
        (reply(customer_id=None, ticket_id="undefined"), {("identity.missing", "")}),
        (reply(customer_id="test", ticket_id="0"), {("identity.missing", "")}),
        (reply(customer_id="test", ticket_id="1"), set()),
        (reply(customer_id="test", order_id="o", ticket_id="-"), {("identity.missing", "")}),
        (reply(customer_id=None), {("identity.missing", ""), ("field.missing", "ticket_id")}),
        (visit(event_id="null", source="test", channel="unknown", campaign_id="0", account_id="guest"), set()),
    ],
)
def test_an_event_needs_one_identifier_that_means_somebody(steps: Any, event: Event, broken: Broken) -> None:
    assert one(steps, event) == broken


def test_words_of_the_settings_mean_nobody_too(steps: Any) -> None:
    assert one(steps, visit(customer_id="N.N."), ignored=()) == set()
    assert one(steps, visit(customer_id="N.N."), ignored=("n.n.",)) == {("identity.missing", "")}
    assert one(steps, reply(customer_id=None, ticket_id="n.N."), ignored=("n.n.",)) == {("identity.missing", "")}


def test_what_was_sent_is_json_whatever_it_holds(steps: Any) -> None:
    word = 'a"b\\c\x07é😀 {"x":1}'
    limits = dataclasses.replace(ANY_TIME, ignored=(word,))
    (row,) = run(steps, [visit(anonymous_id=word, email="e@x", customer_id="NaN")], limits).events.to_pylist()
    assert told(row) == {"anonymous_id": word, "customer_id": "NaN"}


def test_what_was_sent_is_in_quarantine_as_it_was(steps: Any) -> None:
    (row,) = run(steps, [visit(customer_id=" NULL ")]).quarantine.to_pylist()
    assert json.loads(row["raw"])["customer_id"] == " NULL "
    assert [(error["code"], error["path"]) for error in row["errors"]] == [("identity.missing", "")]


def test_too_old_is_before_the_setting_and_after_as_of_is_no_fault(steps: Any, microseconds: Any) -> None:
    earliest, as_of = microseconds("1990-01-01"), microseconds("2026-01-01")
    times = [
        "1989-12-31T23:59:59.999999Z", "1990-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000001Z",
        "2025-12-31T23:00:00.000001-01:00",
    ]  # fmt: skip
    validated = run(steps, [visit(event_id=t, occurred_at=t) for t in times], Limits(as_of, earliest))
    assert validated.events["event_id"].to_pylist() == times[1:3]
    assert broken_by(validated, 5) == [{("time.too_old", "occurred_at")}, set(), set(), set(), set()]
    assert tallies_of(validated) == {
        "records_in": 5, "records_mapped": 5, "events_in": 5, "quarantined_events": 1, "after_as_of": 2,
        "quarantined time.too_old": 1,
    }  # fmt: skip


def test_a_broken_event_after_as_of_is_in_quarantine_only(steps: Any) -> None:
    validated = run(steps, [visit(load_ms=-1)], Limits(as_of=0, earliest=-(2**62)))
    assert tallies_of(validated) == {
        "records_in": 1, "records_mapped": 1, "events_in": 1, "quarantined_events": 1, "quarantined field.range": 1,
    }  # fmt: skip


def test_excluded_events_are_counted_and_gone(steps: Any) -> None:
    limits = Limits(2**62, -(2**62), exclude="email like '%@acme.example' or load_ms > 100")
    sent = [
        visit(event_id="staff", email="X@ACME.example"), visit(event_id="slow", load_ms=101),
        visit(event_id="kept", load_ms=100), visit(event_id="unsaid"), visit(event_id="bad", load_ms=-1),
    ]  # fmt: skip
    validated = run(steps, sent, limits)
    assert validated.events["event_id"].to_pylist() == ["kept", "unsaid"], "what the condition cannot tell is kept"
    assert tallies_of(validated)["excluded"] == 2


def test_a_condition_may_name_a_field_that_no_event_has(steps: Any) -> None:
    validated = run(steps, [visit()], Limits(2**62, -(2**62), exclude="device_type = 'bot'"))
    assert validated.events.num_rows == 1


def test_cleaned_values(steps: Any) -> None:
    row = run(steps, [
        visit(event_id=" e ", customer_id="\u00a0 C-1\t", anonymous_id=" D ", email=" Ünı@Example.COM ", channel=" Web ")
    ]).events.to_pylist()[0]  # fmt: skip
    assert {k: row[k] for k in ("event_id", "customer_id", "anonymous_id", "email", "channel")} == {
        "event_id": " e ", "customer_id": "C-1", "anonymous_id": "D", "email": "ünı@example.com", "channel": " Web ",
    }  # fmt: skip


def test_defaults_are_filled_for_their_own_type_only(steps: Any) -> None:
    reply = {"event_type": "ticket_replied", "ticket_id": "t", "author": "agent"}
    rows = run(
        steps, [visit(event_id="a", **reply), visit(event_id="b", **reply, public=False), visit(event_id="c")]
    ).events
    assert rows["public"].to_pylist() == [True, False, None]


def test_fields_of_other_types_go_to_extra(steps: Any) -> None:
    sent = visit(author="robot", amount=-10.5, ticket_id="t", clicked=True, quantity=3, unknown={"a": [1, None]})
    rows = run(steps, [sent, visit(event_id="f")]).events.to_pylist()
    assert json.loads(rows[0]["extra"]) == {
        "author": "robot", "amount": -10.5, "ticket_id": "t", "clicked": True, "quantity": 3, "unknown": {"a": [1, None]},
    }  # fmt: skip
    assert rows[1]["extra"] is None
    assert not {k for k, v in rows[0].items() if k in ("author", "amount", "ticket_id", "clicked", "quantity") and v}


def test_a_field_of_another_type_need_not_be_of_its_type(steps: Any) -> None:
    rows = run(steps, [visit(author=5, amount="a lot", clicked={"x": 1}, score=[1])]).events.to_pylist()
    assert json.loads(rows[0]["extra"]) == {"author": 5, "amount": "a lot", "clicked": {"x": 1}, "score": [1]}


@pytest.mark.parametrize("value", ["[NaN]", "NaN", "[1,]", '{"a":1,"a":2}', "-inf"])
def test_a_field_of_another_type_hides_nothing_malformed(steps: Any, value: str) -> None:
    for field in ("amount", "clicked", "topic", "quantity"):
        line = json.dumps(visit())[:-1] + f', "{field}": {value}}}'
        validated = run(steps, [line])
        assert validated.events.num_rows == 0
        assert broken_by(validated, 1) == [{("json.malformed", "")}], line


def test_unknown_fields_are_counted_by_name(steps: Any) -> None:
    sent = [visit(loadms=1, amount=2), visit(loadms=1), visit(other=None), visit(load_ms=-1, loadms=1)]
    counted = tallies_of(run(steps, sent))
    assert {k: v for k, v in counted.items() if k.startswith("unknown_field")} == {
        "unknown_field amount": 1, "unknown_field loadms": 2,
    }  # fmt: skip


def test_quarantine_holds_the_record_and_every_rule(steps: Any) -> None:
    bad = visit(event_id="bad", load_ms="slow", page_kind="start", page_url="", occurred_at="today")
    (row,) = run(steps, [visit(), bad]).quarantine.to_pylist()
    assert {k: row[k] for k in ("source", "file", "position", "raw", "raw_bytes", "event_id", "event_type")} == {
        "source": "events", "file": "file", "position": 10, "raw": json.dumps(bad), "raw_bytes": len(json.dumps(bad)),
        "event_id": "bad", "event_type": "site_visit",
    }  # fmt: skip
    assert [(e["path"], e["code"], e["observed"]) for e in row["errors"]] == [
        ("load_ms", "field.type", '"slow"'), ("occurred_at", "time.invalid", "today"),
        ("page_kind", "field.enum", "start"), ("page_url", "field.missing", None),
    ]  # fmt: skip


def test_the_raw_text_is_cut_between_characters_and_its_length_is_the_whole(steps: Any) -> None:
    line = '{"é": ' + "x" * 20
    (row,) = run(steps, [line], raw_cap=3).quarantine.to_pylist()
    assert (row["raw"], row["raw_bytes"]) == ('{"', len(line.encode()))


def test_what_is_observed_is_cut(steps: Any) -> None:
    (row,) = run(steps, [visit(page_kind="k" * 500)]).quarantine.to_pylist()
    assert row["errors"][0]["observed"] == "k" * 200


def test_nothing_is_lost_between_the_tallies(steps: Any) -> None:
    lines: list[Event | str] = [visit(event_id=str(n)) for n in range(3)]
    lines += ["x", "{}", visit(load_ms=-1), visit(occurred_at="2026-02-01T00:00:00Z"), visit(channel="bot")]
    validated = run(steps, lines, Limits(1_768_000_000_000_000, 0, exclude="channel = 'bot'"))
    counted = Counter(tallies_of(validated))
    assert counted["records_in"] == 8 == counted["records_mapped"] + counted["records_unreadable"]
    events_in = validated.events.num_rows + sum(counted[n] for n in ("quarantined_events", "after_as_of", "excluded"))
    assert counted["events_in"] == 7 == events_in
    assert validated.quarantine.num_rows == counted["quarantined_events"] + counted["records_unreadable"] == 3


def test_a_type_and_a_version_of_ones_own(steps: Any, tmp_path: Path) -> None:
    def write(event_type: str, version: str, **properties: Any) -> None:
        (tmp_path / event_type).mkdir(exist_ok=True)
        document = {"title": event_type, "required": ["shop"], "properties": properties}
        (tmp_path / event_type / f"{version}.json").write_text(json.dumps(document))

    shop = {"description": "The shop.", "type": "string", "x-arrow": "string", "pattern": "^s-[0-9]+$"}
    write("store_visit", "2-0-0", shop=shop)
    write("store_visit", "2-1-0", shop={**shop, "pattern": "^S-"})
    contracts = load_contracts(tmp_path)

    def broken(**fields: Any) -> Broken:
        event = visit(event_type="store_visit", **fields)
        block = Block("events", "f", "jsonl", pa.table({"record": [json.dumps(event)]}), np.zeros(1, np.int64))
        candidates = parse_json(block, contracts, steps.connection)
        return broken_by(validate(candidates, contracts, ANY_TIME, steps.connection), 1)[0]

    assert broken(schema_version="2-0-0", shop="s-1") == set()
    assert broken(schema_version="2-1-0", shop="s-1") == {("field.range", "shop")}
    assert broken(schema_version="2-1-0") == {("field.missing", "shop")}
    assert broken(shop="s-1") == {("version.unknown", "schema_version")}, "1-0-0 where none is named"
