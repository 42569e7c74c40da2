"""All rounds on Beam: what is known in one block reaches the others, whatever the cut."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.testing.test_pipeline import TestPipeline as Pipeline
from apache_beam.testing.util import assert_that, equal_to

from transforms.answers import ANSWERS, DUPLICATE
from transforms.batches import keyed_tables
from transforms.identities import RULES as RULES_BY_NUMBER
from transforms.identities import Identities, IdentityRules
from transforms.resolve_identity import ResolveIdentity

Row = dict[str, Any]
RULES = IdentityRules(max_customers_per_device=2, session_types=("site_visit",))
#: Three staged blocks. What links them: x@y (ann's, by the sign-in in block 0), the ticket (by x@y), her devices.
BLOCKS: list[list[Row]] = [
    [
        {"event_id": "sign-in", "at": 50, "customer_id": "ann", "email": "x@y"},
        {"event_id": "copy", "at": 1, "customer_id": "mallory", "email": "x@y"},  # of an event in block 1: not kept
        {"event_id": "early visit", "at": 0, "anonymous_id": "phone"},
        {"event_id": "kiosk bob", "at": 3, "anonymous_id": "kiosk", "customer_id": "bob"},
        {"event_id": "tv ann", "at": 10, "anonymous_id": "tv", "customer_id": "ann"},
        {"event_id": "family", "at": 9, "email": "family@y", "customer_id": "bob"},
    ],
    [
        {"event_id": "letter", "at": 60, "email": "x@y", "anonymous_id": "laptop"},
        {"event_id": "opened", "at": 70, "type": "ticket_opened", "ticket_id": "t", "email": "x@y"},
        {"event_id": "kiosk cid", "at": 4, "anonymous_id": "kiosk", "customer_id": "cid"},
        {"event_id": "kiosk", "at": 6, "anonymous_id": "kiosk"},
        {"event_id": "tv bob", "at": 20, "anonymous_id": "tv", "customer_id": "bob"},
        {"event_id": "family too", "at": 9, "email": "family@y", "customer_id": "ann"},
        {"event_id": "nobody", "at": 9, "customer_id": "ann", "ignored_identifiers": '{"anonymous_id":"0"}'},
    ],
    [
        {"event_id": "replied", "at": 80, "type": "ticket_replied", "ticket_id": "t", "customer_id": "agent-7"},
        {"event_id": "reopened", "at": 90, "type": "ticket_reopened", "ticket_id": "t", "anonymous_id": "phone"},
        {"event_id": "late visit", "at": 55, "anonymous_id": "laptop"},
        {"event_id": "kiosk email", "at": 5, "anonymous_id": "kiosk", "email": "free@y"},
        {"event_id": "tv nobody", "at": 25, "anonymous_id": "tv"},
        {"event_id": "tv ann again", "at": 30, "anonymous_id": "tv", "email": "x@y"},
        {"event_id": "family device", "at": 40, "anonymous_id": "tv", "email": "family@y"},
        {"event_id": "family alone", "at": 40, "email": "family@y"},
        {"event_id": "order", "at": 40, "type": "purchase", "order_id": "o", "source": "shop"},
    ],
]  # fmt: skip
WHOSE = {
    "sign-in": ("ann", "customer_id"), "early visit": ("ann", "device"), "kiosk bob": ("bob", "customer_id"),
    "tv ann": ("ann", "customer_id"), "family": ("bob", "customer_id"),
    "letter": ("ann", "linked_email"), "opened": ("ann", "linked_email"), "kiosk cid": ("cid", "customer_id"),
    "kiosk": ("anon:kiosk", "anonymous_id"), "tv bob": ("bob", "customer_id"), "family too": ("ann", "customer_id"),
    "nobody": ("ann", "customer_id"),
    "replied": ("agent-7", "customer_id"), "reopened": ("ann", "entity"), "late visit": ("ann", "device"),
    "kiosk email": ("email:free@y", "email"), "tv nobody": ("bob", "device"), "tv ann again": ("ann", "linked_email"),
    "family device": ("ann", "device"), "family alone": ("email:family@y", "shared_email"),
    "order": ("order:shop:o", "entity_id"),
}  # fmt: skip
STARTS = {"tv bob", "tv ann again", "kiosk cid", "kiosk email", "kiosk"}
OWNED = {"opened", "replied", "reopened"}
DECISIONS = [
    ("anonymous_id", "0", "ignored", "means_nobody", None, 1), ("anonymous_id", "kiosk", "refused", "kiosk", 3, 4),
    ("email", "family@y", "refused", "shared_email", 2, 4),
]  # fmt: skip


def facts(block: Identities) -> list[tuple[Any, ...]]:
    """(event_id, customer_key, rule, starts a session, owner) of each event."""
    found = block.resolve()
    rows = zip(
        block.event_ids(np.arange(len(block))).to_pylist(),
        found.names.take(pa.array(found.key)).to_pylist(),
        [RULES_BY_NUMBER[rule] for rule in found.rule.tolist()],
        block.starts_session().tolist(),
        owners(block),
        strict=True,
    )
    return list(rows)


def owners(block: Identities) -> list[str | None]:
    owner = block.owners().get("ticket_id")
    if owner is None:
        return [None] * len(block)
    return owner.names.take(pa.array(owner.codes, mask=owner.codes < 0)).to_pylist()


EXPECTED = [
    (event_id, *whose, event_id in STARTS, "ann" if event_id in OWNED else None) for event_id, whose in WHOSE.items()
]


def read(block: tuple[str, Iterable[pa.Table]]) -> list[tuple[Any, ...]]:
    return facts(Identities.read(block[0], pa.concat_tables(block[1]), RULES))


def rows_of(element: tuple[str, pa.Table]) -> list[tuple[Any, ...]]:
    assert element[0] == "identity_decisions"
    return [tuple(row.values()) for row in element[1].to_pylist()]


@pytest.mark.parametrize(("shards", "order"), [(1, (0, 1, 2)), (3, (2, 0, 1)), (7, (1, 2, 0))])
def test_what_one_block_knows_reaches_the_others(blocks: Any, shards: int, order: tuple[int, ...]) -> None:
    paths = [blocks.write(*BLOCKS[number], name=f"block-{number}") for number in order]
    # Duplicates are answers like others, found before; each block has at least an empty table.
    known = [(path, ANSWERS.empty_table()) for path in paths]
    known.append((paths[order.index(0)], blocks.told(DUPLICATE, row=1)))
    with Pipeline() as pipeline:
        answers = keyed_tables(pipeline | beam.Create(known), str)
        found = answers | ResolveIdentity(RULES, shards)
        told = found["answers"] | beam.GroupByKey() | beam.FlatMap(read)
        assert_that(told, equal_to(EXPECTED), "Told")
        assert_that(found["decisions"] | beam.FlatMap(rows_of), equal_to(DECISIONS), "Decided")
        counted = found["tallies"] | beam.Map(lambda t: (t[:3], t[3])) | beam.CombinePerKey(sum)
        expected = [(("identity_decisions", "", reason), 1) for reason in ("kiosk", "means_nobody", "shared_email")]
        assert_that(counted, equal_to(expected), "Counted")


def test_the_same_without_beam(blocks: Any) -> None:
    """So the rounds can be followed with a debugger; and here the cuts are cheap."""
    every = [row for rows in BLOCKS for row in rows]
    for cut in (BLOCKS, BLOCKS[::-1], [every], [every[::-1]], [[row] for row in every]):
        found = blocks.resolve(*cut, rules=RULES, duplicates=["copy"])
        assert sorted((fact for block in found.blocks for fact in facts(block)), key=str) == sorted(EXPECTED, key=str)
        assert [tuple(row.values()) for row in found.decisions] == DECISIONS, "in the order of kinds and identifiers"


def test_the_copy_would_have_mattered(blocks: Any) -> None:
    """Else the tests above could not tell whether duplicates take part."""
    assert blocks.resolve(*BLOCKS, rules=RULES).customers["letter"] != "ann"


def test_decisions_are_sorted_in_their_file(blocks: Any) -> None:
    rows = [{"email": e, "customer_id": c} for e in ("z", "é", "a", "Z") for c in ("1", "2")]
    rows.append({"customer_id": "1", "ignored_identifiers": '{"anonymous_id":"x"}'})
    assert [row["identifier"] for row in blocks.resolve(rows).decisions] == ["x", "Z", "a", "z", "é"]
    path = blocks.write(*rows)
    with Pipeline() as pipeline:
        found = keyed_tables(pipeline | beam.Create([(path, ANSWERS.empty_table())]), str) | ResolveIdentity(RULES, 1)
        names = found["decisions"] | beam.Map(lambda element: element[1]["identifier"].to_pylist())
        assert_that(names, equal_to([["x", "Z", "a", "z", "é"]]))
