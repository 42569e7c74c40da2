"""Round 1: whose e-mail it is, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from transforms.answers import EMAIL
from transforms.identities import IdentityRules
from transforms.link_emails import ask, decide

Row = dict[str, Any]
RULES = IdentityRules()


def asked(blocks: Any, *rows: Row) -> list[tuple[Any, ...]]:
    return [tuple(row.values())[1:] for row in ask(blocks.block(*rows), RULES).to_pylist()]


def decided(blocks: Any, *of_blocks: list[Row]) -> tuple[list[tuple[str, str, str | None]], list[Row]]:
    """(block, e-mail, customer) of all answers; rows of identity_decisions."""
    paths = [blocks.write(*rows, name=f"b{number}") for number, rows in enumerate(of_blocks)]
    found = decide(pa.concat_tables(ask(blocks.open(path), RULES) for path in paths), RULES)
    told = [(row["block"].rsplit("/")[-1], row["identifier"], row["customer_key"]) for row in found.answers.to_pylist()]
    assert set(found.answers["kind"].to_pylist()) <= {EMAIL}
    return sorted(told, key=str), found.decisions.to_pylist()


def test_a_block_asks_once_for_each_email_and_customer(blocks: Any) -> None:
    rows = [
        {"email": "x", "customer_id": "a"}, {"email": "x"}, {"email": "x", "customer_id": "a"}, {"customer_id": "b"},
        {"email": "y", "customer_id": "anon:b"}, {"email": "x"}, {"anonymous_id": "d"}, {"email": "x"},
    ]  # fmt: skip
    assert asked(blocks, *rows) == [("x", None, "a", 2), ("x", None, None, 3), ("y", None, "id:anon:b", 1)]
    assert asked(blocks, {"customer_id": "c"}) == []


def test_one_customer_in_all_the_input(blocks: Any) -> None:
    """Only blocks that have the e-mail without a customer_id need to be told."""
    told, refused = decided(
        blocks, [{"email": "x", "customer_id": "a"}], [{"email": "x"}, {"email": "x", "customer_id": "a"}],
        [{"email": "x"}, {"email": "y"}],
    )  # fmt: skip
    assert told == [("b1", "x", "a"), ("b2", "x", "a")]
    assert refused == []


def test_two_customers_are_never_merged(blocks: Any) -> None:
    told, refused = decided(
        blocks, [{"email": "x", "customer_id": "a"}] * 2, [{"email": "x"}] * 3,
        [{"email": "x", "customer_id": "b"}, {"email": "y", "customer_id": "b"}, {"email": "y"}],
    )  # fmt: skip
    assert told == [("b1", "x", None), ("b2", "y", "b")]
    assert refused == [
        {"kind": "email", "identifier": "x", "decision": "refused", "reason": "shared_email", "n_customers": 2,
         "n_events": 6}
    ]  # fmt: skip


def test_customers_of_one_name_in_two_cases_are_two(blocks: Any) -> None:
    _, refused = decided(blocks, [{"email": "x", "customer_id": i} for i in ("a", "A", "a", "b")])
    assert [(row["identifier"], row["n_customers"], row["n_events"]) for row in refused] == [("x", 3, 4)]


def test_an_email_without_a_customer_is_told_nothing(blocks: Any) -> None:
    assert decided(blocks, [{"email": "x"}], [{"email": "x", "anonymous_id": "d"}]) == ([], [])
    assert decided(blocks, [{"anonymous_id": "d"}]) == ([], [])


def test_values_that_mean_nobody_are_told_with_their_field(blocks: Any) -> None:
    def ignored(**values: str) -> Row:
        return {"customer_id": "c", "email": "x", "ignored_identifiers": json.dumps(values)}

    told, refused = decided(
        blocks, [*[ignored(anonymous_id="0")] * 2, ignored(anonymous_id="0", ticket_id="NULL"), {"customer_id": "d"}],
        [ignored(anonymous_id="0"), ignored(anonymous_id="-"), ignored(ticket_id="0"), {"email": "x", "customer_id": "d"}],
    )  # fmt: skip
    assert told == []
    assert {(row["decision"], row["reason"], row["n_customers"]) for row in refused if row["kind"] != "email"} == {
        ("ignored", "means_nobody", None)
    }
    assert sorted((row["kind"], row["identifier"], row["n_events"]) for row in refused) == [
        ("anonymous_id", "-", 1), ("anonymous_id", "0", 4), ("email", "x", 7), ("ticket_id", "0", 1), ("ticket_id", "NULL", 1),
    ]  # fmt: skip


def test_an_ignored_value_says_nothing_of_an_email_that_is_written_like_it(blocks: Any) -> None:
    """`x` was ignored as a customer_id (a setting says so); the e-mail `x` is ann's nevertheless."""
    told, refused = decided(
        blocks, [{"email": "x", "ignored_identifiers": '{"customer_id":"x"}'}], [{"email": "x", "customer_id": "ann"}]
    )
    assert told == [("b0", "x", "ann")]
    assert [(row["kind"], row["decision"]) for row in refused] == [("customer_id", "ignored")]
