"""Round 5 of identity: tickets and subscriptions whose events are of several customers, and to whom they belong.

A reply to a ticket may name nobody but the ticket, or somebody else: its event stays with whoever the rules say, but the
ticket is one. It belongs to the customer of its first opening (a subscription: of its first start), else of its first event.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from transforms.answers import BLOCK, OWNER, answers, in_block
from transforms.columns import one_chunk
from transforms.decisions import Decided
from transforms.groups import group_rows
from transforms.identities import Identities, IdentityRules
from transforms.total_order import in_order

#: The events that make a ticket or a subscription; the first type opens it.
LIFE: dict[str, tuple[str, ...]] = {
    "ticket_id": ("ticket_opened", "ticket_replied", "ticket_resolved", "ticket_reopened"),
    "subscription_id": ("subscription_started", "subscription_changed", "renewal", "cancellation"),
}
#: One row an entity and customer of a block, with its first event: an opening, if there is one.
QUESTIONS = pa.schema(
    [
        ("block", BLOCK),
        ("identifier", pa.string()),
        ("customer_key", pa.string()),
        ("opens", pa.bool_()),
        ("occurred_at", pa.int64()),
        ("event_id", pa.string()),
    ]
)


def ask(block: Identities, rules: IdentityRules) -> pa.Table:
    """QUESTIONS: whose events a block has of each ticket and subscription."""
    pieces = [QUESTIONS.empty_table()]
    resolved = block.resolve()
    for name in LIFE:
        if name not in block.entities:
            continue
        entity = block.entities[name]
        rows = np.flatnonzero(block.is_one_of(LIFE[name]) & (entity.codes >= 0))
        opens = block.is_one_of(LIFE[name][:1])[rows]
        pairs = group_rows(entity.codes[rows], resolved.key[rows])
        first = _first(pairs.number, opens, block.time[rows], lambda tied, rows=rows: block.event_ids(rows[tied]))
        at = rows[first]
        pieces.append(
            pa.table(
                [
                    in_block(block.path, len(at)),
                    entity.names.take(pa.array(entity.codes[at])),
                    resolved.names.take(pa.array(resolved.key[at])),
                    opens[first],
                    block.time[at],
                    block.event_ids(at),
                ],
                schema=QUESTIONS,
            )
        )
    return pa.concat_tables(pieces)


def _first(group: np.ndarray, opens: np.ndarray, time: np.ndarray, event_ids) -> np.ndarray:  # type: ignore[no-untyped-def]
    """int64[groups]: each group's first row, openings before others, by (occurred_at, event_id)."""
    order = in_order(group * 2 + ~opens, time, event_ids)
    first = np.empty(int(group.max(initial=-1)) + 1, np.int64)
    first[group[order][::-1]] = order[::-1]
    return first


def decide(questions: pa.Table, rules: IdentityRules) -> Decided:
    """Answers of the kind OWNER, for entities of several customers. `questions` are all of their entities."""
    entities = group_rows(one_chunk(questions["identifier"]).dictionary_encode().indices.to_numpy())
    keys = one_chunk(questions["customer_key"]).dictionary_encode().indices.to_numpy()
    links = group_rows(entities.number, keys)
    several = np.bincount(entities.number[links.first], minlength=len(entities.first)) > 1
    ids = one_chunk(questions["event_id"])
    first = _first(
        entities.number,
        questions["opens"].to_numpy(),
        questions["occurred_at"].to_numpy(),
        lambda tied: ids.take(pa.array(tied)),
    )
    wanted = several[entities.number]
    to = questions.filter(pa.array(wanted))
    whose = questions["customer_key"].take(pa.array(first[entities.number[wanted]]))
    # A block may have the entity of several customers: it is told once.
    once = group_rows(
        one_chunk(to.select(["block"]).unify_dictionaries()["block"]).indices.to_numpy(), entities.number[wanted]
    ).first
    to, whose = to.take(pa.array(once)), whose.take(pa.array(once))
    return Decided(answers(OWNER, to, identifier=to["identifier"], customer_key=whose))
