"""RavenStack's figures worked out a second time, in plain Python: an oracle for the tables that Parcours publishes.

It shares no line with the project and none of its libraries: what both say was reached by two ways.

When things happen (all times UTC; the files know only days)
    A subscription starts at midnight of its start_date and is cancelled at noon of its end_date, if it has one. A churn
    event closes its account at noon of its churn_date, and that ends every subscription of the account that had started
    by then. A subscription runs to the first of these ends. Nothing renews, nothing expires.
When a subscription is active
    Just before a moment: it started earlier, and has not ended earlier.  start < moment <= end
    At a moment: it has started, and has not ended.                       start <= moment < end
    A month opens with what is active just before its first instant, and closes with what is active just before the next
    month's. The month of as_of is not over: it closes with what is active at as_of, and ends after as_of are not known.
What a subscription is worth a month
    mrr_amount, or a twelfth of arr_amount where it is billed by the year. A trial is worth 0, and is active all the same.
What is counted
    Churned accounts: with an active subscription as the month opens and none as it closes. Lost subscriptions: active as
    it opens, and ended in it; who comes back within the month has lost subscriptions, and has not churned. The movements
    of mrr compare what an account is worth as the month opens and as it closes: from nothing to something it is new, or
    a reactivation if it was worth something at the end of any earlier month; from something to nothing it is churned.
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from pathlib import Path

Row = Mapping[str, str]
Figures = dict[tuple[str, date | None], tuple[Decimal, Decimal | None]]  # (metric, month) -> (numerator, denominator)

NOTHING = Decimal(0)
# Of these, the sum over the months is divided by the sum of the openings.
RATES = ("churn_rate", "subscription_churn_rate", "mrr_churn_rate", "grr", "nrr")
# These are sums of money and have no denominator.
MOVEMENTS = ("mrr_new", "mrr_expansion", "mrr_contraction", "mrr_churned", "mrr_reactivation")


@dataclass(frozen=True)
class Subscription:
    id: str
    account: str
    mrr: Decimal
    start: datetime
    cancelled: datetime | None  # by its own row
    end: datetime | None  # the first of the cancellation and the closings of its account

    def active_before(self, moment: datetime) -> bool:
        return self.start < moment and (self.end is None or moment <= self.end)

    def active_at(self, moment: datetime) -> bool:
        return self.start <= moment and (self.end is None or moment < self.end)


@dataclass(frozen=True)
class Closing:
    account: str
    at: datetime
    reason: str


@dataclass(frozen=True)
class Month:
    first: date
    opening: set[Subscription]  # active as the month opens
    closing: set[Subscription]  # active as it closes
    ended: set[Subscription]  # that ended in it, whenever they started


class Company:
    def __init__(self, subscriptions: Iterable[Row], churn_events: Iterable[Row], tickets: Iterable[Row]) -> None:
        self.closings = [
            Closing(row["account_id"], noon(row["churn_date"]), row["reason_code"]) for row in churn_events
        ]
        closed = defaultdict(list)
        for closing in self.closings:
            closed[closing.account].append(closing.at)
        self.subscriptions = [subscription(row, closed[row["account_id"]]) for row in subscriptions]
        self.response_minutes = [
            Fraction(row["first_response_time_minutes"]) for row in tickets if row["first_response_time_minutes"]
        ]

    # ---- what happened in the months ---------------------------------------------------------------------------------

    def months(self, as_of: datetime) -> list[date]:
        """The first days of the months from the first subscription's start to as_of."""
        month = min(subscription.start for subscription in self.subscriptions).date().replace(day=1)
        months = []
        while month <= as_of.astimezone(UTC).date():
            months.append(month)
            month = month_after(month)
        return months

    def month(self, first: date, as_of: datetime) -> Month:
        start, next_start = midnight(first), midnight(month_after(first))
        over = next_start <= as_of
        return Month(
            first,
            opening={s for s in self.subscriptions if s.active_before(start)},
            closing={s for s in self.subscriptions if (s.active_before(next_start) if over else s.active_at(as_of))},
            ended={s for s in self.subscriptions if s.end and start <= s.end < next_start and s.end <= as_of},
        )

    def lifecycle(self, as_of: datetime) -> Figures:
        """The figures by month; under None those of all months."""
        months = [self.month(first, as_of) for first in self.months(as_of)]
        figures: Figures = {}
        have_paid: set[str] = set()  # accounts that were worth something at the end of an earlier month
        for month in months:
            for metric, figure in {**rates_of_churn(month), **movements(month, have_paid)}.items():
                figures[metric, month.first] = figure
            have_paid |= mrr_by_account(month.closing).keys()

        for metric in RATES:
            of_months = [figures[metric, month.first] for month in months]
            figures[metric, None] = (total(up for up, _ in of_months), total(down or NOTHING for _, down in of_months))
        for metric in MOVEMENTS:
            figures[metric, None] = (total(figures[metric, month.first][0] for month in months), None)
        figures["mrr", None] = figures["mrr", months[-1].first]  # a stock does not add up
        return figures

    def churn_by_reason(self, as_of: datetime) -> dict[tuple[str | None, date], int]:
        """The churned accounts of churn_rate, by what ended the last of their subscriptions to end in the month."""
        counts: Counter[tuple[str | None, date]] = Counter()
        for first in self.months(as_of):
            month = self.month(first, as_of)
            for account in churned_accounts(month):
                last = max(s.end for s in month.ended if s.account == account and s.end)
                counts[self.reason(account, last), first] += 1
        return dict(counts)

    def reason(self, account: str, end: datetime) -> str | None:
        """A cancellation has no reason. Of a closing and a cancellation at one noon the closing counts: it says why."""
        reasons = {closing.reason for closing in self.closings if (closing.account, closing.at) == (account, end)}
        assert len(reasons) <= 1, (
            f"{account} was closed twice at {end}, and no rule says which reason counts: {reasons}"
        )
        return next(iter(reasons), None)

    # ---- plain counts ------------------------------------------------------------------------------------------------

    def churn_events_by_reason(self) -> dict[str, int]:
        return dict(Counter(closing.reason for closing in self.closings))

    def churn_events_while_active(self) -> int:
        """Churn events on a day on which a subscription of the account runs, by the subscriptions file alone.

        So start_date <= churn_date, and no end_date or end_date >= churn_date. That an earlier churn event had closed the
        account counts for nothing here: 545 of the 600 are those so counted, and it would be 495 if it did.
        """
        running = defaultdict(list)
        for s in self.subscriptions:
            running[s.account].append((s.start, s.cancelled))
        return sum(
            any(start <= closing.at and (end is None or closing.at <= end) for start, end in running[closing.account])
            for closing in self.closings
        )

    def mean_first_response_minutes(self) -> Fraction:
        return sum(self.response_minutes, Fraction()) / len(self.response_minutes)


def load(folder: Path) -> Company:
    def rows(name: str) -> list[Row]:
        with open(folder / f"ravenstack_{name}.csv", newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    return Company(rows("subscriptions"), rows("churn_events"), rows("support_tickets"))


# ---- figures of one month: (numerator, denominator) ------------------------------------------------------------------


def rates_of_churn(month: Month) -> dict[str, tuple[Decimal, Decimal | None]]:
    lost = month.opening & month.ended
    return {
        "churn_rate": (Decimal(len(churned_accounts(month))), Decimal(len(accounts(month.opening)))),
        "subscription_churn_rate": (Decimal(len(lost)), Decimal(len(month.opening))),
        "mrr_churn_rate": (total(s.mrr for s in lost), total(s.mrr for s in month.opening)),
    }


def movements(month: Month, have_paid: set[str]) -> dict[str, tuple[Decimal, Decimal | None]]:
    opening, closing = mrr_by_account(month.opening), mrr_by_account(month.closing)
    came, stayed, left = closing.keys() - opening, closing.keys() & opening, opening.keys() - closing
    new = total(closing[account] for account in came - have_paid)
    reactivation = total(closing[account] for account in came & have_paid)
    expansion = total(max(closing[account] - opening[account], NOTHING) for account in stayed)
    contraction = total(max(opening[account] - closing[account], NOTHING) for account in stayed)
    churned = total(opening[account] for account in left)
    at_opening = total(opening.values())
    kept = at_opening - contraction - churned
    return {
        "mrr": (total(closing.values()), None),
        "mrr_new": (new, None),
        "mrr_expansion": (expansion, None),
        "mrr_contraction": (contraction, None),
        "mrr_churned": (churned, None),
        "mrr_reactivation": (reactivation, None),
        "grr": (kept, at_opening),
        "nrr": (kept + expansion, at_opening),
    }


def accounts(subscriptions: Iterable[Subscription]) -> set[str]:
    return {s.account for s in subscriptions}


def churned_accounts(month: Month) -> set[str]:
    return accounts(month.opening) - accounts(month.closing)


def mrr_by_account(subscriptions: Iterable[Subscription]) -> dict[str, Decimal]:
    """The accounts that are worth something."""
    mrr: defaultdict[str, Decimal] = defaultdict(Decimal)
    for s in subscriptions:
        mrr[s.account] += s.mrr
    return {account: amount for account, amount in mrr.items() if amount > 0}


def total(amounts: Iterable[Decimal]) -> Decimal:
    return sum(amounts, NOTHING)


# ---- rows and times --------------------------------------------------------------------------------------------------


def subscription(row: Row, closed: list[datetime]) -> Subscription:
    start = midnight(date.fromisoformat(row["start_date"]))
    cancelled = noon(row["end_date"]) if row["end_date"] else None
    ends = [end for end in [cancelled, *closed] if end is not None and end >= start]
    return Subscription(
        row["subscription_id"], row["account_id"], monthly(row), start, cancelled, min(ends, default=None)
    )


def monthly(row: Row) -> Decimal:
    if row["billing_frequency"] == "monthly":
        return Decimal(row["mrr_amount"])
    assert row["billing_frequency"] == "annual"
    return (Decimal(row["arr_amount"]) / 12).quantize(Decimal("0.0001"), ROUND_HALF_UP)


def midnight(day: date) -> datetime:
    return datetime.combine(day, time(0), UTC)


def noon(day: str) -> datetime:
    return datetime.combine(date.fromisoformat(day), time(12), UTC)


def month_after(first: date) -> date:
    return date(first.year + first.month // 12, first.month % 12 + 1, 1)
