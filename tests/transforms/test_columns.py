"""Looking at columns: any chunks, any offset, any nulls."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.columns import byte_at, first_bytes, one_chunk, texts, valid_mask

values = st.lists(st.one_of(st.none(), st.text(max_size=5)), max_size=12)


@settings(max_examples=100)
@given(st.lists(values, max_size=3), st.integers(0, 4), st.integers(0, 6))
def test_bytes_and_masks_of_any_piece(chunks: list[list[str | None]], start: int, place: int) -> None:
    column = pa.chunked_array([pa.array(chunk, pa.string()) for chunk in chunks], pa.string()).slice(start)
    whole = one_chunk(column)
    assert isinstance(whole, pa.Array)
    assert whole.to_pylist() == column.to_pylist()
    assert valid_mask(column).tolist() == valid_mask(whole).tolist() == [v is not None for v in whole.to_pylist()]

    def byte(value: str | None, at: int) -> int:
        data = (value or "").encode()
        return data[at] if at < len(data) else 0

    assert first_bytes(whole).tolist() == [byte(v, 0) for v in whole.to_pylist()]
    rows = np.arange(len(whole))[::-2]
    assert byte_at(whole, rows, place).tolist() == [byte(whole[int(r)].as_py(), place) for r in rows]


@pytest.mark.parametrize(
    ("column", "as_text"),
    [
        (pa.array([1, None]), ["1", None]), (pa.array(["a"], pa.large_string()), ["a"]), (pa.array([True]), ["true"]),
        (pa.chunked_array([["a"], ["b"]]), ["a", "b"]), (pa.chunked_array([], pa.int64()), []), (pa.array([0.1]), ["0.1"]),
    ],
)  # fmt: skip
def test_any_column_as_text(column: Any, as_text: list[str | None]) -> None:
    assert texts(column).equals(pa.array(as_text, pa.string()))
