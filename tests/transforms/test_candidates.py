"""What is shared by all that makes candidate events."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from transforms.candidates import Block, Candidates, fingerprint, lines_at


def test_line_ends_are_no_part_of_a_text() -> None:
    records = pa.array(["a\n", "b\r\n", "c", "d\r", "e\n\n", "\n", "f\r\r\n"])
    found = lines_at(records, np.array([0, 1, 2, 3, 4, 5, 6, 0])).to_pylist()
    assert found == ["a", "b", "c", "d\r", "e\n", "", "f\r", "a"]


def test_one_text_in_two_sources_is_two_texts() -> None:
    hashes = pa.chunked_array([pa.array([1, 2**64 - 1], pa.uint64())])
    one, other = fingerprint(hashes, "web"), fingerprint(hashes, "shop")
    assert one.type == pa.uint64()
    assert not set(one.to_pylist()) & set(other.to_pylist())
    assert fingerprint(hashes, "web").equals(one)


def test_what_they_weigh() -> None:
    records = pa.table({"record": ["a" * 1000]})
    block = Block("web", "f", "jsonl", records, np.zeros(1, np.int64))
    assert block.nbytes == records.nbytes + 8
    assert (
        Candidates(block, records, np.zeros(1, np.int64), lambda rows: pa.array([])).nbytes
        == block.nbytes + records.nbytes
    )
