"""Round 4: the timeline of a shared device, event by event."""

from __future__ import annotations

import random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.answers import DEVICE, DUPLICATE, ROW, in_block
from transforms.identities import IdentityRules
from transforms.split_devices import QUESTIONS, ask, decide

Row = dict[str, Any]
POLICIES = ("device_split", "last_auth", "none")
SESSIONS = ("site_visit",)
D = {"anonymous_id": "d"}
#: 12:01 -, 12:02 -, 12:03 ryan, 12:07 -, 12:08 cassidy, next day -
WORKED = [
    {**D, "at": f"2026-01-{day} {time}", "customer_id": customer}
    for day, time, customer in (
        ("01", "12:01", None), ("01", "12:02", None), ("01", "12:03", "ryan"), ("01", "12:07", None),
        ("01", "12:08", "cassidy"), ("02", "09:00", None),
    )
]  # fmt: skip
EXPECTED = {
    "device_split": "ryan ryan ryan ryan cassidy cassidy",
    "last_auth": "cassidy cassidy ryan cassidy cassidy cassidy",
    "none": "anon:d anon:d ryan anon:d cassidy anon:d",
}


def settings_of(policy: str = "device_split", most: int = 5) -> IdentityRules:
    return IdentityRules(policy, most, session_types=SESSIONS)


def customers(blocks: Any, rows: list[Row], rules: IdentityRules) -> list[str]:
    """By all rounds, each event in a block of its own, in any order: the customers in the order of the rows."""
    shuffled = [{**row, "event_id": row.get("event_id", f"e{n}")} for n, row in enumerate(rows)]
    ids = [row["event_id"] for row in shuffled]
    random.Random(1).shuffle(shuffled)
    found = blocks.resolve(*[[row] for row in shuffled], rules=rules).customers
    assert found == blocks.resolve(shuffled, rules=rules).customers, "in one block or in many"
    return [found[event_id] for event_id in ids]


@pytest.mark.parametrize("policy", POLICIES)
def test_the_worked_case_of_the_design(blocks: Any, policy: str) -> None:
    assert customers(blocks, WORKED, settings_of(policy)) == EXPECTED[policy].split()


@pytest.mark.parametrize("policy", POLICIES)
def test_with_ryan_alone_it_is_all_his(blocks: Any, policy: str) -> None:
    expected = [row["customer_id"] or "anon:d" for row in WORKED[:4]] if policy == "none" else ["ryan"] * 4
    assert customers(blocks, WORKED[:4], settings_of(policy)) == expected


@pytest.mark.parametrize("policy", POLICIES)
def test_a_kiosk_tells_nothing_and_one_customer_fewer_does(blocks: Any, policy: str) -> None:
    def rows(count: int) -> list[Row]:
        known: list[Row] = [{**D, "customer_id": f"c{n}", "at": 10 * n} for n in range(count)]
        return [*known, {**D, "at": 5}]

    at_limit = {"device_split": "c0", "last_auth": "c2", "none": "anon:d"}[policy]
    assert customers(blocks, rows(3), settings_of(policy, 3))[-1] == at_limit
    assert customers(blocks, rows(4), settings_of(policy, 3))[-1] == "anon:d"


def test_at_one_microsecond_the_bytes_of_the_event_id_decide(blocks: Any) -> None:
    at = "2026-01-01 12:00:00.000001"
    rows = [
        {**D, "event_id": "", "at": at}, {**D, "event_id": "Z", "at": at, "customer_id": "z"}, {**D, "event_id": "a", "at": at},
        {**D, "event_id": "\uffee", "at": at, "customer_id": "fullwidth"}, {**D, "event_id": "😀", "at": at},
        {**D, "event_id": "9", "at": "2026-01-01 12:00:00.000002"},
    ]  # fmt: skip
    assert customers(blocks, rows, settings_of()) == ["z", "z", "z", "fullwidth", "fullwidth", "fullwidth"]
    assert customers(blocks, rows, settings_of("last_auth"))[::2] == ["fullwidth"] * 3


def test_two_devices_do_not_mix(blocks: Any) -> None:
    """Of each device the events are on one timeline; neighbours on it are not those of the table."""
    rows = [
        {"anonymous_id": device, "at": at, "customer_id": customer}
        for at, device, customer in (
            (0, "e", None), (1, "d", "a"), (2, "e", "x"), (3, "d", None), (4, "e", "y"), (5, "d", "b"), (6, "e", None),
            (7, "d", None), (8, "f", None),
        )
    ]  # fmt: skip
    assert customers(blocks, rows, settings_of()) == ["x", "a", "x", "a", "y", "b", "y", "b", "anon:f"]
    assert customers(blocks, rows, settings_of("last_auth")) == ["y", "a", "x", "b", "y", "b", "y", "b", "anon:f"]


def test_a_shared_email_is_unidentified_and_a_free_one_is_not(blocks: Any) -> None:
    """Rule 5 before 6, and 4 before 5."""
    shared = [{"email": "x", "customer_id": c, "at": 99} for c in ("a", "b")]
    rows = [
        {**D, "customer_id": "a", "at": 1}, {**D, "email": "x", "at": 2}, {**D, "email": "free", "at": 3}, {**D, "at": 4}
    ]  # fmt: skip
    assert customers(blocks, [*rows, *shared], settings_of())[:4] == ["a", "a", "email:free", "email:free"]
    assert customers(blocks, [*rows, *shared], settings_of("none"))[:4] == ["a", "email:x", "email:free", "anon:d"]


def test_only_rows_of_shared_devices_are_asked(blocks: Any) -> None:
    rows = [
        {"anonymous_id": "d", "at": 1, "customer_id": "a"}, {"anonymous_id": "e"}, {"customer_id": "b"},
        {"anonymous_id": "d", "type": "review", "at": 2},
    ]  # fmt: skip
    told = [
        blocks.told(DEVICE, identifier="d", flag=True),
        blocks.told(DEVICE, identifier="e", customer_key="x", flag=False),
    ]
    found = ask(blocks.block(*rows, told=told), settings_of())
    assert found.schema == QUESTIONS
    assert found.drop_columns(["block", "occurred_at"]).to_pylist() == [
        {"row": 0, "identifier": "d", "event_id": "e0", "customer_key": "a", "is_identified": True, "in_session": True},
        {"row": 3, "identifier": "d", "event_id": "e3", "customer_key": "anon:d", "is_identified": False, "in_session": False},
    ]  # fmt: skip
    assert ask(blocks.block(*rows), settings_of()).num_rows == 0

    found = ask(blocks.block(*rows, told=[*told, blocks.told(DUPLICATE, row=0)]), settings_of())
    assert found["row"].to_pylist() == [3], "the row of the block, not of those that are kept"


# --- sessions --------------------------------------------------------------------------------------------------------


def starts(blocks: Any, rows: list[Row], rules: IdentityRules | None = None) -> list[bool]:
    """Which rows were told to start a session. The first of another customer's may be: it starts one anyhow."""
    cut = [[{**row, "event_id": f"e{n}"}] for n, row in enumerate(rows)]
    resolution = blocks.resolve(*cut, rules=rules or settings_of())
    found = resolution.by_event(lambda block: block.starts_session().tolist())
    return [found[f"e{n}"] for n in range(len(rows))]


def visits(*customers: str | None) -> list[Row]:
    return [{**D, "customer_id": customer, "at": minute} for minute, customer in enumerate(customers)]


def test_where_another_customers_visit_came_between_a_session_starts(blocks: Any) -> None:
    assert starts(blocks, visits("a", "b", "a", "a", "b", "b")) == [False, True, True, False, True, False]
    assert starts(blocks, visits("a", None, "b", None)) == [False, False, True, False]


def test_what_is_no_visit_comes_between_nothing(blocks: Any) -> None:
    rows = visits("a", "b", "a")
    rows[1]["type"] = "ticket_opened"
    assert starts(blocks, rows) == [False, False, False]


def test_nobodys_visits_come_between_too(blocks: Any) -> None:
    assert starts(blocks, visits("a", None, "a"), settings_of("none")) == [False, True, True]
    assert starts(blocks, visits("a", None, "a"), settings_of()) == [False, False, False]


def test_in_a_kiosk_too(blocks: Any) -> None:
    assert starts(blocks, visits("a", None, "b", "a"), settings_of(most=1)) == [False, True, True, True]


def test_another_customers_visit_on_another_device_does_not(blocks: Any) -> None:
    rows = visits("a", "b", "a")
    rows[1]["anonymous_id"] = "e"
    assert starts(blocks, [*rows, {"anonymous_id": "d", "customer_id": "z", "at": 9}]) == [False, False, False, True]


# --- any timeline, read slowly ---------------------------------------------------------------------------------------


def read_slowly(events: list[dict[str, Any]], policy: str, most: int) -> dict[str, tuple[str | None, bool]]:
    """The design's words on one device: event_id -> (its customer by rule 5, a session starts)."""
    events = sorted(events, key=lambda e: (e["occurred_at"], e["event_id"].encode()))
    known = [e for e in events if e["is_identified"]]
    applies = policy != "none" and 0 < len({e["customer_key"] for e in known}) <= most
    found, visit = {}, None
    for place, event in enumerate(events):
        own = None
        if applies and not event["is_identified"]:
            before = [e for e in events[:place] if e["is_identified"]]
            own = (known[-1] if policy == "last_auth" else before[-1] if before else known[0])["customer_key"]
        key = own or event["customer_key"]
        found[event["event_id"]] = (own, event["in_session"] and visit not in (None, key))
        visit = key if event["in_session"] else visit
    return found


events_of_devices = st.lists(
    st.builds(
        lambda device, minute, key, visit: {
            "identifier": device, "occurred_at": minute, "customer_key": key or f"anon:{device}",
            "is_identified": key is not None, "in_session": visit,
        },
        st.sampled_from("de"), st.integers(0, 6), st.sampled_from([None, None, "a", "b", "c"]), st.booleans(),
    ),
    max_size=16,
)  # fmt: skip


@settings(max_examples=300)
@given(events_of_devices, st.sampled_from(POLICIES), st.integers(1, 3), st.randoms(use_true_random=False))
def test_reads_like_the_design(events: list[Row], policy: str, most: int, chance: Any) -> None:
    ids = [f"{chance.choice(['', 'Z', 'é', '😀'])}{number}" for number in range(len(events))]
    events = [{**event, "event_id": event_id} for event, event_id in zip(events, ids, strict=True)]
    expected: dict[str, tuple[str | None, bool]] = {}
    for device in "de":
        expected |= read_slowly([e for e in events if e["identifier"] == device], policy, most)
    chance.shuffle(events)
    cut = chance.randint(0, len(events))
    pieces = []
    for path, part in (("p", events[:cut]), ("q", events[cut:])):
        rows = [{**event, "row": row} for row, event in enumerate(part)]
        table = pa.Table.from_pylist(rows, pa.schema([field for field in QUESTIONS if field.name != "block"]))
        pieces.append(table.add_column(0, "block", in_block(path, len(rows))))

    answers = decide(pa.concat_tables(pieces), settings_of(policy, most)).answers
    assert set(answers["kind"].to_pylist()) <= {ROW}
    places = {("p", row): e["event_id"] for row, e in enumerate(events[:cut])}
    places |= {("q", row): e["event_id"] for row, e in enumerate(events[cut:])}
    told = {places[row["block"], row["row"]]: (row["customer_key"], row["flag"]) for row in answers.to_pylist()}
    assert len(told) == answers.num_rows, "a row is told once"
    assert told == {event_id: said for event_id, said in expected.items() if said != (None, False)}
