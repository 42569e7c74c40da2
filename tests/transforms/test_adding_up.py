from __future__ import annotations

from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms import adding_up as module
from transforms.adding_up import Sum, add_up, adding_up, sum_of

COUNTS = pa.schema([("who", pa.string()), ("at", pa.date32()), ("money", pa.decimal128(38, 4)), ("n", pa.int64())])
ADD = adding_up(COUNTS, "money", "n")
Row = dict[str, Any]


def table(*rows: Row) -> pa.Table:
    return pa.Table.from_pylist(list(rows), COUNTS)


def sorted_rows(found: pa.Table) -> list[Row]:
    return sorted(found.to_pylist(), key=str)


def test_rows_that_agree_in_all_else_become_one() -> None:
    found = add_up(
        table(
            {"who": "a", "money": Decimal("1.5"), "n": 1},
            {"who": "a", "money": Decimal("2.25"), "n": 2},
            {"who": None, "money": None, "n": 4},
            {"who": None, "money": Decimal(1), "n": 8},
        ),
        COUNTS,
        ("money", "n"),
    )
    assert sorted_rows(found) == sorted(
        [
            {"who": "a", "at": None, "money": Decimal("3.7500"), "n": 3},
            {"who": None, "at": None, "money": Decimal("1.0000"), "n": 12},
        ],
        key=str,
    )
    assert found.schema.equals(COUNTS)


def test_nothing_adds_up_to_an_empty_table() -> None:
    assert sum_of([], ADD).equals(COUNTS.empty_table())
    assert Sum(ADD).total().equals(COUNTS.empty_table())


rows = st.lists(
    st.fixed_dictionaries({
        "who": st.sampled_from(["a", "b", None]), "n": st.integers(0, 9), "money": st.decimals(-9, 9, places=4),
    }),
    max_size=20,
)  # fmt: skip


@given(st.lists(rows, max_size=6), st.integers(0, 8), st.randoms(use_true_random=False))
def test_any_cut_and_order_gives_the_same_sum(parts: list[list[Row]], waiting: int, shuffled: Any) -> None:
    whole = sorted_rows(ADD([table(*(row for part in parts for row in part))]))
    shuffled.shuffle(parts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_WAITING_ROWS", waiting)
        assert sorted_rows(sum_of((table(*part) for part in parts), ADD)) == whole


def test_no_more_waits_than_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many tables come, those that are not added up yet hold few rows."""
    monkeypatch.setattr(module, "_WAITING_ROWS", 10)
    seen = []

    def add(tables: Any) -> pa.Table:
        seen.append(sum(part.num_rows for part in tables))
        return ADD(tables)

    total = Sum(add)
    for _ in range(100):
        total.include(table({"who": "a", "n": 1}, {"who": "b", "n": 1}))
    assert [row["n"] for row in sorted_rows(total.total())] == [100, 100]
    assert len(seen) > 15 and max(seen) <= 2 + 10 + 2
