"""Accepted events are written down once, block by block; only narrow identifier rows travel on.

Duplicates (and, next, identity) are global questions. Asked of full-width rows they would need several shuffles of
everything; asked of rows of some 40 bytes they cost a tenth. A staged block has a unique name, and exists for the run
only if what passes on names it: a retried bundle leaves a file that nobody reads.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from transforms.batches import BUCKETS, decode_table, keyed_tables, shard_of_bucket, split_by_shard
from transforms.candidates import FINGERPRINT
from transforms.columns import one_chunk, valid_mask
from transforms.hashing import murmur3_128

#: One row an accepted event: where it lies, and what decides between copies of it.
IDENTIFIERS = pa.schema(
    [
        ("block", pa.dictionary(pa.int32(), pa.string())),
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
    """Write one block as an Arrow stream through Beam's FileSystems."""
    with (
        FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED) as sink,
        pa.ipc.new_stream(sink, events.schema, options=_IPC) as writer,
    ):
        writer.write_table(events)


def read_block(path: str) -> pa.Table:
    with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as source:
        return decode_table(source.read())


def identifier_rows(events: pa.Table, path: str) -> pa.Table:
    """The narrow rows of a block, in its order."""
    high, low = murmur3_128(one_chunk(events["event_id"]))
    n = events.num_rows
    if "received_at" in events.column_names:
        received = events["received_at"].cast(pa.int64()).fill_null(_NEVER).to_numpy()
    else:
        received = np.full(n, _NEVER)
    block = pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int32)), pa.array([path]))
    occurred = events["occurred_at"].cast(pa.int64()).to_numpy()
    known = FINGERPRINT in events.column_names
    fingerprint = events[FINGERPRINT].to_numpy() if known else np.zeros(n, np.uint64)
    rows = np.arange(n, dtype=np.int32)
    return pa.table([block, rows, high, low, occurred, received, fingerprint], schema=IDENTIFIERS)


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
        yield beam.pvalue.TaggedOutput("staged", (path, pa.table({"row": pa.array([], pa.int32())})))


class StageBlocks(beam.PTransform):
    """(input bytes, source, events) -> identifier rows by id shard (main) and the names of blocks (`staged`).

    `staged` is keyed by the block's path, each with an empty table of rows: FindDuplicates adds rows to drop.
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
