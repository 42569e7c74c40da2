"""Round 1 of identity: which e-mail is whose.

An e-mail that all the input links to exactly one customer_id tells the customer (rule 2). One of several customers tells
nothing: that is a refusal, and so is a value that means nobody. Both go to identity_decisions.
"""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.answers import BLOCK, EMAIL, answers, in_block
from transforms.columns import one_chunk, valid_mask
from transforms.decisions import Decided, decisions
from transforms.groups import group_rows
from transforms.identities import Identities, IdentityRules, customer_key

#: One row an e-mail and customer of a block, or a value that was ignored (`ignored`: the field that it stood in).
QUESTIONS = pa.schema(
    [
        ("block", BLOCK),
        ("identifier", pa.string()),
        ("ignored", pa.string()),
        ("customer_key", pa.string()),
        ("events", pa.int64()),
    ]
)


def ask(block: Identities, rules: IdentityRules) -> pa.Table:
    """QUESTIONS: each e-mail with each customer_id that stands beside it, or with none; and the ignored values."""
    email, customer = block.persons["email"], block.persons["customer_id"]
    has = np.flatnonzero(email.codes >= 0)
    pairs = group_rows(email.codes[has], customer.codes[has])
    at = has[pairs.first]
    whose = customer.codes[at]
    keys = customer_key(customer.names).take(pa.array(whose, mask=whose < 0))
    ignored = _ignored(block)
    n = len(at)
    names = email.names.take(pa.array(email.codes[at]))
    return pa.concat_tables(
        [
            pa.table(
                [in_block(block.path, n), names, pa.nulls(n, pa.string()), keys, pairs.rows],
                schema=QUESTIONS,
            ),
            pa.table(
                [
                    in_block(block.path, len(ignored)),
                    [value for _, value in ignored],
                    [kind for kind, _ in ignored],
                    pa.nulls(len(ignored), pa.string()),
                    list(ignored.values()),
                ],
                schema=QUESTIONS,
            ),
        ]
    )  # fmt: skip


def _ignored(block: Identities) -> Counter[tuple[str, str]]:
    """How many events have each (field, value) that means nobody. Hardly any differ, so this is Python."""
    counted: Counter[tuple[str, str]] = Counter()
    column = block.column("ignored_identifiers")
    if column is not None:
        for entry in column.drop_null().value_counts().to_pylist():
            for kind, value in json.loads(entry["values"]).items():
                counted[kind, value] += entry["counts"]
    return counted


def decide(questions: pa.Table, rules: IdentityRules) -> Decided:
    """Answers of the kind EMAIL to the blocks that have the e-mail without a customer_id; and what was refused.

    `questions` are all of their identifiers.
    """
    is_email = pc.is_null(questions["ignored"])
    asked = questions.filter(is_email)
    emails = group_rows(one_chunk(asked["identifier"]).dictionary_encode().indices.to_numpy())
    known = valid_mask(asked["customer_key"])
    keys = one_chunk(asked["customer_key"]).dictionary_encode().indices.fill_null(-1).to_numpy()
    links = group_rows(emails.number, keys)
    customers = np.bincount(emails.number[links.first][known[links.first]], minlength=len(emails.first))
    # Any row that names the customer will do where there is one; of several, none.
    place = np.full(len(emails.first), -1, np.int64)
    place[emails.number[known]] = np.flatnonzero(known)
    place[customers != 1] = -1

    wanted = ~known & (customers[emails.number] > 0)
    to = asked.filter(pa.array(wanted))
    whose = place[emails.number[wanted]]
    shared = customers > 1
    events = np.bincount(emails.number, asked["events"].to_numpy(), len(emails.first)).astype(np.int64)
    return Decided(
        answers(
            EMAIL,
            to,
            identifier=to["identifier"],
            customer_key=asked["customer_key"].take(pa.array(whose, mask=whose < 0)),
        ),
        pa.concat_tables(
            [
                decisions(
                    "email",
                    asked["identifier"].take(pa.array(emails.first[shared])),
                    "refused",
                    "shared_email",
                    events[shared],
                    customers[shared],
                ),
                *_ignored_decisions(questions.filter(pc.invert(is_email))),
            ]
        ),
    )


def _ignored_decisions(asked: pa.Table) -> list[pa.Table]:
    summed = asked.group_by(["ignored", "identifier"]).aggregate([("events", "sum")])
    return [
        decisions(kind, of_kind["identifier"], "ignored", "means_nobody", of_kind["events_sum"].to_numpy())
        for kind in sorted(set(summed["ignored"].to_pylist()))
        for of_kind in [summed.filter(pc.equal(summed["ignored"], kind))]
    ]
