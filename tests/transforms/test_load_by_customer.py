"""From staged blocks to shards of customers: whose event it is, and that no copy comes along."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apache_beam as beam
import mmh3
import pyarrow as pa
import pytest
from apache_beam.testing.test_pipeline import TestPipeline as Pipeline
from apache_beam.testing.util import assert_that, equal_to

from transforms.batches import drop_null_columns, shard_of_bucket
from transforms.find_duplicates import FindDuplicates
from transforms.load_by_customer import LoadByCustomer, customer_bucket, customer_keys, load_block
from transforms.stage_blocks import StageBlocks

Row = dict[str, Any]
NAMES = ("customer_id", "email", "anonymous_id", "source", "ticket_id", "subscription_id", "order_id")


@pytest.mark.parametrize(
    ("event", "key", "is_known"),
    [
        ({"customer_id": "c", "email": "a@b", "anonymous_id": "d", "order_id": "o"}, "c", True),
        ({"email": "a@b", "anonymous_id": "d"}, "email:a@b", True),
        ({"anonymous_id": "d", "ticket_id": "t"}, "anon:d", False),
        ({"ticket_id": "t", "subscription_id": "s", "order_id": "o", "source": "desk"}, "ticket:desk:t", False),
        ({"subscription_id": "s", "order_id": "o"}, "subscription::s", False),
        ({"order_id": "o", "source": "web"}, "order:web:o", False),
        ({"customer_id": "email:a@b"}, "id:email:a@b", True),
        ({"customer_id": "anon:"}, "id:anon:", True),
        ({"customer_id": "ticket:x\ny"}, "id:ticket:x\ny", True),
        ({"customer_id": "subscription::s"}, "id:subscription::s", True),
        ({"customer_id": "order:1"}, "id:order:1", True),
        ({"customer_id": "id:c"}, "id:id:c", True),
        ({"customer_id": "Email:a@b"}, "Email:a@b", True),
        ({"customer_id": "my email:a@b"}, "my email:a@b", True),
        ({"customer_id": "0", "source": "s"}, "0", True),
    ],
)
def test_whose_event_it_is(steps: Any, event: Row, key: str, is_known: bool) -> None:
    events = pa.Table.from_pylist(
        [event, {**event, "customer_id": "other"}], pa.schema([(n, pa.string()) for n in NAMES])
    )
    found = customer_keys(drop_null_columns(events), steps.connection)
    assert found.to_pylist() == [
        {"customer_key": key, "is_known": is_known}, {"customer_key": "other", "is_known": True},
    ]  # fmt: skip


def test_a_bucket_is_the_first_16_bits_of_murmur() -> None:
    keys = ["c-1", "email:é@b", ""]
    expected = [mmh3.hash64(key, 0, x64arch=True, signed=False)[0] >> 48 for key in keys]
    assert customer_bucket(pa.array(keys)).tolist() == expected


def test_a_block_is_cut_by_customer_without_its_duplicates(steps: Any) -> None:
    events = pa.table({"event_id": [str(n) for n in range(60)], "customer_id": [f"c{n % 20}" for n in range(60)]})
    duplicates = [pa.table({"row": pa.array(rows, pa.int32())}) for rows in ([], [3, 59], [0])]
    pieces = dict(load_block(events, duplicates, 7, steps.connection))
    found = [row for piece in pieces.values() for row in piece.to_pylist()]
    assert sorted(int(row["event_id"]) for row in found) == sorted(set(range(60)) - {0, 3, 59})
    for number, piece in pieces.items():
        assert set(shard_of_bucket(customer_bucket(piece["customer_key"].combine_chunks()), 7).tolist()) == {number}
        assert piece["is_known"].to_pylist() == [True] * piece.num_rows


def test_the_three_steps_on_beam(steps: Any, tmp_path: Path) -> None:
    """Three blocks with an exact copy, a later copy, and two copies of one moment that differ."""

    def block(*rows: tuple[str, str, str, str | None]) -> pa.Table:
        events = [
            {"type": "site_visit", "event_id": i, "customer_id": who, "at": at, "channel": channel}
            for i, who, at, channel in rows
        ]
        return steps.events(events).drop_columns(["customer_key", "is_known"])

    blocks = [
        (10, "web", block(("a", "ann", "2026-01-01", "x"), ("b", "bob", "2026-01-02", None))),
        (
            20,
            "web",
            block(
                ("a", "ann", "2026-01-01", "x"),
                ("b", "ann", "2026-01-01", "earlier"),
                ("c", "ann", "2026-01-01", "one"),
            ),
        ),
        (30, "app", block(("c", "ann", "2026-01-01", "two"), ("d", "cid", "2026-01-01", None))),
        (40, "app", block()),
    ]

    def told(shard: tuple[int, Any]) -> list[tuple[Any, ...]]:
        return [(row["event_id"], row["customer_key"], row.get("channel")) for t in shard[1] for row in t.to_pylist()]

    def run(order: list[Any], shards: int, name: str) -> list[str]:
        """Which copy of c stays."""
        folder = tmp_path / name
        folder.mkdir()
        with Pipeline() as pipeline:
            staged = pipeline | beam.Create(order) | StageBlocks(str(folder), shards)
            duplicates = staged["identifiers"] | FindDuplicates(steps.contracts, shards)
            loaded = (staged["staged"], duplicates) | LoadByCustomer(shards)
            kept = loaded["shards"] | "Told" >> beam.FlatMap(told)
            others = kept | "Others" >> beam.Filter(lambda row: row[0] != "c")
            assert_that(others, equal_to([("a", "ann", "x"), ("b", "ann", "earlier"), ("d", "cid", None)]), "Kept")
            c = kept | "OnlyC" >> beam.Filter(lambda row: row[0] == "c")
            _ = c | "WriteC" >> beam.Map(lambda row: (folder / f"c is {row[2]}").write_text(""))
            counted = loaded["tallies"] | beam.Map(lambda t: (t[0], t[3])) | beam.CombinePerKey(sum)
            assert_that(counted, equal_to([("touchpoints", 4), ("duplicates", 3)]), "Counted")
        return sorted(path.name for path in folder.glob("c is*"))

    kept = run(blocks, 1, "one")
    assert len(kept) == 1
    assert run(blocks[::-1], 3, "three") == kept, "the same copy of c, in any order and any number of shards"
    files = sorted(path.name.split("-")[0] for path in (tmp_path / "one").glob("*.arrow"))
    assert files == ["10", "20", "30"], "a block without events is not written"
