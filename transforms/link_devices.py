"""Round 3 of identity: which devices are one customer's, and which are shared (rule 5).

Most devices have one customer, and then their unidentified events are that customer's, whenever they happened: one row a
device and block says so. Only the rows of the others have to be asked one by one (split_devices.py).
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from transforms.answers import BLOCK, DEVICE, answers, in_block
from transforms.columns import one_chunk
from transforms.decisions import Decided, busiest, decisions
from transforms.groups import group_rows
from transforms.identities import Identities, IdentityRules

#: One row a device, customer_key and way of finding it in a block.
QUESTIONS = pa.schema(
    [
        ("block", BLOCK),
        ("identifier", pa.string()),
        ("customer_key", pa.string()),
        ("is_identified", pa.bool_()),
        ("events", pa.int64()),
    ]
)


def ask(block: Identities, rules: IdentityRules) -> pa.Table:
    """QUESTIONS: whose events a block has of each device, by the rules 1 to 4, and by 6 and 7 where these leave it open."""
    device, resolved = block.persons["anonymous_id"], block.resolve()
    has = np.flatnonzero(device.codes >= 0)
    pairs = group_rows(device.codes[has], resolved.key[has])
    at = has[pairs.first]
    return pa.table(
        [
            in_block(block.path, len(at)),
            device.names.take(pa.array(device.codes[at])),
            resolved.names.take(pa.array(resolved.key[at])),
            resolved.is_identified[at],
            pairs.rows,
        ],
        schema=QUESTIONS,
    )


def decide(questions: pa.Table, rules: IdentityRules) -> Decided:
    """Answers of the kind DEVICE; kiosks; and the devices with most events. `questions` are all of their devices."""
    devices = group_rows(one_chunk(questions["identifier"]).dictionary_encode().indices.to_numpy())
    keys = one_chunk(questions["customer_key"]).dictionary_encode().indices.to_numpy()
    identified = questions["is_identified"].to_numpy()
    links = group_rows(devices.number, keys)
    customers = np.bincount(devices.number[links.first][identified[links.first]], minlength=len(devices.first))
    others = np.bincount(devices.number[links.first], minlength=len(devices.first)) - customers
    events = np.bincount(devices.number, questions["events"].to_numpy(), len(devices.first)).astype(np.int64)

    is_kiosk = customers > rules.max_customers_per_device
    one = (customers == 1) & ~is_kiosk & (rules.policy != "none")
    is_shared = ~one & (customers + others > 1)
    place = np.full(len(devices.first), -1, np.int64)
    place[devices.number[identified]] = np.flatnonzero(identified)  # any row will do: they name the same customer
    place[~one] = -1

    wanted = is_shared[devices.number] | (one[devices.number] & ~identified)
    to = questions.filter(pa.array(wanted))
    whose = place[devices.number[wanted]]
    names = questions["identifier"]
    return Decided(
        answers(
            DEVICE,
            to,
            identifier=to["identifier"],
            customer_key=questions["customer_key"].take(pa.array(whose, mask=whose < 0)),
            flag=pa.array(is_shared[devices.number[wanted]]),
        ),
        decisions(
            "anonymous_id",
            names.take(pa.array(devices.first[is_kiosk])),
            "refused",
            "kiosk",
            events[is_kiosk],
            customers[is_kiosk],
        ),
        tuple(busiest("device", names.take(pa.array(devices.first)), events)),
    )
