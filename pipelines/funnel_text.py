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
_LONGEST_TEXT = 60


def as_text(answer: Answer) -> Iterator[str]:
    """Lines: the steps of everyone, and for each segment a table with a line a value."""
    funnel, rows = answer.funnel, answer.rows.to_pylist()
    yield f"Funnel of {_WHO[funnel.counted]}, as of {utc_text(answer.as_of)}; {spelled(funnel.window_s)} in all"
    yield ""
    everyone = [row for row in rows if row["segment"] == ALL]
    yield _sum(everyone)
    yield from _table([_HEAD, *map(_cells, everyone)])
    for segment in funnel.by:
        own = [row for row in rows if row["segment"] == segment]
        shares = [f"took {row['step_no']}" for row in everyone[1:]]
        head = (_short(segment), "entered", *shares, "dropped", "open", "median to the last")
        yield ""
        yield from _table([head, *(_line(list(steps)) for _, steps in groupby(own, lambda row: row["segment_value"]))])
    if any(row["status"] == "provisional" for row in rows):
        yield ""
        yield "Open attempts may still go on: what is told of the steps after them is provisional."


def _line(steps: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """A value of a segment."""
    dropped, is_open = (sum(step[name] for step in steps) for name in ("dropped", "open"))
    median = steps[-1]["entry_median_s"]
    return (
        _short(steps[0]["segment_value"]),
        f"{steps[0]['entered']:,}",
        *(_share(step["conversion"]) for step in steps[1:]),
        f"{dropped:,}",
        f"{is_open:,}",
        "" if median is None else spelled(median),
    )


def _sum(rows: Sequence[Mapping[str, Any]]) -> str:
    entered, converted = rows[0]["entered"], rows[0]["converted"]
    dropped, is_open = (sum(row[name] for row in rows) for name in ("dropped", "open"))
    holds = "✓" if entered == converted + dropped + is_open else "✗"
    return f"entered  {entered:,}  = {converted:,} converted + {dropped:,} dropped + {is_open:,} open  {holds}"


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    is_last = row["step_no"] == row["steps"]
    return (
        f"{row['step_no']} {_short(row['step'])}",
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


def _short(text: str) -> str:
    """On one line, and not too long."""
    text = "".join(letter if letter.isprintable() else " " for letter in " ".join(text.split()))
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 3]}..."


def _share(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *rest in rows:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))]
        yield "  " + "  ".join(cells).rstrip()
