"""Looking at Arrow columns: in one piece, as text, byte by byte, and what of them is there."""

from __future__ import annotations

import numpy as np
import pyarrow as pa


def one_chunk(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """A column in one piece."""
    if isinstance(values, pa.Array):
        return values
    if values.num_chunks == 1:
        return values.chunk(0)
    return pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)


def texts(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Any column as text, one chunk."""
    values = one_chunk(values)
    return values if pa.types.is_string(values.type) else values.cast(pa.string())


def valid_mask(values: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """bool[n]: which values are there."""
    if values.null_count == 0:
        return np.ones(len(values), dtype=bool)
    mask = values.is_valid()
    return np.asarray(mask.to_numpy(zero_copy_only=False) if isinstance(mask, pa.Array) else mask.to_numpy())


def valid_true(values: pa.ChunkedArray) -> np.ndarray:
    """bool[n]: which values are there and true."""
    if values.null_count == len(values):
        return np.zeros(len(values), dtype=bool)
    return np.asarray(values.fill_null(False).to_numpy())


def first_bytes(values: pa.Array) -> np.ndarray:
    """uint8[n]: the first byte of each text; 0 where it is empty or null."""
    return byte_at(values, np.arange(len(values)), 0)


def byte_at(values: pa.Array, rows: np.ndarray, place: int) -> np.ndarray:
    """uint8[m]: the byte at a place of the texts of some rows; 0 where they are shorter or null."""
    found = np.zeros(len(rows), np.uint8)
    _, offsets_buffer, data_buffer = values.buffers()
    if len(rows) and data_buffer is not None:
        offsets = np.frombuffer(offsets_buffer, np.int32)[values.offset : values.offset + len(values) + 1]
        at = offsets[rows] + place
        there = at < offsets[rows + 1]
        found[there] = np.frombuffer(data_buffer, np.uint8)[at[there]]
    return found
