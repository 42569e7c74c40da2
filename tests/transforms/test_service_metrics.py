"""Metrics of service, surveys, pages and use: each edge of each definition, by hand, and random tickets by a plain reading.

Many cases go through one run: each has customers of its own, whose `country` is the case's name, and the metric is read from
that segment.
"""

from __future__ import annotations

import copy
import datetime
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from schemas.dictionary import load_metrics
from transforms.build_entities import EntityRules, build_entities
from transforms.business_time import Schedule, WorkingHours, parse_week

Row = dict[str, Any]
Month = datetime.date | None
JANUARY, FEBRUARY, MARCH = (datetime.date(2026, n, 1) for n in (1, 2, 3))
AS_OF = "2026-03-31 12:00"
METRICS = (
    "csat", "nps", "nps_transactional", "nps_relationship", "nps_excluded", "ces_mean", "ces_easy_share", "response_rate",
    "first_response_minutes", "first_response_business_minutes", "resolution_hours", "full_resolution_hours", "reopen_rate",
    "one_touch_rate", "repeat_contact_rate", "containment_rate", "backlog", "page_load_ms", "page_slow_share",
    "task_seconds", "task_completion_rate", "adoption_rate", "feature_users_share",
)  # fmt: skip
TICKETS = (
    "first_response_minutes", "resolution_hours", "full_resolution_hours", "reopen_rate", "one_touch_rate",
    "repeat_contact_rate", "containment_rate", "backlog",
)  # fmt: skip


class Told:
    """Rows of lifecycle_metrics, by name, case and month."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = {(r["metric"], r["segment_value"], r["period_start"]): r for r in rows if r["segment"] != "all"}

    def row(self, name: str, case: str, month: Month = None) -> Row:
        return self._rows[name, case, month]

    def value(self, name: str, case: str, month: Month = None) -> float | None:
        """None also where the case has nothing to do with the metric."""
        row = self._rows.get((name, case, month))
        return None if row is None else row["value"]

    def parts(self, name: str, case: str, month: Month = None) -> tuple[int, int]:
        row = self.row(name, case, month)
        return int(row["numerator"]), int(row["denominator"])


def tell(
    steps: Any, names: str | Iterable[str], cases: Mapping[str, Iterable[Row]], as_of: str = AS_OF, **options: Any
) -> Told:
    """The metrics of each case, by its name."""
    rows = [
        {**row, "who": f"{row.get('who', 'ann')} of {case}", "country": case}
        for case, own in cases.items()
        for row in own
    ]
    names = (names,) if isinstance(names, str) else tuple(names)
    found = steps.metrics(rows, as_of, *names, segments={"case": "country"}, **options)
    return Told(row for row in found if row["segment"] == "case")


def ticket(*events: tuple[Any, ...], name: str = "t", **fields: Any) -> list[Row]:
    """Events of one ticket as (time in 2026, what, fields): `01-05 09:00`, `opened`; `agent`, `bot` and so on reply."""
    rows = []
    for at, what, *more in events:
        reply = {"author": what} if what in ("agent", "bot", "customer") else {}
        own = more[0] if more else {}
        kind = "ticket_replied" if reply else f"ticket_{what}"
        rows.append({"type": kind, "at": f"2026-{at}", "ticket_id": name, **reply, **fields, **own})
    return rows


def answer(kind: str, score: float, low: float, high: float, at: str = "01-05", **fields: Any) -> Row:
    return {
        "type": "survey_response", "at": f"2026-{at}", "survey_type": kind, "score": float(score), "scale_min": float(low),
        "scale_max": float(high), **fields,
    }  # fmt: skip


def sent(kind: str, at: str = "01-04", **fields: Any) -> Row:
    return {"type": "survey_sent", "at": f"2026-{at}", "survey_type": kind, **fields}


def view(at: str = "01-05", **fields: Any) -> Row:
    return {"type": "site_visit", "at": f"2026-{at}", **fields}


def use(at: str = "01-05", **fields: Any) -> Row:
    return {"type": "product_usage", "at": f"2026-{at}", **fields}


SELF = {"self_service": True}
NOTE = {"public": False}


# --- answers -----------------------------------------------------------------------------------------------------------


def test_who_is_satisfied(steps: Any) -> None:
    scales = [
        *[(score, 1, 5, score >= 4) for score in (1, 2, 3, 4, 5)],
        *[(score, 1, 4, score >= 3) for score in (1, 2, 2.9, 3, 4)], *[(score, 0, 3, score >= 2) for score in (0, 1, 2, 3)],
        (7.4, 0, 10, False), (7.5, 0, 10, True), (5, 1, 7, False), (5.5, 1, 7, True), (6, 1, 7, True), (2, 1, 3, False),
        (3, 1, 3, True), (0, 0, 1, False), (1, 0, 1, True), (0, -2, 2, False), (1, -2, 2, True), (74, 0, 100, False),
        (75, 0, 100, True),
    ]  # fmt: skip
    told = tell(steps, "csat", {str(scale): [answer("csat", *scale[:3])] for scale in scales})
    assert {str(s): told.value("csat", str(s)) for s in scales} == {str(s): float(s[3]) for s in scales}


def test_of_several_answers_to_one_survey_the_last_counts(steps: Any) -> None:
    """The first answer is the worst and the last the best that there is, for each kind of survey."""
    keys: dict[str, tuple[Row, Row, float]] = {
        "one survey": ({"survey_id": "s"}, {"survey_id": "s"}, 1),
        "one ticket": ({"ticket_id": "1"}, {"ticket_id": "1"}, 1),
        "one order": ({"order_id": "1"}, {"order_id": "1"}, 1),
        "one ticket, whatever the order": ({"ticket_id": "1", "order_id": "1"}, {"ticket_id": "1", "order_id": "2"}, 1),
        "two surveys": ({"survey_id": "s"}, {"survey_id": "r"}, 0.5),
        "one survey about two tickets": (
            {"survey_id": "s", "ticket_id": "1"},
            {"survey_id": "s", "ticket_id": "2"},
            0.5,
        ),
        "a ticket and an order of one number": ({"ticket_id": "1"}, {"order_id": "1"}, 0.5),
        "nothing named": ({}, {}, 0.5),
        "two customers": ({"survey_id": "s", "who": "bob"}, {"survey_id": "s"}, 0.5),
    }
    cases = {
        case: [
            *[answer("csat", 5 if n else 1, 1, 5, f"01-0{n + 1}", **key) for n, key in enumerate(both)],
            *[answer("nps", 10 if n else 0, 0, 10, f"01-0{n + 3}", **key) for n, key in enumerate(both)],
            *[answer("ces", 1 if n else 7, 1, 7, f"01-0{n + 5}", **key) for n, key in enumerate(both)],
        ]
        for case, (*both, _) in keys.items()
    }
    told = tell(steps, ("csat", "nps", "ces_mean", "ces_easy_share"), cases)
    for case, (_, _, share) in keys.items():
        assert told.value("csat", case) == told.value("ces_easy_share", case) == share, case
        assert told.value("nps", case) == 200 * share - 100, case
        assert told.value("ces_mean", case) == 7 - 6 * share, case


def test_the_month_of_a_csat_answer_is_that_of_its_ticket(steps: Any) -> None:
    """Answered in March; the desk's ticket was opened in January in New York, the shop's of the same id in February."""
    both = [*ticket(("02-01 04:59", "opened"), source="desk"), *ticket(("02-01 05:00", "opened"), source="shop")]
    cases = {
        "its own source's": [*both, answer("csat", 5, 1, 5, "03-02", ticket_id="t", source="shop")],
        "the first of that id": [*both, answer("csat", 5, 1, 5, "03-02", ticket_id="t", source="survey tool")],
        "an unknown ticket": [*both, answer("csat", 5, 1, 5, "03-02", ticket_id="u", source="desk")],
        "another customer's": [*both, answer("csat", 5, 1, 5, "03-02", ticket_id="t", source="desk", who="bob")],
        "no ticket": [*both, answer("csat", 5, 1, 5, "03-02", source="desk")],
        "never opened": [*ticket(("01-05", "agent")), answer("csat", 5, 1, 5, "03-02", ticket_id="t")],
    }
    expected = dict.fromkeys(cases, MARCH) | {"its own source's": FEBRUARY, "the first of that id": JANUARY}
    told = tell(steps, "csat", cases, timezone="America/New_York")
    for case, month in expected.items():
        assert [told.row("csat", case, m)["denominator"] for m in (JANUARY, FEBRUARY, MARCH, None)] == [
            int(month == m) for m in (JANUARY, FEBRUARY, MARCH)
        ] + [1], case
        assert told.row("csat", case, month)["n"] == 1


def test_nps_of_each_score_context_and_scale(steps: Any) -> None:
    scores = {0: -100, 6: -100, 6.5: 0, 7: 0, 8: 0, 8.9: 0, 9: 100, 10: 100}
    cases = {f"score {score}": [answer("nps", score, 0, 10)] for score in scores}
    cases |= {
        f"{low} to {high}": [answer("nps", high, low, high)] for low, high in ((1, 10), (0, 11), (0, 5), (0, 100))
    }
    cases |= {
        "transactional": [answer("nps", 10, 0, 10, context="transactional")],
        "relationship": [answer("nps", 10, 0, 10, context="relationship")],
        "other surveys": [answer("csat", 10, 0, 10), answer("ces", 10, 0, 10), answer("csat", 3, 1, 5)],
        "one survey on two scales": [
            answer("nps", 9, 0, 10, "01-05", survey_id="s"), answer("nps", 5, 1, 5, "01-06", survey_id="s"),
        ],
    }  # fmt: skip
    names = ("nps", "nps_transactional", "nps_relationship", "nps_excluded")
    told = tell(steps, names, cases)
    for score, points in scores.items():
        assert [told.value(name, f"score {score}") for name in names] == [points, None, None, None]
    for case in ("1 to 10", "0 to 11", "0 to 5", "0 to 100", "one survey on two scales"):
        assert [told.value(name, case) for name in names] == [None, None, None, 1], case
    assert [told.value(name, "transactional") for name in names] == [100, 100, None, None]
    assert [told.value(name, "relationship") for name in names] == [100, None, 100, None]
    assert [told.value(name, "other surveys") for name in names] == [None] * 4


def test_effort(steps: Any) -> None:
    efforts: dict[str, tuple[Row, str, int]] = {
        "as it is": (answer("ces", 2, 1, 7), "2", 1),
        "nothing said": (answer("ces", 7, 1, 7), "7", 0),
        "easier is not higher": (answer("ces", 7, 1, 7, easier_is_higher=False), "7", 0),
        "easier is higher": (answer("ces", 7, 1, 7, easier_is_higher=True), "1", 1),
        "just easy": (answer("ces", 3, 1, 7), "3", 1),
        "hardly hard": (answer("ces", 3.001, 1, 7), "3.001", 0),
        "just easy, turned": (answer("ces", 5, 1, 7, easier_is_higher=True), "3", 1),
        "of five": (answer("ces", 2, 1, 5), "2.5", 1),
        "of ten": (answer("ces", 2, 1, 10), "1.6667", 1),
        "a third of nine": (answer("ces", 4, 1, 10), "3", 1),
        "from below 0": (answer("ces", -1, -3, 3), "3", 1),
    }
    cases = {case: [row] for case, (row, _, _) in efforts.items()}
    cases["a csat"] = [answer("csat", 1, 1, 7)]
    cases["no number"] = [answer("ces", 1e308, -1e308, 1e308), answer("ces", 1, 1, 7)]
    cases["several"] = [
        answer("ces", 1, 1, 7, "01-05"),
        answer("ces", 2, 1, 7, "01-06"),
        answer("ces", 7, 1, 7, "02-05", who="bob"),
    ]
    told = tell(steps, ("ces_mean", "ces_easy_share"), cases)
    for case, (_, effort, easy) in efforts.items():
        row = told.row("ces_mean", case)
        assert (row["numerator"], row["denominator"], row["value"]) == (Decimal(effort), 1, float(effort)), case
        assert told.value("ces_easy_share", case) == easy, case
    assert told.value("ces_mean", "a csat") is None
    assert told.parts("ces_mean", "no number") == told.parts("ces_easy_share", "no number") == (1, 1)
    months = (JANUARY, FEBRUARY, MARCH, None)
    assert [told.value("ces_mean", "several", m) for m in months] == [1.5, 7, None, 10 / 3], (
        "of all answers, not of the months"
    )


def test_which_surveys_are_answered(steps: Any) -> None:
    cases: dict[str, tuple[list[Row], tuple[int, int]]] = {
        "answered": ([sent("nps", survey_id="s"), answer("nps", 0, 0, 10, survey_id="s")], (1, 1)),
        "answered twice": ([sent("nps", survey_id="s"), *[answer("nps", 0, 0, 10, d, survey_id="s") for d in ("01-05", "01-06")]], (1, 1)),
        "sent twice": ([sent("nps", d, survey_id="s") for d in ("01-04", "01-06")] + [answer("nps", 0, 0, 10, "01-07", survey_id="s")], (1, 1)),
        "sent again after the answer": ([sent("nps", d, survey_id="s") for d in ("01-04", "01-06")] + [answer("nps", 0, 0, 10, "01-05", survey_id="s")], (1, 1)),
        "another kind": ([sent("nps", survey_id="s"), answer("csat", 5, 1, 5, survey_id="s")], (0, 1)),
        "another survey": ([sent("nps", survey_id="s"), answer("nps", 0, 0, 10, survey_id="r")], (0, 1)),
        "another customer": ([sent("nps", survey_id="s"), answer("nps", 0, 0, 10, survey_id="s", who="bob")], (0, 1)),
        "another ticket": ([sent("csat", survey_id="s", ticket_id="1"), answer("csat", 5, 1, 5, survey_id="s", ticket_id="2")], (0, 1)),
        "less said": ([sent("csat", survey_id="s", ticket_id="1"), answer("csat", 5, 1, 5, survey_id="s")], (1, 1)),
        "less said, of the ticket": ([sent("csat", survey_id="s", ticket_id="1"), answer("csat", 5, 1, 5, ticket_id="1")], (1, 1)),
        "less said, of the order": ([sent("csat", survey_id="s", ticket_id="1", order_id="2"), answer("csat", 5, 1, 5, order_id="2")], (1, 1)),
        "more said": ([sent("csat", ticket_id="1"), answer("csat", 5, 1, 5, survey_id="s", ticket_id="1")], (0, 1)),
        "less said, to the last": ([sent("csat", d, survey_id=d, ticket_id="1") for d in ("01-02", "01-03")] + [answer("csat", 5, 1, 5, d, ticket_id="1") for d in ("01-04", "01-05")], (1, 2)),
        "to the very same": ([sent("csat", "01-02", ticket_id="1"), sent("csat", "01-03", survey_id="s", ticket_id="1"), answer("csat", 5, 1, 5, "01-04", ticket_id="1"), answer("csat", 5, 1, 5, "01-05", survey_id="s", ticket_id="1")], (2, 2)),
        "to one that was there": ([sent("csat", "01-02", survey_id="s", ticket_id="1"), answer("csat", 5, 1, 5, "01-03", ticket_id="1"), sent("csat", "01-04", survey_id="r", ticket_id="1")], (1, 2)),
        "an order beside the ticket": ([sent("csat", ticket_id="1", order_id="1"), answer("csat", 5, 1, 5, ticket_id="1")], (1, 1)),
        "an order for a ticket": ([sent("csat", ticket_id="1"), answer("csat", 5, 1, 5, order_id="1")], (0, 1)),
        "answered before": ([sent("nps", "01-06", survey_id="s"), answer("nps", 0, 0, 10, "01-05", survey_id="s")], (0, 1)),
        "by another source": ([sent("nps", survey_id="s", source="crm"), answer("nps", 0, 0, 10, survey_id="s", source="tool")], (1, 1)),
        "no ids": ([sent("nps", "01-04"), answer("nps", 0, 0, 10, "01-05"), sent("nps", "01-06")], (1, 2)),
        "no ids, answered late": ([sent("nps", "01-04"), sent("nps", "01-06"), answer("nps", 0, 0, 10, "01-07")], (1, 2)),
        "no ids, answered twice": ([sent("nps", "01-04"), *[answer("nps", 0, 0, 10, d) for d in ("01-05", "01-06")]], (1, 1)),
        "no ids for one with an id": ([sent("nps", survey_id="s"), answer("nps", 0, 0, 10)], (0, 1)),
        "an unknown key": ([sent("nps", survey_id="s", who="anon:c"), answer("nps", 0, 0, 10, survey_id="s", who="anon:c")], (1, 1)),
    }  # fmt: skip
    told = tell(
        steps,
        "response_rate",
        {case: rows for case, (rows, _) in cases.items()} | {"never sent": [answer("nps", 0, 0, 10)]},
    )
    assert {case: told.parts("response_rate", case) for case in cases} == {
        case: parts for case, (_, parts) in cases.items()
    }
    assert told.value("response_rate", "never sent") is None


# --- tickets -----------------------------------------------------------------------------------------------------------


def of_ticket(steps: Any, rows: list[Row]) -> Row:
    (found,) = steps.entities(rows, AS_OF)["tickets"].to_pylist()
    return found


def periods(row: Row) -> list[tuple[str | None, ...]]:
    return [
        tuple(None if p[name] is None else p[name].strftime("%m-%d %H:%M") for name in ("started_at", "ended_at"))
        for p in row["open_periods"]
    ]


def test_what_was_before_the_opening_says_nothing_of_the_ticket(steps: Any) -> None:
    found = of_ticket(steps, ticket(
        ("01-05 07:00", "agent"), ("01-05 08:00", "resolved"), ("01-05 08:30", "reopened"), ("01-05 09:00", "opened"),
        ("01-05 10:00", "agent"), ("01-05 11:00", "resolved"),
    ))  # fmt: skip
    assert periods(found) == [("01-05 09:00", "01-05 11:00")]
    assert (found["reopens"], found["first_reopened_event_id"], found["agent_replies"]) == (0, None, 1)
    assert (found["first_response_s"], found["resolution_s"], found["is_open"]) == (3600, 7200, False)


def test_open_periods_are_from_the_opening_or_a_reopening_to_the_next_resolution(steps: Any) -> None:
    found = of_ticket(steps, ticket(
        ("01-05 09:00", "opened"), ("01-05 10:00", "agent"), ("01-05 11:00", "resolved"), ("01-05 12:00", "resolved"),
        ("01-06 09:00", "reopened"), ("01-06 10:00", "reopened"), ("01-06 11:00", "resolved"), ("01-07 09:00", "opened"),
    ))  # fmt: skip
    assert periods(found) == [("01-05 09:00", "01-05 11:00"), ("01-06 09:00", "01-06 11:00"), ("01-07 09:00", None)]
    assert (found["reopens"], found["is_open"]) == (2, True)
    assert (found["resolution_s"], found["full_resolution_s"]) == (2 * 3600, 26 * 3600)


@pytest.mark.parametrize("ids", [("a", "b", "c"), ("c", "b", "a"), ("b", "c", "a")])
def test_of_one_moment_the_opening_comes_first(steps: Any, ids: tuple[str, str, str]) -> None:
    """A source that knows days only; whatever the events are called."""
    rows = ticket(("01-05", "opened"), ("01-05", "agent"), ("01-05", "resolved"))
    found = of_ticket(steps, [{**row, "event_id": name} for row, name in zip(rows, ids, strict=True)])
    assert (found["is_open"], periods(found)) == (False, [("01-05 00:00", "01-05 00:00")])
    assert (found["first_response_s"], found["resolution_s"], found["agent_replies"]) == (0, 0, 1)


def test_the_first_response(steps: Any) -> None:
    minutes = {
        "an agent": ([("01-05 09:00", "opened"), ("01-05 10:30", "agent")], 90),
        "not a bot": ([("01-05 09:00", "opened"), ("01-05 09:01", "bot"), ("01-05 10:30", "agent")], 90),
        "not a note": ([("01-05 09:00", "opened"), ("01-05 09:01", "agent", NOTE), ("01-05 10:30", "agent")], 90),
        "not the customer": ([("01-05 09:00", "opened"), ("01-05 09:01", "customer"), ("01-05 10:30", "agent")], 90),
        "the first": ([("01-05 09:00", "opened"), ("01-05 10:30", "agent"), ("01-05 11:30", "agent")], 90),
        "after the resolution": ([("01-05 09:00", "opened"), ("01-05 10:00", "resolved"), ("01-05 10:30", "agent")], 90),
        "after the opening": ([("01-05 08:00", "agent"), ("01-05 09:00", "opened"), ("01-05 10:30", "agent")], 90),
        "at once": ([("01-05 09:00", "opened"), ("01-05 09:00", "agent")], 0),
        "seconds": ([("01-05 09:00:00.9", "opened"), ("01-05 09:01:31.8", "agent")], 1.5),
    }  # fmt: skip
    unanswered: dict[str, tuple[list[tuple[Any, ...]], str]] = {
        "open": ([("01-05 09:00", "opened"), ("01-05 09:01", "bot")], "provisional"),
        "resolved": ([("01-05 09:00", "opened"), ("01-05 10:00", "resolved")], "final"),
        "reopened": ([("01-05 09:00", "opened"), ("01-05 10:00", "resolved"), ("01-06", "reopened")], "provisional"),
        "resolved again": (
            [("01-05 09:00", "opened"), ("01-05 10:00", "resolved"), ("01-06", "reopened"), ("01-07", "resolved")], "final",
        ),
    }  # fmt: skip
    cases = {case: ticket(*events) for case, (events, _) in (minutes | unanswered).items()}
    told = tell(steps, "first_response_minutes", cases)
    for case, (_, expected) in minutes.items():
        for statistic in ("mean", "p50", "p90", "km_p50"):
            assert told.value(f"first_response_minutes_{statistic}", case, JANUARY) == expected, (case, statistic)
        assert told.row("first_response_minutes_p50", case, JANUARY)["status"] == "final", case
    for case, (_, status) in unanswered.items():
        for statistic, n in (("mean", 0), ("p50", 0), ("km_p50", 1)):
            for month in (JANUARY, None):
                row = told.row(f"first_response_minutes_{statistic}", case, month)
                assert (row["value"], row["status"], row["n"]) == (None, status, n), (case, statistic)


def test_how_long_the_unanswered_have_waited(steps: Any) -> None:
    """Two wait for an hour, one has its answer after 59 or 61 minutes: who waited an hour says nothing of the 61st minute."""
    until = {
        "open": [("03-31 11:00", "opened")],
        "resolved": [("01-05 09:00", "opened"), ("01-05 10:00", "resolved")],
        "resolved twice": [
            ("01-05 09:00", "opened"), ("01-05 09:30", "resolved"), ("01-05 09:40", "reopened"), ("01-05 10:00", "resolved"),
        ],
    }  # fmt: skip
    cases = {
        f"{case}, {minutes}": [
            *ticket(*events, name="a"), *ticket(*events, name="b"),
            *ticket(("01-05 09:00", "opened"), (f"01-05 {9 + minutes // 60:02}:{minutes % 60:02}", "agent"), name="c"),
        ]
        for case, events in until.items()
        for minutes in (59, 61)
    }  # fmt: skip
    told = tell(steps, "first_response_minutes", cases)
    for case in cases:
        assert told.row("first_response_minutes_km_p50", case)["n"] == 3
        assert told.value("first_response_minutes_km_p50", case) == (61 if case.endswith("61") else None), case


PARIS = Schedule(
    "Europe/Paris",
    (
        WorkingHours(
            None, parse_week(dict.fromkeys(("monday", "tuesday", "wednesday", "thursday", "friday"), "09:00-17:00"))
        ),
    ),
    frozenset({datetime.date(2026, 5, 1)}),
)


@pytest.fixture
def working(steps: Any) -> Any:
    """The steps, with the working hours of a team in Paris."""
    found = copy.copy(steps)
    found.entities = lambda rows, as_of: build_entities(
        steps.stitch(rows), EntityRules(datetime.datetime.fromisoformat(f"{as_of}+00:00"), PARIS), steps.connection
    )
    return found


def test_working_minutes(working: Any) -> None:
    """The long weekend of 1 May 2026, a Friday; 29 March, when the clock goes forward; nights, and what is outside."""
    minutes = {
        "in the day": ([("04-28 07:00", "opened"), ("04-28 07:20", "agent")], 20),
        "over a night": ([("04-28 14:30", "opened"), ("04-29 07:15", "agent")], 45),
        "over the long weekend": ([("04-30 14:00", "opened"), ("05-04 08:30", "agent")], 150),
        "on the holiday": ([("05-01 08:00", "opened"), ("05-01 12:00", "agent")], 0),
        "over a change of the clock": ([("03-27 15:30", "opened"), ("03-30 07:30", "agent")], 60),
        "seconds": ([("04-28 07:00:00", "opened"), ("04-28 07:00:45", "agent")], 0.75),
        "not a bot": ([("04-28 07:00", "opened"), ("04-28 07:01", "bot"), ("04-28 07:20", "agent")], 20),
    }  # fmt: skip
    rest: dict[str, tuple[list[tuple[Any, ...]], str]] = {
        "open": ([("04-28 07:00", "opened"), ("04-28 07:01", "bot")], "provisional"),
        "resolved": ([("04-28 07:00", "opened"), ("04-28 08:00", "resolved")], "final"),
    }
    answered = ticket(("04-28 07:00", "opened"), ("04-28 07:20", "agent"), name="answered")
    cases = {case: ticket(*events) for case, (events, _) in minutes.items()}
    cases |= {case: answered + ticket(*events) for case, (events, _) in rest.items()}
    cases["some"] = ticket(("04-28 07:00", "opened"), name="open")
    for n in range(4):
        cases["some"] += ticket(("04-28 07:00", "opened"), (f"04-28 07:{10 * n:02}", "agent"), name=f"t{n}")
    told = tell(working, "first_response_business_minutes", cases, as_of="2026-06-30 12:00")
    for case, (_, expected) in minutes.items():
        row = told.row("first_response_business_minutes_p50", case)
        assert (row["value"], row["n"], row["status"]) == (expected, 1, "final"), case
    for case, (_, status) in rest.items():
        row = told.row("first_response_business_minutes_p50", case)
        assert (row["value"], row["n"], row["status"]) == (20, 1, status), case
    april = datetime.date(2026, 4, 1)
    some = {s: told.row(f"first_response_business_minutes_{s}", "some", april) for s in ("mean", "p50", "p90")}
    assert {s: (r["value"], r["n"], r["status"]) for s, r in some.items()} == {
        "mean": (15, 4, "provisional"), "p50": (15, 4, "provisional"), "p90": (27, 4, "provisional"),
    }, "the open one has no value: not 0, and not the time so far"  # fmt: skip


def test_the_first_and_the_last_resolution(steps: Any) -> None:
    hours: dict[str, tuple[list[tuple[Any, ...]], float | None, float | None]] = {
        "once": ([("01-05 09:00", "opened"), ("01-06 12:00", "resolved")], 27, 27),
        "again": (
            [("01-05 09:00", "opened"), ("01-06 12:00", "resolved"), ("01-07", "reopened"), ("01-09 09:00", "resolved")], 27, 96,
        ),
        "marked twice": ([("01-05 09:00", "opened"), ("01-06 12:00", "resolved"), ("01-09 09:00", "resolved")], 27, 96),
        "open again": ([("01-05 09:00", "opened"), ("01-06 12:00", "resolved"), ("01-07", "reopened")], 27, None),
        "open": ([("01-05 09:00", "opened"), ("01-06", "agent")], None, None),
        "before the opening": ([("01-04", "resolved"), ("01-05 09:00", "opened")], None, None),
    }  # fmt: skip
    told = tell(
        steps, ("resolution_hours", "full_resolution_hours"), {case: ticket(*e) for case, (e, _, _) in hours.items()}
    )
    for case, (_, first, last) in hours.items():
        for name, value in (("resolution_hours", first), ("full_resolution_hours", last)):
            assert told.value(f"{name}_p50", case) == told.value(f"{name}_mean", case) == value, (case, name)
            assert told.value(f"{name}_p50", case, JANUARY) == value
            assert told.value(f"{name}_km_p50", case) == value
            waiting = told.row(f"{name}_km_p50", case, MARCH)
            assert (waiting["n"], waiting["value"]) == (int(value is None), None), "in the month of as-of, as waiting"


def test_who_still_waits_counts_as_longer(steps: Any) -> None:
    """Resolved after 1, 2 and 30 hours; two others have waited for 24: half of the five only within 30 hours. Those two were
    never resolved, or they were after an hour and are open again."""
    rows = []
    for n, end in enumerate(("01-05 01:00", "01-05 02:00", "01-06 06:00")):
        rows += ticket(("01-05", "opened"), (end, "resolved"), name=f"t{n}")
    cases: dict[str, list[Row]] = {"never": [*rows], "again": [*rows]}
    for n in range(2):
        cases["never"] += ticket(("03-30 12:00", "opened"), name=f"open {n}")
        cases["again"] += ticket(
            ("03-30 12:00", "opened"), ("03-30 13:00", "resolved"), ("03-30 14:00", "reopened"), name=f"open {n}"
        )
    told = tell(steps, ("resolution_hours", "full_resolution_hours"), cases)
    statistics = ("mean", "p50", "p90", "km_p50")
    of_three = [11, 2, pytest.approx(2 + 0.8 * 28), 30]
    for name, case in (("resolution", "never"), ("full_resolution", "never"), ("full_resolution", "again")):
        assert [told.value(f"{name}_hours_{s}", case) for s in statistics] == of_three, (name, case)
        assert told.value(f"{name}_hours_km_p50", case, JANUARY) == 2
    assert [told.value(f"resolution_hours_{s}", "again") for s in statistics] == [7, 1, pytest.approx(2 + 0.6 * 28), 1]


def test_reopened_and_resolved_at_the_first_touch(steps: Any) -> None:
    """Reopened, and at one touch, of those that were resolved."""
    end = ("01-06", "resolved")
    cases: dict[str, tuple[list[tuple[Any, ...]], int | None, int | None]] = {
        "no reply": ([("01-05", "opened"), end], 0, 1),
        "one reply": ([("01-05", "opened"), ("01-05 01:00", "agent"), end], 0, 1),
        "two replies": ([("01-05", "opened"), ("01-05 01:00", "agent"), ("01-05 02:00", "agent"), end], 0, 0),
        "a reply after": ([("01-05", "opened"), ("01-05 01:00", "agent"), end, ("01-07", "agent")], 0, 0),
        "bots, notes, the customer": (
            [("01-05", "opened"), ("01-05 01:00", "agent"), ("01-05 02:00", "bot"), ("01-05 03:00", "agent", NOTE),
             ("01-05 04:00", "customer"), end], 0, 1,
        ),
        "a reply before the opening": ([("01-04", "agent"), ("01-05", "opened"), ("01-05 01:00", "agent"), end], 0, 1),
        "reopened": ([("01-05", "opened"), end, ("02-05", "reopened")], 1, 0),
        "reopened twice": ([("01-05", "opened"), end, ("01-07", "reopened"), ("01-08", "resolved"), ("01-09", "reopened")], 1, 0),
        "reopened before the opening": ([("01-04", "reopened"), ("01-05", "opened"), end], 0, 1),
        "never resolved": ([("01-05", "opened"), ("01-05 01:00", "agent")], None, None),
        "resolved before the opening": ([("01-04", "resolved"), ("01-05", "opened"), ("01-07", "reopened")], None, None),
        "never opened": ([("01-05", "agent"), end, ("01-07", "reopened")], None, None),
    }  # fmt: skip
    told = tell(
        steps, ("reopen_rate", "one_touch_rate"), {case: ticket(*events) for case, (events, _, _) in cases.items()}
    )
    for case, (_, reopened, one_touch) in cases.items():
        for name, value in (("reopen_rate", reopened), ("one_touch_rate", one_touch)):
            assert told.value(name, case, JANUARY) == told.value(name, case) == value, (case, name)
            if value is not None:
                assert told.row(name, case, JANUARY)["status"] == "final", (
                    "no window: a late reopening may still change it"
                )


def test_a_repeated_contact(steps: Any) -> None:
    """Of a ticket resolved on 6 January at 10:00, and what comes about another one."""
    first = ticket(("01-05", "opened"), ("01-06 10:00", "resolved"), name="first")
    others: dict[str, tuple[list[Row], int]] = {
        "none": ([], 0),
        "at the end of 7 days": (ticket(("01-13 10:00", "opened")), 1),
        "after them": (ticket(("01-13 10:00:00.000001", "opened")), 0),
        "at the beginning": (ticket(("01-06 10:00:00.000001", "opened")), 1),
        "at the resolution": (ticket(("01-06 10:00", "opened")), 0),
        "before the resolution": (ticket(("01-05 12:00", "opened")), 0),
        "early and then again": (ticket(("01-05 12:00", "opened")) + ticket(("01-07", "opened"), name="u"), 1),
        "twice": (ticket(("01-07", "opened")) + ticket(("01-07", "opened"), name="u"), 1),
        "another customer's": (ticket(("01-07", "opened"), who="bob"), 0),
        "of another source and the same name": (ticket(("01-07", "opened"), name="first", source="shop"), 1),
        "only a reply": (ticket(("01-07", "customer"), name="first"), 0),
        "reopened": (ticket(("01-07", "reopened"), name="first"), 0),
        "after the last resolution": (
            ticket(("01-07", "reopened"), ("02-01", "resolved"), name="first") + ticket(("02-02", "opened")), 0,
        ),
    }  # fmt: skip
    cases = {case: first + rows for case, (rows, _) in others.items()}
    told = tell(
        steps, "repeat_contact_rate", cases | {"an unknown key": [{**row, "who": "anon:c"} for row in cases["twice"]]}
    )
    found = {case: told.parts("repeat_contact_rate", case, JANUARY) for case in others}
    assert found == {case: (repeated, 1) for case, (_, repeated) in others.items()}
    assert told.parts("repeat_contact_rate", "an unknown key") == (1, 1)


def test_while_the_days_run_the_month_is_provisional(steps: Any) -> None:
    """Resolved 3 or 7 days before as-of, or a moment later, when the time is not over."""
    names = ("containment_rate", "repeat_contact_rate")
    ends = {
        "7 days": "03-24 12:00",
        "nearly 7": "03-24 12:00:00.000001",
        "3 days": "03-28 12:00",
        "nearly 3": "03-28 12:00:00.000001",
    }
    cases = {case: ticket(("03-01", "opened", SELF), (end, "resolved")) for case, end in ends.items()}
    cases["nearly 3, and back"] = [*cases["nearly 3"], *ticket(("03-29", "opened"), name="u")]
    told = tell(steps, names, cases)
    assert {case: tuple(told.row(name, case)["status"] for name in names) for case in cases} == {
        "7 days": ("final", "final"), "nearly 7": ("final", "provisional"), "3 days": ("final", "provisional"),
        "nearly 3": ("provisional", "provisional"), "nearly 3, and back": ("final", "final"),
    }  # fmt: skip
    assert [told.parts(name, "nearly 3") for name in names] == [(1, 1), (0, 1)]


def test_containment(steps: Any) -> None:
    """Contained, or provisional, in January, when it was opened."""
    opened, end = ("01-05 10:00", "opened", SELF), ("01-06 10:00", "resolved")
    cases: dict[str, tuple[list[Row], int, str]] = {
        "resolved": (ticket(opened, end), 1, "final"),
        "by a bot": (ticket(opened, ("01-05 10:01", "bot"), end), 1, "final"),
        "with a note": (ticket(opened, ("01-05 10:01", "agent", NOTE), end), 1, "final"),
        "with an agent": (ticket(opened, ("01-05 11:00", "agent"), end), 0, "final"),
        "with an agent afterwards": (ticket(opened, end, ("01-20", "agent")), 0, "final"),
        "an agent before the opening": (ticket(("01-04", "agent"), opened, end), 1, "final"),
        "another at the end of 72 h": (ticket(opened, end) + ticket(("01-09 10:00", "opened"), name="u"), 0, "final"),
        "another after them": (ticket(opened, end) + ticket(("01-09 10:00:00.000001", "opened"), name="u"), 1, "final"),
        "another while it was open": (ticket(opened, end) + ticket(("01-05 11:00", "opened"), name="u"), 0, "final"),
        "another before": (ticket(opened, end) + ticket(("01-05 09:00", "opened"), name="u"), 1, "final"),
        "another customer's": (ticket(opened, end) + ticket(("01-06 11:00", "opened"), name="u", who="bob"), 1, "final"),
        "still open": (ticket(opened), 0, "provisional"),
        "still open, with an agent": (ticket(opened, ("01-05 11:00", "agent")), 0, "final"),
        "still open, and another": (ticket(opened) + ticket(("01-20", "opened"), name="u"), 0, "final"),
        "open again": (ticket(opened, end, ("01-20", "reopened")), 0, "provisional"),
        "resolved again": (ticket(opened, end, ("01-20", "reopened"), ("01-21", "resolved")), 1, "final"),
        "another after the last resolution": (
            ticket(opened, end, ("01-20", "reopened"), ("01-21", "resolved")) + ticket(("01-23", "opened"), name="u"), 0, "final",
        ),
    }  # fmt: skip
    people = {
        "of people": ticket(("01-05 10:00", "opened"), end),
        "told so": ticket(("01-05 10:00", "opened", {"self_service": False}), end),
    }
    told = tell(steps, "containment_rate", {case: rows for case, (rows, _, _) in cases.items()} | people)
    for case, (_, contained, status) in cases.items():
        row = told.row("containment_rate", case, JANUARY)
        assert (row["numerator"], row["denominator"], row["status"]) == (contained, 1, status), case
    assert [told.value("containment_rate", case) for case in people] == [None, None]


def test_the_backlog(steps: Any) -> None:
    """Open at the end of January, February, and at as-of, which stands for the whole."""
    cases: dict[str, tuple[list[Row], tuple[int, int, int]]] = {
        "never resolved": (ticket(("01-05", "opened")), (1, 1, 1)),
        "resolved": (ticket(("01-05", "opened"), ("01-06", "resolved")), (0, 0, 0)),
        "resolved later": (ticket(("01-05", "opened"), ("02-06", "resolved")), (1, 0, 0)),
        "resolved at the edge": (ticket(("01-05", "opened"), ("02-01", "resolved")), (1, 0, 0)),
        "just before it": (ticket(("01-05", "opened"), ("01-31 23:59:59.999999", "resolved")), (0, 0, 0)),
        "opened at the edge": (ticket(("02-01", "opened")), (0, 1, 1)),
        "opened just before it": (ticket(("01-31 23:59:59.999999", "opened")), (1, 1, 1)),
        "opened and resolved at the edge": (ticket(("02-01", "opened"), ("02-01", "resolved")), (0, 0, 0)),
        "reopened": (ticket(("01-05", "opened"), ("01-06", "resolved"), ("02-05", "reopened")), (0, 1, 1)),
        "in between": (ticket(("01-05", "opened"), ("01-06", "resolved"), ("02-05", "reopened"), ("02-06", "resolved")), (0, 0, 0)),
        "at as-of": (ticket(("01-05", "opened"), ("03-31 12:00", "resolved")), (1, 1, 0)),
        "opened at as-of": (ticket(("03-31 12:00", "opened")), (0, 0, 1)),
        "two": (ticket(("01-05", "opened"), name="a") + ticket(("02-05", "opened"), name="b"), (1, 2, 2)),
        "an unknown key's": (ticket(("01-05", "opened"), who="anon:c"), (1, 1, 1)),
        "never opened": ([*ticket(("01-05", "reopened"), ("01-06", "agent")), view()], (0, 0, 0)),
        "resolved before the opening": (ticket(("01-04", "resolved"), ("01-05", "opened")), (1, 1, 1)),
    }  # fmt: skip
    told = tell(steps, "backlog", {case: rows for case, (rows, _) in cases.items()})
    found = {case: tuple(told.value("backlog", case, m) or 0 for m in (JANUARY, FEBRUARY, MARCH)) for case in cases}
    assert found == {case: months for case, (_, months) in cases.items()}
    assert {case: told.value("backlog", case) or 0 for case in cases} == {
        case: last for case, (_, (_, _, last)) in cases.items()
    }


# --- the month in which something counts ---------------------------------------------------------------------------------


def test_months_are_those_of_the_time_zone(steps: Any) -> None:
    """04:59 and 05:00 on 1 February are the end of January and the beginning of February in New York."""
    last, first = "02-01 04:59", "02-01 05:00"
    cases = {
        "nps": [
            *ticket(("01-05", "opened")), answer("nps", 10, 0, 10, last, ticket_id="t", context="relationship"),
            answer("nps", 0, 0, 10, first, survey_id="s", context="relationship", who="anon:cookie"),
        ],
        "surveys": [
            sent("nps", last, survey_id="s"), sent("nps", "02-03", survey_id="s"), answer("nps", 0, 0, 10, "03-05", survey_id="s"),
            sent("nps", first, survey_id="r"),
        ],
        "a ticket": ticket((last, "opened", SELF), ("02-01 05:29", "agent"), ("03-01 05:00", "resolved")),
        "two tickets": ticket((last, "opened"), name="a") + ticket((first, "opened"), name="b"),
        "pages": [view(last, load_ms=3000.0), view(first, load_ms=1.0)],
        "tasks": [
            use(last, task="x", task_outcome="failed", duration_s=1.0), use(first, task="x", task_outcome="completed", duration_s=2.0),
        ],
    }  # fmt: skip
    told = tell(steps, METRICS, cases, timezone="America/New_York")
    expected: dict[tuple[str, str], list[float | None]] = {
        ("nps", "nps"): [100, -100, None, 0], ("nps_relationship", "nps"): [100, -100, None, 0],
        ("response_rate", "surveys"): [1, 0, None, 0.5],
        ("first_response_minutes_p50", "a ticket"): [30, None, None, 30], ("containment_rate", "a ticket"): [0, None, None, 0],
        ("resolution_hours_p50", "a ticket"): [None, None, 672 + 1 / 60, 672 + 1 / 60],
        ("full_resolution_hours_p50", "a ticket"): [None, None, 672 + 1 / 60, 672 + 1 / 60],
        ("reopen_rate", "a ticket"): [None, None, 0, 0], ("one_touch_rate", "a ticket"): [None, None, 1, 1],
        ("repeat_contact_rate", "a ticket"): [None, None, 0, 0], ("backlog", "a ticket"): [1, 1, 0, 0],
        ("backlog", "two tickets"): [1, 2, 2, 2], ("page_load_ms_p75", "pages"): [3000, 1, None, 2250.25],
        ("page_slow_share", "pages"): [1, 0, None, 0.5], ("task_seconds_p50", "tasks"): [None, 2, None, 2],
        ("task_completion_rate", "tasks"): [0, 1, None, 0.5],
    }  # fmt: skip
    for (name, case), values in expected.items():
        found = [told.value(name, case, month) for month in (JANUARY, FEBRUARY, MARCH, None)]
        assert found == pytest.approx(values), (name, case)
    for name, case in (("nps", "nps"), ("response_rate", "surveys"), ("page_slow_share", "pages")):
        statuses = [told.row(name, case, month)["status"] for month in (JANUARY, FEBRUARY, MARCH, None)]
        assert statuses == ["final", "final", "provisional", "final"], (
            "a late answer changes January, but no window is open"
        )


# --- pages and tasks ---------------------------------------------------------------------------------------------------


def test_pages(steps: Any) -> None:
    cases = {
        "four": [view(load_ms=float(ms)) for ms in (100, 200, 1000, 3000)] + [view(), {**use(), "load_ms": 9.0}],
        "2500": [view(load_ms=2500.0)],
        "a little more": [view(load_ms=2500.4)],
        "rounded": [view(load_ms=1.5)],
        "0": [view(load_ms=0.0)],
        "a broken clock": [view(load_ms=1e300), view(load_ms=1.0), view(load_ms=2.0)],
        "an unknown key": [view(load_ms=3000.0, who="anon:c")],
        "nothing said": [view()],
    }
    told = tell(steps, ("page_load_ms", "page_slow_share"), cases)
    assert [told.value(f"page_load_ms_{p}", "four", JANUARY) for p in ("p50", "p75", "p90")] == [600, 1500, 2400]
    assert told.row("page_load_ms_p50", "four")["n"] == 4
    assert [told.value("page_load_ms_p50", case) for case in ("a little more", "rounded", "0")] == [2500, 2, 0]
    assert [told.value("page_slow_share", case) for case in ("2500", "a little more", "0")] == [0, 1, 0]
    assert told.parts("page_slow_share", "four") == (1, 4)
    assert (told.value("page_load_ms_p50", "a broken clock"), told.value("page_load_ms_p90", "a broken clock")) == (
        2,
        0.2 * 2 + 0.8 * 1e12,
    )
    assert (told.value("page_slow_share", "an unknown key"), told.value("page_slow_share", "nothing said")) == (1, None)
    assert told.value("page_load_ms_p75", "four", FEBRUARY) is None, "null where no page says it"
    assert told.value("page_slow_share", "four", FEBRUARY) is None


def test_tasks(steps: Any) -> None:
    def done(outcome: str | None, seconds: float | None, **fields: Any) -> Row:
        return use(**{"task": "export", "task_outcome": outcome, "duration_s": seconds, **fields})

    cases = {
        "three": [done("completed", seconds) for seconds in (10.0, 20.5, 60.0)],
        "all kinds": [
            done("completed", 4.0), done("completed", None), done("failed", 5.0), done("abandoned", 6.0), done(None, 7.0),
            done("completed", 8.0, task=None), use(duration_s=9.0),
        ],
        "a part of a millisecond": [done("completed", 0.0006)],
        "a broken clock": [done("completed", 1e308)],
        "an unknown key": [done("completed", 3.0, who="anon:c")],
        "none completed": [done("failed", 5.0)],
        "no task": [use()],
    }  # fmt: skip
    told = tell(steps, ("task_seconds", "task_completion_rate"), cases)
    assert [told.value(f"task_seconds_{s}", "three") for s in ("mean", "p50", "p90")] == [90.5 / 3, 20.5, 52.1]
    assert (told.value("task_seconds_mean", "all kinds"), told.row("task_seconds_p50", "all kinds")["n"]) == (4, 1)
    assert told.value("task_seconds_p50", "a part of a millisecond") == 0.001
    assert told.value("task_seconds_p50", "a broken clock") == 1e9
    assert told.value("task_seconds_p50", "none completed") is None
    assert told.parts("task_completion_rate", "all kinds") == (2, 5)
    assert [told.value("task_completion_rate", case) for case in ("an unknown key", "none completed", "no task")] == [
        1,
        0,
        None,
    ]
    assert told.value("task_completion_rate", "three", FEBRUARY) is None


# --- features ----------------------------------------------------------------------------------------------------------


def by_feature(rows: list[Row], name: str) -> dict[str, list[tuple[int, int]]]:
    """Numerator and denominator of January, February, March and over all, by feature."""
    found: dict[str, list[tuple[int, int]]] = defaultdict(list)
    order = {JANUARY: 0, FEBRUARY: 1, MARCH: 2, None: 3}
    for row in sorted((r for r in rows if r["metric"] == name), key=lambda r: order[r["period_start"]]):
        assert row["segment"] == "feature", "a total over features would say nothing"
        assert row["value"] == (float(row["numerator"] / row["denominator"]) if row["denominator"] else None)
        found[row["segment_value"]].append((int(row["numerator"]), int(row["denominator"])))
    return found


def test_features(steps: Any) -> None:
    rows = [
        use("02-01 04:59", feature="reports"), use("02-01 05:00", feature="reports"), use("02-05", feature="reports"),
        use("02-06", feature="export"), use("02-01 05:00", who="bob", feature="reports"), view("01-07", who="bob"),
        view("02-08", who="cid"), {"type": "ad_view", "at": "2026-01-09", "who": "dan", "clicked": False},
        use("01-05", who="anon:c", feature="reports"), use("02-05", who="anon:c", feature="search"),
    ]  # fmt: skip
    found = steps.metrics(
        rows, AS_OF, "adoption_rate", "feature_users_share", timezone="America/New_York", segments={"case": "country"}
    )
    assert by_feature(found, "adoption_rate") == {
        "reports": [(1, 2), (1, 3), (0, 0), (2, 3)], "export": [(0, 2), (1, 3), (0, 0), (1, 3)],
    }, "those active; a second use is no first one, and a cookie is nobody"  # fmt: skip
    assert by_feature(found, "feature_users_share") == {
        "reports": [(1, 3), (2, 4), (2, 4), (2, 4)], "export": [(0, 3), (1, 4), (1, 4), (1, 4)],
    }, "those ever seen"  # fmt: skip
    assert {r["n"] for r in found if r["metric"] == "adoption_rate" and r["period_start"] == FEBRUARY} == {3}


# --- random tickets, by a plain reading ----------------------------------------------------------------------------------


def random_tickets(seed: int) -> list[Row]:
    """A few tickets of many customers on a grid of days, so that windows end where something happens; ids in no order."""
    rng = random.Random(seed)
    rows = []
    for customer in range(100):
        who = f"c{customer}" if rng.random() < 0.9 else f"anon:{customer}"
        for number in range(rng.randint(1, 4)):
            day = rng.randint(0, 85)
            for _ in range(rng.randint(1, 6)):
                at = datetime.datetime(2026, 1, 1) + datetime.timedelta(days=day, microseconds=rng.choice((0, 0, 0, 1)))
                kind = rng.choice(
                    ("opened", "opened", "replied", "replied", "resolved", "resolved", "resolved", "reopened")
                )
                author = rng.choice(("agent", "agent", "bot", "customer")) if kind == "replied" else None
                rows.append({
                    "type": f"ticket_{kind}", "at": at, "who": who, "ticket_id": f"t{number}", "author": author,
                    "public": rng.choice((True, True, False, None)) if author else None,
                    "self_service": rng.choice((True, False, None)) if kind == "opened" else None,
                })  # fmt: skip
                day = min(day + rng.choice((0, 0, 1, 3, 7)), 88)
    rng.shuffle(rows)
    return rows


def read_tickets(rows: list[Row]) -> list[Row]:
    """Each ticket that was opened, by the plain meaning of its events."""
    events = defaultdict(list)
    for number, row in enumerate(rows):
        events[row["who"], row["ticket_id"]].append(
            (row["at"], f"e{number:04}", row["type"].removeprefix("ticket_"), row)
        )
    tickets = []
    for (who, _), own in events.items():
        own.sort(key=lambda e: e[:2])
        opening = next((e for e in own if e[2] == "opened"), None)
        if opening is None:
            continue
        life = [opening, *[e for e in own if e[0] >= opening[0] and e is not opening]]
        replies = [
            at
            for at, _, what, row in life
            if what == "replied" and row["author"] == "agent" and row["public"] is not False
        ]
        resolved = [at for at, _, what, _ in life if what == "resolved"]
        tickets.append({
            "who": who, "opened": opening[0], "life": life, "replies": replies, "resolved": resolved,
            "reopened": any(what == "reopened" for _, _, what, _ in life),
            "self_service": any(row["self_service"] for _, _, _, row in life),
            "open": [what for _, _, what, _ in life if what != "replied"][-1] != "resolved",
        })  # fmt: skip
    return tickets


def half_have_ended(waits: list[tuple[datetime.timedelta, bool]]) -> float | None:
    """Kaplan and Meier, one by one: whose wait was cut short leaves the others at the share that they had."""
    left, there = 1.0, len(waits)
    for length, ended in sorted(waits, key=lambda w: (w[0], not w[1])):
        left -= left / there if ended else 0
        there -= 1
        if left <= 0.5 + 1e-9:
            return length.total_seconds()
    return None


def by_hand(rows: list[Row], as_of: datetime.datetime, zone: str) -> dict[tuple[str, Month], Any]:
    """(numerator, denominator, is decided) of each rate; (sum, n, half) in whole seconds of each time; the backlog."""
    tickets = read_tickets(rows)
    rates: dict[tuple[str, Month], list[int]] = defaultdict(lambda: [0, 0, 0])
    times: dict[tuple[str, Month], list[tuple[datetime.timedelta, bool]]] = defaultdict(list)
    day = datetime.timedelta(days=1)

    def month(at: datetime.datetime) -> datetime.date:
        return at.replace(tzinfo=datetime.UTC).astimezone(ZoneInfo(zone)).date().replace(day=1)

    def rate(name: str, at: datetime.datetime, counts: bool, pending: bool = False) -> None:
        for period in (month(at), None):
            rates[name, period] = [a + b for a, b in zip(rates[name, period], (counts, 1, pending), strict=True)]

    def time(name: str, at: datetime.datetime, length: datetime.timedelta, ended: bool) -> None:
        for period in (month(at), None):
            times[name, period].append((datetime.timedelta(seconds=length // datetime.timedelta(seconds=1)), ended))

    for t in tickets:
        others = [o["opened"] for o in tickets if o is not t and o["who"] == t["who"]]
        if t["resolved"]:
            first = t["resolved"][0]
            back = any(first < other <= first + 7 * day for other in others)
            rate("reopen_rate", first, t["reopened"])
            rate("one_touch_rate", first, len(t["replies"]) <= 1 and not t["reopened"])
            rate("repeat_contact_rate", first, back, not back and first + 7 * day > as_of)
        if t["self_service"]:
            until = as_of if t["open"] else t["resolved"][-1] + 3 * day
            alone = not t["replies"] and not any(t["opened"] < other <= until for other in others)
            rate("containment_rate", t["opened"], alone and not t["open"], alone and (t["open"] or until > as_of))
        stop = as_of if t["open"] else t["resolved"][-1]
        time("first_response_minutes", t["opened"], (t["replies"] or [stop])[0] - t["opened"], bool(t["replies"]))
        first_stop, last_stop = (t["resolved"] or [as_of])[0], stop
        time("resolution_hours", first_stop, first_stop - t["opened"], bool(t["resolved"]))
        time("full_resolution_hours", last_stop, last_stop - t["opened"], not t["open"])
    for begin, end in ((JANUARY, FEBRUARY), (FEBRUARY, MARCH), (MARCH, None)):
        edge = as_of + datetime.timedelta(microseconds=1)
        if end is not None:
            edge = (
                datetime.datetime(end.year, end.month, 1, tzinfo=ZoneInfo(zone))
                .astimezone(datetime.UTC)
                .replace(tzinfo=None)
            )
        lives = [[what for at, _, what, _ in t["life"] if at < edge and what != "replied"] for t in tickets]
        rates["backlog", begin][0] = sum(bool(life) and life[-1] != "resolved" for life in lives)
    rates["backlog", None] = rates["backlog", MARCH]
    found: dict[tuple[str, Month], Any] = {key: tuple(parts) for key, parts in rates.items()}
    for key, waits in times.items():
        ended = [length.total_seconds() for length, done in waits if done]
        found[key] = (sum(ended), len(ended), np.median(ended) if ended else None, half_have_ended(waits))
    return found


@pytest.mark.parametrize(("seed", "zone"), [(1, "Asia/Tokyo"), (2, "America/New_York")])
def test_random_tickets_are_read_alike(steps: Any, seed: int, zone: str) -> None:
    rows = random_tickets(seed)
    as_of = datetime.datetime(2026, 3, 30)
    expected = by_hand(rows, as_of, zone)
    found = {
        (r["metric"], r["period_start"]): r
        for r in steps.metrics(rows, "2026-03-30", *TICKETS, timezone=zone, shards=seed)
    }
    known = load_metrics()
    for name in TICKETS:
        for month in (JANUARY, FEBRUARY, MARCH, None):
            if known[name].shape == "distribution":
                total, n, median, half = expected[name, month]
                scale = known[name].divisor
                mean = found[f"{name}_mean", month]
                assert (int(mean["numerator"]), mean["n"]) == (total, n), (name, month)
                assert [found[f"{name}_{s}", month]["value"] for s in ("p50", "km_p50")] == [
                    None if value is None else pytest.approx(value / scale) for value in (median, half)
                ], (name, month)
                continue
            numerator, denominator, pending = expected[name, month]
            row = found[name, month]
            assert (row["numerator"], row["denominator"] or 0) == (numerator, denominator), (name, month)
            if name != "backlog":
                assert row["status"] == ("provisional" if pending or month == MARCH else "final"), (name, month)


def test_the_backlog_of_the_known_is_that_of_their_months(steps: Any) -> None:
    rows = [row for row in random_tickets(4) if not row["who"].startswith("anon:")]
    months: dict[Month, int] = defaultdict(int)
    for row in steps.measured(rows, "2026-03-30")["customer_months"].to_pylist():
        months[row["month"]] += row["open_tickets"]
    backlog = by_hand(rows, datetime.datetime(2026, 3, 30), "UTC")
    assert months == {month: backlog["backlog", month][0] for month in (JANUARY, FEBRUARY, MARCH)}


# --- what holds of all of them -------------------------------------------------------------------------------------------


def mixed(seed: int, customers: int) -> list[Row]:
    """Something of everything, of customers of two countries and of some that nobody told."""
    rng = random.Random(seed)
    rows: list[Row] = []
    for number in range(customers):
        who, country = rng.choice((f"c{number}", f"c{number}", f"anon:{number}")), rng.choice((None, "DE", "FR"))
        own: list[Row] = []
        for _ in range(rng.randint(1, 8)):
            day = f"{rng.randint(1, 3):02}-{rng.randint(1, 28):02}"
            ids = rng.choice(({}, {"survey_id": "s"}, {"ticket_id": "t"}, {"order_id": "o"}))
            context, turned = rng.choice((None, "transactional", "relationship")), rng.choice((None, True, False))
            task, outcome = rng.choice((None, "x")), rng.choice((None, "completed", "failed"))
            life = [
                ("opened", {"self_service": rng.random() < 0.5}),
                "bot",
                "agent",
                "agent",
                "resolved",
                "reopened",
                "resolved",
            ]
            own += rng.choice((
                [answer("nps", rng.randint(0, 10), 0, rng.choice((10, 10, 11)), day, context=context, **ids)],
                [answer("csat", rng.randint(1, 4), 1, rng.choice((4, 5)), day, **ids)],
                [answer("ces", rng.randint(1, 7), 1, 7, day, easier_is_higher=turned)],
                [sent(rng.choice(("nps", "csat", "ces")), day, **ids)],
                [view(day, load_ms=rng.choice((None, 100.0, 2500.0, 2600.0)))],
                [use(day, feature=rng.choice("ab"), task=task, task_outcome=outcome, duration_s=rng.choice((None, 1.5, 20.0)))],
                ticket(
                    *[(f"{day} {hour:02}:00", *([what] if isinstance(what, str) else what))
                      for hour, what in enumerate(life) if hour == 0 or rng.random() < 0.5],
                    name=rng.choice("tuv"),
                ),
            ))  # fmt: skip
        rows += [{**row, "who": who, "country": country} for row in own]
    return rows


def test_the_segments_add_up_to_all(steps: Any) -> None:
    found = steps.metrics(mixed(5, 40), AS_OF, *METRICS, segments={"country": "country"})
    together: dict[tuple[str, Month], list[Any]] = defaultdict(lambda: [Decimal(0), Decimal(0), 0])
    of_all = {}
    for row in found:
        parts = [row["numerator"] or 0, row["denominator"] or 0, row["n"]]
        if row["segment"] == "country":
            key = row["metric"], row["period_start"]
            together[key] = [a + b for a, b in zip(together[key], parts, strict=True)]
        elif row["segment"] == "all":
            of_all[row["metric"], row["period_start"]] = parts
    assert {row["segment_value"] for row in found if row["segment"] == "country"} == {"(none)", "DE", "FR"}
    assert together == of_all
    empty = {name for name, month in of_all if month is None and not any(of_all[name, None])}
    assert empty == {f"first_response_business_minutes_{s}" for s in ("mean", "p50", "p90")}, "without working hours"


def test_no_cut_into_shards_shows(steps: Any) -> None:
    """Those of tickets are cut into shards above, by the plain reading."""
    rows, names = mixed(7, 20), [name for name in METRICS if name not in TICKETS]
    assert steps.metrics(rows, AS_OF, *names, shards=3) == steps.metrics(rows, AS_OF, *names)


def test_before_anything_was_asked_or_opened_there_is_no_value(steps: Any) -> None:
    """One event that is none of theirs: null, and neither 0 nor a number; a count is 0."""
    found = steps.metrics([{"type": "purchase", "at": "2026-01-05"}], "2026-01-31", *METRICS)
    counts = {"backlog", "nps_excluded"}
    assert {r["value"] for r in found if r["metric"] not in counts} == {None}
    assert {r["value"] for r in found if r["metric"] in counts} == {0}
    assert {r["metric"] for r in found} == {
        name for metric in METRICS for name in load_metrics()[metric].published_names
    } - {"adoption_rate", "feature_users_share"}, "no feature, no row of one"  # fmt: skip
