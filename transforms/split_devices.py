"""Round 4 of identity: the timeline of each shared device, event by event (rule 5).

`device_split`: an unidentified event is the customer's who was identified last before it on the device; before the first
such event, the first one's. `last_auth`: all of them are the last identified customer's. On the same timeline it shows
where another customer's session event came between: there a new session starts.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from transforms.answers import BLOCK, ROW, answers, in_block
from transforms.columns import one_chunk
from transforms.decisions import Decided
from transforms.groups import group_rows
from transforms.identities import Identities, IdentityRules
from transforms.runs import changes, starts
from transforms.total_order import in_order

#: One row an event of a shared device.
QUESTIONS = pa.schema(
    [
        ("block", BLOCK),
        ("row", pa.int32()),
        ("identifier", pa.string()),
        ("occurred_at", pa.int64()),
        ("event_id", pa.string()),
        ("customer_key", pa.string()),
        ("is_identified", pa.bool_()),
        ("in_session", pa.bool_()),
    ]
)


def ask(block: Identities, rules: IdentityRules) -> pa.Table:
    """QUESTIONS: the events of the block's shared devices, with the keys that they have without rule 5."""
    device = block.persons["anonymous_id"]
    at = np.flatnonzero(np.append(block.is_told_shared(), False)[device.codes])
    if not len(at):
        return QUESTIONS.empty_table()
    resolved = block.resolve()
    return pa.table(
        [
            in_block(block.path, len(at)),
            block.rows[at].astype(np.int32),
            device.names.take(pa.array(device.codes[at])),
            block.time[at],
            block.event_ids(at),
            resolved.names.take(pa.array(resolved.key[at])),
            resolved.is_identified[at],
            block.is_one_of(rules.session_types)[at],
        ],
        schema=QUESTIONS,
    )


def decide(questions: pa.Table, rules: IdentityRules) -> Decided:
    """Answers of the kind ROW: new customers, and new sessions. `questions` are all events of their devices."""
    device = one_chunk(questions["identifier"]).dictionary_encode().indices.to_numpy()
    ids = one_chunk(questions["event_id"])
    order = in_order(device, questions["occurred_at"].to_numpy(), lambda tied: ids.take(pa.array(tied)))
    device = device[order]
    encoded = one_chunk(questions["customer_key"]).dictionary_encode()
    key = encoded.indices.to_numpy()[order].astype(np.int64)
    identified = questions["is_identified"].to_numpy()[order]
    filled = ~identified & _has_timeline(device, key, identified, rules)
    key = np.where(filled, _neighbours(device, key, identified, rules.policy == "last_auth"), key)

    starts_session = np.zeros(len(key), bool)
    visits = np.flatnonzero(questions["in_session"].to_numpy()[order])
    starts_session[visits] = changes(key[visits]) & ~changes(device[visits])

    told = filled | starts_session
    to = questions.take(pa.array(order[told]))
    whose = encoded.dictionary.take(pa.array(key[told], mask=~filled[told]))
    return Decided(answers(ROW, to, row=to["row"], customer_key=whose, flag=pa.array(starts_session[told])))


def _has_timeline(device: np.ndarray, key: np.ndarray, identified: np.ndarray, rules: IdentityRules) -> np.ndarray:
    """bool[n]: rule 5 applies on the row's device: it has identified events, and is no kiosk."""
    if rules.policy == "none":
        return np.zeros(len(device), bool)
    links = group_rows(device[identified], key[identified])
    customers = np.bincount(device[identified][links.first], minlength=int(device.max(initial=-1)) + 1)
    return ((customers > 0) & (customers <= rules.max_customers_per_device))[device]


def _neighbours(device: np.ndarray, key: np.ndarray, identified: np.ndarray, last: bool) -> np.ndarray:
    """int64[n]: the key of the last identified event before each row of its device, else of the first one after it.

    `last`: that of the device's last identified event, for all its rows. Rows are in the order (device, time, event_id).
    """
    n = len(device)
    index = np.arange(n)
    before = np.maximum.accumulate(np.where(identified, index, -1)) if n else index
    if last:
        stop = np.append(np.flatnonzero(changes(device))[1:], n) if n else index
        before = before[(stop - 1)[np.cumsum(changes(device)) - 1]]
        return key[before]
    after = np.minimum.accumulate(np.where(identified, index, n)[::-1])[::-1] if n else index
    has_before = before >= starts(device)
    return key[np.where(has_before, before, np.minimum(after, n - 1))]
