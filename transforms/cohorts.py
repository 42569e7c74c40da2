"""Retention cohorts: of those who came in a month, who was there in each later one; and survival beside it.

A cell whose month is not over at as-of is open: it is told apart, and no loss is read from it.
"""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from schemas.tables import Table
from transforms import duck
from transforms.metric_inputs import Calendar
from transforms.survival import Survival, kaplan_meier

#: Partial counts; all add up.
COHORT_CELLS = pa.schema(
    [("kind", pa.string()), ("cohort_month", pa.date32()), ("months_since", pa.int64()), ("what", pa.string()),
     ("customers", pa.int64())]
)  # fmt: skip
_Cell = tuple[str, datetime.date, int]


def cohort_cells(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """COHORT_CELLS of one shard; the connection has the metrics' inputs and `months`."""
    return connection.sql(duck.read_sql("cohorts")).to_arrow_table().cast(COHORT_CELLS)


def merge_cohorts(partials: Sequence[pa.Table], calendar: Calendar, table: Table) -> pa.Table:
    """The table `cohorts`: a row for each cohort and month since, and for all cohorts together (cohort_month null).

    Together, a month since is told of the cohorts whose month then was over: an open one would pull the share down.
    """
    counts: dict[str, dict[_Cell, int]] = defaultdict(lambda: defaultdict(int))
    for partial in partials:
        for row in partial.to_pylist():
            counts[row["what"]][row["kind"], row["cohort_month"], row["months_since"]] += row["customers"]
    rows: list[dict[str, Any]] = []
    for kind in sorted({kind for kind, _, _ in counts["size"]}):
        sizes = {cohort: n for (k, cohort, _), n in counts["size"].items() if k == kind}
        months = calendar.table(min(sizes))["month"].to_pylist()
        closed = len(months) - 1  # that of as-of is the last, and never over
        together: dict[int, list[int]] = defaultdict(lambda: [0, 0])
        for cohort in sorted(sizes):
            first = months.index(cohort)
            survival = _survival(counts, kind, {cohort})
            for since in range(len(months) - first):
                is_open = first + since >= closed
                active = counts["active"].get((kind, cohort, since), 0)
                if not is_open:
                    together[since][0] += active
                    together[since][1] += sizes[cohort]
                rows.append(_row(kind, cohort, since, months[first + since], sizes[cohort], active, is_open, survival))
        survival = _survival(counts, kind, set(sizes), months[:closed])
        rows += [
            _row(kind, None, since, None, size, active, False, survival)
            for since, (active, size) in sorted(together.items())
        ]
    rows.sort(key=lambda r: (r["kind"], r["cohort_month"] or datetime.date.min, r["months_since"]))
    return pa.Table.from_pylist(rows, table.schema)


def _survival(
    counts: Mapping[str, Mapping[_Cell, int]],
    kind: str,
    cohorts: set[datetime.date],
    over: Sequence[datetime.date] | None = None,
) -> Survival:
    """Of the cohorts; with `over`, the months that are over, of what had come by the end of the last of them: who left
    in an open month had not left by then."""
    stays: list[tuple[int, bool, int]] = []
    for what in ("departed", "censored"):
        for (k, cohort, since), n in sorted(counts[what].items()):
            if k != kind or cohort not in cohorts:
                continue
            most = since if over is None else sum(month >= cohort for month in over) - 1
            if most >= 0:
                stays.append((min(since, most), what == "departed" and since <= most, n))
    durations, ended, n_each = np.array(stays, np.int64).reshape(-1, 3).T
    return kaplan_meier(durations, ended.astype(bool), n_each)


def _row(
    kind: str, cohort: datetime.date | None, since: int, month: datetime.date | None, size: int, active: int,
    is_open: bool, survival: Survival,
) -> dict[str, Any]:  # fmt: skip
    return {
        "kind": kind,
        "cohort_month": cohort,
        "months_since": since,
        "month": month,
        "cohort_size": size,
        "active": active,
        "retention": active / size,
        "survival": round(survival.beyond(since), 9),
        "status": "provisional" if is_open else "final",
    }
