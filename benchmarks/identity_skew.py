"""Does a device with a million events, or an e-mail with a thousand customers, cost more than its events?

    python benchmarks/identity_skew.py --events 1200000 --workdir WORK

Three inputs of as many site visits, in Parquet, half of them without a customer_id: `even` (a device for every 12 events),
`shared` (one device holds a million of them, of four customers in turn) and `kiosk` (the same of a thousand customers, and
their events share one e-mail). Each run is a process of its own; what counts is the ratio to `even`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from identity_cost import cost_of

HEAVY = 1_000_000
START = 1_751_328_000_000_000  # 2025-07-01 in microseconds


def texts(prefix: str, numbers: np.ndarray, absent: np.ndarray) -> pa.Array:
    """`prefix` and a number; null where absent."""
    values = pc.binary_join_element_wise(prefix, pa.array(numbers).cast(pa.string()), "")
    return pc.if_else(pa.array(absent), pa.scalar(None, pa.string()), values)


def make(kind: str, events: int) -> pa.Table:
    """One row a second; the heavy device's rows lie among the others."""
    rng = np.random.default_rng(5)
    number = np.arange(events)
    device = number // 12 + 1
    customer = device.copy()
    heavy = np.zeros(events, bool)
    if kind != "even":
        heavy[np.sort(rng.choice(events, min(HEAVY, events * 5 // 6), replace=False))] = True
        device[heavy] = 0
        customer[heavy] = rng.integers(0, 4 if kind == "shared" else 1_000, int(heavy.sum()))
    nameless = rng.random(events) < 0.5
    has_email = heavy & (rng.random(events) < 0.2) & (kind == "kiosk")
    everywhere = np.zeros(events, bool)
    return pa.table(
        {
            "event_id": texts("e", number, everywhere),
            "event_type": pa.array(["site_visit"]).take(pa.array(np.zeros(events, np.int64))),
            "occurred_at": pa.array(START + number * 20 * 1_000_000).cast(pa.timestamp("us", "UTC")),
            "anonymous_id": texts("d", device, everywhere),
            "customer_id": texts("c", customer, nameless),
            "email": texts("till", np.zeros(events, np.int64), ~has_email),
            "page_url": texts("https://shop.example/", number % 1000, everywhere),
        }
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the inputs, run each, and print its cost and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_200_000)
    parser.add_argument("--workdir", type=Path, default=Path("benchmark-work"))
    options = parser.parse_args(arguments)
    options.workdir.mkdir(parents=True, exist_ok=True)
    even = 0.0
    for kind in ("even", "shared", "kiosk"):
        path = (options.workdir / f"skew-{kind}-{options.events}.parquet").resolve()
        pq.write_table(make(kind, options.events), path, row_group_size=100_000)
        cpu, wall, peak = cost_of("whole", str(path))
        even = even or cpu
        print(f"{kind:8} {cpu:7.1f} s of CPU {wall:7.1f} s {peak:7.0f} MB   {cpu / even:.2f} of even", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
