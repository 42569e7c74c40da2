"""Round 2 of identity: whose ticket, subscription or order it is (rule 3).

It is that of the earliest event of the entity whose customer a customer_id or a linked e-mail tells.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from transforms.answers import BLOCK, ENTITY, answers, in_block
from transforms.columns import one_chunk, valid_mask
from transforms.decisions import Decided
from transforms.groups import group_rows
from transforms.identities import Coded, Identities, IdentityRules, Resolved
from transforms.total_order import first_of_each

#: One row an entity of a block: its earliest identified event (all three null: it has none), and whether it `asks`.
QUESTIONS = pa.schema(
    [
        ("block", BLOCK),
        ("identifier", pa.string()),
        ("customer_key", pa.string()),
        ("occurred_at", pa.int64()),
        ("event_id", pa.string()),
        ("asks", pa.bool_()),
    ]
)
_LINKED = 2  # the last rule that makes an event speak for its entity


def ask(block: Identities, rules: IdentityRules) -> pa.Table:
    """QUESTIONS: each entity's earliest identified event, and whether an event of it does not know its customer."""
    resolved = block.resolve()
    return pa.concat_tables(
        [QUESTIONS.empty_table(), *(_ask(block, entity, resolved) for entity in block.entities.values())]
    )


def _ask(block: Identities, entity: Coded, resolved: Resolved) -> pa.Table:
    n = len(entity.names)
    tells = resolved.rule <= _LINKED
    asks = np.zeros(n, bool)
    asks[entity.codes[~tells & (entity.codes >= 0)]] = True
    rows = np.flatnonzero(tells & (entity.codes >= 0))
    first = earliest(block, rows, entity.codes[rows], n)
    absent = first < 0
    return pa.table(
        [
            in_block(block.path, n),
            entity.names,
            resolved.names.take(pa.array(resolved.key[first], mask=absent)),
            pa.array(block.time[first] if len(block) else np.zeros(n, np.int64), mask=absent),
            block.event_ids(np.maximum(first, 0)).filter(pa.array(~absent)).take(_places(~absent))
            if len(block)
            else pa.nulls(n, pa.string()),
            asks,
        ],
        schema=QUESTIONS,
    )


def _places(there: np.ndarray) -> pa.Array:
    """For each value its place among those that are there, null for the others."""
    return pa.array(np.cumsum(there) - 1, mask=~there)


def earliest(block: Identities, rows: np.ndarray, group: np.ndarray, groups: int) -> np.ndarray:
    """int64[groups]: the first of the rows of each group by (occurred_at, event_id); -1 where a group has none."""
    first = first_of_each(group, block.time[rows], lambda tied: block.event_ids(rows[tied]), groups)
    return np.append(rows, -1)[first]


def decide(questions: pa.Table, rules: IdentityRules) -> Decided:
    """Answers of the kind ENTITY to the blocks that ask. `questions` are all of their entities."""
    entities = group_rows(one_chunk(questions["identifier"]).dictionary_encode().indices.to_numpy())
    tells = np.flatnonzero(valid_mask(questions["customer_key"]))
    ids = one_chunk(questions["event_id"])
    first = first_of_each(
        entities.number[tells],
        questions["occurred_at"].take(pa.array(tells)).to_numpy(),
        lambda tied: ids.take(pa.array(tells[tied])),
        len(entities.first),
    )
    first = np.append(tells, -1)[first]
    whose = first[entities.number]
    wanted = questions["asks"].to_numpy() & (whose >= 0)
    to = questions.filter(pa.array(wanted))
    keys = questions["customer_key"].take(pa.array(whose[wanted]))
    return Decided(answers(ENTITY, to, identifier=to["identifier"], customer_key=keys))
