"""The answer of `parcours funnel` for people: the sum that holds, and the steps, of everyone and of each segment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from pipelines.durations import spelled
from pipelines.funnel import Answer
from pipelines.manifest import utc_text
from transforms.funnels import ALL

_WHO = {
    "customers": "customers, each by the attempt that gets furthest",
    "journeys": "journeys, each by the attempt that gets furthest",
    "entries": "entries, each first step by itself",
}
_HEAD = ("", "reached", "of all", "of those before", "dropped", "open", "median", "9 of 10 within", "from entry")
_LONGEST_STEP = 60


def as_text(answer: Answer) -> Iterator[str]:
    """Lines."""
    funnel = answer.funnel
    yield f"Funnel of {_WHO[funnel.counted]}, as of {utc_text(answer.as_of)}; {spelled(funnel.window_s)} in all"
    rows = answer.rows.to_pylist()
    is_provisional = False
    for (segment, value), steps in groupby(rows, key=lambda row: (row["segment"], row["segment_value"])):
        block = list(steps)
        is_provisional |= any(row["status"] == "provisional" for row in block)
        yield ""
        if segment != ALL:
            yield f"{segment} = {value}"
        yield _sum(block)
        yield from _table([_HEAD, *map(_cells, block)])
    if is_provisional:
        yield ""
        yield "Open attempts may still go on: the steps after them are provisional."


def _sum(rows: Sequence[Mapping[str, Any]]) -> str:
    entered, converted = rows[0]["entered"], rows[0]["converted"]
    dropped, is_open = (sum(row[name] for row in rows) for name in ("dropped", "open"))
    holds = "✓" if entered == converted + dropped + is_open else "✗"
    return f"entered  {entered:,}  = {converted:,} converted + {dropped:,} dropped + {is_open:,} open  {holds}"


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    step = " ".join(row["step"].split())
    step = step if len(step) <= _LONGEST_STEP else f"{step[: _LONGEST_STEP - 3]}..."
    is_last = row["step_no"] == row["steps"]
    return (
        f"{row['step_no']} {step}",
        f"{row['reached']:,}",
        _share(row["conversion"]),
        _share(row["step_conversion"]),
        "" if is_last else f"{row['dropped']:,}",
        "" if is_last else f"{row['open']:,}",
        *(
            "" if row[name] is None else spelled(row[name])
            for name in ("step_median_s", "step_p90_s", "entry_median_s")
        ),
    )


def _share(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *rest in rows:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))]
        yield "  " + "  ".join(cells).rstrip()
