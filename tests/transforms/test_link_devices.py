"""Round 3: whose device it is, which ones are shared, and which are kiosks."""

from __future__ import annotations

import dataclasses
from typing import Any

import pyarrow as pa
import pytest

from transforms.answers import DEVICE, EMAIL
from transforms.decisions import MANY_EVENTS
from transforms.identities import IdentityRules
from transforms.link_devices import ask, decide

Row = dict[str, Any]
RULES = IdentityRules()
POLICIES = ("device_split", "last_auth", "none")
D = {"anonymous_id": "d"}


def on_d(*customers: str) -> list[Row]:
    return [{**D, "customer_id": customer} for customer in customers]


def decided(
    blocks: Any, *of_blocks: list[Row], rules: IdentityRules = RULES, shared: tuple[str, ...] = ()
) -> tuple[list[tuple[str, str, str | None, bool]], list[Row]]:
    """(block, device, customer, its rows are asked) of all answers; rows of identity_decisions."""
    known = [blocks.told(EMAIL, identifier=email) for email in shared]
    paths = [blocks.write(*rows, name=f"b{number}") for number, rows in enumerate(of_blocks)]
    found = decide(pa.concat_tables(ask(blocks.open(path, *known), rules) for path in paths), rules)
    assert set(found.answers["kind"].to_pylist()) <= {DEVICE}
    told = {
        (row["block"].rsplit("/")[-1], row["identifier"], row["customer_key"], row["flag"])
        for row in found.answers.to_pylist()
    }
    return sorted(told, key=str), found.decisions.to_pylist()


def test_a_block_asks_once_for_each_device_and_key(blocks: Any) -> None:
    rows = [*on_d("a", "a", "b"), D, D, {**D, "email": "x"}, {"anonymous_id": "e"}, {"customer_id": "c"}]
    found = [tuple(row.values())[1:] for row in ask(blocks.block(*rows), RULES).to_pylist()]
    assert found == [
        ("d", "a", True, 2), ("d", "b", True, 1), ("d", "anon:d", False, 2), ("d", "email:x", True, 1),
        ("e", "anon:e", False, 1),
    ]  # fmt: skip


def test_a_device_of_one_customer_needs_no_rows(blocks: Any) -> None:
    """Only the blocks that do not know are told; and of their rows nothing has to be asked."""
    assert decided(blocks, on_d("a"), [D], on_d("a")) == ([("b1", "d", "a", False)], [])
    assert decided(blocks, [D, *on_d("a")], [{"anonymous_id": "e"}]) == ([("b0", "d", "a", False)], [])


def test_the_customer_may_be_an_email(blocks: Any) -> None:
    assert decided(blocks, [{**D, "email": "x"}], [D]) == ([("b1", "d", "email:x", False)], [])


def test_an_email_of_several_customers_goes_with_the_device(blocks: Any) -> None:
    """Rule 5 comes before 6: such an event is as unidentified as one without."""
    rows = [on_d("a"), [{**D, "email": "x"}]]
    assert decided(blocks, *rows, shared=("x",)) == ([("b1", "d", "a", False)], [])


def test_a_device_that_nobody_is_known_on_is_told_nothing(blocks: Any) -> None:
    assert decided(blocks, [D], [D, {"anonymous_id": "e"}]) == ([], [])


def test_the_rows_of_a_shared_device_are_asked_in_every_block_that_has_it(blocks: Any) -> None:
    told, refused = decided(blocks, on_d("a"), [D, {"anonymous_id": "e"}], on_d("b"), on_d("a"))
    assert told == [(f"b{number}", "d", None, True) for number in range(4)]
    assert refused == [], "two customers of one device are nothing odd"


def test_two_unknown_keys_on_a_device_share_it_too(blocks: Any) -> None:
    """Nothing is to be filled, but where the one's visit comes between, the other's session ends."""
    told, refused = decided(blocks, [D], [{**D, "email": "x"}], shared=("x",))
    assert (told, refused) == ([("b0", "d", None, True), ("b1", "d", None, True)], [])


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("customers", "is_kiosk"), [(3, False), (4, True)])
def test_a_kiosk_has_more_customers_than_the_limit(blocks: Any, policy: str, customers: int, is_kiosk: bool) -> None:
    rules = IdentityRules(policy, max_customers_per_device=3)
    rows = [on_d(*[f"c{number}"] * 2) for number in range(customers)]
    told, refused = decided(blocks, *rows, [D] * 3, rules=rules)
    assert [(device, key, shared) for _, device, key, shared in told] == [("d", None, True)] * (customers + 1)
    kiosk = {"kind": "anonymous_id", "identifier": "d", "decision": "refused", "reason": "kiosk"}
    assert refused == ([{**kiosk, "n_customers": customers, "n_events": 2 * customers + 3}] if is_kiosk else [])


def test_only_identified_keys_make_a_kiosk(blocks: Any) -> None:
    rules = IdentityRules(max_customers_per_device=2)
    rows = [*on_d("a"), {**D, "email": "free"}, {**D, "email": "x"}, {**D, "email": "y"}, D]
    assert decided(blocks, rows, rules=rules, shared=("x", "y"))[1] == []
    assert [r["n_customers"] for r in decided(blocks, [*rows, *on_d("b")], rules=rules, shared=("x", "y"))[1]] == [3]


def test_a_limit_of_one(blocks: Any) -> None:
    rules = IdentityRules(max_customers_per_device=1)
    assert decided(blocks, [*on_d("a", "a"), D], rules=rules) == ([("b0", "d", "a", False)], [])
    assert [row["reason"] for row in decided(blocks, [*on_d("a", "b"), D], rules=rules)[1]] == ["kiosk"]


def test_with_the_policy_none_no_device_tells_who_it_is(blocks: Any) -> None:
    """But a's visits and those of nobody still cut each other's sessions: the rows are asked."""
    none = IdentityRules("none")
    assert decided(blocks, on_d("a"), [D], rules=none)[0] == [("b0", "d", None, True), ("b1", "d", None, True)]
    assert decided(blocks, on_d("a"), on_d("a"), rules=none)[0] == []
    assert decided(blocks, [D], rules=none)[0] == []


def test_a_device_goes_by_its_letters(blocks: Any) -> None:
    assert decided(blocks, [*on_d("a"), {"anonymous_id": "D"}])[0] == []


def test_the_busiest_devices_are_counted_over_all_blocks(blocks: Any) -> None:
    devices = ("d", "e", "f0", "f1", "f2")
    asked = ask(blocks.block(*({"anonymous_id": device} for device in devices), *on_d("a")), RULES)
    more = {"d": 499, "e": 1001, "f0": 1000, "f1": 998, "f2": 1000}  # and one; d has two keys, so twice as many
    counts = pa.array([more[device] for device in asked["identifier"].to_pylist()])
    questions = pa.concat_tables([asked, asked.set_column(4, "events", counts)])
    found = decide(questions, RULES).tallies
    assert found == tuple(("busiest_device", "", i, n) for i, n in (("e", 1002), ("f0", 1001), ("f2", 1001)))
    rest = questions.filter(pa.array([device in ("d", "f1") for device in questions["identifier"].to_pylist()]))
    assert decide(rest, RULES).tallies == (("busiest_device", "", "d", MANY_EVENTS),), "999 are not many"


@pytest.mark.parametrize("policy", POLICIES)
def test_nothing_to_decide(blocks: Any, policy: str) -> None:
    rules = dataclasses.replace(RULES, policy=policy)
    assert decided(blocks, [{"customer_id": "a"}], rules=rules) == ([], [])
