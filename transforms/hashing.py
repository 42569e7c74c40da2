"""MurmurHash3 (x64, 128 bit, seed 0) of whole string columns.

The hash is part of the layout of the lake (it puts customers into buckets) and of the rules (it tells two events
apart), so it must not change with a library's version: DuckDB's `hash()` may. Murmur is public, stable and has test
vectors (github.com/aappleby/smhasher); the tests compare with the package mmh3. It is not cryptographic.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

_C1 = np.uint64(0x87C37B91114253D5)
_C2 = np.uint64(0x4CF5AD432745937F)


def murmur3_128(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Two uint64[n], the first and the second half of the hash of each text's UTF-8 bytes; a null hashes as ''.

    Texts of one length are hashed together, eight bytes of all of them in one numpy operation.
    """
    n = len(texts)
    first, second = np.zeros(n, np.uint64), np.zeros(n, np.uint64)
    if n == 0:
        return first, second
    _, offsets_buffer, data_buffer = texts.buffers()
    dtype = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    offsets = np.frombuffer(offsets_buffer, dtype)[texts.offset : texts.offset + n + 1].astype(np.int64)
    lengths = np.diff(offsets)
    if texts.null_count:
        lengths = np.where(texts.is_valid().to_numpy(zero_copy_only=False), lengths, 0)
    data = np.frombuffer(data_buffer, np.uint8) if data_buffer is not None else np.zeros(0, np.uint8)
    for length in np.unique(lengths):
        rows = slice(None) if lengths[0] == length and (lengths == length).all() else lengths == length
        starts = offsets[:-1][rows]
        words = np.zeros((len(starts), -(-int(length) // 16) * 16), np.uint8)
        if length:
            windows = np.lib.stride_tricks.sliding_window_view(data, int(length))
            words[:, :length] = windows[starts]
        columns = np.ascontiguousarray(words.view("<u8").T) if length else np.zeros((0, len(starts)), np.uint64)
        first[rows], second[rows] = _hash_words(columns, int(length), len(starts))
    return first, second


def _rotate(x: np.ndarray, bits: int) -> np.ndarray:
    return (x << np.uint64(bits)) | (x >> np.uint64(64 - bits))


def _finish(x: np.ndarray) -> np.ndarray:
    x = x ^ (x >> np.uint64(33))
    x = x * np.uint64(0xFF51AFD7ED558CCD)
    x = x ^ (x >> np.uint64(33))
    x = x * np.uint64(0xC4CEB9FE1A85EC53)
    return x ^ (x >> np.uint64(33))


def _hash_words(words: np.ndarray, length: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Hash uint64[2 * blocks, n]; the last block is the tail, padded with zeros, which Murmur mixes in without rounds."""
    h1, h2 = np.zeros(n, np.uint64), np.zeros(n, np.uint64)
    for block in range(len(words) // 2):
        k1, k2 = words[2 * block], words[2 * block + 1]
        k1 = _rotate(k1 * _C1, 31) * _C2
        k2 = _rotate(k2 * _C2, 33) * _C1
        h1 = h1 ^ k1
        if (block + 1) * 16 > length:  # the tail
            h2 = h2 ^ k2
            break
        h1 = (_rotate(h1, 27) + h2) * np.uint64(5) + np.uint64(0x52DCE729)
        h2 = h2 ^ k2
        h2 = (_rotate(h2, 31) + h1) * np.uint64(5) + np.uint64(0x38495AB5)
    h1, h2 = h1 ^ np.uint64(length), h2 ^ np.uint64(length)
    h1 = h1 + h2
    h2 = h2 + h1
    h1, h2 = _finish(h1), _finish(h2)
    h1 = h1 + h2
    return h1, h2 + h1
