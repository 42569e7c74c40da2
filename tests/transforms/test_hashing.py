"""MurmurHash3 of whole columns, held against the package mmh3 on one text at a time."""

from __future__ import annotations

import mmh3
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.hashing import murmur3_128

texts = st.one_of(
    st.none(), st.text(max_size=60), st.text("ab", max_size=17), st.sampled_from(["é" * 8, "\0" * 16, "x" * 1000])
)


def both(column: pa.Array) -> None:
    first, second = murmur3_128(column)
    expected = [mmh3.hash64(text or "", 0, x64arch=True, signed=False) for text in column.to_pylist()]
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == expected


@settings(max_examples=200)
@given(st.lists(texts, max_size=20), st.sampled_from([pa.string(), pa.large_string()]), st.integers(0, 3))
def test_agrees_with_mmh3(values: list[str | None], kind: pa.DataType, start: int) -> None:
    both(pa.array(values, kind)[start:])


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 49])
def test_every_length_of_the_tail(length: int) -> None:
    both(pa.array(["q" * length] * 3))
    both(pa.array(["q" * length, "r" * (length + 1)]))


def test_a_known_value_and_null_as_empty() -> None:
    """Held without the package, too: the hash is a part of the layout of every lake."""
    first, second = murmur3_128(pa.array(["hello", None, ""]))
    assert (int(first[0]), int(second[0])) == (0xCBD8A7B341BD9B02, 0x5B1E906A48AE1D19)
    assert (int(first[1]), int(second[1])) == (int(first[2]), int(second[2])) == (0, 0)


def test_the_bytes_below_a_null_do_not_count() -> None:
    data = pa.py_buffer(b"abcxyz")
    column = pa.Array.from_buffers(
        pa.string(), 2, [pa.py_buffer(b"\x02"), pa.py_buffer(b"\0\0\0\0\3\0\0\0\6\0\0\0"), data]
    )
    assert column.to_pylist() == [None, "xyz"]
    both(column)
