"""Narrow rows find the way back to their blocks."""

from __future__ import annotations

import pyarrow as pa

from transforms.answers import ANSWERS, BLOCK, DEVICE, ROW, answers, by_block, in_block


def asked(path: str, *rows: int) -> pa.Table:
    schema = pa.schema([("block", BLOCK), ("row", pa.int32())])
    return pa.table([in_block(path, len(rows)), pa.array(rows, pa.int32())], schema=schema)


def test_columns_that_are_not_given_are_null() -> None:
    questions = asked("p", 3, 4)
    found = answers(ROW, questions, row=questions["row"], flag=pa.array([True, None]))
    nothing = {"identifier": None, "customer_key": None}
    assert found.to_pylist() == [
        {"block": "p", "kind": ROW, "row": 3, "flag": True, **nothing},
        {"block": "p", "kind": ROW, "row": 4, "flag": None, **nothing},
    ]
    assert found.schema == ANSWERS.insert(0, pa.field("block", BLOCK))


def test_answers_go_back_to_the_block_that_asked() -> None:
    """Questions of several blocks meet as pieces with dictionaries of their own: in each, code 0 is another block."""
    pieces = [asked("p", 0, 1), asked("q", 0), asked("p", 7), asked("r"), asked("é", 9)]
    questions = pa.concat_tables([*pieces, pa.concat_tables(pieces[:2])]).filter(
        pa.array([True] * 5 + [False, True, True])
    )
    made = answers(DEVICE, questions, row=questions["row"], identifier=pa.array([str(n) for n in range(7)]))

    found = dict(by_block(made))
    assert all(table.schema == ANSWERS for table in found.values())
    told = {path: [(r["row"], r["identifier"]) for r in table.to_pylist()] for path, table in found.items()}
    assert told == {
        "p": [(0, "0"), (1, "1"), (7, "3"), (1, "5")], "q": [(0, "2"), (0, "6")], "é": [(9, "4")],
    }  # fmt: skip
    assert len(list(by_block(made))) == 3, "one table a block"


def test_a_dictionary_may_name_blocks_that_no_row_lies_in() -> None:
    block = pa.DictionaryArray.from_arrays(pa.array([2, 0, 2], pa.int32()), ["a", "b", "c"])
    rows = pa.table({"block": block, "row": pa.array([1, 2, 3], pa.int32())})
    found = {path: table.to_pydict() for path, table in by_block(rows, pa.schema([("row", pa.int32())]))}
    assert found == {"a": {"row": [2]}, "c": {"row": [1, 3]}}


def test_no_answers() -> None:
    assert list(by_block(answers(ROW, asked("p")))) == []
