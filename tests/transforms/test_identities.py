"""Whose events a block has by what it was told: the eight rules, and which comes first."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from transforms.answers import DEVICE, DUPLICATE, EMAIL, ENTITY, OWNER, ROW
from transforms.identities import IdentityRules, customer_key, entity_name, is_known

Row = dict[str, Any]
ENTITIES = ("ticket_id", "subscription_id", "order_id")


# --- the rules, one by one -------------------------------------------------------------------------------------------


def test_1_the_customer_id(blocks: Any) -> None:
    event = {"customer_id": "c", "email": "a@b", "anonymous_id": "d", "order_id": "o"}
    assert blocks.whose(blocks.block(event)) == [("c", "customer_id")]


def test_2_an_email_that_is_linked_to_one_customer(blocks: Any) -> None:
    told = [blocks.told(EMAIL, identifier="a@b", customer_key="c")]
    assert blocks.whose(blocks.block({"email": "a@b"}, {"email": "x@y"}, told=told)) == [
        ("c", "linked_email"), ("email:x@y", "email"),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ENTITIES)
def test_3_an_entity_of_a_known_customer(blocks: Any, kind: str) -> None:
    told = [blocks.told(ENTITY, identifier=blocks.name(kind, "web", "1"), customer_key="c")]
    rows = [{kind: "1", "source": "web"}, {kind: "1", "source": "shop"}, {kind: "1"}, {kind: "2", "source": "web"}]
    rows = [{**row, "anonymous_id": "d"} for row in rows]
    assert blocks.whose(blocks.block(*rows, told=told)) == [("c", "entity")] + [("anon:d", "anonymous_id")] * 3


def test_4_an_email_that_no_event_links(blocks: Any) -> None:
    assert blocks.whose(blocks.block({"email": "a@b", "anonymous_id": "d"})) == [("email:a@b", "email")]


def test_5_a_device_of_one_customer(blocks: Any) -> None:
    told = [blocks.told(DEVICE, identifier="d", customer_key="c", flag=False)]
    assert blocks.whose(blocks.block({"anonymous_id": "d"}, {"anonymous_id": "D"}, told=told)) == [
        ("c", "device"), ("anon:D", "anonymous_id"),
    ]  # fmt: skip


def test_5_rows_of_a_shared_device(blocks: Any) -> None:
    told = [
        blocks.told(DEVICE, identifier="d", flag=True),
        blocks.told(ROW, row=2, customer_key="b", flag=True), blocks.told(ROW, row=0, customer_key="a", flag=False),
        blocks.told(ROW, row=1, flag=True),
    ]  # fmt: skip
    block = blocks.block(*[{"anonymous_id": "d"}] * 4, told=told)
    assert [key for key, _ in blocks.whose(block)] == ["a", "anon:d", "b", "anon:d"]
    assert [rule for _, rule in blocks.whose(block)] == ["device", "anonymous_id", "device", "anonymous_id"]
    assert block.starts_session().tolist() == [False, True, True, False]
    assert block.is_told_shared().tolist() == [True]


def test_6_an_email_of_several_customers(blocks: Any) -> None:
    told = [blocks.told(EMAIL, identifier="a@b")]
    event = {"email": "a@b", "anonymous_id": "d", "order_id": "o"}
    assert blocks.whose(blocks.block(event, told=told)) == [("email:a@b", "shared_email")]


def test_7_the_device_alone(blocks: Any) -> None:
    assert blocks.whose(blocks.block({"anonymous_id": "d", "ticket_id": "t"})) == [("anon:d", "anonymous_id")]


@pytest.mark.parametrize(
    ("event", "key"),
    [
        ({"ticket_id": "t", "subscription_id": "s", "order_id": "o", "source": "desk"}, "ticket:desk:t"),
        ({"subscription_id": "s", "order_id": "o"}, "subscription::s"),
        ({"order_id": "o", "source": "web"}, "order:web:o"),
        ({"order_id": "7:o", "source": "a:b"}, "order:a:b:7:o"),
        ({"order_id": "12:34", "source": "56:78"}, "order:56:78:12:34"),
        ({"ticket_id": "日", "source": "é"}, "ticket:é:日"),
        ({"ticket_id": "x\ny", "source": "1:\n2:"}, "ticket:1:\n2::x\ny"),
    ],
)
def test_8_the_entity_alone(blocks: Any, event: Row, key: str) -> None:
    assert blocks.whose(blocks.block(event)) == [(key, "entity_id")]


# --- which comes first -----------------------------------------------------------------------------------------------


def test_the_first_rule_that_applies(blocks: Any) -> None:
    """One event with everything; then less and less of it is known."""
    names = {kind: blocks.name(kind, "web", "1") for kind in ENTITIES}
    event = {"customer_id": "c1", "email": "a@b", "anonymous_id": "d", "source": "web", **dict.fromkeys(ENTITIES, "1")}
    linked = blocks.told(EMAIL, identifier="a@b", customer_key="c2")
    shared = blocks.told(EMAIL, identifier="a@b")
    ticket, subscription, order = (
        blocks.told(ENTITY, identifier=names[kind], customer_key=f"of {kind}") for kind in ENTITIES
    )
    device = blocks.told(DEVICE, identifier="d", customer_key="c5")
    row = blocks.told(ROW, row=0, customer_key="c5 by row")

    def whose(without: tuple[str, ...], *told: pa.Table) -> tuple[str, str]:
        (found,) = blocks.whose(blocks.block({k: v for k, v in event.items() if k not in without}, told=told))
        return found

    everything = [device, order, subscription, ticket, linked]
    anonymous = ("customer_id",)
    assert whose((), *everything) == ("c1", "customer_id")
    assert whose(anonymous, *everything) == ("c2", "linked_email")
    assert whose(anonymous, device, order, subscription, ticket) == ("of ticket_id", "entity")
    assert whose(anonymous, shared, device, order, subscription, ticket) == ("of ticket_id", "entity")
    assert whose(anonymous, shared, device, order, subscription) == ("of subscription_id", "entity")
    assert whose(anonymous, shared, device, order) == ("of order_id", "entity")
    assert whose(anonymous, device) == ("email:a@b", "email")
    assert whose(anonymous, shared, device) == ("c5", "device")
    assert whose(anonymous, shared, row) == ("c5 by row", "device")
    assert whose(anonymous, shared) == ("email:a@b", "shared_email")
    assert whose((*anonymous, "email"), device) == ("c5", "device")
    assert whose((*anonymous, "email")) == ("anon:d", "anonymous_id")
    assert whose((*anonymous, "email", "anonymous_id")) == ("ticket:web:1", "entity_id")


def test_rules_1_to_4_identify(blocks: Any) -> None:
    told = [
        blocks.told(EMAIL, identifier="linked", customer_key="c"), blocks.told(EMAIL, identifier="shared"),
        blocks.told(ENTITY, identifier=blocks.name("order_id", "s", "o"), customer_key="c"),
        blocks.told(DEVICE, identifier="d", customer_key="c"),
    ]  # fmt: skip
    rows = [
        {"customer_id": "c"}, {"email": "linked"}, {"order_id": "o", "source": "s"}, {"email": "free"},
        {"anonymous_id": "d"}, {"email": "shared"}, {"anonymous_id": "e"}, {"order_id": "p"},
    ]  # fmt: skip
    block = blocks.block(*rows, told=told)
    assert [rule for _, rule in blocks.whose(block)] == [
        "customer_id", "linked_email", "entity", "email", "device", "shared_email", "anonymous_id", "entity_id",
    ]  # fmt: skip
    assert block.resolve().is_identified.tolist() == [True] * 4 + [False] * 4


def test_a_customer_has_one_code_by_whatever_rule(blocks: Any) -> None:
    told = [
        blocks.told(EMAIL, identifier="a@b", customer_key="c"),
        blocks.told(DEVICE, identifier="d", customer_key="c"),
    ]
    found = blocks.block({"customer_id": "c"}, {"email": "a@b"}, {"anonymous_id": "d"}, told=told).resolve()
    assert len(set(found.key.tolist())) == 1
    assert len(found.names) == len(set(found.names.to_pylist()))


# --- names that must not meet ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("customer_id", "key"),
    [
        *((f"{word}:x", f"id:{word}:x") for word in ("id", "email", "anon", "ticket", "subscription", "order")),
        ("anon:", "id:anon:"), ("id:id:c", "id:id:id:c"), ("ticket:x\ny", "id:ticket:x\ny"),
        ("Email:a@b", "Email:a@b"), (" email:a@b", " email:a@b"), ("\nanon:d", "\nanon:d"), ("emails:x", "emails:x"),
        ("id", "id"), ("device:d", "device:d"), ("c:email:x", "c:email:x"),
    ],
)  # fmt: skip
def test_a_customer_id_never_reads_like_a_key_of_another_kind(blocks: Any, customer_id: str, key: str) -> None:
    assert customer_key(pa.array([customer_id, "c", None])).to_pylist() == [key, "c", None]
    block = blocks.block({"customer_id": customer_id}, {"customer_id": "c"})
    assert blocks.whose(block) == [(key, "customer_id"), ("c", "customer_id")]
    assert is_known(pa.array([key])).to_pylist() == [True]


def test_known_are_those_with_a_customer_id_or_an_email() -> None:
    keys = {
        "c": True, "email:a@b": True, "id:anon:x": True, "id:order:x": True, "Anon:x": True, "\nanon:x": True, "": True,
        "anon:x": False, "ticket::t": False, "subscription:s:x": False, "order:w:o": False, "anon:\n": False,
    }  # fmt: skip
    assert is_known(pa.array(list(keys))).to_pylist() == list(keys.values())


def test_no_two_entities_have_one_name(blocks: Any) -> None:
    """`a:b` and `c` are written like `a` and `b:c`; and what tells them apart may itself be imitated."""
    pairs = [
        ("a:b", "c"), ("a", "b:c"), ("", "a:b:c"), ("a:b:c", ""), ("3:a:b", "c"), ("1:a", "b:c"), ("", "0::a"),
        ("0", ":a"), ("é", "x"), ("e", "\u0301x"), ("\n", "x"), ("", "\nx"),
    ]  # fmt: skip
    names = [
        entity_name(kind, pa.array([source for source, _ in pairs]), pa.array([i for _, i in pairs])).to_pylist()
        for kind in ENTITIES
    ]
    assert len({name for of_kind in names for name in of_kind}) == len(ENTITIES) * len(pairs)

    rows = [{"ticket_id": "c", "source": "a:b"}, {"ticket_id": "b:c", "source": "a"}]
    told = [blocks.told(ENTITY, identifier=blocks.name("ticket_id", "a", "b:c"), customer_key="ann")]
    block = blocks.block(*({**row, "anonymous_id": "d"} for row in rows), told=told)
    assert [key for key, _ in blocks.whose(block)] == ["anon:d", "ann"]


def test_an_absent_source_is_written_as_an_empty_one(blocks: Any) -> None:
    rows = [{"ticket_id": "t"}, {"ticket_id": "t", "source": "desk"}, {"ticket_id": "t"}]
    entity = blocks.block(*rows).entities["ticket_id"]
    names = entity_name("ticket_id", pa.array(["", "desk", ""]), pa.array(["t"] * 3))
    assert entity.names.take(pa.array(entity.codes)).equals(names)
    assert blocks.block(rows[0]).entities["ticket_id"].names.equals(names[:1]), "a block without any source"


# --- what a block holds ----------------------------------------------------------------------------------------------


def test_duplicates_are_left_out_and_rows_keep_their_numbers(blocks: Any) -> None:
    gone, shared = {"customer_id": "gone"}, {"anonymous_id": "d"}
    rows = [gone, {"customer_id": "a"}, shared, gone, shared]
    told = [
        blocks.told(DUPLICATE, row=3), blocks.told(DUPLICATE, row=0),
        blocks.told(ROW, row=4, customer_key="b", flag=True),
    ]  # fmt: skip
    block = blocks.block(*({**row, "at": place} for place, row in enumerate(rows)), told=told)
    assert len(block) == 3
    assert block.rows.tolist() == [1, 2, 4]
    assert block.event_ids(np.array([2, 0])).to_pylist() == ["e4", "e1"]
    assert np.diff(block.time).tolist() == [60_000_000, 120_000_000]
    assert blocks.whose(block) == [("a", "customer_id"), ("anon:d", "anonymous_id"), ("b", "device")]
    assert block.starts_session().tolist() == [False, False, True]
    assert block.is_one_of(("site_visit",)).tolist() == [True] * 3


def test_a_block_of_nothing_but_duplicates(blocks: Any) -> None:
    block = blocks.block({"customer_id": "a", "ticket_id": "t"}, told=[blocks.told(DUPLICATE, row=0)])
    assert len(block) == 0
    assert blocks.whose(block) == []
    assert len(block.entities["ticket_id"].names) == 0, "nobody asks about an entity of no event"


def test_types_of_events(blocks: Any) -> None:
    block = blocks.block(*({"type": t, "customer_id": "c"} for t in ("purchase", "refund", "purchase", "review")))
    assert block.is_one_of(("purchase", "review", "unheard of")).tolist() == [True, False, True, True]
    assert not block.is_one_of(()).any()


def test_an_entity_that_means_nobody_identifies_nothing(blocks: Any) -> None:
    rows = [{"order_id": value, "anonymous_id": "d"} for value in ("0", " NULL", "shop test", "o", "-")]
    rules = IdentityRules(ignored=("Shop Test",))
    block = blocks.block(*rows, rules=rules)
    assert (block.entities["order_id"].codes >= 0).tolist() == [False, False, False, True, False]
    # Persons are another matter: validate has made such values absent.
    assert blocks.whose(blocks.block({"anonymous_id": "0"})) == [("anon:0", "anonymous_id")]


def test_an_event_without_any_identifier_never_comes_here(blocks: Any) -> None:
    with pytest.raises(AssertionError, match="1 events have no identifier"):
        blocks.block({"customer_id": "c"}, {"source": "web"}).resolve()


def test_owners_of_tickets_and_subscriptions(blocks: Any) -> None:
    told = [
        blocks.told(OWNER, identifier=blocks.name("ticket_id", "", "t"), customer_key="ann"),
        blocks.told(OWNER, identifier=blocks.name("subscription_id", "", "s"), customer_key="bob"),
    ]
    rows = [{"ticket_id": "t"}, {"ticket_id": "u"}, {"subscription_id": "s"}, {"customer_id": "c"}]
    owners = blocks.block(*rows, told=told).owners()
    found = {
        name: [None if code < 0 else coded.names[code].as_py() for code in coded.codes.tolist()]
        for name, coded in owners.items()
    }
    assert found == {"ticket_id": ["ann", None, None, None], "subscription_id": [None, None, "bob", None]}
    assert not any((coded.codes >= 0).any() for coded in blocks.block(*rows).owners().values())
