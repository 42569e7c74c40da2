"""The oracle of ravenstack_by_hand.py on small cases, whose answers are worked out here by hand."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from tests.sources.ravenstack_by_hand import Company, Figures, Subscription, load, monthly

JANUARY, FEBRUARY, MARCH, APRIL = (date(2024, month, 1) for month in range(1, 5))


def company(*lines: str, response_minutes: tuple[str, ...] = ()) -> Company:
    """From lines `account start end mrr`, a subscription ('-': no end), and `account churn_date reason`, a churn event."""
    words = [line.split() for line in lines]
    return Company(
        [
            {
                "subscription_id": f"S-{number}",
                "account_id": account,
                "start_date": start,
                "end_date": "" if end == "-" else end,
                "billing_frequency": "monthly",
                "mrr_amount": mrr,
            }
            for number, (account, start, end, mrr) in enumerate(of_four for of_four in words if len(of_four) == 4)
        ],
        [
            {"account_id": account, "churn_date": day, "reason_code": reason}
            for account, day, reason in (of_three for of_three in words if len(of_three) == 3)
        ],
        [{"first_response_time_minutes": minutes} for minutes in response_minutes],
    )


def at(moment: str) -> datetime:
    return datetime.fromisoformat(moment).replace(tzinfo=UTC)


def ends(company: Company) -> list[str | None]:
    return [s.end.strftime("%m-%d %H:%M") if s.end else None for s in company.subscriptions]


def numbers(figures: Figures, metric: str, *months: date | None) -> list[tuple[int, int | None]]:
    found = [figures[metric, month] for month in months]
    assert all(up == int(up) and (down is None or down == int(down)) for up, down in found)
    return [(int(up), None if down is None else int(down)) for up, down in found]


# ---- when a subscription runs ----------------------------------------------------------------------------------------


def test_a_subscription_runs_to_the_first_of_its_ends() -> None:
    found = company(
        "A 2024-01-10 2024-03-10 1",  # closed before it is cancelled
        "A 2024-01-10 2024-02-10 1",  # cancelled before it is closed
        "A 2024-02-20 - 1",  # starts on the day of the closing, twelve hours before it
        "A 2024-02-21 - 1",  # the first closing lies before its start, the second ends it
        "B 2024-01-10 - 1",  # another's closing
        "B 2024-01-10 2024-01-10 1",  # a day, from midnight to noon
        "A 2024-02-20 pricing",
        "A 2024-04-01 support",
        "B 2024-01-09 budget",
    )
    assert ends(found) == [
        "02-20 12:00",
        "02-10 12:00",
        "02-20 12:00",
        "04-01 12:00",
        None,
        "01-10 12:00",
    ]


def test_active_before_a_moment_and_at_it() -> None:
    start, end, tick = at("2024-01-01"), at("2024-02-01"), timedelta(microseconds=1)
    subscription = Subscription("S", "A", Decimal(1), start, end, end)
    assert [subscription.active_before(moment) for moment in (start, start + tick, end, end + tick)] == [
        False,
        True,
        True,
        False,
    ]
    assert [subscription.active_at(moment) for moment in (start - tick, start, end - tick, end)] == [
        False,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("billing", "mrr", "arr", "expected"),
    [("monthly", "50", "7", "50"), ("annual", "50", "1000", "83.3333"), ("annual", "0", "0.0006", "0.0001")],
)
def test_what_a_subscription_is_worth_a_month(billing: str, mrr: str, arr: str, expected: str) -> None:
    assert monthly({"billing_frequency": billing, "mrr_amount": mrr, "arr_amount": arr}) == Decimal(expected)


# ---- months ----------------------------------------------------------------------------------------------------------


def test_the_months_run_from_the_first_start_to_as_of() -> None:
    found = company("A 2023-11-30 - 1", "B 2023-12-01 - 1")
    assert found.months(at("2024-01-01T00:00")) == [date(2023, 11, 1), date(2023, 12, 1), JANUARY]
    assert found.months(at("2023-12-31T23:59")) == [date(2023, 11, 1), date(2023, 12, 1)]


def test_the_last_and_the_first_day_of_a_month() -> None:
    """What starts at the first instant of February is not active just before it: neither January nor February has it."""
    found = company(
        "A 2024-01-31 2024-02-01 1",  # active as February opens, and ends in it
        "B 2024-01-31 2024-01-31 1",  # not active at any month's end
        "C 2024-02-01 - 1",
    ).lifecycle(at("2024-03-15"))
    assert numbers(found, "mrr", JANUARY, FEBRUARY, MARCH) == [(1, None), (1, None), (1, None)]
    assert numbers(found, "churn_rate", JANUARY, FEBRUARY, MARCH) == [(0, 0), (1, 1), (0, 1)]
    assert numbers(found, "mrr_new", JANUARY, FEBRUARY, MARCH) == [(1, None), (1, None), (0, None)]


def test_the_month_of_as_of_closes_with_it() -> None:
    found = company("A 2024-01-10 2024-02-10 1", "B 2024-02-01 - 2")
    assert numbers(found.lifecycle(at("2024-02-01T00:00")), "mrr", FEBRUARY) == [(3, None)]  # B has just started
    early, late = found.lifecycle(at("2024-02-10T11:59")), found.lifecycle(at("2024-02-10T12:00"))
    for metric in ("churn_rate", "subscription_churn_rate"):
        assert numbers(early, metric, FEBRUARY) == [(0, 1)]  # A's end is not known yet
        assert numbers(late, metric, FEBRUARY) == [(1, 1)]


# ---- churn -----------------------------------------------------------------------------------------------------------


def test_who_comes_back_within_the_month_has_not_churned_but_a_subscription_has() -> None:
    found = company(
        "A 2024-01-10 - 30",  # closed in February; the account comes back ten days later
        "A 2024-02-20 - 50",
        "B 2024-01-10 2024-02-05 20",  # one of two: the account goes on
        "B 2024-01-10 - 40",
        "C 2024-01-10 - 10",  # closed, and gone
        "D 2024-02-02 2024-02-03 90",  # came and went between two month-ends
        "A 2024-02-10 pricing",
        "C 2024-02-10 support",
    )
    figures = found.lifecycle(at("2024-03-31"))
    assert numbers(figures, "churn_rate", FEBRUARY, MARCH, None) == [(1, 3), (0, 2), (1, 5)]
    assert numbers(figures, "subscription_churn_rate", FEBRUARY, MARCH, None) == [(3, 4), (0, 2), (3, 6)]
    assert numbers(figures, "mrr_churn_rate", FEBRUARY, MARCH, None) == [(60, 100), (0, 90), (60, 190)]
    assert found.churn_by_reason(at("2024-03-31")) == {("support", FEBRUARY): 1}


def test_a_trial_is_a_subscription_and_no_revenue() -> None:
    figures = company("A 2024-01-10 2024-02-10 0").lifecycle(at("2024-02-28"))
    assert numbers(figures, "churn_rate", FEBRUARY) == [(1, 1)]
    assert numbers(figures, "mrr_churn_rate", FEBRUARY) == [(0, 0)]
    assert numbers(figures, "mrr_churned", FEBRUARY) == [(0, None)]
    assert numbers(figures, "grr", FEBRUARY) == [(0, 0)]


def test_a_churned_account_is_put_to_the_last_end() -> None:
    found = company(
        "A 2024-01-10 2024-02-10 1",  # cancelled, then closed
        "A 2024-01-10 - 1",
        "B 2024-01-10 - 1",  # closed, back, and cancelled
        "B 2024-02-15 2024-02-20 1",
        "C 2024-01-10 - 1",  # the later closing ended nothing
        "D 2024-01-10 2024-02-10 1",  # cancelled and closed at one noon
        "E 2024-01-10 - 1",  # closed twice at one noon, for one reason
        "F 2024-01-10 2024-02-10 1",  # only cancelled; the closing comes a month later
        "A 2024-02-20 pricing",
        "B 2024-02-10 unknown",
        "C 2024-02-10 support",
        "C 2024-02-20 budget",
        "D 2024-02-10 features",
        "E 2024-02-10 competitor",
        "E 2024-02-10 competitor",
        "F 2024-03-10 budget",
    )
    assert found.churn_by_reason(at("2024-03-31")) == {
        ("pricing", FEBRUARY): 1,
        (None, FEBRUARY): 2,
        ("support", FEBRUARY): 1,
        ("features", FEBRUARY): 1,
        ("competitor", FEBRUARY): 1,
    }


def test_two_reasons_at_one_noon_are_refused() -> None:
    found = company("A 2024-01-10 - 1", "A 2024-02-10 pricing", "A 2024-02-10 budget")
    with pytest.raises(AssertionError, match="closed twice"):
        found.churn_by_reason(at("2024-03-31"))


# ---- revenue ---------------------------------------------------------------------------------------------------------


def test_every_movement_of_the_revenue() -> None:
    figures = company(
        "A 2024-01-05 2024-04-10 100",  # A at the months' ends: 100, 130, 130, 30. Grows in February, shrinks in April
        "A 2024-02-05 - 30",
        "B 2024-01-05 2024-02-10 50",  # B: 50, 0, 0, 70. Leaves in February, comes back in April
        "B 2024-04-10 - 70",
        "C 2024-02-05 - 0",  # C: 0, 0, 20, 20. A trial, then paying: new in March
        "C 2024-03-05 - 20",
        "D 2024-01-05 2024-02-10 60",  # D: 60, 40, 40, 40. A smaller subscription instead of the first
        "D 2024-02-10 - 40",
        "E 2024-01-05 2024-01-20 80",  # E: 0, 0, 9, 9. Paid before, but at no month's end: new in March
        "E 2024-03-10 - 9",
    ).lifecycle(at("2024-04-30"))
    by_month = {
        metric: [up for up, _ in numbers(figures, metric, JANUARY, FEBRUARY, MARCH, APRIL, None)]
        for metric in ("mrr", "mrr_new", "mrr_expansion", "mrr_contraction", "mrr_churned", "mrr_reactivation")
    }
    assert by_month == {
        "mrr": [210, 170, 199, 169, 169],
        "mrr_new": [210, 0, 29, 0, 239],
        "mrr_expansion": [0, 30, 0, 0, 30],
        "mrr_contraction": [0, 20, 0, 100, 120],
        "mrr_churned": [0, 50, 0, 0, 50],
        "mrr_reactivation": [0, 0, 0, 70, 70],
    }
    # Openings: 0, 210, 170, 199; together 579.
    assert numbers(figures, "grr", JANUARY, FEBRUARY, MARCH, APRIL, None) == [
        (0, 0),
        (140, 210),
        (170, 170),
        (99, 199),
        (409, 579),
    ]
    assert numbers(figures, "nrr", JANUARY, FEBRUARY, MARCH, APRIL, None) == [
        (0, 0),
        (170, 210),
        (170, 170),
        (99, 199),
        (439, 579),
    ]


# ---- plain counts ----------------------------------------------------------------------------------------------------


def test_plain_counts() -> None:
    found = company(
        "A 2024-02-10 2024-03-10 1",
        "A 2024-02-09 early",
        "A 2024-02-10 on_the_first_day",
        "A 2024-02-20 again",  # the subscription goes on, if its own row is believed
        "A 2024-03-10 on_the_last_day",
        "A 2024-03-11 again",
        "B 2024-02-20 of_nobody",
        response_minutes=("10", "", "25"),
    )
    assert found.churn_events_by_reason() == {
        "early": 1,
        "on_the_first_day": 1,
        "again": 2,
        "on_the_last_day": 1,
        "of_nobody": 1,
    }
    assert found.churn_events_while_active() == 3
    assert found.mean_first_response_minutes() == Decimal("17.5")


# ---- the real export -------------------------------------------------------------------------------------------------


def test_the_known_figures_of_the_export(exports: Path) -> None:
    """What others counted in it, which is all that is known of it from elsewhere."""
    found = load(exports / "ravenstack")
    assert found.churn_events_by_reason() == {
        "features": 114,
        "support": 104,
        "budget": 104,
        "unknown": 95,
        "competitor": 92,
        "pricing": 91,
    }
    assert found.churn_events_while_active() == 545
    assert found.mean_first_response_minutes() == Decimal("88.48")


def test_the_months_of_the_export_hang_together(exports: Path) -> None:
    found, as_of = load(exports / "ravenstack"), at("2025-01-01")
    figures, by_reason = found.lifecycle(as_of), found.churn_by_reason(as_of)
    opening = Decimal(0)
    for month in found.months(as_of):
        closing = figures["mrr", month][0]
        came = sum(figures[metric, month][0] for metric in ("mrr_new", "mrr_reactivation", "mrr_expansion"))
        went = sum(figures[metric, month][0] for metric in ("mrr_contraction", "mrr_churned"))
        assert figures["grr", month][1] == figures["mrr_churn_rate", month][1] == opening
        assert closing == opening + came - went
        assert figures["churn_rate", month][0] == sum(n for (_, of), n in by_reason.items() if of == month)
        opening = closing
