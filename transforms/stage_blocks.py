"""Accepted events are written down once, block by block; only narrow identifier rows travel on.

Duplicates and identity are global questions. Asked of full-width rows they would need several shuffles of
everything; asked of rows of some 40 bytes they cost a tenth. A staged block has a unique name, and exists for the run
only if what passes on names it: a retried bundle leaves a file that nobody reads.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from transforms.answers import ANSWERS, BLOCK, in_block
from transforms.batches import BUCKETS, keyed_tables, shard_of_bucket, split_by_shard, with_columns
from transforms.candidates import FINGERPRINT
from transforms.columns import one_chunk, valid_mask
from transforms.hashing import murmur3_128

#: Columns that a staged block holds as dictionaries.
CODED = (
    "event_type", "source", "customer_id", "email", "anonymous_id", "ticket_id", "subscription_id", "order_id",
)  # fmt: skip
#: One row an accepted event: where it lies, and what decides between copies of it.
IDENTIFIERS = pa.schema(
    [
        ("block", BLOCK),
        ("row", pa.int32()),
        ("id_high", pa.uint64()),
        ("id_low", pa.uint64()),
        ("occurred_at", pa.int64()),
        ("received_at", pa.int64()),
        ("fingerprint", pa.uint64()),
    ]
)
_NEVER = np.iinfo(np.int64).max  # an absent received_at sorts last
_IPC = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)


def write_block(events: pa.Table, path: str) -> None:
    """Write one block as an Arrow file through Beam's FileSystems, its identifiers as dictionaries.

    Identity looks at the block again and again, and works on codes: they are made once, here.
    """
    coded = {name: one_chunk(events[name]).dictionary_encode() for name in CODED if name in events.column_names}
    events = with_columns(events.combine_chunks(), coded)
    with (
        FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED) as sink,
        pa.ipc.new_file(sink, events.schema, options=_IPC) as writer,
    ):
        writer.write_table(events)


def read_block(path: str, columns: Collection[str] | None = None) -> pa.Table:
    """A staged block; `columns` leaves the others undecoded, those that the block does not have among them."""
    with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as source:
        data = pa.py_buffer(source.read())
    options = pa.ipc.IpcReadOptions(use_threads=False)
    if columns is not None:
        names = pa.ipc.open_file(data).schema.names
        options.included_fields = [place for place, name in enumerate(names) if name in columns]
    with pa.ipc.open_file(data, options=options) as reader:
        return reader.read_all()


def identifier_rows(events: pa.Table, path: str) -> pa.Table:
    """The narrow rows of a block, in its order."""
    high, low = murmur3_128(one_chunk(events["event_id"]))
    n = events.num_rows
    if "received_at" in events.column_names:
        received = events["received_at"].cast(pa.int64()).fill_null(_NEVER).to_numpy()
    else:
        received = np.full(n, _NEVER)
    occurred = events["occurred_at"].cast(pa.int64()).to_numpy()
    known = FINGERPRINT in events.column_names
    fingerprint = events[FINGERPRINT].to_numpy() if known else np.zeros(n, np.uint64)
    rows = np.arange(n, dtype=np.int32)
    return pa.table([in_block(path, n), rows, high, low, occurred, received, fingerprint], schema=IDENTIFIERS)


def shard_of_id(high: np.ndarray, shards: int) -> np.ndarray:
    """The shard that decides on an event_id: all its copies meet there."""
    return shard_of_bucket((high >> np.uint64(48)).astype(np.int64) % BUCKETS, shards)


class _StageBlocks(beam.DoFn):
    def __init__(self, folder: str, shards: int) -> None:
        self._folder, self._shards = folder, shards

    def process(self, block: tuple[int, str, pa.Table]) -> Iterator[tuple[int, pa.Table] | beam.pvalue.TaggedOutput]:
        input_bytes, source, events = block
        if not events.num_rows:
            return
        # The leading number tells the progress bar how much input the block holds.
        path = FileSystems.join(self._folder, f"{input_bytes}-{uuid.uuid4().hex}.arrow")
        drop = [name for name in events.column_names if not valid_mask(events[name]).any()]
        events = events.drop_columns(drop).replace_schema_metadata({"source": source})
        rows = identifier_rows(events, path)
        write_block(events.drop_columns([FINGERPRINT] if FINGERPRINT in events.column_names else []), path)
        yield from split_by_shard(rows, shard_of_id(rows["id_high"].to_numpy(), self._shards), self._shards)
        yield beam.pvalue.TaggedOutput("staged", (path, ANSWERS.empty_table()))


class StageBlocks(beam.PTransform):
    """(input bytes, source, events) -> identifier rows by id shard (main) and the names of blocks (`staged`).

    `staged` is keyed by the block's path, each with an empty table of ANSWERS: later steps add what they find.
    """

    def __init__(self, folder: str, shards: int) -> None:
        super().__init__()
        self._folder, self._shards = folder, shards

    def expand(self, blocks: beam.PCollection) -> dict[str, beam.PCollection]:
        staged = blocks | "WriteBlocks" >> beam.ParDo(_StageBlocks(self._folder, self._shards)).with_outputs(
            "staged", main="identifiers"
        )
        return {
            "identifiers": keyed_tables(staged.identifiers, int),
            "staged": keyed_tables(staged.staged, str),
        }
