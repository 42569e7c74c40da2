"""Which touches count for a conversion, and what credit each model gives their channels."""

from __future__ import annotations

import datetime
import zoneinfo
from collections import defaultdict
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms import channel_touches as touches_module
from transforms.channel_credit import MODELS, NO_TOUCH, channel_credit, merge_channel_credit, rounded
from transforms.channel_touches import CONVERSIONS, ChannelTouches, channel_touches
from transforms.metric_inputs import Calendar
from transforms.time_zones import Periods

Row = dict[str, Any]
AS_OF = "2026-12-31"
Credit = dict[tuple[str, str], tuple[Decimal, Decimal]]


def visit(at: str, channel: str | None = None, who: str = "ann", device: str = "d") -> Row:
    return {"type": "site_visit", "at": at, "who": who, "channel": channel, "anonymous_id": device}


def order(at: str, amount: str = "10", who: str = "ann", **fields: Any) -> Row:
    return {"type": "purchase", "at": at, "who": who, "amount": amount, "anonymous_id": "d", **fields}


def calendar(timezone: str = "UTC", as_of: str = AS_OF) -> Calendar:
    return Calendar(Periods(timezone), datetime.datetime.fromisoformat(as_of).replace(tzinfo=datetime.UTC))


def touches_of(
    steps: Any, rows: list[Row], days: int = 30, timezone: str = "UTC"
) -> list[tuple[list[str], bool, bool]]:
    """Of each window in order: its channels, whether it converted, whether it is still open."""
    found: ChannelTouches = channel_touches(
        steps.journeys(rows, AS_OF, timezone=timezone), days, calendar(timezone), steps.connection
    )
    names = found.names.to_pylist()
    windows = found.windows.to_pylist()
    return [
        ([names[c] for c, w in zip(found.channel, found.window, strict=True) if w == n], window["is_converted"], window["is_open"])
        for n, window in enumerate(windows)
    ]  # fmt: skip


def all_credit(steps: Any, rows: list[Row], shards: int = 1, days: int = 30) -> list[Row]:
    whose = sorted({row.get("who", "ann") for row in rows})
    parts = []
    for number in range(shards):
        dealt = [row for row in rows if whose.index(row.get("who", "ann")) % shards == number]
        if dealt:
            shard = steps.journeys(dealt, AS_OF)
            touches = channel_touches(shard, days, calendar(), steps.connection)
            parts.append(channel_credit(shard, touches, steps.connection))
    rows_found: list[Row] = merge_channel_credit(parts, steps.tables["channel_credit"]).to_pylist()
    return rows_found


def credit(steps: Any, rows: list[Row], currency: str = "EUR") -> Credit:
    return {
        (r["model"], r["channel"]): (r["conversions"], r["revenue"])
        for r in all_credit(steps, rows)
        if r["currency"] == currency
    }


def whole(conversions: str, revenue: str) -> tuple[Decimal, Decimal]:
    return Decimal(conversions), Decimal(revenue)


# --- touches -----------------------------------------------------------------------------------------------------------


def test_a_touch_is_the_first_channel_of_a_session(steps: Any) -> None:
    rows = [
        visit("2026-01-01 10:00"), visit("2026-01-01 10:01", "ad"), visit("2026-01-01 10:02", "mail"),
        visit("2026-01-01 12:00"), visit("2026-01-02 12:00", "mail"), order("2026-01-03 12:00"),
    ]  # fmt: skip
    assert touches_of(steps, rows) == [(["ad", "mail"], True, False)]


def test_what_has_no_session_is_no_touch(steps: Any) -> None:
    """A survey by e-mail carries a channel, and won nobody."""
    rows = [{"type": "survey_sent", "at": "2026-01-01", "survey_type": "nps", "channel": "mail"}, order("2026-01-03")]
    assert touches_of(steps, rows) == [([], True, False)]


def test_a_touch_after_the_order_in_its_session_does_not_count_for_it(steps: Any) -> None:
    """One at the same moment does: the page view that the order came with."""
    rows = [visit("2026-01-01 10:00", "ad"), order("2026-01-01 12:00"), visit("2026-01-01 12:01", "mail")]
    assert touches_of(steps, rows) == [(["ad"], True, False)]
    rows = [order("2026-01-01 12:00"), visit("2026-01-01 12:00", "mail")]
    assert touches_of(steps, rows) == [(["mail"], True, False)]


def test_an_earlier_conversion_cuts_no_window(steps: Any) -> None:
    rows = [
        visit("2026-01-01", "ad"),
        order("2026-01-02"),
        visit("2026-01-10", "mail"),
        order("2026-01-11"),
        order("2026-02-05"),
    ]
    assert touches_of(steps, rows) == [(["ad"], True, False), (["ad", "mail"], True, False), (["mail"], True, False)]


def test_the_window_begins_at_midnight_so_many_calendar_days_before(steps: Any) -> None:
    """Of 31 March, 30 days before is 1 March, from its first microsecond."""
    rows = [
        visit("2026-02-28 23:59:59.999999", "ad"),
        visit("2026-03-01 00:00", "mail", device="e"),
        order("2026-03-31 23:00"),
    ]
    assert touches_of(steps, rows) == [(["mail"], True, False)]
    assert touches_of(steps, rows, days=31) == [(["ad", "mail"], True, False)]
    assert touches_of(steps, rows, days=0) == [([], True, False)]


def test_days_are_those_of_the_time_zone(steps: Any) -> None:
    """In Paris 1 March begins at 23:00 UTC, and the clock is put forward on 29 March."""
    rows = [
        visit("2026-02-28 22:59:59", "ad"),
        visit("2026-02-28 23:00", "mail", device="e"),
        order("2026-03-31 21:59"),
    ]
    assert touches_of(steps, rows, timezone="Europe/Paris") == [(["mail"], True, False)]
    rows[-1] = order("2026-03-31 22:00")  # 1 April in Paris
    assert touches_of(steps, rows, timezone="Europe/Paris") == [([], True, False)]


def test_who_never_converted_has_one_window_up_to_the_last_touch(steps: Any) -> None:
    rows = [visit("2026-01-01", "ad", "bob"), visit("2026-03-01", "mail", "bob"), visit("2026-03-02", None, "bob")]
    rows += [
        visit("2026-05-01", None, "eve"),
        visit("2026-01-01", "ad"),
        order("2026-01-02"),
        visit("2026-06-01", "mail"),
    ]
    assert sorted(touches_of(steps, rows)) == [(["ad"], True, False), (["mail"], False, False)], "eve was never touched"


def test_a_touch_within_the_days_before_as_of_is_still_open(steps: Any) -> None:
    """Of 31 December, 30 days before is 1 December."""
    late, early = visit("2026-12-01 00:00", "ad", "bob"), visit("2026-11-30 23:59", "mail", "cy")
    assert sorted(touches_of(steps, [late, early])) == [(["ad"], False, True), (["mail"], False, False)]


def test_of_very_many_touches_the_last_count(steps: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(touches_module, "MOST_TOUCHES", 2)
    rows = [visit(f"2026-01-{day:02}", channel) for day, channel in ((1, "ad"), (2, "mail"), (3, "web"))] + [
        order("2026-01-04")
    ]
    assert touches_of(steps, rows) == [(["mail", "web"], True, False)]


# --- credit ------------------------------------------------------------------------------------------------------------


def test_four_models_by_hand(steps: Any) -> None:
    """Four touches, 100.00: 40 % the first, 40 % the last, and 10 % each between."""
    rows = [visit(f"2026-01-0{day}", name) for day, name in enumerate(("ad", "mail", "ad", "web"), start=1)]
    told = credit(steps, [*rows, order("2026-01-05", "100")])
    assert told == {
        ("first_touch", "ad"): whole("1", "100"), ("first_touch", "mail"): whole("0", "0"), ("first_touch", "web"): whole("0", "0"),
        ("last_touch", "ad"): whole("0", "0"), ("last_touch", "mail"): whole("0", "0"), ("last_touch", "web"): whole("1", "100"),
        ("linear", "ad"): whole("0.5", "50"), ("linear", "mail"): whole("0.25", "25"), ("linear", "web"): whole("0.25", "25"),
        ("position", "ad"): whole("0.5", "50"), ("position", "mail"): whole("0.1", "10"), ("position", "web"): whole("0.4", "40"),
    }  # fmt: skip


def test_position_of_one_and_of_two_touches(steps: Any) -> None:
    assert credit(steps, [visit("2026-01-01", "ad"), order("2026-01-05")])["position", "ad"] == whole("1", "10")
    told = credit(steps, [visit("2026-01-01", "ad"), visit("2026-01-02", "mail"), order("2026-01-05")])
    assert told["position", "ad"] == told["position", "mail"] == whole("0.5", "5")


def test_revenue_is_that_of_the_journey_with_later_lines_and_refunds(steps: Any) -> None:
    rows = [
        visit("2026-01-01", "ad"), order("2026-01-02 10:00", "10", order_id="o"), order("2026-01-02 10:01", "5", order_id="o"),
        {"type": "refund", "at": "2026-01-05", "order_id": "o", "amount": "12"},
    ]  # fmt: skip
    assert credit(steps, rows)["linear", "ad"] == whole("1", "3")


def test_more_may_be_refunded_than_was_paid(steps: Any) -> None:
    rows = [
        visit("2026-01-01", "ad"),
        visit("2026-01-01 18:00", "mail"),
        visit("2026-01-01 23:00", "web"),
        order("2026-01-02", "10", order_id="o"),
    ]
    rows += [{"type": "refund", "at": "2026-01-05", "order_id": "o", "amount": "11"}]
    told = credit(steps, rows)
    assert sum(told["linear", name][1] for name in ("ad", "mail", "web")) == -1
    assert told["linear", "web"][1] == Decimal("-0.3334"), (
        "thirds of -1.0000: cut down, and the first names are given back"
    )


def test_a_conversion_counts_in_the_currency_of_its_own_event(steps: Any) -> None:
    """The second line of the order is in francs: revenue there, and no second conversion."""
    rows = [
        visit("2026-01-01", "ad"), order("2026-01-02 10:00", "10", order_id="o"),
        order("2026-01-02 10:01", "5", order_id="o", currency="CHF"), order("2026-01-20", "7", currency="CHF"),
    ]  # fmt: skip
    assert credit(steps, rows)["last_touch", "ad"] == whole("1", "10")
    assert credit(steps, rows, "CHF")["last_touch", "ad"] == whole("1", "12")


def test_a_conversion_without_a_touch_is_told(steps: Any) -> None:
    told = credit(steps, [order("2026-01-02", "10"), visit("2026-06-01", "ad", "bob"), order("2026-06-02", "5", "bob")])
    assert told == {
        (model, name): whole(*numbers) for model in MODELS for name, numbers in ((NO_TOUCH, ("1", "10")), ("ad", ("1", "5")))
    }  # fmt: skip


def test_a_subscription_converts_and_a_renewal_does_not(steps: Any) -> None:
    own = {"subscription_id": "s", "source": "b", "currency": "EUR"}
    rows = [
        visit("2026-01-01", "ad"), {"type": "subscription_started", "at": "2026-01-02", "amount": "30", **own},
        visit("2026-01-20", "mail"), {"type": "renewal", "at": "2026-02-02", "amount": "30", **own},
    ]  # fmt: skip
    assert credit(steps, rows)["last_touch", "ad"] == whole("1", "30")
    assert ("last_touch", "mail") not in credit(steps, rows)


@given(
    st.dictionaries(st.sampled_from("abcdefg"), st.fractions(0, 50, max_denominator=60), min_size=1), st.integers(0, 6)
)
def test_rounded_shares_add_up_and_are_off_by_less_than_one_unit(shares: dict[str, Fraction], digits: int) -> None:
    rest = -sum(shares.values()) % 1
    shares = {**shares, "z": rest}  # the total is whole, as that of conversions
    found = rounded(shares, digits)
    assert sum(found.values()) == sum(shares.values())
    assert all(abs(Fraction(found[name]) - share) < Fraction(1, 10**digits) for name, share in shares.items())
    assert rounded(dict(reversed(shares.items())), digits) == found


# --- as one would count by hand ----------------------------------------------------------------------------------------


hours = st.integers(0, 24 * 80).map(lambda hour: str(datetime.datetime(2026, 1, 5) + datetime.timedelta(hours=hour)))
timeline = st.lists(
    st.one_of(
        st.builds(visit, hours, st.sampled_from(["ad", "mail", "web", None]), st.sampled_from(["ann", "bob", "cy"]), st.sampled_from("de")),
        st.builds(order, hours, st.sampled_from(["10", "0.01", "7.77"]), st.sampled_from(["ann", "bob", "cy"])),
        st.builds(lambda at, currency: order(at, "3.33", currency=currency), hours, st.sampled_from(["CHF", "EUR"])),
    ),
    min_size=1,
    max_size=16,
)  # fmt: skip


def numbered(rows: list[Row]) -> list[Row]:
    return [{**row, "event_id": f"n{number:02}"} for number, row in enumerate(rows)]


def credit_by_hand(shard: Any, days: int) -> dict[tuple[str, str, str], list[Fraction]]:
    """From the tables as published: [conversions, revenue] of each model, channel and currency."""
    events = shard["touchpoints"].to_pylist()
    first: dict[int, Row] = {}
    for event in events:
        if event["session_no"] >= 0 and event["channel"]:
            first.setdefault(event["session_no"], event)
    credit: dict[tuple[str, str, str], list[Fraction]] = defaultdict(lambda: [Fraction(), Fraction()])
    for journey in shard["journeys"].to_pylist():
        if journey["outcome"] not in CONVERSIONS:
            continue
        day = journey["ended_at"].astimezone(zoneinfo.ZoneInfo("UTC")).date() - datetime.timedelta(days=days)
        own = [e for e in events if e["customer_no"] == journey["customer_no"]]
        path = [
            e["channel"] for e in sorted(first.values(), key=lambda e: (e["customer_no"], e["seq"]))
            if e["customer_no"] == journey["customer_no"] and e["occurred_at"] <= journey["ended_at"] and e["occurred_at"].date() >= day
        ] or [NO_TOUCH]  # fmt: skip
        n = len(path)
        closing = next(e for e in own if e["journey_no"] == journey["journey_no"] and e["opens_order"])
        weights = {
            "first_touch": [1] + [0] * (n - 1),
            "last_touch": [0] * (n - 1) + [1],
            "linear": [Fraction(1, n)] * n,
            "position": [1] if n == 1 else [Fraction(1, 2)] * 2 if n == 2
            else [Fraction(2, 5), *[Fraction(1, 5 * (n - 2))] * (n - 2), Fraction(2, 5)],
        }  # fmt: skip
        for model, shares in weights.items():
            for channel, share in zip(path, shares, strict=True):
                credit[model, channel, closing["currency"]][0] += share
                for part in journey["revenue_by_currency"]:
                    credit[model, channel, part["currency"]][1] += share * Fraction(part["amount"])
    return credit


@settings(max_examples=20)
@given(timeline)
def test_as_a_plain_loop_counts_and_the_sums_are_exact(steps: Any, rows: list[Row]) -> None:
    rows = numbered(rows)
    shard = steps.journeys(rows, AS_OF)
    told = all_credit(steps, rows)
    expected = credit_by_hand(shard, 30)
    assert {(r["model"], r["channel"], r["currency"]) for r in told} >= set(expected)
    for row in told:
        conversions, revenue = expected.get((row["model"], row["channel"], row["currency"]), [Fraction(), Fraction()])
        assert abs(Fraction(row["conversions"]) - conversions) < Fraction(1, 10**6), row
        assert abs(Fraction(row["revenue"]) - revenue) < Fraction(1, 10**4), row
    journeys = [j for j in shard["journeys"].to_pylist() if j["outcome"] in CONVERSIONS]
    paid: dict[str, Decimal] = defaultdict(Decimal)
    for part in (part for journey in journeys for part in journey["revenue_by_currency"]):
        paid[part["currency"]] += part["amount"]
    for model in MODELS if journeys else ():
        own = [row for row in told if row["model"] == model]
        assert sum(row["conversions"] for row in own) == len(journeys)
        for currency, amount in paid.items():
            assert sum(row["revenue"] for row in own if row["currency"] == currency) == amount


@settings(max_examples=10)
@given(timeline)
def test_no_cut_into_shards_and_no_order_shows(steps: Any, rows: list[Row]) -> None:
    rows = numbered(rows)
    assert all_credit(steps, rows[::-1], shards=3) == all_credit(steps, rows)


def test_nothing_to_credit(steps: Any) -> None:
    table = steps.tables["channel_credit"]
    assert merge_channel_credit([], table).equals(table.schema.empty_table())
    assert all_credit(steps, [visit("2026-01-01", "ad")]) == []
