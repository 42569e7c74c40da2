"""Round 2: whose ticket, subscription or order it is."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from transforms.answers import DUPLICATE, EMAIL, ENTITY
from transforms.identities import IdentityRules
from transforms.link_entities import ask, decide

Row = dict[str, Any]
RULES = IdentityRules()
T, U = {"ticket_id": "t"}, {"ticket_id": "u"}


def told(blocks: Any, *of_blocks: list[Row], emails: dict[str, str | None] | None = None) -> list[tuple[str, str, str]]:
    """(block, entity, customer) of all answers; entities by their names' ends."""
    known = [blocks.told(EMAIL, identifier=i, customer_key=key) for i, key in (emails or {}).items()]
    paths = [blocks.write(*rows, name=f"b{number}") for number, rows in enumerate(of_blocks)]
    found = decide(pa.concat_tables(ask(blocks.open(path, *known), RULES) for path in paths), RULES)
    assert set(found.answers["kind"].to_pylist()) <= {ENTITY}
    assert (found.decisions.num_rows, found.tallies) == (0, ())
    return sorted(
        (row["block"].rsplit("/")[-1], row["identifier"].rsplit(":")[-1], row["customer_key"])
        for row in found.answers.to_pylist()
    )


def test_a_block_asks_once_for_each_entity(blocks: Any) -> None:
    rows = [
        {**T, "customer_id": "b", "at": 3}, {**T, "customer_id": "a", "at": 2}, {**T, "anonymous_id": "d", "at": 1},
        {**U, "anonymous_id": "d"}, {"order_id": "o", "customer_id": "c"}, {"customer_id": "x"},
    ]  # fmt: skip
    found = ask(blocks.block(*rows), RULES).drop_columns(["block", "occurred_at"]).to_pylist()
    name = blocks.name
    assert sorted((tuple(row.values()) for row in found), key=str) == [
        (name("order_id", "", "o"), "c", "e4", False), (name("ticket_id", "", "t"), "a", "e1", True),
        (name("ticket_id", "", "u"), None, None, True),
    ]  # fmt: skip
    assert ask(blocks.block({"customer_id": "x"}), RULES).num_rows == 0


def test_the_earliest_event_tells_and_only_who_asks_is_told(blocks: Any) -> None:
    early, late = [{**T, "customer_id": "a", "at": 5}], [{**T, "customer_id": "b", "at": 6}]
    asks, other = [{**T, "anonymous_id": "d", "at": 1}, {**U, "anonymous_id": "d"}], [{**U, "customer_id": "c"}]
    assert told(blocks, late, asks, early, other) == [("b1", "t", "a"), ("b1", "u", "c")]


def test_an_unidentified_event_tells_nothing_however_early(blocks: Any) -> None:
    assert told(blocks, [{**T, "anonymous_id": "d"}], [T]) == []


def test_a_linked_email_tells_but_an_email_alone_does_not(blocks: Any) -> None:
    rows = [[{**T, "email": "free"}], [{**T, "email": "shared"}], [{**T, "email": "linked", "at": 9}], [T]]
    emails = {"linked": "ann", "shared": None}
    assert told(blocks, *rows, emails=emails) == [("b0", "t", "ann"), ("b1", "t", "ann"), ("b3", "t", "ann")]
    assert told(blocks, rows[0], rows[1], rows[3], emails=emails) == []


@pytest.mark.parametrize("cut", [[[0, 1, 2]], [[0], [1], [2]], [[2, 1], [0]], [[1], [0, 2]]])
def test_at_one_moment_the_bytes_of_the_event_id_decide(blocks: Any, cut: list[list[int]]) -> None:
    rows = [
        {**T, "customer_id": "late", "event_id": "\uffee", "at": "2026-01-01 00:00:00.000001"},
        {**T, "customer_id": "later", "event_id": "😀", "at": "2026-01-01 00:00:00.000001"},
        {**T, "customer_id": "latest", "event_id": "", "at": "2026-01-01 00:00:00.000002"},
    ]
    assert told(blocks, *([rows[n] for n in part] for part in cut), [T]) == [(f"b{len(cut)}", "t", "late")]


def test_an_entity_is_known_by_its_kind_and_its_source(blocks: Any) -> None:
    rows: list[Row] = [
        {"ticket_id": "t", "source": "desk", "customer_id": "a"}, {"order_id": "t", "customer_id": "b"},
        {"ticket_id": "t"}, {"subscription_id": "t"}, {"ticket_id": "t", "source": "desk", "anonymous_id": "d"},
    ]  # fmt: skip
    assert told(blocks, [rows[0]], [rows[1]], [rows[2], rows[3]]) == []
    assert told(blocks, rows) == [("b0", "t", "a")]


def test_an_event_of_two_entities_tells_of_both(blocks: Any) -> None:
    both = {"order_id": "o", "subscription_id": "s", "customer_id": "a"}
    assert told(blocks, [both], [{"order_id": "o"}], [{"subscription_id": "s"}]) == [("b1", "o", "a"), ("b2", "s", "a")]


def test_a_block_of_nothing_but_duplicates_asks_nothing(blocks: Any) -> None:
    block = blocks.block({**T, "customer_id": "a"}, told=[blocks.told(DUPLICATE, row=0)])
    assert ask(block, RULES).num_rows == 0
    assert decide(ask(block, RULES), RULES).answers.num_rows == 0
