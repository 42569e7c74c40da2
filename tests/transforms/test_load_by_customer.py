"""From staged blocks to shards of customers: whose event it is, and that no copy comes along."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apache_beam as beam
import mmh3
import pyarrow as pa
from apache_beam.testing.test_pipeline import TestPipeline as Pipeline
from apache_beam.testing.util import assert_that, equal_to

from transforms.answers import ANSWERS, DEVICE, DUPLICATE, OWNER, ROW
from transforms.batches import shard_of_bucket
from transforms.find_duplicates import FindDuplicates
from transforms.identities import IdentityRules
from transforms.load_by_customer import FOUND, IS_COPY, LoadByCustomer, customer_bucket, load_block
from transforms.stage_blocks import StageBlocks, read_block

Row = dict[str, Any]
RULES = IdentityRules(session_types=("site_visit",))


def load(blocks: Any, rows: list[Row], *told: pa.Table, shards: int = 1) -> dict[int, list[pa.Table]]:
    """The pieces of one block by shard."""
    answers = pa.concat_tables((ANSWERS.empty_table(), *told))
    events = read_block(blocks.write(*rows)).replace_schema_metadata(None)
    _, pieces = load_block(events, answers, RULES, shards)
    found: dict[int, list[pa.Table]] = {}
    for number, piece in pieces:
        found.setdefault(number, []).append(piece)
    return found


def shard_of(key: str, shards: int) -> int:
    return int(shard_of_bucket(customer_bucket(pa.array([key])), shards)[0])


def test_a_bucket_is_the_first_16_bits_of_murmur() -> None:
    keys = ["c-1", "email:é@b", ""]
    expected = [mmh3.hash64(key, 0, x64arch=True, signed=False)[0] >> 48 for key in keys]
    assert customer_bucket(pa.array(keys)).tolist() == expected


def test_what_identity_found_stands_beside_each_event(blocks: Any) -> None:
    told = [
        blocks.told(DEVICE, identifier="d", flag=True), blocks.told(ROW, row=1, customer_key="c", flag=True),
        blocks.told(OWNER, identifier=blocks.name("ticket_id", "", "t"), customer_key="x"),
    ]  # fmt: skip
    rows = [
        {"customer_id": "c"}, {"anonymous_id": "d"}, {"anonymous_id": "d"}, {"email": "a@b"},
        {"customer_id": "c", "ticket_id": "t", "type": "ticket_opened"},
    ]  # fmt: skip
    piece, copies = load(blocks, rows, *told)[0]
    assert [tuple(row[name] for name, _ in FOUND) for row in piece.to_pylist()] == [
        ("c", True, "customer_id", False, None), ("c", True, "device", True, None),
        ("anon:d", False, "anonymous_id", False, None), ("email:a@b", True, "email", False, None),
        ("c", True, "customer_id", False, "x"),
    ]  # fmt: skip
    assert [(row["event_id"], row["customer_key"], row["owner_key"], row[IS_COPY]) for row in copies.to_pylist()] == [
        ("e4", "c", "x", True)
    ]
    assert IS_COPY not in piece.column_names


def test_a_piece_holds_texts_again(blocks: Any) -> None:
    """As codes, each piece would carry the dictionaries of its whole block."""
    rows = [{"customer_id": f"c{n}", "email": f"{n}@x", "order_id": "o", "source": "web"} for n in range(20)]
    for pieces in load(blocks, rows, shards=5).values():
        for piece in pieces:
            assert not any(pa.types.is_dictionary(field.type) for field in piece.schema)


def test_a_block_is_cut_by_customer_without_its_duplicates(blocks: Any) -> None:
    rows = [{"customer_id": f"c{n % 20}", "event_id": str(n)} for n in range(60)]
    told = [blocks.told(DUPLICATE, row=row) for row in (3, 59, 0)]
    pieces = load(blocks, rows, *told, shards=7)
    found = {row["event_id"]: (number, row) for number, (piece,) in pieces.items() for row in piece.to_pylist()}
    assert sorted(map(int, found)) == sorted(set(range(60)) - {0, 3, 59})
    for event_id, (number, row) in found.items():
        assert row["customer_key"] == row["customer_id"] == f"c{int(event_id) % 20}"
        assert number == shard_of(row["customer_key"], 7)


def test_an_event_goes_to_its_customer_and_a_copy_to_the_owner_of_its_ticket(blocks: Any) -> None:
    shards = 5
    assert shard_of("ann", shards) != shard_of("bob", shards)
    told = [
        blocks.told(OWNER, identifier=blocks.name("ticket_id", "", "t"), customer_key="ann"),
        blocks.told(OWNER, identifier=blocks.name("subscription_id", "", "s"), customer_key="bob"),
    ]
    rows = [
        {"event_id": "hers", "type": "ticket_opened", "ticket_id": "t", "customer_id": "ann"},
        {"event_id": "his", "type": "ticket_replied", "ticket_id": "t", "customer_id": "bob"},
        {"event_id": "no life", "type": "survey_sent", "ticket_id": "t", "customer_id": "bob"},
        {"event_id": "other", "type": "ticket_replied", "ticket_id": "u", "customer_id": "bob"},
        {"event_id": "renewed", "type": "renewal", "subscription_id": "s", "customer_id": "ann"},
    ]
    found = {
        (number, row["event_id"], row["customer_key"], row.get("owner_key"), row.get(IS_COPY))
        for number, pieces in load(blocks, rows, *told, shards=shards).items()
        for piece in pieces
        for row in piece.to_pylist()
    }
    ann, bob = shard_of("ann", shards), shard_of("bob", shards)
    assert found == {
        (ann, "hers", "ann", None, None), (bob, "his", "bob", "ann", None), (bob, "no life", "bob", None, None),
        (bob, "other", "bob", None, None), (ann, "renewed", "ann", "bob", None),
        (ann, "his", "bob", "ann", True), (bob, "renewed", "ann", "bob", True),
    }  # fmt: skip


def test_a_block_of_nothing_but_duplicates(blocks: Any) -> None:
    assert load(blocks, [{"customer_id": "c"}], blocks.told(DUPLICATE, row=0)) == {}


def test_the_three_steps_on_beam(steps: Any, tmp_path: Path) -> None:
    """Three blocks with an exact copy, a later copy, and two copies of one moment that differ."""

    def block(*rows: tuple[str, str, str, str | None]) -> pa.Table:
        events = [
            {"type": "site_visit", "event_id": i, "customer_id": who, "at": at, "channel": channel}
            for i, who, at, channel in rows
        ]
        return steps.events(events).drop_columns([name for name, _ in FOUND])

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
            answers = (staged["staged"], duplicates) | "Answers" >> beam.Flatten()
            loaded = answers | LoadByCustomer(RULES, shards)
            kept = loaded["shards"] | "Told" >> beam.FlatMap(told)
            others = kept | "Others" >> beam.Filter(lambda row: row[0] != "c")
            assert_that(others, equal_to([("a", "ann", "x"), ("b", "ann", "earlier"), ("d", "cid", None)]), "Kept")
            c = kept | "OnlyC" >> beam.Filter(lambda row: row[0] == "c")
            _ = c | "WriteC" >> beam.Map(lambda row: (folder / f"c is {row[2]}").write_text(""))
            counted = loaded["tallies"] | beam.Map(lambda t: ((t[0], t[2]), t[3])) | beam.CombinePerKey(sum)
            wanted = {("touchpoints", ""): 4, ("duplicates", ""): 3, ("identity_rule", "customer_id"): 4}
            assert_that(counted, equal_to(list(wanted.items())), "Counted")
        return sorted(path.name for path in folder.glob("c is*"))

    kept = run(blocks, 1, "one")
    assert len(kept) == 1
    assert run(blocks[::-1], 3, "three") == kept, "the same copy of c, in any order and any number of shards"
    files = sorted(path.name.split("-")[0] for path in (tmp_path / "one").glob("*.arrow"))
    assert files == ["10", "20", "30"], "a block without events is not written"
