"""Round 5: to whom a ticket or subscription belongs whose events are of several customers."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from transforms.answers import OWNER
from transforms.find_owners import LIFE, ask, decide
from transforms.identities import IdentityRules

Row = dict[str, Any]
RULES = IdentityRules()


def ticket(what: str, at: int, customer: str | None = None, ticket_id: str = "t", **fields: Any) -> Row:
    return {"type": f"ticket_{what}", "at": at, "customer_id": customer, "ticket_id": ticket_id, **fields}


def subscription(what: str, at: int, customer: str) -> Row:
    return {"type": what, "at": at, "customer_id": customer, "subscription_id": "s"}


def told(blocks: Any, *of_blocks: list[Row]) -> list[tuple[str, str, str]]:
    """(block, entity, owner) of all answers; entities by their names' ends."""
    paths = [blocks.write(*rows, name=f"b{number}") for number, rows in enumerate(of_blocks)]
    found = decide(pa.concat_tables(ask(blocks.open(path), RULES) for path in paths), RULES)
    assert set(found.answers["kind"].to_pylist()) <= {OWNER}
    assert (found.decisions.num_rows, found.tallies) == (0, ())
    return sorted(
        (row["block"].rsplit("/")[-1], row["identifier"].rsplit(":")[-1], row["customer_key"])
        for row in found.answers.to_pylist()
    )


def test_one_customers_ticket_is_told_to_nobody(blocks: Any) -> None:
    rows = [ticket("opened", 1, "ann"), ticket("replied", 2, "ann"), ticket("opened", 3, "bob", "u")]
    assert told(blocks, rows[:1], rows[1:]) == []


@pytest.mark.parametrize("replier", ["bob", None])
def test_it_is_hers_who_opened_it_whoever_answered(blocks: Any, replier: str | None) -> None:
    """An answer of nobody known is `anon:` or `ticket:`, another customer: here nothing was told of round 2."""
    rows = [[ticket("replied", 0, replier)], [ticket("opened", 1, "ann")], [ticket("replied", 2, replier)]]
    assert told(blocks, *rows) == [("b0", "t", "ann"), ("b1", "t", "ann"), ("b2", "t", "ann")]


def test_a_block_is_told_once(blocks: Any) -> None:
    rows = [ticket("replied", n, who) for n, who in enumerate(("bob", "cid", "bob"))]
    assert told(blocks, [*rows, ticket("opened", 9, "ann")], rows) == [("b0", "t", "ann"), ("b1", "t", "ann")]


def test_the_first_opening_counts(blocks: Any) -> None:
    assert told(blocks, [ticket("opened", 5, "bob")], [ticket("opened", 4, "ann")])[0] == ("b0", "t", "ann")
    in_one = [ticket("opened", 5, "bob"), ticket("opened", 4, "ann"), ticket("opened", 6, "bob")]
    assert told(blocks, in_one) == [("b0", "t", "ann")]


def test_without_an_opening_the_first_event_counts(blocks: Any) -> None:
    rows = [[ticket("resolved", 2, "bob")], [ticket("replied", 1, "ann"), ticket("reopened", 3, "bob")]]
    assert told(blocks, *rows) == [("b0", "t", "ann"), ("b1", "t", "ann")]


@pytest.mark.parametrize("one_block", [True, False])
def test_at_one_moment_the_bytes_of_the_event_id_decide(blocks: Any, one_block: bool) -> None:
    rows = [ticket("opened", 1, "later", event_id="😀"), ticket("opened", 1, "ann", event_id="\uffee")]
    cut = [rows] if one_block else [[row] for row in rows]
    assert {owner for *_, owner in told(blocks, *cut)} == {"ann"}


def test_a_subscription_is_hers_who_started_it(blocks: Any) -> None:
    rows = [subscription("renewal", 1, "bob"), subscription("subscription_started", 5, "ann")]
    assert told(blocks, [rows[0]], [rows[1]]) == [("b0", "s", "ann"), ("b1", "s", "ann")]
    assert told(blocks, [rows[0], subscription("cancellation", 2, "ann")]) == [("b0", "s", "bob")]


def test_events_that_only_name_a_ticket_or_subscription_do_not_count(blocks: Any) -> None:
    """A survey about a ticket and a failed payment for a subscription are no part of its life."""
    rows = [
        ticket("opened", 5, "ann"), {**ticket("x", 1, "bob"), "type": "survey_sent"},
        subscription("subscription_started", 5, "ann"), subscription("payment_failed", 1, "bob"),
    ]  # fmt: skip
    assert told(blocks, rows) == []


def test_an_entity_is_known_by_its_kind_and_its_source(blocks: Any) -> None:
    rows = [
        ticket("opened", 1, "ann"), ticket("opened", 2, "bob", source="desk"), subscription("renewal", 3, "cid"),
        {**subscription("renewal", 4, "cid"), "subscription_id": "t"},
    ]  # fmt: skip
    assert told(blocks, rows) == []


def test_a_value_that_means_nobody_is_no_ticket(blocks: Any) -> None:
    assert told(blocks, [ticket("opened", 1, "ann", "0"), ticket("opened", 2, "bob", "0")]) == []


def test_the_openings_come_first() -> None:
    assert [types[0] for types in LIFE.values()] == ["ticket_opened", "subscription_started"]


def test_after_round_2_an_answer_that_names_only_the_ticket_is_hers(blocks: Any) -> None:
    """Then there is nothing to be told."""
    rows = [[ticket("opened", 1, "ann")], [ticket("replied", 2)]]
    found = blocks.resolve(*([{**row, "event_id": f"{n}"} for row in part] for n, part in enumerate(rows)))
    assert found.whose == {"0": ("ann", "customer_id"), "1": ("ann", "entity")}
    assert [block.owners() for block in found.blocks] == [{}, {}]
