"""Suites of expectations: each rule lets a right run pass and catches a wrong one; the loader passes nothing over.

The right run is a small one written out below, in DuckDB. Each wrong one is that run with one thing changed. What Great
Expectations itself makes of the suites is held by the tests of the audit; here its few kinds of expectation are spelled
out in SQL (`wrong_rows`).
"""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from schemas import suites
from schemas.contracts import load_contracts
from schemas.dictionary import Metric, load_metrics
from schemas.suites import PARAMETERS, SEVERITIES, SuiteError, generated_expectations, load_suites, measures, regenerate
from schemas.tables import HISTORY_TABLES, REAL, tables

CONTRACTS = load_contracts()
TABLES = tables(CONTRACTS)
AUDITED = [name for name in TABLES if name not in HISTORY_TABLES]
METRICS = load_metrics()
SUITES = load_suites(CONTRACTS, TABLES)
RULES = [(name, entry["meta"]["rule"], entry) for name, suite in SUITES.items() for entry in suite.expectations]
LIMITS = {
    "quarantine_warn_share": 0.02,
    "quarantine_block_share": 0.2,
    "volume_warn_ratio": 0.5,
    "volume_block_ratio": 0.1,
    "volume_growth_warn_ratio": 10,
    "null_share_warn": 0.1,
    "null_share_block": 0.5,
    "freshness_warn_days": 3,
}

#: Measures that read other measures.
COMPARE = ("run_measures_now", "source_freshness", "source_volumes", "touchpoint_nulls")

# --- a right run, small ----------------------------------------------------------------------------------------------

C1, ANON = "c-1", "anon:d-9"
WEB = {"source": "web", "anonymous_id": "d-1", "customer_id": "c-1"}
DESK = {"source": "desk", "customer_id": "c-1", "ticket_id": "t-1"}
BILLING = {"source": "billing", "customer_id": "c-1", "email": "ann@example.com", "subscription_id": "sub-1"}
CAFE = {"source": "web", "anonymous_id": "d-9", "identity_rule": "anonymous_id"}
NAMELESS = {
    **CAFE,
    "event_type": "purchase",
    "order_id": "0000",
    "opens_order": True,
    "ignored_identifiers": '{"order_id":"0000"}',
}
TERMS = {"amount": "10", "currency": "EUR", "period_months": 1}
FREE = {"subscription_id": "sub-2", "plan": "free", "amount": "0", "period_months": 12}
TOUCHPOINTS = [
    (C1, "e1", "2026-01-01 10:00:00", "s:e1", 1, "consideration", {**WEB, "event_type": "site_visit", "page_url": "/p", "load_ms": 5000.0, "channel": "search"}),
    (C1, "e2", "2026-01-01 10:10:00", "s:e1", 1, "purchase", {**WEB, "event_type": "purchase", "order_id": "o-1", "opens_order": True, "amount": "30", "currency": "EUR"}),
    (C1, "e3", "2026-01-01 10:20:00", None, 2, "loyalty", {**BILLING, "event_type": "subscription_started", "opens_order": True, "auto_renews": True, "plan": "basic", **TERMS}),
    (C1, "e4", "2026-01-02 09:00:00", None, 3, "service", {**DESK, "event_type": "ticket_opened"}),
    (C1, "e5", "2026-01-02 10:00:30.5", None, 3, "service", {**DESK, "event_type": "ticket_replied", "author": "agent", "public": True}),
    (C1, "e6", "2026-01-02 12:00:00", None, 3, "service", {**DESK, "event_type": "ticket_resolved"}),
    (C1, "e7", "2026-01-03 12:00:00", None, 1, "service", {"source": "web", "customer_id": "c-1", "event_type": "refund", "order_id": "o-1", "amount": "5", "currency": "EUR"}),
    (C1, "e14", "2026-01-05 00:00:00", None, 3, "loyalty", {**BILLING, "event_type": "subscription_started", "opens_order": True, "auto_renews": True, **TERMS, **FREE}),
    (C1, "e8", "2026-01-30 00:00:00", None, 4, "loyalty", {**BILLING, "event_type": "renewal", "outcome": "renewed", **TERMS}),
    (C1, "e9", "2026-02-02 00:00:00", "s:e9", 5, "loyalty", {**WEB, "event_type": "site_visit", "page_url": "/q"}),
    (C1, "e13", "2026-02-03 00:00:00", None, 5, "churned", {**BILLING, "event_type": "renewal", "outcome": "declined", **TERMS}),
    (ANON, "e10", "2026-02-10 08:00:00", "s:e10", 1, "awareness", {**CAFE, "event_type": "ad_view", "campaign_id": "spring"}),
    (ANON, "e11", "2026-02-10 08:05:00", "s:e10", 1, "purchase", {**NAMELESS, "amount": "50", "currency": "USD"}),
    (ANON, "e12", "2026-02-10 08:06:00", "s:e10", 2, "loyalty", {**NAMELESS, "amount": "7", "currency": "EUR"}),
]  # fmt: skip


def rows_of_touchpoints() -> list[dict[str, Any]]:
    numbers: Counter[str] = Counter()
    rows = []
    for key, event_id, when, session, journey, stage, rest in TOUCHPOINTS:
        numbers[key] += 1
        rows.append(
            {"customer_key": key, "seq": numbers[key], "event_id": event_id, "occurred_at": when, "session_id": session,
             "journey_no": journey, "stage": stage, "schema_version": "1-0-0", "is_known": key == C1,
             "identity_rule": "customer_id", "opens_order": False, **rest}
        )  # fmt: skip
    return rows


def in_list(**amounts: str) -> list[dict[str, str]]:
    return [{"currency": currency, "amount": amount} for currency, amount in amounts.items()]


def journey(key: str, no: int, start: str, end: str | None, status: str, outcome: str | None, n: int, sessions: int, **money: str) -> dict[str, Any]:  # fmt: skip
    alone = len(money) == 1
    return {
        "customer_key": key, "journey_no": no, "started_at": start, "ended_at": end, "status": status, "outcome": outcome,
        "touchpoints": n, "sessions": sessions, "friction_points": int((key, no) == (C1, 1)), "revenue_by_currency": in_list(**money),
        "revenue": next(iter(money.values())) if alone else None if money else "0", "currency": next(iter(money)) if alone else None,
    }  # fmt: skip


def stage(key: str, no: int, name: str, entered: str, left: str | None, then: str | None, seconds: int | None, n: int, sessions: int) -> dict[str, Any]:  # fmt: skip
    return {
        "customer_key": key, "stage_no": no, "stage": name, "entered_at": entered, "left_at": left, "next_stage": then,
        "duration_s": seconds, "touchpoints": n, "sessions": sessions, "is_open": left is None,
    }  # fmt: skip


JAN, FEB = "2026-01-01", "2026-02-01"
#: Numerator, denominator and n of a metric in a month and currency.
Parts = tuple[float, float | None, int]
#: What the known customer and the unknown one make of each metric; what is not here is 0, or nothing to divide.
SEARCH: dict[str, dict[tuple[str | None, str | None], Parts]] = {
    "active_customers": {(JAN, None): (1, None, 1), (FEB, None): (1, None, 1), (None, None): (1, None, 1)},
    "new_customers": {(JAN, None): (1, None, 1)},
    "subscribers": {(JAN, None): (1, None, 1), (FEB, None): (1, None, 1)},
    "orders": {(JAN, None): (1, None, 1)},
    "purchase_frequency": {(JAN, None): (1, 1, 1), (None, None): (1, 1, 1)},
    "revenue": {(JAN, "EUR"): (45, None, 5)},
    "revenue_orders": {(JAN, "EUR"): (25, None, 2)},
    "revenue_subscriptions": {(JAN, "EUR"): (20, None, 3)},
    "clv_historic": {(JAN, "EUR"): (45, 1, 1), (FEB, "EUR"): (45, 1, 1)},
    "churn_rate": {(FEB, None): (0, 1, 1)},
    "churn_events": {(FEB, None): (1, None, 1)},
    "mrr": {(JAN, "EUR"): (10, None, 1)},
    "mrr_new": {(JAN, "EUR"): (10, None, 1)},
    "mrr_churned": {(FEB, "EUR"): (10, None, 1)},
    "nrr": {(FEB, "EUR"): (0, 10, 1)},
    "grr": {(FEB, "EUR"): (0, 10, 1)},
    "csat": {(FEB, None): (2, 3, 3)},
    "nps": {(FEB, None): (-5, 11, 11)},
    "first_response_minutes_mean": {(JAN, None): (3630, 1, 1)},
    "first_response_minutes_p50": {(JAN, None): (0, None, 1)},
    "resolution_hours_mean": {(JAN, None): (10_800, 1, 1)},
    "full_resolution_hours_mean": {(JAN, None): (10_800, 1, 1)},
    "reopen_rate": {(JAN, None): (0, 1, 1)},
    "one_touch_rate": {(JAN, None): (1, 1, 1)},
    "repurchase_rate": {(JAN, None): (0, 1, 1), (FEB, None): (0, 1, 1)},
}  # fmt: skip
CAFES: dict[str, dict[tuple[str | None, str | None], Parts]] = {
    "orders": {(FEB, None): (2, None, 2)},
    "revenue": {(FEB, "EUR"): (7, None, 1), (FEB, "USD"): (50, None, 1)},
    "revenue_orders": {(FEB, "EUR"): (7, None, 1), (FEB, "USD"): (50, None, 1)},
}  # fmt: skip


def metric_rows() -> Iterator[dict[str, Any]]:
    """Every metric of the dictionary, of everyone and by segment, in its months and over all."""
    for metric in METRICS.values():
        for name in metric.published_names:
            own, cafes = SEARCH.get(name, {}), CAFES.get(name, {})
            both = {key: add(own.get(key), cafes.get(key)) for key in own | cafes}
            if not metric.by_dimension_only:
                currencies = sorted({currency for _, currency in both}, key=str)
                yield from rows_of_metric(metric, name, "all", None, both, currencies or [None])
            for segment, values in (
                ("first_channel", {"search": own, "(none)": cafes}),
                ("plan", {"basic": own, "(none)": cafes}),
            ):
                for value, parts in values.items():
                    if parts:
                        yield from rows_of_metric(
                            metric, name, segment, value, parts, sorted({c for _, c in parts}, key=str)
                        )
            for dimension in metric.dimensions[:1] if name == "churn_events" else ():
                yield from rows_of_metric(metric, name, dimension, "too dear", own, [None])


def add(one: Parts | None, two: Parts | None) -> Parts:
    a, b = one or (0, None, 0), two or (0, None, 0)
    return a[0] + b[0], a[1] if b[1] is None else b[1] if a[1] is None else a[1] + b[1], a[2] + b[2]


def rows_of_metric(metric: Metric, name: str, segment: str, value: str | None, parts: dict[tuple[str | None, str | None], Parts], currencies: list[str | None]) -> Iterator[dict[str, Any]]:  # fmt: skip
    for currency in currencies:
        months = [parts.get((month, currency), (0, None, 0)) for month in (JAN, FEB)]
        if metric.over_all == "last" or metric.accumulates:
            total = months[-1]
        else:
            total = parts.get((None, currency), add(*months)) if metric.over_all == "own" else add(*months)
        told = [(None, total)] if metric.shape == "lifetime" else [(JAN, months[0]), (FEB, months[1]), (None, total)]
        for start, (above, below, n) in told:
            divides = metric.shape in ("ratio", "score", "lifetime") or name.endswith("_mean")
            below = (below or 0) if divides else None
            factor = {"score": 100}.get(metric.shape, 1 / metric.divisor)
            figure = above if below is None else above / below * factor if below else None
            if metric.shape == "distribution" and not name.endswith("_mean"):
                above, figure = None, 60.5 if n else None
            yield {
                "metric": name, "unit": metric.unit, "period_kind": "month" if start else "all", "period_start": start,
                "period_end": {JAN: FEB, FEB: "2026-03-01", None: None}[start], "segment": segment, "segment_value": value,
                "numerator": None if above is None else str(above), "denominator": None if below is None else str(below),
                "value": figure, "n": n, "currency": currency, "method": "exact", "status": "provisional" if start == FEB else "final",
            }  # fmt: skip


def month_of(start: str, **what: Any) -> dict[str, Any]:
    return {
        "customer_key": C1, "month": start, "is_active": True, "is_subscriber": True, "is_buyer": True, "has_lapsed": False,
        "currency": "EUR", "open_tickets": 0, **what,
    }  # fmt: skip


def period(name: str, no: int, start: str, end: str | None, opened: str, ended: str | None, plan: str, mrr: str, term: str, first: str, last: str | None) -> dict[str, Any]:  # fmt: skip
    return {
        "subscription_id": name, "source": "billing", "customer_key": C1, "period_no": no, "started_at": start, "ended_at": end,
        "opened_by": opened, "ended_by": ended, "plan": plan, "mrr": mrr, "currency": "EUR", "term_ends_at": term,
        "opens_term": True, "auto_renews": True, "is_ended_elsewhere": False, "start_event_id": first, "end_event_id": last,
    }  # fmt: skip


def cell(kind: str, cohort: str | None, since: int, month: str | None, active: int, survival: float, status: str = "final") -> dict[str, Any]:  # fmt: skip
    return {
        "kind": kind, "cohort_month": cohort, "months_since": since, "month": month, "cohort_size": 1, "active": active,
        "retention": float(active), "survival": survival, "status": status,
    }  # fmt: skip


def fitted(model: str, parameter: str | None, **what: Any) -> dict[str, Any]:
    known = {"value": 1.5, "standard_error": 0.1, "log_likelihood": -10.0} if parameter else {}
    return {"model": model, "parameter": parameter, "converged": parameter is not None, "n": 12, **known, **what}


def funnel_steps(
    segment: str, value: str | None, reached: tuple[int, ...], dropped: tuple[int, ...], is_open: tuple[int, ...]
) -> Iterator[dict[str, Any]]:
    """The three steps of a funnel; each is taken 60 s after the one before."""
    for step, n in enumerate(reached):
        is_last, before = step == len(reached) - 1, reached[step - 1] if step else 0
        times = {"step_median_s": 60.0, "step_p90_s": 60.0, "entry_median_s": 60.0 * step, "entry_p90_s": 60.0 * step}
        yield {
            "funnel": "checkout", "counted": "customers", "segment": segment, "segment_value": value, "step_no": step + 1,
            "steps": len(reached), "step": "site_visit", "window_s": 3600, "step_window_s": 600 if step else None,
            "entered": reached[0], "reached": n, "went_on": None if is_last else reached[step + 1],
            "dropped": 0 if is_last else dropped[step], "open": 0 if is_last else is_open[step], "converted": reached[-1],
            "conversion": n / reached[0], "step_conversion": n / before if before else None,
            **({**times, "method": "exact"} if step and n else {}),
            "status": "provisional" if any(is_open[:step]) else "final",
        }  # fmt: skip


#: Of the twelve comparisons one has enough customers to say something.
SPOKEN = {
    "n": 60, "n_better": 30, "n_worse": 30, "exposure_split": 60.0, "outcome_better": 0.8, "outcome_worse": 0.5,
    "difference": 0.3, "difference_low": 0.1, "difference_high": 0.5, "spearman": 0.4, "spearman_low": 0.2,
    "spearman_high": 0.6, "p_value": 0.001, "q_value": 0.001, "claim": "better service, more loyalty", "method": "exact",
    "bootstrap_replicates": 999,
}  # fmt: skip
SILENT = {"n": 3, "n_better": 2, "n_worse": 1, "reason": "fewer than 30 customers"}


ROWS: dict[str, list[dict[str, Any]]] = {
    "touchpoints": rows_of_touchpoints(),
    "sessions": [
        {"session_id": "s:e1", "customer_key": C1, "anonymous_id": "d-1", "started_at": "2026-01-01 10:00:00", "ended_at": "2026-01-01 10:10:00", "touchpoints": 2, "entry_channel": "search", "has_purchase": True, "is_truncated": False},
        {"session_id": "s:e9", "customer_key": C1, "anonymous_id": "d-1", "started_at": "2026-02-02 00:00:00", "ended_at": "2026-02-02 00:00:00", "touchpoints": 1, "has_purchase": False, "is_truncated": False},
        {"session_id": "s:e10", "customer_key": ANON, "anonymous_id": "d-9", "started_at": "2026-02-10 08:00:00", "ended_at": "2026-02-10 08:06:00", "touchpoints": 3, "has_purchase": True, "is_truncated": False},
    ],
    "journeys": [
        journey(C1, 1, "2026-01-01 10:00:00", "2026-01-01 10:10:00", "closed", "order", 3, 1, EUR="25"),
        journey(C1, 2, "2026-01-01 10:20:00", "2026-01-01 10:20:00", "closed", "subscription_started", 1, 0, EUR="10"),
        journey(C1, 3, "2026-01-02 09:00:00", "2026-01-05 00:00:00", "closed", "subscription_started", 4, 0, EUR="0"),
        journey(C1, 4, "2026-01-30 00:00:00", "2026-01-30 00:00:00", "closed", "renewal", 1, 0, EUR="10"),
        journey(C1, 5, "2026-02-02 00:00:00", "2026-02-03 00:00:00", "closed", "renewal_declined", 2, 1),
        journey(ANON, 1, "2026-02-10 08:00:00", "2026-02-10 08:05:00", "closed", "order", 2, 1, USD="50"),
        journey(ANON, 2, "2026-02-10 08:06:00", "2026-02-10 08:06:00", "closed", "order", 1, 1, EUR="7"),
    ],
    "journey_stages": [
        stage(C1, 1, "consideration", "2026-01-01 10:00:00", "2026-01-01 10:10:00", "purchase", 600, 1, 1),
        stage(C1, 2, "purchase", "2026-01-01 10:10:00", "2026-01-01 10:20:00", "loyalty", 600, 1, 1),
        stage(C1, 3, "loyalty", "2026-01-01 10:20:00", "2026-01-02 09:00:00", "service", 81_600, 1, 0),
        stage(C1, 4, "service", "2026-01-02 09:00:00", "2026-01-05 00:00:00", "loyalty", 226_800, 4, 0),
        stage(C1, 5, "loyalty", "2026-01-05 00:00:00", "2026-02-03 00:00:00", "churned", 2_505_600, 3, 1),
        stage(C1, 6, "churned", "2026-02-03 00:00:00", None, None, None, 1, 0),
        stage(ANON, 1, "awareness", "2026-02-10 08:00:00", "2026-02-10 08:05:00", "purchase", 300, 1, 1),
        stage(ANON, 2, "purchase", "2026-02-10 08:05:00", "2026-02-10 08:06:00", "loyalty", 60, 1, 1),
        stage(ANON, 3, "loyalty", "2026-02-10 08:06:00", None, None, None, 1, 1),
    ],
    "customers": [
        {"customer_key": C1, "is_known": True, "first_seen_at": "2026-01-01 10:00:00", "last_seen_at": "2026-02-03 00:00:00", "first_channel": "search", "plan": "basic", "current_stage": "churned", "stage_entered_at": "2026-02-03 00:00:00", "touchpoints": 11, "sessions": 2, "journeys": 5, "friction_points": 1, "tickets": 1, "orders": 1, "first_order_at": "2026-01-01 10:10:00", "last_order_at": "2026-01-01 10:10:00", "revenue": "45", "currency": "EUR", "revenue_by_currency": in_list(EUR="45"), "is_subscriber": True, "churned_at": "2026-02-03 00:00:00", "churn_reason": "too dear"},
        {"customer_key": ANON, "is_known": False, "first_seen_at": "2026-02-10 08:00:00", "last_seen_at": "2026-02-10 08:06:00", "current_stage": "loyalty", "stage_entered_at": "2026-02-10 08:06:00", "touchpoints": 3, "sessions": 1, "journeys": 2, "friction_points": 0, "tickets": 0, "orders": 2, "first_order_at": "2026-02-10 08:05:00", "last_order_at": "2026-02-10 08:06:00", "revenue_by_currency": in_list(EUR="7", USD="50"), "is_subscriber": False},
    ],
    "tickets": [
        {"ticket_id": "t-1", "source": "desk", "customer_key": C1, "opened_at": "2026-01-02 09:00:00", "first_response_at": "2026-01-02 10:00:30.5", "first_resolved_at": "2026-01-02 12:00:00", "last_resolved_at": "2026-01-02 12:00:00", "reopens": 0, "agent_replies": 1, "first_response_s": 3630, "resolution_s": 10_800, "full_resolution_s": 10_800, "is_self_service": False, "is_open": False, "open_periods": [{"started_at": "2026-01-02 09:00:00", "ended_at": "2026-01-02 12:00:00"}], "opened_event_id": "e4", "first_response_event_id": "e5", "first_resolved_event_id": "e6", "last_resolved_event_id": "e6"},
    ],
    # The first was declined; the second, still active, makes its owner a subscriber.
    "subscriptions": [
        {"subscription_id": "sub-1", "source": "billing", "customer_key": C1, "started_at": "2026-01-01 10:20:00", "ended_at": "2026-02-03 00:00:00", "status": "declined", "plan": "basic", "mrr": "10", "currency": "EUR", "renewals": 1, "term_ends_at": "2026-03-01 10:20:00", "auto_renews": True, "is_ended_elsewhere": False},
        {"subscription_id": "sub-2", "source": "billing", "customer_key": C1, "started_at": "2026-01-05 00:00:00", "status": "active", "plan": "free", "mrr": "0", "currency": "EUR", "renewals": 0, "term_ends_at": "2027-01-05 00:00:00", "auto_renews": True, "is_ended_elsewhere": False},
    ],
    "subscription_periods": [
        period("sub-1", 1, "2026-01-01 10:20:00", "2026-01-30 00:00:00", "started", "renewed", "basic", "10", "2026-02-01 10:20:00", "e3", "e8"),
        period("sub-1", 2, "2026-01-30 00:00:00", "2026-02-03 00:00:00", "renewed", "declined", "basic", "10", "2026-03-01 10:20:00", "e8", "e13"),
        period("sub-2", 1, "2026-01-05 00:00:00", None, "started", None, "free", "0", "2027-01-05 00:00:00", "e14", None),
    ],
    "customer_months": [
        month_of(JAN, is_new=True, subscriptions=2, plan="basic", mrr="10", mrr_by_currency=in_list(EUR="10"), orders=1, revenue="45", revenue_by_currency=in_list(EUR="45"), stage="loyalty", friction_points=1),
        month_of(FEB, is_new=False, subscriptions=1, plan="free", mrr="0", mrr_by_currency=in_list(EUR="0"), orders=0, revenue="0", revenue_by_currency=[], stage="churned", friction_points=0),
    ],
    "cohorts": [
        cell("activity", None, 0, None, 1, 1.0),
        cell("activity", JAN, 0, JAN, 1, 1.0),
        cell("activity", JAN, 1, FEB, 1, 0.5, "provisional"),
        cell("order", None, 0, None, 1, 1.0),
        cell("order", JAN, 0, JAN, 1, 1.0),
        cell("order", JAN, 1, FEB, 0, 0.5, "provisional"),
    ],
    "service_loyalty": [
        {"exposure": exposure, "outcome": outcome, "n_pending": 0, **(SPOKEN if (exposure, outcome) == ("csat", "renewal") else SILENT)}
        for exposure in ("first_response_minutes", "resolution_hours", "reopened", "csat")
        for outcome in ("renewal", "repurchase_90d", "nps_change")
    ],
    # Of four one converted and one may still; of those by mail, three, only that one.
    "funnels": [
        *funnel_steps("all", None, (4, 2, 1), dropped=(1, 1), is_open=(1, 0)),
        *funnel_steps("channel", "mail", (3, 1, 0), dropped=(1, 1), is_open=(1, 0)),
        *funnel_steps("channel", "(none)", (1, 1, 1), dropped=(0, 0), is_open=(0, 0)),
    ],
    "model_parameters": [
        fitted("bg_nbd", None, reason="1 customer is known, and 30 are needed."),
        *(fitted("gamma_gamma", name, currency="EUR") for name in ("p", "q", "v")),
        {**fitted("stage_stall", None, reason="fewer than 30 stays"), "parameter": "awareness"},
        {**fitted("stage_stall", "consideration"), "log_likelihood": None},
    ],
    "friction_points": [
        {"friction_id": "slow_page:e1", "customer_key": C1, "area": "web", "kind": "slow_page", "subject": "/p", "journey_no": 1, "started_at": "2026-01-01 10:00:00", "ended_at": "2026-01-01 10:00:00", "known_at": "2026-01-01 10:00:00", "n_events": 1, "event_ids": ["e1"], "minutes_lost": "0.0833"},
    ],
    "friction_summary": [
        {"rank": 1, "kind": "slow_page", "area": "web", "subject": "/p", "n_points": 1, "n_customers": 1, "n_stage_runs": 1, "entrants": 0, "minutes_lost": "0.0833", "n_entered": 1, "n_exposed": 1, "n_pending": 0, "reason": "fewer than 30 exposed spells"},
    ],
    "lifecycle_metrics": list(metric_rows()),
    "identity_decisions": [
        {"kind": "email", "identifier": "hello@example.com", "decision": "refused", "reason": "shared_email", "n_customers": 2, "n_events": 2},
        {"kind": "order_id", "identifier": "0000", "decision": "ignored", "reason": "means_nobody", "n_events": 2},
    ],
    "quarantine": [
        {"run_id": "r2", "source": "events", "file": "a.jsonl", "position": 0, "raw": "{}", "raw_bytes": 2, "event_id": "x", "errors": [{"code": code, "path": "amount", "expected": "a value"} for code in ("field.missing", "field.type")]},
        {"run_id": "r2", "source": "events", "file": "a.jsonl", "position": 3, "raw": "{", "raw_bytes": 1, "errors": [{"code": "json.malformed", "path": ""}]},
    ],
}  # fmt: skip
DERIVED = {
    "stage_transitions": """
        select from_stage, to_stage, count(*) as transitions, count(distinct customer_key) as customers,
            sum(duration_s)::bigint as total_duration_s, sum(duration_s) / count(*) as mean_duration_s,
            median(duration_s) as median_duration_s, quantile_cont(duration_s, 0.9) as p90_duration_s,
            if(to_stage = '(open)', null, count(*) / sum(if(to_stage = '(open)', 0, count(*))) over (partition by from_stage))
                as share_of_leaving,
            if(from_stage = '(start)', 1, 0) as converted, 0 as not_converted,
            if(from_stage = '(start)', 1.0, null) as conversion_share,
            if(count(duration_s) > 0, 'exact', null) as method
        from (
            select customer_key, stage as from_stage, coalesce(next_stage, '(open)') as to_stage, duration_s from journey_stages
            union all
            select customer_key, '(start)', stage, null from journey_stages where stage_no = 1
        )
        group by from_stage, to_stage
    """,
    "stage_durations": """
        with runs as (
            select stage, customer_key, is_open, coalesce(duration_s, epoch(timestamptz '2026-02-28') - epoch(entered_at)) as s
            from journey_stages
        ),
        cuts as (
            select 'all' as segment, null as segment_value, * from runs
            union all
            select 'first_channel', if(customer_key = 'c-1', 'search', '(none)'), * from runs
        )
        select stage, segment, segment_value, count(*) as entries, count(*) filter (not is_open) as exits,
            count(*) filter (is_open) as open_now, if(bool_or(is_open), null, median(s))::bigint as median_s,
            if(bool_or(is_open), null, max(s))::bigint as p90_s, avg(s) filter (not is_open) as mean_left_s,
            sum(s) / 86400 as customer_days,
            if(stage = 'churned', null,
                sum(s) / sum(if(stage = 'churned', 0, sum(s))) over (partition by segment, segment_value)) as share_of_time,
            if(bool_or(is_open), null, 0) as open_beyond_p90, 'exact' as method
        from cuts
        group by stage, segment, segment_value
    """,
    "journey_paths": """
        with units as (
            select k as path_kind, customer_key, journey_no, case when k = 'page' and journey_no = 1 then '/p' else '(none)' end as path,
                coalesce(outcome in ('order', 'subscription_started'), false) as converts, status = 'open' as is_open,
                revenue_by_currency
            from journeys cross join (select unnest(['page', 'stage', 'channel']) as k)
            where k <> 'channel' or outcome in ('order', 'subscription_started')
        ),
        money as (
            select path_kind, path, list({'currency': c, 'amount': a} order by c) as listed
            from (
                select path_kind, path, m.currency as c, sum(m.amount) as a
                from (select path_kind, path, unnest(revenue_by_currency) as m from units where converts) group by all
            ) group by all
        )
        select path_kind, row_number() over (partition by path_kind order by count(*) desc, path) as rank, path,
            count(*) as paths, count(distinct customer_key) as customers, count(*) filter (converts) as converted,
            count(*) filter (not converts) as not_converted, count(*) filter (is_open) as still_open,
            count(*) filter (converts) / nullif(count(*) filter (not is_open), 0) as conversion_share,
            if(bool_or(converts), 1.0, null) as median_touchpoints, if(bool_or(converts), 60.0, null) as median_s,
            if(bool_or(converts), 'exact', null) as method,
            case len(any_value(listed)) when 1 then any_value(listed)[1].amount else if(any_value(listed) is null, 0, null) end
                as revenue,
            if(len(any_value(listed)) = 1, any_value(listed)[1].currency, null) as currency,
            coalesce(any_value(listed), []) as revenue_by_currency
        from units left join money using (path_kind, path)
        group by path_kind, path
    """,
    "channel_credit": """
        with paid as (
            select m.currency as currency, sum(m.amount) as revenue from (
                select unnest(revenue_by_currency) as m from journeys where outcome in ('order', 'subscription_started')
            ) group by all
        )
        select model, '(no touch)' as channel, currency,
            if(currency = 'EUR', (select count(*) from journeys where outcome in ('order', 'subscription_started')), 0) as conversions,
            revenue
        from paid cross join (select unnest(['first_touch', 'last_touch', 'linear', 'position']) as model)
    """,
    "identity_map": """
        select identifier_kind, identifier, customer_key, min(occurred_at) as valid_from, max(occurred_at) as valid_to,
            count(*) as n_events
        from (
            select customer_key, occurred_at, customer_id, email, anonymous_id, source || ':' || ticket_id as ticket_id,
                source || ':' || subscription_id as subscription_id,
                if(ignored_identifiers is null, source || ':' || order_id, null) as order_id
            from touchpoints
        ) unpivot (
            identifier for identifier_kind in (customer_id, email, anonymous_id, ticket_id, subscription_id, order_id)
        )
        group by all
    """,
}
TALLIES = {
    "records_in": 216, "records_mapped": 214, "records_skipped": 1, "records_unreadable": 1,
    "events_in": 216, "touchpoints": 14, "duplicates": 199, "quarantined_events": 1, "after_as_of": 1, "excluded": 1,
}  # fmt: skip
CODED = {
    ("quarantined", "field.missing"): 1, ("quarantined", "field.type"): 1, ("quarantined", "json.malformed"): 1,
    ("identity_rule", "customer_id"): 11, ("identity_rule", "anonymous_id"): 3,
    ("identity_decisions", "shared_email"): 1, ("identity_decisions", "means_nobody"): 1,
}  # fmt: skip


def as_text(kind: pa.DataType) -> pa.DataType:
    """Times, dates and money are written as text above, and cast."""
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_decimal(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(as_text(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, as_text(field.type)) for field in kind])
    return kind


@pytest.fixture(scope="module")
def base() -> duckdb.DuckDBPyConnection:
    """The right run, with what the audit gives beside the tables, and two earlier runs that were like it."""
    con = duckdb.connect()
    con.execute("set TimeZone = 'UTC'; set threads = 1")
    for name in AUDITED:
        table = TABLES[name]
        columns = [f'"{c.name}"::{suites.sql_type(c.type)} as "{c.name}"' for c in table.columns]
        if name in ROWS:
            given = pa.Table.from_pylist(ROWS[name], pa.schema([(c.name, as_text(c.type)) for c in table.columns]))
            con.register("given", given)
            con.execute(f"create table {name} as select {', '.join(columns)} from given")
    for name, query in DERIVED.items():
        columns = [f'"{c.name}"::{suites.sql_type(c.type)} as "{c.name}"' for c in TABLES[name].columns]
        con.execute(f"create table {name} as select {', '.join(columns)} from ({query})")
    con.execute("create table tallies (name text, source text, code text, count bigint)")
    counted = [(name, "events", "", n) for name, n in TALLIES.items()] + [
        (n, "events", c, k) for (n, c), k in CODED.items()
    ]
    con.executemany("insert into tallies values (?, ?, ?, ?)", counted)
    con.execute("create table footers (table_name text, column_name text, rows bigint, nulls bigint)")
    for column in TABLES["touchpoints"].schema.names:
        con.execute(
            f"insert into footers select 'touchpoints', '{column}', count(*), count(*) - count(\"{column}\") from touchpoints"
        )
    con.execute(
        "create table this_run as select 'r2' as run_id, timestamptz '2026-02-28' as as_of, timestamptz '2026-02-28' as started_at"
    )
    con.execute(
        "create table limits as from (values ('quarantine_least_records', 2), ('compared_least_events', 1)) t(name, value)"
    )
    con.execute("create table timeline_breaks (rule text, customer_key text, seq bigint, found text)")
    con.execute(
        "create table past_runs as select run_id, timestamptz '2026-02-28' as as_of from (values ('r0'), ('r1')) as r(run_id)"
    )
    con.execute(
        "create table past_measures (run_id text, as_of timestamptz, measure text, table_name text, column_name text, "
        "source text, value double)"
    )
    con.begin()
    make_measures(con)
    told = con.execute("from run_measures_now").fetchall()
    con.rollback()
    con.executemany("insert into past_measures select run_id, as_of, ?, ?, ?, ?, ? from past_runs", told)
    return con


@pytest.fixture
def run(base: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection]:
    """The right run; what a test changes is taken back after it."""
    base.begin()
    yield base
    base.rollback()


def make_measures(con: duckdb.DuckDBPyConnection, wanted: str | None = None) -> None:
    """All measures, or the wanted one and those that it reads."""
    needed = {wanted, *(("quarantine_shares", "run_measures_now") if wanted in COMPARE else ())}
    for name, sql in measures().items():
        if wanted is None or name in needed:
            con.execute(f"create temp table {name} as {sql}")


def wrong_rows(con: duckdb.DuckDBPyConnection, name: str, entry: dict[str, Any]) -> list[tuple[Any, ...]]:
    """The rows that an expectation does not let pass."""
    kwargs = {key: LIMITS[v["$PARAMETER"]] if isinstance(v, dict) else v for key, v in entry["kwargs"].items()}
    column = kwargs.get("column")
    if entry["type"] == "unexpected_rows_expectation":
        query = kwargs["unexpected_rows_query"].replace("{batch}", name)
    elif entry["type"] == "expect_column_values_to_not_be_null":
        query = f"select {column} from {name} where {column} is null"
    elif entry["type"] == "expect_column_values_to_be_in_set":
        query = f"select {column} from {name} where {column} not in {tuple(kwargs['value_set'])}"
    elif entry["type"] == "expect_column_values_to_be_between":
        low, high = kwargs.get("min_value", "-inf"), kwargs.get("max_value", "inf")
        query = f"select {column} from {name} where {column} not between '{low}'::double and '{high}'::double"
    else:
        assert entry["type"] == "expect_table_row_count_to_be_between", "spell the new kind of expectation out here"
        query = f"select * from (select count(*) as n from {name}) where n < {kwargs['min_value']}"
    return con.execute(query).fetchall()


def broken(con: duckdb.DuckDBPyConnection) -> dict[tuple[str, str], list[tuple[Any, ...]]]:
    make_measures(con)
    found = {(name, rule): wrong_rows(con, name, entry) for name, rule, entry in RULES}
    return {key: rows for key, rows in found.items() if rows}


# --- right and wrong runs --------------------------------------------------------------------------------------------


def test_a_right_run_passes(run: duckdb.DuckDBPyConnection) -> None:
    assert broken(run) == {}
    # Not because there is nothing to look at: each table has rows, and the measures that compare have some.
    assert all(run.execute(f"select count(*) from {name}").fetchone()[0] for name in AUDITED)
    for name in ("accounting", "revenue_sums", "quarantine_shares", "run_measures_now", "source_volumes",
                 "source_freshness", "touchpoint_nulls", "metric_sources"):  # fmt: skip
        assert run.execute(f"select count(*) from {name}").fetchone()[0], name


def test_a_first_run_passes(run: duckdb.DuckDBPyConnection) -> None:
    run.execute("delete from past_measures; delete from past_runs")
    assert broken(run) == {}
    assert run.execute("select count(*) from source_volumes").fetchone() == (0,)


def last_of_each(assignments: str) -> str:
    """`a = 1, b = 2, a = 3` as `b = 2, a = 3`: SQL sets a column once."""
    return ", ".join(
        f"{name} = {value}" for name, value in dict(part.split(" = ") for part in assignments.split(", ")).items()
    )


def test_a_claim_about_friction_that_follows_from_its_figures_passes(run: duckdb.DuckDBPyConnection) -> None:
    right = last_of_each(f"{COMPARED_FRICTION}, {CLAIMED_FRICTION}, p_value = 0.01, p_holm = 0.01, n_matched = 30")
    run.execute(f"update friction_summary set {right}")
    [entry] = [
        entry for _, rule, entry in RULES if rule == "claims_follow_from_their_figures" and "p_holm" in str(entry)
    ]
    assert wrong_rows(run, "friction_summary", entry) == []


#: What makes the row of friction_summary one that was compared, and one that claims; both are right by themselves.
COMPARED_FRICTION = (
    "n_matched = 40, n_controls = 50, outcome_exposed = 0.3, outcome_controls = 0.4, risk_difference = 0.1, risk_difference_low = 0.0, "
    "risk_difference_high = 0.2, p_value = 0.5, p_holm = 0.5, method = 'mantel-haenszel', reason = 'no difference shown'"
)
CLAIMED_FRICTION = (
    "claim = 'fewer conversions', reason = null, excess_losses = 3, excess_losses_low = 1, excess_losses_high = 5, mean_value = 10, "
    "revenue_at_risk = 30, revenue_at_risk_low = 10, revenue_at_risk_high = 50, currency = 'EUR'"
)
#: Tables that no sum of `accounting` looks at; other rules miss their rows.
NOT_ADDED_UP = (
    "subscriptions", "subscription_periods", "customer_months", "cohorts", "service_loyalty", "model_parameters",
    "stage_durations", "journey_paths", "channel_credit", "funnels", "friction_summary",
)  # fmt: skip
#: (suite, rule, what makes the right run wrong). `test_every_written_rule_has_a_wrong_run` holds that none is left out.
WRONG = [
    ("touchpoints", "there_is_a_touchpoint", "delete from touchpoints"),
    ("sessions", "session_is_within_its_limits", "update sessions set ended_at = started_at - interval 1 second"),
    ("sessions", "session_is_within_its_limits", "update sessions set ended_at = started_at + interval 86400000001 microseconds"),
    ("sessions", "session_is_within_its_limits", "update sessions set touchpoints = 10001"),
    ("journeys", "journey_ends_after_it_starts", "update journeys set ended_at = started_at - interval 1 microsecond"),
    ("journeys", "status_agrees_with_the_end", "update journeys set outcome = null where journey_no = 1"),
    ("journeys", "status_agrees_with_the_end", "update journeys set status = 'open' where journey_no = 1"),
    ("journeys", "status_agrees_with_the_end", "update journeys set ended_at = null where journey_no = 1"),
    ("journeys", "revenue_agrees_with_its_list", "update journeys set revenue = null where journey_no = 1"),
    ("journeys", "revenue_agrees_with_its_list", "update journeys set revenue = null where len(revenue_by_currency) = 0"),
    ("journey_stages", "stage_is_left_after_it_is_entered", "update journey_stages set entered_at = left_at + interval 1 second where stage_no = 1"),
    ("journey_stages", "stage_is_left_after_it_is_entered", "update journey_stages set duration_s = 599 where stage_no = 1"),
    ("journey_stages", "open_stage_has_no_end", "update journey_stages set is_open = true where stage_no = 1"),
    ("journey_stages", "open_stage_has_no_end", "update journey_stages set next_stage = null where stage_no = 1"),
    ("journey_stages", "next_stage_is_another_one", "update journey_stages set next_stage = stage where stage_no = 1"),
    ("journey_stages", "stage_is_a_shipped_one", "update journey_stages set stage = 'waiting' where stage_no = 1"),
    ("customers", "times_are_in_order", "update customers set last_seen_at = first_seen_at - interval 1 second"),
    ("customers", "times_are_in_order", "update customers set first_order_at = first_seen_at - interval 1 second"),
    ("customers", "times_are_in_order", "update customers set last_order_at = last_seen_at + interval 1 second"),
    ("customers", "times_are_in_order", "update this_run set as_of = timestamptz '2026-02-10 08:05:59'"),
    ("customers", "orders_have_their_times", "update customers set first_order_at = null"),
    ("customers", "orders_have_their_times", "update customers set orders = 0"),
    ("customers", "orders_have_their_times", "update customers set first_order_at = first_order_at - interval 1 second where orders = 1"),
    ("customers", "churn_agrees_with_the_stage", "update customers set churned_at = null"),
    ("customers", "churn_agrees_with_the_stage", "update customers set current_stage = null"),
    ("customers", "churn_agrees_with_the_stage", "update customers set churn_reason = 'x'"),
    ("customers", "known_keys_are_told_by_their_form", "update customers set is_known = true"),
    ("customers", "known_keys_are_told_by_their_form", "update customers set is_known = false"),
    ("customers", "revenue_agrees_with_its_list", "update customers set revenue = 57"),
    ("customers", "revenue_agrees_with_its_list", "update customers set currency = 'USD'"),
    ("tickets", "times_are_in_order", "update tickets set first_response_at = opened_at - interval 1 second"),
    ("tickets", "times_are_in_order", "update tickets set last_resolved_at = first_resolved_at - interval 1 second"),
    ("tickets", "times_are_in_order", "update tickets set last_resolved_at = null"),
    ("tickets", "seconds_are_differences_of_times", "update tickets set first_response_s = 3631"),
    ("tickets", "seconds_are_differences_of_times", "update tickets set resolution_s = null"),
    ("tickets", "seconds_are_differences_of_times", "update tickets set full_resolution_s = 1"),
    ("tickets", "seconds_are_differences_of_times", "update tickets set first_response_business_s = first_response_s + 1"),
    ("tickets", "seconds_are_differences_of_times", "update tickets set resolution_s = null, resolution_business_s = 0"),
    ("tickets", "open_periods_agree", "update tickets set is_open = true"),
    ("tickets", "open_periods_agree", "update tickets set open_periods = []"),
    ("tickets", "open_periods_agree", "update tickets set opened_at = opened_at - interval 1 second"),
    ("tickets", "open_periods_agree", "update tickets set last_resolved_at = last_resolved_at - interval 1 second"),
    ("tickets", "open_periods_agree", "update tickets set open_periods = [open_periods[1], open_periods[1]]"),
    ("tickets", "open_periods_agree", "update tickets set open_periods = [struct_pack(started_at := opened_at, ended_at := null), open_periods[1]]"),
    ("subscriptions", "subscription_ends_after_it_starts", "update subscriptions set ended_at = started_at - interval 1 second"),
    ("subscriptions", "status_agrees_with_the_end", "update subscriptions set status = 'active'"),
    ("subscriptions", "status_agrees_with_the_end", "update subscriptions set ended_at = null"),
    ("customers", "forecasts_are_of_buyers", "update customers set p_alive = 0.5, expected_purchases_12m = 1 where is_known"),
    ("customers", "forecasts_are_of_buyers", "update model_parameters set converged = true where model = 'bg_nbd'"),
    ("customers", "forecasts_are_of_buyers", "update model_parameters set converged = true where model = 'bg_nbd'; update customers set p_alive = 1.01, expected_purchases_12m = 1 where is_known"),
    ("customers", "forecasts_are_of_buyers", "update model_parameters set converged = true where model = 'bg_nbd'; update customers set p_alive = 0.5 where is_known"),
    ("customers", "forecasts_are_of_buyers", "update customers set clv_predicted = 1 where is_known"),
    ("customer_months", "state_agrees_with_itself", "update customer_months set is_subscriber = false"),
    ("customer_months", "state_agrees_with_itself", "update customer_months set subscriptions = 0"),
    ("customer_months", "state_agrees_with_itself", "update customer_months set is_subscriber = false, subscriptions = 0, plan = null"),
    ("customer_months", "state_agrees_with_itself", "update customer_months set is_buyer = false, has_lapsed = true, orders = 0"),
    ("customer_months", "state_agrees_with_itself", "update customer_months set is_buyer = false"),
    ("customer_months", "state_agrees_with_itself", "update customer_months set mrr = mrr + 1"),
    ("customer_months", "state_agrees_with_itself", "update customer_months set revenue = null"),
    ("customer_months", "state_agrees_with_itself", "update customer_months set currency = 'USD' where revenue > 0"),
    ("customer_months", "state_agrees_with_itself", "update customer_months set revenue_by_currency = [struct_pack(currency := 'USD', amount := 45.0::decimal(38, 4))] where orders = 1"),
    ("customer_months", "state_agrees_with_itself", "update customer_months set month = month + 1"),
    ("friction_summary", "points_are_those_of_friction_points", "delete from friction_summary"),
    *(("friction_summary", "points_are_those_of_friction_points", f"update friction_summary set {change}")
      for change in ("n_points = 2", "n_customers = 2, n_points = 2", "minutes_lost = 1", "minutes_lost = null", "stage = 'usage'", "subject = null")),
    *(("friction_summary", "rows_are_ranked_and_counted", f"update friction_summary set {change}")
      for change in ("rank = 2", "n_customers = 2", "n_entered = 2", "n_stage_runs = 2", "n_exposed = 2", "n_pending = 1", "n_matched = 2", "share = 0.5", "entrants = 2", "share = 1.5, entrants = 1", "stage = 'usage'")),
    *(("friction_summary", "claims_follow_from_their_figures", f"update friction_summary set {last_of_each(change)}")
      for change in (
          "reason = null", "claim = 'fewer conversions'", "claim = 'fewer conversions', reason = null", "excess_losses = 1", "mean_value = 1",
          "revenue_at_risk = 1", "method = 'mantel-haenszel'", "p_holm = 0.01", "risk_difference = 0.1",
          *(f"{COMPARED_FRICTION}, {change}" for change in (
              "p_holm = 0.4", "p_value = 1.2, p_holm = 1", "risk_difference = 0.2", "risk_difference_low = 0.15", "outcome_controls = null",
              "n_controls = null", f"{CLAIMED_FRICTION}", f"{CLAIMED_FRICTION}, p_value = 0.01, p_holm = 0.01, n_matched = 29",
              f"{CLAIMED_FRICTION}, p_value = 0.01, p_holm = 0.01, risk_difference = -0.1, outcome_controls = 0.2",
              f"{CLAIMED_FRICTION}, p_value = 0.01, p_holm = 0.01, n_matched = 30, excess_losses = 4, revenue_at_risk = 40",
              f"{CLAIMED_FRICTION}, p_value = 0.01, p_holm = 0.01, n_matched = 30, revenue_at_risk = 31",
              f"{CLAIMED_FRICTION}, p_value = 0.01, p_holm = 0.01, n_matched = 30, excess_losses_low = 3.1",
              f"{CLAIMED_FRICTION}, p_value = 0.01, p_holm = 0.01, n_matched = 30, revenue_at_risk_high = 29")),
      )),
    ("service_loyalty", "rows_are_whole", "delete from service_loyalty"),
    ("service_loyalty", "rows_are_whole", "delete from service_loyalty where outcome = 'nps_change' and exposure = 'csat'"),
    ("service_loyalty", "rows_are_whole", "update service_loyalty set n_better = 31 where claim is not null"),
    ("service_loyalty", "rows_are_whole", "update service_loyalty set n = 29, n_worse = 0, n_better = 29 where claim is not null"),
    ("service_loyalty", "rows_are_whole", "update service_loyalty set claim = 'no difference shown' where n = 3"),
    *(("service_loyalty", "rows_are_whole", f"update service_loyalty set {name} = 0.5 where n = 3")
      for name in ("exposure_split", "outcome_better", "difference", "difference_low", "spearman", "p_value", "q_value", "bootstrap_replicates")),
    *(("service_loyalty", "rows_are_whole", f"update service_loyalty set {name} = null where claim is not null")
      for name in ("exposure_split", "outcome_worse", "difference_high", "spearman_low", "spearman_high", "p_value", "q_value", "claim", "method")),
    ("service_loyalty", "claims_follow_from_their_figures", "update service_loyalty set q_value = p_value / 2"),
    ("service_loyalty", "claims_follow_from_their_figures", "update service_loyalty set p_value = 1.5, q_value = 1.5"),
    ("service_loyalty", "claims_follow_from_their_figures", "update service_loyalty set difference = 0.2"),
    ("service_loyalty", "claims_follow_from_their_figures", "update service_loyalty set difference_low = 0.6"),
    ("service_loyalty", "claims_follow_from_their_figures", "update service_loyalty set spearman = 1.1"),
    ("service_loyalty", "claims_follow_from_their_figures", "update service_loyalty set spearman_high = 0.1"),
    ("service_loyalty", "claims_follow_from_their_figures", "update service_loyalty set q_value = 0.06"),
    ("service_loyalty", "claims_follow_from_their_figures", "update service_loyalty set claim = 'better service, less loyalty' where claim is not null"),
    ("service_loyalty", "claims_follow_from_their_figures", "update service_loyalty set claim = 'no difference shown' where claim is not null"),
    ("funnels", "attempts_add_up", "delete from funnels where step_no = 2 and segment = 'all'"),
    ("funnels", "attempts_add_up", "delete from funnels where step_no = 3"),
    *(("funnels", "attempts_add_up", f"update funnels set {name} = {name} + 1")
      for name in ("entered", "reached", "went_on", "dropped", "open", "converted", "steps", "step_no")),
    ("funnels", "attempts_add_up", "update funnels set went_on = null where step_no = 1"),
    ("funnels", "attempts_add_up", "update funnels set went_on = 0 where step_no = 3"),
    ("funnels", "attempts_add_up", "update funnels set dropped = dropped + 1, went_on = went_on - 1 where step_no = 1"),
    ("funnels", "attempts_add_up", "update funnels set reached = 5, went_on = 4 where step_no = 2 and segment = 'all'"),
    ("funnels", "attempts_add_up", "update funnels set status = 'final'"),
    ("funnels", "attempts_add_up", "update funnels set status = 'provisional' where step_no = 1"),
    ("funnels", "figures_follow_from_counts", "update funnels set conversion = 0.9 where step_no = 2"),
    ("funnels", "figures_follow_from_counts", "update funnels set conversion = null"),
    ("funnels", "figures_follow_from_counts", "update funnels set step_conversion = conversion where step_no = 3"),
    ("funnels", "figures_follow_from_counts", "update funnels set step_conversion = 1 where step_no = 1"),
    *(("funnels", "figures_follow_from_counts", f"update funnels set {name} = null where step_no = 3 and segment = 'all'")
      for name in ("method", "step_median_s", "step_p90_s", "entry_median_s", "entry_p90_s", "step_window_s")),
    *(("funnels", "figures_follow_from_counts", f"update funnels set {name} = 1 where step_no = 1")
      for name in ("step_median_s", "step_p90_s", "entry_median_s", "entry_p90_s", "step_window_s")),
    ("funnels", "figures_follow_from_counts", "update funnels set method = 'exact' where step_no = 1"),
    ("funnels", "figures_follow_from_counts", "update funnels set step_p90_s = step_median_s / 2 where step_no = 3"),
    ("funnels", "figures_follow_from_counts", "update funnels set step_p90_s = step_window_s + 1 where step_no = 3"),
    ("funnels", "figures_follow_from_counts", "update funnels set entry_p90_s = window_s + 1 where step_no = 3"),
    ("funnels", "figures_follow_from_counts", "update funnels set entry_p90_s = entry_median_s / 2 where step_no = 3"),
    ("funnels", "figures_follow_from_counts", "update funnels set step_median_s = entry_median_s + 1, step_p90_s = step_window_s where step_no = 3"),
    ("funnels", "figures_follow_from_counts", "update funnels set entry_median_s = entry_median_s + 1, entry_p90_s = window_s where step_no = 2"),
    ("funnels", "figures_follow_from_counts", "update funnels set step_window_s = window_s + 1 where step_no = 3"),
    ("funnels", "segments_add_up", "delete from funnels where segment_value = 'mail'"),
    ("funnels", "segments_add_up", "delete from funnels where segment = 'all'"),
    ("funnels", "segments_add_up", "update funnels set segment_value = 'mail' where segment = 'all'; update funnels set segment = 'channel'"
     "; insert into funnels select * replace ('all' as segment, null as segment_value) from funnels where segment_value = 'mail' limit 3"),
    ("model_parameters", "reason_stands_where_nothing_was_fitted", "delete from model_parameters"),
    ("model_parameters", "reason_stands_where_nothing_was_fitted", "delete from model_parameters where model = 'bg_nbd'"),
    ("model_parameters", "reason_stands_where_nothing_was_fitted", "delete from model_parameters where parameter = 'q'"),
    ("model_parameters", "reason_stands_where_nothing_was_fitted", "update model_parameters set reason = null"),
    ("model_parameters", "reason_stands_where_nothing_was_fitted", "update model_parameters set reason = 'none' where converged"),
    ("model_parameters", "reason_stands_where_nothing_was_fitted", "update model_parameters set converged = true"),
    ("model_parameters", "reason_stands_where_nothing_was_fitted", "update model_parameters set value = 1 where not converged"),
    ("model_parameters", "reason_stands_where_nothing_was_fitted", "update model_parameters set value = 'nan' where parameter = 'p'"),
    ("model_parameters", "reason_stands_where_nothing_was_fitted", "update model_parameters set log_likelihood = -1 where not converged"),
    ("model_parameters", "reason_stands_where_nothing_was_fitted", "update model_parameters set parameter = null where model = 'stage_stall' and not converged"),
    ("model_parameters", "reason_stands_where_nothing_was_fitted", "update model_parameters set value = null where model = 'stage_stall'"),
    ("model_parameters", "reason_stands_where_nothing_was_fitted", "update model_parameters set log_likelihood = null"),
    ("model_parameters", "reason_stands_where_nothing_was_fitted", "update model_parameters set currency = null where model = 'gamma_gamma'"),
    ("model_parameters", "reason_stands_where_nothing_was_fitted", "update model_parameters set model = 'pareto_nbd' where model = 'bg_nbd'"),
    ("friction_points", "events_are_listed", "update friction_points set event_ids = []"),
    ("friction_points", "events_are_listed", "update friction_points set event_ids = ['e1', 'e2']"),
    ("friction_points", "friction_ends_after_it_starts", "update friction_points set ended_at = started_at - interval 1 second"),
    ("friction_points", "friction_is_known_after_it_starts", "update friction_points set known_at = started_at - interval 1 second"),
    ("stage_transitions", "mean_is_the_total_divided", "update stage_transitions set mean_duration_s = mean_duration_s + 1"),
    ("stage_transitions", "mean_is_the_total_divided", "update stage_transitions set mean_duration_s = null"),
    ("stage_transitions", "mean_is_the_total_divided", "update stage_transitions set total_duration_s = 0, mean_duration_s = 0 where to_stage = '(open)'"),
    ("stage_transitions", "transitions_are_steps", "update stage_transitions set customers = transitions + 1"),
    ("stage_transitions", "conversions_and_times_agree", "update stage_transitions set not_converted = transitions + 1"),
    ("stage_transitions", "conversions_and_times_agree", "update stage_transitions set conversion_share = 0.5"),
    ("stage_transitions", "conversions_and_times_agree", "update stage_transitions set p90_duration_s = null"),
    ("stage_transitions", "conversions_and_times_agree", "update stage_transitions set p90_duration_s = median_duration_s - 1"),
    ("stage_transitions", "conversions_and_times_agree", "update stage_transitions set method = null"),
    ("stage_transitions", "shares_of_leaving_add_up", "update stage_transitions set share_of_leaving = 0.4 where from_stage = '(start)'"),
    ("stage_transitions", "shares_of_leaving_add_up", "update stage_transitions set share_of_leaving = null"),
    ("stage_transitions", "shares_of_leaving_add_up", "update stage_transitions set share_of_leaving = 0 where to_stage = '(open)'"),
    ("stage_durations", "durations_agree_with_themselves", "update stage_durations set open_now = open_now + 1"),
    ("stage_durations", "durations_agree_with_themselves", "update stage_durations set p90_s = median_s - 1"),
    ("stage_durations", "durations_agree_with_themselves", "update stage_durations set mean_left_s = null"),
    ("stage_durations", "durations_agree_with_themselves", "update stage_durations set open_beyond_p90 = open_now + 1"),
    ("stage_durations", "durations_agree_with_themselves", "update stage_durations set share_of_time = 0 where stage = 'churned'"),
    ("stage_durations", "durations_agree_with_themselves", "update stage_durations set segment_value = 'x'"),
    ("stage_durations", "shares_of_time_add_up", "update stage_durations set share_of_time = share_of_time / 2"),
    ("journey_paths", "counts_agree", "update journey_paths set not_converted = not_converted + 1"),
    ("journey_paths", "counts_agree", "update journey_paths set still_open = paths + 1"),
    ("journey_paths", "counts_agree", "update journey_paths set conversion_share = 0.123"),
    ("journey_paths", "counts_agree", "update journey_paths set customers = paths + 1"),
    ("journey_paths", "counts_agree", "update journey_paths set path = '(other)' where rank = 1"),
    ("journey_paths", "counts_agree", "update journey_paths set method = null"),
    ("journey_paths", "counts_agree", "update journey_paths set converted = 0, not_converted = paths, conversion_share = 0"),
    ("journey_paths", "ranks_are_in_order", "update journey_paths set rank = rank + 1"),
    ("journey_paths", "ranks_are_in_order", "update journey_paths set rank = 3 - rank where path_kind = 'page'"),
    ("journey_paths", "revenue_agrees_with_its_list", "update journey_paths set revenue = 1"),
    ("path_breaks", "paths_add_up", "delete from journey_paths where path_kind = 'stage'"),
    ("path_breaks", "paths_add_up", "update journey_paths set paths = paths + 1 where path_kind = 'channel'"),
    ("path_breaks", "paths_add_up", "update journey_paths set converted = converted + 1"),
    ("path_breaks", "paths_add_up", "update journey_paths set still_open = still_open + 1 where path_kind = 'page'"),
    ("path_breaks", "paths_add_up", "update journey_paths set revenue_by_currency = [] where path_kind = 'page'"),
    ("path_breaks", "credit_adds_up", "delete from channel_credit"),
    ("path_breaks", "credit_adds_up", "update channel_credit set conversions = conversions + 0.000001"),
    ("path_breaks", "credit_adds_up", "update channel_credit set revenue = revenue + 0.0001 where model = 'linear'"),
    ("path_breaks", "stages_are_left_or_open", "delete from stage_durations where stage = 'service'"),
    ("path_breaks", "stages_are_left_or_open", "delete from stage_durations"),
    ("path_breaks", "stages_are_left_or_open", "update stage_durations set entries = entries + 1 where segment = 'first_channel'"),
    ("path_breaks", "stages_are_left_or_open", "update stage_durations set open_now = open_now + 1"),
    ("path_breaks", "stages_are_left_or_open", "update stage_durations set mean_left_s = mean_left_s + 1"),
    ("customers", "stage_has_its_time", "update customers set stage_entered_at = null"),
    ("customers", "stage_has_its_time", "update customers set stage_entered_at = timestamptz '2026-02-28 00:00:01'"),
    ("customers", "stage_has_its_time", "update customers set stage_entered_at = stage_entered_at - interval 1 second"),
    ("stage_transitions", "transitions_are_steps", "update stage_transitions set to_stage = from_stage"),
    ("lifecycle_metrics", "values_are_numbers", "update lifecycle_metrics set value = 'nan' where metric = 'nps'"),
    ("lifecycle_metrics", "values_are_numbers", "update lifecycle_metrics set value = 'inf' where metric = 'nps'"),
    ("lifecycle_metrics", "nothing_to_divide_by_gives_no_value", "update lifecycle_metrics set value = 0 where denominator = 0"),
    ("lifecycle_metrics", "nothing_to_divide_by_gives_no_value", "update lifecycle_metrics set value = null where metric = 'nps'"),
    ("lifecycle_metrics", "nothing_to_divide_by_gives_no_value", "update lifecycle_metrics set value = null where metric = 'orders'"),
    ("lifecycle_metrics", "nothing_to_divide_by_gives_no_value", "update lifecycle_metrics set n = 0 where metric = 'first_response_minutes_p50'"),
    ("lifecycle_metrics", "values_are_what_was_divided", "update lifecycle_metrics set value = 0.67 where metric = 'csat' and denominator > 0"),
    ("lifecycle_metrics", "values_are_what_was_divided", "update lifecycle_metrics set value = 61 where metric = 'first_response_minutes_mean' and period_kind = 'month'"),
    ("lifecycle_metrics", "values_are_what_was_divided", "update lifecycle_metrics set value = 4 where metric = 'orders'"),
    ("lifecycle_metrics", "values_are_what_was_divided", "update lifecycle_metrics set value = 1 where metric = 'revenue' and numerator = 0"),
    ("lifecycle_metrics", "periods_are_whole", "update lifecycle_metrics set period_end = null"),
    ("lifecycle_metrics", "periods_are_whole", "update lifecycle_metrics set period_start = period_start + 1, period_end = period_start + 1 + interval 1 month"),
    ("lifecycle_metrics", "periods_are_whole", "update lifecycle_metrics set period_kind = 'month'"),
    ("lifecycle_metrics", "shares_and_scores_are_in_their_range", "update lifecycle_metrics set value = 1.01 where metric = 'csat'"),
    ("lifecycle_metrics", "shares_and_scores_are_in_their_range", "update lifecycle_metrics set value = -101 where metric = 'nps'"),
    ("identity_map", "validity_ends_after_it_begins", "update identity_map set valid_to = valid_from - interval 1 second"),
    ("journey_stages", "sessions_have_touchpoints", "update journey_stages set sessions = touchpoints + 1"),
    *(("identity_breaks", "keys_follow_their_rules", change) for change in (
        "update touchpoints set customer_id = 'c-2'",
        "update touchpoints set customer_key = 'c-' where customer_key = 'c-1'",
        "update touchpoints set customer_id = null where event_id = 'e2'",
        "update touchpoints set identity_rule = 'device' where event_id = 'e2'",
        "update touchpoints set anonymous_id = 'd-8' where event_id = 'e10'",
        "update touchpoints set identity_rule = 'email' where event_id = 'e10'",
        "update touchpoints set identity_rule = 'entity_id' where event_id = 'e11'",
        "update touchpoints set identity_rule = 'linked_email' where event_id = 'e10'",
        "update touchpoints set identity_rule = 'linked_email', email = 'ann@example.com' where event_id = 'e10'",
        "update touchpoints set identity_rule = 'email', email = 'ann@example.com', customer_key = 'email:ann@example.com' where event_id = 'e10'",
        "update touchpoints set identity_rule = 'device', anonymous_id = null where event_id = 'e10'",
    )),
    *(("identity_breaks", "identity_map_is_that_of_the_touchpoints", change) for change in (
        "update identity_map set n_events = n_events + 1",
        "update identity_map set valid_from = valid_from - interval 1 microsecond where identifier_kind = 'email'",
        "update identity_map set valid_to = valid_to + interval 1 year where identifier_kind = 'ticket_id'",
        *(f"delete from identity_map where identifier_kind = '{kind}'"
          for kind in ("customer_id", "email", "anonymous_id", "ticket_id", "subscription_id", "order_id")),
        "update identity_map set customer_key = 'c-1' where identifier = 'd-9'",
        "update touchpoints set email = 'bob@example.com' where email is not null",
    )),
    *(("friction_breaks", "points_are_made_of_touchpoints", change) for change in (
        "update friction_points set event_ids = ['nothing']",
        "update friction_points set event_ids = ['e10']",
        "update friction_points set event_ids = ['e1', 'nothing']",
        "update friction_points set journey_no = journey_no + 100",
        "update touchpoints set customer_key = 'c-2' where event_id = 'e1'",
    )),
    ("customer_breaks", "customers_agree_with_their_rows", "update journeys set sessions = sessions + 1"),
    ("customer_breaks", "customers_agree_with_their_rows", "update journey_stages set sessions = 0"),
    ("path_breaks", "stages_are_left_or_open", "update stage_durations set customer_days = customer_days * 1.01"),
    ("path_breaks", "stages_are_left_or_open", "update stage_durations set median_s = median_s * 10, p90_s = p90_s * 10"),
    ("identity_decisions", "decision_agrees_with_its_reason", "update identity_decisions set decision = 'refused'"),
    ("identity_decisions", "decision_agrees_with_its_reason", "update identity_decisions set n_customers = null"),
    ("quarantine", "every_row_says_why", "update quarantine set errors = []"),
    ("quarantine", "every_row_says_why", "update quarantine set errors = [{'code': '', 'path': '', 'expected': '', 'observed': ''}]"),
    ("quarantine", "every_row_says_why", "update quarantine set errors = [{'code': null, 'path': '', 'expected': '', 'observed': ''}]"),
    *(("accounting", "sums_agree", f"update tallies set count = count + 1 where name = '{name}' and code in ('', 'field.type', 'customer_id', 'means_nobody')")
      for name in (*TALLIES, "quarantined", "identity_rule", "identity_decisions")),
    *(("accounting", "sums_agree", f"delete from {name}") for name in AUDITED if name not in NOT_ADDED_UP),
    *(("accounting", "sums_agree", f"update customers set {name} = {name} + 1")
      for name in ("touchpoints", "sessions", "journeys", "tickets", "friction_points", "orders")),
    ("accounting", "sums_agree", "update customers set is_known = true"),
    ("accounting", "sums_agree", "update sessions set touchpoints = touchpoints + 1"),
    ("accounting", "sums_agree", "update journeys set touchpoints = touchpoints + 1"),
    ("accounting", "sums_agree", "update journeys set friction_points = friction_points + 1"),
    ("accounting", "sums_agree", "update journey_stages set touchpoints = touchpoints + 1"),
    ("accounting", "sums_agree", "update journey_stages set duration_s = duration_s + 1"),
    ("accounting", "sums_agree", "update stage_transitions set transitions = transitions + 1 where from_stage = '(start)'"),
    ("accounting", "sums_agree", "update stage_transitions set transitions = transitions + 1 where from_stage = 'purchase'"),
    *(("accounting", "sums_agree", f"update identity_map set n_events = n_events + 1 where identifier_kind = '{kind}'")
      for kind in ("customer_id", "email", "anonymous_id")),
    ("accounting", "sums_agree", "update touchpoints set ignored_identifiers = null"),
    ("accounting", "sums_agree", "update lifecycle_metrics set numerator = 4 where metric = 'orders'"),
    ("accounting", "sums_agree", "update touchpoints set opens_order = false where event_id = 'e11'"),
    ("accounting", "sums_agree", "update touchpoints set opens_order = true where event_id = 'e1'"),
    # the order's second line opens it, not its first
    ("accounting", "sums_agree", "update touchpoints set event_type = 'purchase', opens_order = true where event_id = 'e7'; update touchpoints set opens_order = false where event_id = 'e2'"),
    *(("customer_breaks", "every_key_is_a_customer", f"update {name} set customer_key = 'c-ghost'")
      for name in ("touchpoints", "sessions", "journeys", "journey_stages", "tickets", "friction_points", "subscriptions", "subscription_periods", "customer_months", "identity_map")),
    ("customer_breaks", "every_key_is_a_customer", "delete from customers where not is_known"),
    *(("customer_breaks", "customers_agree_with_their_rows", f"update customers set {name} = {name} + 1")
      for name in ("touchpoints", "sessions", "journeys", "tickets", "friction_points", "orders")),
    *(("customer_breaks", "customers_agree_with_their_rows", f"delete from {name}")
      for name in ("touchpoints", "sessions", "journeys", "tickets", "friction_points")),
    # one customer's revenue against the other's: the sums of all still agree
    ("customer_breaks", "customers_agree_with_their_rows", "update customers set revenue_by_currency = [r for r in revenue_by_currency if r.currency <> 'USD']"),
    ("customer_breaks", "customers_agree_with_their_rows", "update touchpoints set amount = amount + 1 where event_id = (select event_id from touchpoints where event_type = 'purchase' limit 1)"),
    ("customer_breaks", "customers_agree_with_their_rows", "update customers set first_seen_at = first_seen_at - interval 1 second"),
    ("customer_breaks", "customers_agree_with_their_rows", "update customers set last_seen_at = last_seen_at + interval 1 second"),
    ("customer_breaks", "customers_agree_with_their_rows", "update journeys set started_at = started_at + interval 1 second"),
    ("customer_breaks", "customers_agree_with_their_rows", "update touchpoints set journey_no = 2 where event_id = 'e7'"),
    ("customer_breaks", "customers_agree_with_their_rows", "update touchpoints set stage = 'usage' where event_id = 'e2'"),
    # two customers have each other's orders: the sum of all is right
    ("customer_breaks", "customers_agree_with_their_rows", "update customers set orders = 3 - orders"),
    ("customer_breaks", "customers_agree_with_their_rows", "update customers set first_order_at = first_order_at + interval 1 second"),
    ("customer_breaks", "customers_agree_with_their_rows", "update customers set last_order_at = last_order_at - interval 1 second"),
    ("customer_breaks", "customers_agree_with_their_rows", "update customers set first_channel = 'mail'"),
    ("customer_breaks", "customers_agree_with_their_rows", "update customers set plan = null"),
    ("customer_breaks", "customers_agree_with_their_rows", "update journeys set outcome = 'renewal' where journey_no = 2"),
    ("customer_breaks", "customers_agree_with_their_rows", "update journeys set outcome = null where journey_no = 1"),
    ("customer_breaks", "customers_agree_with_their_rows", "update journeys set ended_at = ended_at - interval 1 second where journey_no = 1"),
    ("customer_breaks", "customers_agree_with_their_rows", "update touchpoints set outcome = 'declined' where event_id = 'e8'"),
    ("customer_breaks", "customers_are_where_they_stand", "update touchpoints set is_known = not is_known where event_id = 'e2'"),
    ("customer_breaks", "customers_are_where_they_stand", "update customers set current_stage = 'usage'"),
    ("customer_breaks", "customers_are_where_they_stand", "delete from journey_stages where is_open"),
    ("customer_breaks", "customers_are_where_they_stand", "update customers set is_subscriber = false"),
    ("customer_breaks", "customers_are_where_they_stand", "update subscriptions set ended_at = timestamptz '2026-02-28'"),
    ("cohort_breaks", "cohorts_agree_with_months", "delete from cohorts"),
    ("cohort_breaks", "cohorts_agree_with_months", "delete from cohorts where status = 'provisional'"),
    ("cohort_breaks", "cohorts_agree_with_months", "update cohorts set cohort_size = 2 where cohort_month is not null"),
    ("cohort_breaks", "cohorts_agree_with_months", "update cohorts set active = 1 where status = 'provisional'"),
    ("cohort_breaks", "cohorts_agree_with_months", "update cohorts set active = 2, cohort_size = 2 where cohort_month is null"),
    ("cohort_breaks", "cohorts_agree_with_months", "update cohorts set status = 'final'"),
    ("cohort_breaks", "cohorts_agree_with_months", "update cohorts set month = date '2026-03-01' where status = 'provisional'"),
    ("cohort_breaks", "cohorts_agree_with_months", "update customer_months set is_active = false"),
    ("cohort_breaks", "cohorts_agree_with_months", "update customer_months set orders = 0"),
    ("cohort_breaks", "cells_are_shares", "update cohorts set retention = 0.5 where cohort_month is null"),
    ("cohort_breaks", "cells_are_shares", "update cohorts set active = 2, retention = 2"),
    ("cohort_breaks", "cells_are_shares", "update cohorts set survival = 1.01"),
    ("cohort_breaks", "cells_are_shares", "update cohorts set survival = 0.4 where months_since = 0 and cohort_month is not null"),
    *(("entity_breaks", "tickets_agree_with_their_events", f"update tickets set {change}")
      for change in (
          "opened_at = opened_at + interval 1 second", "first_response_at = null", "first_resolved_at = last_resolved_at + interval 1 second",
          "last_resolved_at = null", "reopens = 1", "agent_replies = 2", "customer_key = 'anon:d-9'", "source = 'chat'",
          "opened_event_id = 'e3'", "first_response_event_id = 'e4'", "first_response_event_id = null", "first_resolved_event_id = 'e5'",
          "last_resolved_event_id = 'nobody knows'", "first_reopened_event_id = 'e6'")),
    ("entity_breaks", "tickets_agree_with_their_events", "delete from tickets"),
    ("entity_breaks", "tickets_agree_with_their_events", "update touchpoints set public = false where event_id = 'e5'"),
    ("entity_breaks", "tickets_agree_with_their_events", "delete from touchpoints where event_id = 'e4'"),
    ("entity_breaks", "subscriptions_agree_with_their_events", "delete from subscriptions where subscription_id = 'sub-1'"),
    ("entity_breaks", "subscriptions_agree_with_their_events", "update subscriptions set subscription_id = 'sub-3' where subscription_id = 'sub-1'"),
    ("entity_breaks", "subscriptions_agree_with_their_events", "update subscriptions set started_at = started_at - interval 1 second"),
    ("entity_breaks", "subscriptions_agree_with_their_events", "update subscriptions set renewals = 2"),
    *(("entity_breaks", "subscriptions_agree_with_their_periods", f"update subscriptions set {change} where subscription_id = 'sub-1'")
      for change in (
          "mrr = 9", "currency = 'USD'", "plan = 'free'", "ended_at = ended_at - interval 1 second", "ended_at = null",
          "status = 'cancelled'", "cancelled_reason = 'too dear'", "is_voluntary = true", "auto_renews = false",
          "started_at = started_at + interval 1 second", "customer_key = 'anon:d-9'", "is_ended_elsewhere = true")),
    ("entity_breaks", "subscriptions_agree_with_their_periods", "delete from subscription_periods where subscription_id = 'sub-2'"),
    ("entity_breaks", "subscriptions_agree_with_their_periods", "delete from subscriptions where subscription_id = 'sub-2'"),
    ("entity_breaks", "periods_agree_with_their_events", "update touchpoints set customer_key = 'anon:d-9' where event_id = 'e13'"),
    *(("entity_breaks", "periods_agree_with_their_events", f"update subscription_periods set {change} where subscription_id = 'sub-1' and period_no = 2")
      for change in (
          "mrr = 9", "currency = 'USD'", "started_at = started_at + interval 1 second", "ended_at = ended_at + interval 1 second",
          "start_event_id = 'e3'", "start_event_id = 'nobody knows'", "end_event_id = 'e9'", "end_event_id = 'nobody knows'",
          "opened_by = 'started'", "opened_by = 'first_seen'", "ended_by = 'cancelled'", "subscription_id = 'sub-2'")),
    ("entity_breaks", "periods_agree_with_their_events", "update subscription_periods set plan = 'basic'"),
    ("entity_breaks", "periods_follow_one_another", "delete from subscription_periods where period_no = 1"),
    ("entity_breaks", "periods_follow_one_another", "update subscription_periods set period_no = period_no + 1"),
    ("entity_breaks", "periods_follow_one_another", "update subscription_periods set period_no = 3 where period_no = 2"),
    ("entity_breaks", "periods_follow_one_another", "update subscription_periods set ended_at = timestamptz '2026-02-01' where period_no = 1"),
    ("entity_breaks", "periods_follow_one_another", "update subscription_periods set ended_at = started_at - interval 1 second where ended_at is not null"),
    ("entity_breaks", "periods_follow_one_another", "update subscription_periods set ended_at = null where period_no = 1"),
    ("entity_breaks", "periods_follow_one_another", "update subscription_periods set ended_at = null where period_no = 2"),
    ("entity_breaks", "periods_follow_one_another", "update subscription_periods set ended_by = 'changed' where period_no = 1 and ended_at is not null"),
    ("entity_breaks", "periods_follow_one_another", "update subscription_periods set ended_by = 'expired', end_event_id = null where period_no = 2"),
    ("entity_breaks", "periods_follow_one_another", "update subscription_periods set end_event_id = null where period_no = 2"),
    ("entity_breaks", "periods_follow_one_another", "update subscription_periods set end_event_id = 'e8' where ended_at is null"),
    ("entity_breaks", "periods_follow_one_another", "update subscription_periods set ended_by = 'cancelled', end_event_id = 'x' where period_no = 1; update subscription_periods set opened_by = 'changed' where period_no = 2"),
    ("entity_breaks", "periods_follow_one_another", "update subscription_periods set opens_term = false"),
    ("metric_breaks", "metrics_are_whole", "delete from lifecycle_metrics where metric = 'aov'"),
    ("metric_breaks", "metrics_are_whole", "delete from lifecycle_metrics where metric = 'aov' and segment = 'all'"),
    ("metric_breaks", "metrics_are_whole", "delete from lifecycle_metrics where metric = 'aov' and period_start = date '2026-02-01'"),
    ("metric_breaks", "metrics_are_whole", "delete from lifecycle_metrics where metric = 'revenue' and period_start = date '2026-01-01' and segment = 'first_channel' and currency = 'USD'"),
    ("metric_breaks", "metrics_are_whole", "delete from lifecycle_metrics where metric = 'aov' and period_kind = 'all'"),
    ("metric_breaks", "metrics_are_whole", "delete from lifecycle_metrics where metric = 'clv_simple'"),
    ("metric_breaks", "metrics_are_whole", "delete from lifecycle_metrics where metric = 'first_response_minutes_p90'"),
    ("metric_breaks", "metrics_are_whole", "delete from lifecycle_metrics where period_start = date '2026-02-01'"),
    ("metric_breaks", "metrics_are_whole", "delete from lifecycle_metrics where period_start = date '2026-01-01'"),
    ("metric_breaks", "metrics_are_whole", "delete from lifecycle_metrics"),
    ("metric_breaks", "metrics_are_whole", "update lifecycle_metrics set status = 'final' where metric = 'aov'"),
    ("metric_breaks", "metrics_are_whole", "update lifecycle_metrics set period_start = period_start + interval 1 month"),
    ("metric_breaks", "metrics_are_whole", "insert into lifecycle_metrics select * replace ('own_metric' as metric) from lifecycle_metrics where metric = 'aov' and (period_start is null or period_start = date '2026-01-01')"),
    ("metric_breaks", "metrics_are_whole", "insert into lifecycle_metrics select * replace (date '2026-01-01' as period_start, 'month' as period_kind) from lifecycle_metrics where metric = 'clv_simple'"),
    ("metric_breaks", "metrics_add_up", "update lifecycle_metrics set numerator = numerator + 1 where metric = 'aov' and period_kind = 'all' and segment = 'all'"),
    ("metric_breaks", "metrics_add_up", "update lifecycle_metrics set denominator = denominator + 1 where metric = 'csat' and period_start = date '2026-01-01'"),
    ("metric_breaks", "metrics_add_up", "update lifecycle_metrics set n = n + 1 where metric = 'first_response_minutes_p50' and period_kind = 'all'"),
    ("metric_breaks", "metrics_add_up", "update lifecycle_metrics set numerator = 9 where metric = 'mrr' and period_kind = 'all'"),
    ("metric_breaks", "metrics_add_up", "update lifecycle_metrics set denominator = 2 where metric = 'clv_historic' and period_kind = 'all'"),
    ("metric_breaks", "metrics_add_up", "update lifecycle_metrics set n = 0 where metric = 'subscribers' and period_kind = 'all'"),
    ("metric_breaks", "metrics_add_up", "update lifecycle_metrics set numerator = numerator + 1 where metric = 'active_customers' and segment = 'first_channel'"),
    ("metric_breaks", "metrics_add_up", "update lifecycle_metrics set denominator = denominator + 1 where metric = 'csat' and segment = 'plan'"),
    ("metric_breaks", "metrics_add_up", "update lifecycle_metrics set n = n + 1 where metric = 'first_response_minutes_p50' and segment = 'first_channel'"),
    ("metric_breaks", "metrics_add_up", "delete from lifecycle_metrics where metric = 'orders' and segment_value = '(none)'"),
    ("metric_breaks", "metrics_add_up", "delete from lifecycle_metrics where metric = 'orders' and segment = 'plan'"),
    ("metric_breaks", "metrics_add_up", "delete from lifecycle_metrics where metric = 'revenue' and segment = 'first_channel' and currency = 'USD'"),
    ("metric_breaks", "metrics_add_up", "update lifecycle_metrics set numerator = 0 where metric = 'churn_events' and segment = 'reason'"),
    ("metric_breaks", "metrics_add_up", "update lifecycle_metrics set numerator = numerator + 1 where metric = 'revenue_orders'"),
    ("metric_breaks", "metrics_add_up", "delete from lifecycle_metrics where metric = 'revenue_subscriptions' and currency = 'EUR'"),
    *(("metric_sources", "metrics_agree_with_customers", f"update lifecycle_metrics set numerator = numerator + 1 where metric = '{name}' and period_start = date '2026-02-01'")
      for name in (
          "active_customers", "new_customers", "subscribers", "purchase_frequency", "churn_rate", "clv_historic", "mrr", "mrr_new",
          "mrr_reactivation", "mrr_expansion", "mrr_contraction", "mrr_churned", "nrr", "grr")),
    *(("metric_sources", "metrics_agree_with_customers", f"update lifecycle_metrics set denominator = denominator + 1 where metric = '{name}' and period_start = date '2026-02-01'")
      for name in ("purchase_frequency", "churn_rate", "churn_rate_lapsed", "nrr", "grr")),
    *(("metric_sources", "metrics_agree_with_customers", f"update customer_months set {change}")
      for change in (
          "is_active = false where is_new", "is_new = true", "is_subscriber = false", "orders = orders + 1", "has_lapsed = true, is_subscriber = false",
          "mrr_by_currency = []", "revenue_by_currency = []", "month = month + interval 1 month")),
    ("metric_sources", "metrics_agree_with_customers", "delete from customer_months"),
    ("metric_sources", "metrics_agree_with_customers", "update lifecycle_metrics set segment_value = 'mail' where metric = 'new_customers' and segment = 'first_channel'"),
    ("metric_sources", "metrics_agree_with_customers", "update customers set plan = 'pro' where is_known"),
    ("metric_sources", "metrics_agree_with_customers", "update customers set clv_predicted = 5 where is_known"),
    *(("metric_sources", "metrics_agree_with_customers", f"update lifecycle_metrics set numerator = numerator + 1 where metric = '{name}' and period_kind = 'all'")
      for name in (
          "active_customers", "purchase_frequency", "repurchase_rate", "clv_predicted", "first_response_minutes_mean",
          "first_response_business_minutes_mean", "resolution_hours_mean", "full_resolution_hours_mean", "reopen_rate", "one_touch_rate",
          "backlog")),
    *(("metric_sources", "metrics_agree_with_customers", f"update lifecycle_metrics set denominator = denominator + 1 where metric = '{name}' and period_kind = 'all'")
      for name in ("clv_predicted", "first_response_minutes_mean", "one_touch_rate")),
    ("month_breaks", "months_are_whole", "delete from customer_months"),
    ("month_breaks", "months_are_whole", "delete from customer_months where is_new"),
    ("month_breaks", "months_are_whole", "delete from customer_months where not is_new"),
    ("month_breaks", "months_are_whole", "insert into customer_months select * replace (date '2025-12-01' as month, false as is_new) from customer_months where is_new"),
    ("month_breaks", "months_are_whole", "insert into customer_months select * replace (date '2026-05-01' as month) from customer_months where not is_new"),
    ("month_breaks", "months_are_whole", "update customer_months set is_new = not is_new"),
    ("month_breaks", "months_are_whole", "update customer_months set is_new = true"),
    ("month_breaks", "months_are_whole", "insert into customer_months select * replace ('anon:d-9' as customer_key) from customer_months"),
    ("month_breaks", "months_are_whole", "update customers set first_seen_at = timestamptz '2025-12-30' where is_known"),
    ("month_breaks", "months_agree_with_customers", "update customer_months set orders = 1"),
    ("month_breaks", "months_agree_with_customers", "update customer_months set friction_points = 1"),
    ("month_breaks", "months_agree_with_customers", "update customer_months set revenue_by_currency = []"),
    ("month_breaks", "months_agree_with_customers", "update customers set revenue_by_currency = [] where is_known"),
    ("month_breaks", "months_agree_with_what_held", "update customer_months set subscriptions = 2 where not is_new"),
    ("month_breaks", "months_agree_with_what_held", "update customer_months set subscriptions = 1 where is_new"),
    ("month_breaks", "months_agree_with_what_held", "update customer_months set plan = null where not is_new"),
    ("month_breaks", "months_agree_with_what_held", "update customer_months set plan = 'free' where is_new"),
    ("month_breaks", "months_agree_with_what_held", "update customer_months set mrr_by_currency = [] where not is_new"),
    ("month_breaks", "months_agree_with_what_held", "update subscription_periods set mrr = 11 where subscription_id = 'sub-1'"),
    ("month_breaks", "months_agree_with_what_held", "update customer_months set open_tickets = 1 where is_new"),
    ("month_breaks", "months_agree_with_what_held", "update tickets set open_periods = [struct_pack(started_at := opened_at, ended_at := null)]"),
    ("month_breaks", "months_agree_with_what_held", "update customer_months set stage = 'loyalty'"),
    ("month_breaks", "months_agree_with_what_held", "update customer_months set stage = 'service' where is_new"),
    ("quarantine_shares", "quarantine_is_small", "update tallies set count = 5 where name = 'quarantined_events'"),
    ("quarantine_shares", "quarantine_is_small", "update tallies set count = 5 where name = 'records_unreadable'"),
    ("quarantine_shares", "quarantine_is_no_flood", "update tallies set count = 50 where name = 'quarantined_events'"),
    ("repeated_keys", "ids_are_unique", "insert into touchpoints select * replace ('c-2' as customer_key) from touchpoints where event_id = 'e5'"),
    ("repeated_keys", "ids_are_unique", "insert into sessions from sessions"),
    ("revenue_sums", "revenue_agrees", "update touchpoints set amount = amount + 0.0001 where event_id = 'e2'"),
    ("revenue_sums", "revenue_agrees", "update touchpoints set currency = 'GBP' where event_id = 'e11'"),
    ("revenue_sums", "revenue_agrees", "update touchpoints set outcome = 'declined' where event_id = 'e8'"),
    ("revenue_sums", "revenue_agrees", "delete from customers where not is_known"),
    ("revenue_sums", "revenue_agrees", "update journeys set revenue_by_currency = []"),
    ("revenue_sums", "revenue_agrees", "update lifecycle_metrics set numerator = 0 where metric = 'revenue' and period_kind = 'all'"),
    ("revenue_sums", "revenue_agrees", "delete from lifecycle_metrics where metric = 'revenue' and period_start = date '2026-02-01'"),
    ("run_measures_now", "measures_have_values", "update touchpoints set occurred_at = null"),
    ("session_breaks", "sessions_agree_with_their_touchpoints", "update sessions set touchpoints = touchpoints + 1"),
    ("session_breaks", "sessions_agree_with_their_touchpoints", "update sessions set started_at = started_at - interval 1 microsecond"),
    ("session_breaks", "sessions_agree_with_their_touchpoints", "update sessions set ended_at = ended_at + interval 1 microsecond"),
    ("session_breaks", "sessions_agree_with_their_touchpoints", "update touchpoints set customer_key = 'c-2' where event_id = 'e2'"),
    ("session_breaks", "sessions_agree_with_their_touchpoints", "delete from sessions where session_id = 's:e9'"),
    ("session_breaks", "sessions_agree_with_their_touchpoints", "update sessions set has_purchase = not has_purchase where session_id = 's:e9'"),
    ("session_breaks", "sessions_agree_with_their_touchpoints", "update sessions set entry_channel = 'email' where session_id = 's:e1'"),
    ("session_breaks", "sessions_agree_with_their_touchpoints", "update sessions set anonymous_id = 'd-2' where session_id = 's:e1'"),
    ("session_breaks", "sessions_agree_with_their_touchpoints", "update touchpoints set anonymous_id = 'd-2' where event_id = 'e2'"),
    ("session_breaks", "sessions_agree_with_their_touchpoints", "update touchpoints set session_id = null where event_id = 'e9'"),
    ("source_freshness", "sources_are_fresh", "update this_run set as_of = timestamptz '2026-03-03 00:00:01'"),
    ("source_volumes", "volumes_have_not_fallen", "update past_measures set value = 29 where measure = 'rows' and table_name = 'touchpoints'"),
    ("source_volumes", "volumes_have_not_fallen", "update past_measures set value = 100, source = 'shop' where measure = 'events' and source = 'web'"),
    ("source_volumes", "volumes_have_not_collapsed", "update past_measures set value = 141 where measure = 'rows' and table_name = 'touchpoints'"),
    ("source_volumes", "volumes_have_not_exploded", "update past_measures set value = 1 where measure = 'rows' and table_name = 'touchpoints'"),
    ("succession_breaks", "journeys_follow_one_another", "delete from journeys where journey_no = 1"),
    ("succession_breaks", "journeys_follow_one_another", "delete from journeys where journey_no = 3"),
    ("succession_breaks", "journeys_follow_one_another", "update journeys set status = 'open' where journey_no = 1"),
    ("succession_breaks", "journeys_follow_one_another", "update journeys set ended_at = timestamptz '2026-02-20' where journey_no = 1"),
    ("succession_breaks", "stages_follow_one_another", "delete from journey_stages where stage_no = 1"),
    ("succession_breaks", "stages_follow_one_another", "delete from journey_stages where stage_no = 4"),
    ("succession_breaks", "stages_follow_one_another", "delete from journey_stages where is_open"),
    ("succession_breaks", "stages_follow_one_another", "update journey_stages set is_open = true where stage_no = 2"),
    ("succession_breaks", "stages_follow_one_another", "update journey_stages set left_at = left_at - interval 1 microsecond where stage_no = 2"),
    ("succession_breaks", "stages_follow_one_another", "update journey_stages set next_stage = 'usage' where stage_no = 2"),
    ("touchpoint_nulls", "columns_are_as_full_as_usual", "update footers set nulls = rows where column_name = 'channel'; update past_measures set value = 0.89 where column_name = 'channel'"),
    ("touchpoint_nulls", "columns_have_not_vanished", "update footers set nulls = rows where column_name = 'email'"),
    ("touchpoint_nulls", "columns_are_not_emptied", "update footers set nulls = rows where column_name = 'source'"),
    *(("touchpoint_order", rule, f"insert into timeline_breaks values ('{rule}', 'c-1', 2, 'x')")
      for rule in ("seq_has_no_gaps", "time_goes_forward", "customer_is_in_one_place")),
]  # fmt: skip


@pytest.mark.parametrize(("suite", "rule", "change"), WRONG, ids=[f"{s}-{r}-{n}" for n, (s, r, _) in enumerate(WRONG)])
def test_a_wrong_run_is_caught(run: duckdb.DuckDBPyConnection, suite: str, rule: str, change: str) -> None:
    run.execute(change)
    make_measures(run, suite)
    assert wrong_rows(run, suite, next(entry for name, told, entry in RULES if (name, told) == (suite, rule)))


def test_a_run_without_the_rates_of_earlier_ones_has_lost_nothing(run: duckdb.DuckDBPyConnection) -> None:
    run.execute(
        "update past_measures set value = 0.1 where measure = 'null_share' and column_name like 'original_%'; "
        "update footers set nulls = rows where column_name like 'original_%'"
    )
    assert run.execute("select count(*) from past_measures where column_name like 'original_%'").fetchone() == (6,)
    assert broken(run) == {}


def test_every_written_rule_has_a_wrong_run() -> None:
    written = {(name, rule) for name, rule, entry in RULES if entry["meta"]["part"] == "written"}
    assert written == {(suite, rule) for suite, rule, _ in WRONG}


def test_every_sum_of_the_accounts_is_caught(run: duckdb.DuckDBPyConnection) -> None:
    """Each line of `accounting` differs in at least one of the wrong runs above: none holds whatever comes."""
    run.execute(f"create temp table accounting as {measures()['accounting']}")
    lines = {what for (what,) in run.execute("select what from accounting").fetchall()}
    caught = set()
    for change in {change for suite, _, change in WRONG if suite == "accounting"}:
        run.rollback()
        run.begin()
        run.execute(change)
        run.execute(f"create temp table accounting as {measures()['accounting']}")
        caught |= {
            what for (what,) in run.execute("select what from accounting where one is distinct from other").fetchall()
        }
    assert lines - caught == set()


GENERATED = [
    *((name, "required_columns_are_set", f'update {name} set "{c.name}" = null') for name in AUDITED for c in TABLES[name].columns if c.required),
    *((name, "key_is_unique", f"insert into {name} from {name}") for name in AUDITED if name not in ("touchpoints", "sessions", "quarantine")),
    *((name, "numbers_reach_their_minimum", f'update {name} set "{c.name}" = {c.minimum} - 1') for name in AUDITED for c in TABLES[name].columns if c.minimum is not None),
    *((name, "numbers_reach_their_minimum", f'update {name} set "{c.name}" = \'{value}\'')
      for name in AUDITED if name != "touchpoints" for c in TABLES[name].columns if c.type == REAL for value in ("inf", "-inf", "nan")),
    *((name, "values_are_known_ones", f"update {name} set \"{c.name}\" = 'something else'")
      for name in AUDITED for c in TABLES[name].columns if c.values),
    *((name, "columns_are_as_declared", f'alter table {name} drop column "{TABLES[name].columns[1].name}"') for name in AUDITED),
    *((name, "columns_are_as_declared", f"alter table {name} add column more text") for name in AUDITED),
    ("sessions", "columns_are_as_declared", "alter table sessions alter touchpoints type int"),
    ("customers", "columns_are_as_declared", "alter table customers rename churn_reason to reason"),
    ("touchpoints", "columns_are_as_declared", "create or replace table touchpoints as select seq, * exclude (seq) from touchpoints"),
    *(("touchpoints", "fields_of_each_type_are_set", f'update touchpoints set event_type = \'{c.event_type}\', schema_version = \'{c.version}\', "{p.field}" = null where event_id = \'e4\'')
      for c in CONTRACTS.contracts for p in c.properties.values() if (p.required or p.default is not None) and p.field not in CONTRACTS.envelope),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "rule", "change"), GENERATED, ids=[f"{n}-{r}-{i}" for i, (n, r, _) in enumerate(GENERATED)]
)
def test_generated_rules_catch_what_the_schema_forbids(
    run: duckdb.DuckDBPyConnection, name: str, rule: str, change: str
) -> None:
    entry = next(entry for suite, told, entry in RULES if (suite, told) == (name, rule))
    assert not wrong_rows(run, name, entry)
    run.execute(change)
    assert wrong_rows(run, name, entry)


def test_every_generated_rule_has_a_wrong_run() -> None:
    generated = {(name, rule) for name, rule, entry in RULES if entry["meta"]["part"] == "generated"}
    assert generated == {(name, rule) for name, rule, _ in GENERATED}


def test_a_missing_field_is_named(run: duckdb.DuckDBPyConnection) -> None:
    run.execute("update touchpoints set order_id = null, currency = null where event_id = 'e2'")
    entry = next(e for name, rule, e in RULES if (name, rule) == ("touchpoints", "fields_of_each_type_are_set"))
    assert wrong_rows(run, "touchpoints", entry) == [("c-1", 2, "purchase", "1-0-0", "currency, order_id")]


# --- measures --------------------------------------------------------------------------------------------------------


def test_the_metrics_that_must_be_there_are_those_of_the_dictionary(run: duckdb.DuckDBPyConnection) -> None:
    listed = measures()["metric_breaks"].split("ours as (")[0].rstrip().rstrip(",")
    found = run.execute(f"{listed} select metric, over_all, is_of_everyone from shipped").fetchall()
    over_all = {name: "last" if m.accumulates else m.over_all for m in METRICS.values() for name in m.published_names}
    everyone = {name: not m.by_dimension_only for m in METRICS.values() for name in m.published_names}
    assert sorted(found) == [(name, over_all[name], everyone[name]) for name in sorted(over_all)]
    assert [m.name for m in METRICS.values() if m.shape == "lifetime"] == ["clv_simple"], (
        "named there as without months"
    )


def test_metrics_of_the_users_own_are_whole_too(run: duckdb.DuckDBPyConnection) -> None:
    """Nobody knows how one adds up over its months; but it has all of them, or as a lifetime none."""
    own = "insert into lifecycle_metrics select * replace ('own_' || metric as metric) from lifecycle_metrics where metric"
    run.execute(f"{own} in ('revenue', 'clv_simple', 'active_customers')")
    assert broken(run) == {}


def test_a_metric_that_the_user_replaced_is_left_out(run: duckdb.DuckDBPyConnection) -> None:
    run.execute(
        "insert into tallies values ('replaced_metric', '', 'revenue', 1), ('replaced_metric', '', 'orders', 1), "
        "('replaced_metric', '', 'mrr', 1), ('replaced_metric', '', 'first_response_minutes', 1)"
    )
    run.execute("update lifecycle_metrics set numerator = 1, value = 1 where metric in ('revenue', 'orders', 'mrr')")
    run.execute("delete from lifecycle_metrics where metric like 'first_response_minutes%'")
    assert broken(run) == {}
    assert run.execute("select distinct place from revenue_sums order by all").fetchall() == [
        ("customers",),
        ("journeys",),
    ]


@pytest.mark.parametrize(
    ("limit", "change", "measure", "rule"),
    [
        ("quarantine_warn_share", "update tallies set count = 2 where name = 'quarantined_events'; update tallies set count = 149 where name = 'events_in'", "quarantine_shares", "quarantine_is_small"),
        ("quarantine_block_share", "update tallies set count = 2 where name = 'quarantined_events'; update tallies set count = 14 where name = 'events_in'", "quarantine_shares", "quarantine_is_no_flood"),
        ("volume_warn_ratio", "update past_measures set value = 28 where measure = 'rows' and table_name = 'touchpoints'", "source_volumes", "volumes_have_not_fallen"),
        ("volume_block_ratio", "update past_measures set value = 140 where measure = 'rows' and table_name = 'touchpoints'", "source_volumes", "volumes_have_not_collapsed"),
        ("volume_growth_warn_ratio", "update past_measures set value = 1.4 where measure = 'rows' and table_name = 'touchpoints'", "source_volumes", "volumes_have_not_exploded"),
        ("freshness_warn_days", "update this_run set as_of = timestamptz '2026-03-03'", "source_freshness", "sources_are_fresh"),
        ("null_share_warn", "update footers set nulls = 3, rows = 10 where column_name = 'source'; update past_measures set value = 0.2 where column_name = 'source'", "touchpoint_nulls", "columns_are_as_full_as_usual"),
        ("null_share_block", "update footers set nulls = 6, rows = 10 where column_name = 'source'; update past_measures set value = 0.1 where column_name = 'source'", "touchpoint_nulls", "columns_are_not_emptied"),
    ],
    ids=lambda value: value if value in LIMITS else "",
)  # fmt: skip
def test_a_limit_itself_still_passes(
    run: duckdb.DuckDBPyConnection, limit: str, change: str, measure: str, rule: str
) -> None:
    run.execute(change)
    make_measures(run)
    entry = next(entry for name, told, entry in RULES if (name, told) == (measure, rule))
    assert {"$PARAMETER": limit} in entry["kwargs"].values()
    values = [value for (value,) in run.execute(f"select {entry['kwargs']['column']} from {measure}").fetchall()]
    assert LIMITS[limit] in values, "the case is not at the limit"
    assert not wrong_rows(run, measure, entry)


def test_shares_of_the_quarantine(run: duckdb.DuckDBPyConnection) -> None:
    run.execute(
        "insert into tallies values ('records_unreadable', 'shop', '', 1), ('quarantined', 'shop', 'json.malformed', 1)"
    )
    make_measures(run)
    assert run.execute("select * from quarantine_shares order by source, code nulls first").fetchall() == [
        ("events", None, 2, 217, 2 / 217, 2 / 217),
        ("events", "field.missing", 1, 217, 1 / 217, None),
        ("events", "field.type", 1, 217, 1 / 217, None),
        ("events", "json.malformed", 1, 217, 1 / 217, None),
        ("shop", None, 1, 1, 1.0, None),
        ("shop", "json.malformed", 1, 1, 1.0, None),
    ]


def test_measures_for_later_runs(run: duckdb.DuckDBPyConnection) -> None:
    run.execute("update touchpoints set source = null where event_id = 'e7'")
    make_measures(run)
    told = run.execute("select measure, table_name, column_name, source, value from run_measures_now").fetchall()
    assert len(told) == len({row[:4] for row in told}), "its key"
    by_measure = {c.name: c for c in TABLES["run_measures"].columns}["measure"].values
    assert {row[0] for row in told} == set(by_measure)
    assert {row[1] for row in told if row[0] == "rows"} == set(AUDITED)
    assert {row[2] for row in told if row[0] == "null_share"} == set(TABLES["touchpoints"].schema.names)
    assert ("rows", "touchpoints", None, None, 14.0) in told
    assert ("events", "touchpoints", None, "desk", 3.0) in told
    assert ("events", "touchpoints", None, "", 1.0) in told
    assert ("newest_event", "touchpoints", "occurred_at", "desk", 1767355200.0) in told  # 2026-01-02T12:00:00Z
    assert ("null_share", "touchpoints", "email", None, 10 / 14) in told
    assert ("quarantine_share", "quarantine", None, "events", 2 / 217) in told


def test_a_source_that_vanished_is_told(run: duckdb.DuckDBPyConnection) -> None:
    """By its volume if it was worth counting, and by its age in any case; a source that is new by neither."""
    run.execute("update limits set value = 100 where name = 'compared_least_events'")
    run.execute("update past_measures set source = 'shop' where source = 'desk'")
    run.execute("update past_measures set value = 100 where source = 'shop' and measure = 'events'")
    run.execute("update this_run set as_of = timestamptz '2026-03-10'")
    make_measures(run)
    assert run.execute("from source_volumes where source is not null").fetchall() == [("shop", 0.0, 100.0, 2, 0.0)]
    assert ("shop", 10.0) in run.execute("select source, late_days from source_freshness").fetchall()
    assert not run.execute("from source_freshness where source = 'desk'").fetchall()


def test_few_events_tell_nothing(run: duckdb.DuckDBPyConnection) -> None:
    run.execute("update limits set value = 14 where name = 'compared_least_events'")
    run.execute("update past_measures set value = 13 where measure = 'events'")
    make_measures(run)
    assert run.execute("select source, n_past, ratio from source_volumes").fetchall() == [(None, 2, 1.0)]


def test_a_run_without_a_source_counts_as_none(run: duckdb.DuckDBPyConnection) -> None:
    run.execute("update past_measures set value = 300 where measure = 'events'")
    run.execute("delete from past_measures where run_id = 'r1' and source = 'web'")
    make_measures(run)
    usual = dict(run.execute("select source, usual_events from source_volumes").fetchall())
    assert usual == {None: 14.0, "web": 150.0, "desk": 300.0, "billing": 300.0}


@pytest.mark.parametrize("name", measures())
def test_measures_are_written_as_sql_is_here(name: str) -> None:
    sql = measures()[name]
    header, code = "", sql
    while code.startswith("--"):
        line, _, code = code.partition("\n")
        header += line.removeprefix("--")
    assert "Input:" in header
    assert "Grain:" in header
    assert not re.search(r"^select \*|\bselect \*(?! replace)", code.split("\nselect")[-1], re.MULTILINE)
    words = re.sub(r"'[^']*'|--[^\n]*", "", code)
    assert words == words.lower()
    assert ";" not in words, "one select"


# --- the suites as a whole -------------------------------------------------------------------------------------------


def test_every_table_and_measure_has_a_suite_and_nothing_else_has() -> None:
    assert list(SUITES) == [*AUDITED, *measures()]
    assert all(SUITES[name].name == name and SUITES[name].expectations for name in SUITES)
    assert not set(HISTORY_TABLES) & set(SUITES)


def test_rules_have_names_and_say_what_must_hold() -> None:
    for name, rule, entry in RULES:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", rule), (name, rule)
        assert entry["meta"]["says"].endswith((".", ")")), rule
        assert entry["severity"] in SEVERITIES
        assert entry["meta"]["part"] in ("generated", "written")
        if entry["type"] == "unexpected_rows_expectation":
            query = entry["kwargs"]["unexpected_rows_query"]
            assert "{batch}" in query
            assert not re.search(r"(?<![:\w\\]):(\w+)(?!:)", query), "SQLAlchemy would take it for a parameter"
            assert query.replace("{batch}", "") == query.replace("{batch}", "").replace("{", "").replace("}", "")
    assert {entry["severity"] for *_, entry in RULES} == set(SEVERITIES)


def test_there_are_not_more_than_an_audit_may_cost() -> None:
    """6 ms of CPU each in Great Expectations."""
    parts = Counter(entry["meta"]["part"] for *_, entry in RULES)
    assert parts["generated"] <= 120
    assert parts["written"] <= 95


def test_every_limit_is_used() -> None:
    used = {value["$PARAMETER"] for *_, e in RULES for value in e["kwargs"].values() if isinstance(value, dict)}
    assert used == set(PARAMETERS) == set(LIMITS)


def test_generating_again_gives_no_difference(tmp_path: Path) -> None:
    copied = shutil.copytree(suites.SHIPPED, tmp_path / "expectations")
    assert regenerate(copied) == []


def test_generating_keeps_what_is_written(tmp_path: Path) -> None:
    copied = shutil.copytree(suites.SHIPPED, tmp_path / "expectations")
    before = {file.name: file.read_bytes() for file in copied.iterdir()}
    changed = json.loads(before["tickets.json"])
    own = {
        "type": "unexpected_rows_expectation",
        "kwargs": {},
        "severity": "info",
        "meta": {"rule": "own", "part": "written", "says": "Ours."},
    }
    changed["expectations"] = [own, *changed["expectations"][1:]]
    (copied / "tickets.json").write_text(json.dumps(changed))
    (copied / "sessions.json").unlink()
    assert sorted(file.name for file in regenerate(copied)) == ["SHA256SUMS", "sessions.json", "tickets.json"]
    after = json.loads((copied / "tickets.json").read_bytes())
    whole = json.loads(before["tickets.json"])
    generated = [entry for entry in whole["expectations"] if entry["meta"]["part"] == "generated"]
    assert after["expectations"][: len(generated)] == generated
    assert after["expectations"][len(generated)] == own
    assert after["meta"]["expectations"] == len(whole["expectations"]) + 1


# --- a user's own ----------------------------------------------------------------------------------------------------

OWN = {
    "name": "tickets",
    "expectations": [
        {
            "type": "expect_column_values_to_be_in_set",
            "kwargs": {"column": "team", "value_set": ["first line", "second line"]},
            "severity": "warning",
            "meta": {"rule": "team_is_known", "says": "A ticket is of one of our teams."},
        }
    ],
}


def own_folder(folder: Path, document: Any, name: str = "ours.json") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return folder


def test_a_users_own_suite_is_added(tmp_path: Path) -> None:
    folder = own_folder(tmp_path / "own", OWN)
    own_folder(folder, {**OWN, "name": "accounting"}, "sums.json")
    loaded = load_suites(CONTRACTS, TABLES, folder)
    assert loaded["tickets"].expectations[:-1] == SUITES["tickets"].expectations
    assert loaded["tickets"].expectations[-1]["meta"]["part"] == "user"
    assert loaded["accounting"].expectations[-1]["meta"]["rule"] == "team_is_known"
    assert loaded["customers"] == SUITES["customers"]


def test_a_users_own_contracts_change_the_generated_part_of_touchpoints(tmp_path: Path) -> None:
    (tmp_path / "order").mkdir()
    properties = {
        "end": {
            "description": "Where.",
            "type": "string",
            "x-arrow": "string",
            "enum": ["in {store}", "at:home", "o'clock"],
        },
        "minutes": {"description": "How long.", "type": "integer", "x-arrow": "int64", "minimum": 2},
    }
    contract = {"title": "order", "type": "object", "required": ["end"], "properties": properties}
    (tmp_path / "order" / "1-0-0.json").write_text(json.dumps(contract))
    contracts = load_contracts(tmp_path)
    loaded = load_suites(contracts, tables(contracts))
    assert {name for name in loaded if loaded[name] != SUITES[name]} == {"touchpoints"}
    entries = {entry["meta"]["rule"]: entry for entry in loaded["touchpoints"].expectations}
    assert list(entries) == [entry["meta"]["rule"] for entry in SUITES["touchpoints"].expectations]
    con = duckdb.connect()
    con.execute(
        "create table touchpoints as select 'c' as customer_key, 1 as seq, 'order' as event_type, '1-0-0' as schema_version, 'in {store}' as \"end\", 2 as minutes"
    )
    columns = set(tables(contracts)["touchpoints"].schema.names) - {
        "customer_key",
        "seq",
        "event_type",
        "schema_version",
        "end",
        "minutes",
    }
    for column in columns:
        con.execute(f'alter table touchpoints add column "{column}" varchar')

    def wrong(rule: str) -> list[tuple[Any, ...]]:
        return wrong_rows(
            con,
            "touchpoints",
            {**entries[rule], "kwargs": {"unexpected_rows_query": entries[rule]["kwargs"]["unexpected_rows_query"]}},
        )

    assert wrong("values_are_known_ones") == wrong("fields_of_each_type_are_set") == []
    con.execute("update touchpoints set \"end\" = 'elsewhere', minutes = 1")
    assert wrong("values_are_known_ones") == [("c", 1, "end", "elsewhere")]
    con.execute('update touchpoints set "end" = null')
    assert wrong("fields_of_each_type_are_set") == [("c", 1, "order", "1-0-0", "end")]


ENTRY = OWN["expectations"][0]
META = ENTRY["meta"]


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ("{", "ours.json: not readable as JSON"),
        ("[]", "ours.json: a suite is a JSON object"),
        ({**OWN, "expectations": []}, "ours.json: expectations must be a list with at least one; an empty suite would always pass"),
        ({"name": "tickets"}, "ours.json: expectations must be a list"),
        ({**OWN, "expectation": []}, "ours.json: unknown key 'expectation'"),
        ({**OWN, "name": "ticket"}, "ours.json: name is 'ticket'; it is one of touchpoints, sessions"),
        ({**OWN, "name": "runs"}, "ours.json: name is 'runs'"),
        ({**OWN, "name": None}, "ours.json: name is None"),
        ({**OWN, "meta": []}, "ours.json: meta is []"),
        ({**OWN, "meta": {"expectations": 2}}, "ours.json: meta.expectations is 2, but there are 1"),
        ({**OWN, "expectations": ["x"]}, "ours.json: expectations[0] is no object"),
        ({**OWN, "expectations": [{**ENTRY, "severty": "info"}]}, "ours.json: expectations[0]: unknown key 'severty'"),
        ({**OWN, "expectations": [{**ENTRY, "type": ""}]}, "ours.json: expectations[0].type is ''"),
        ({**OWN, "expectations": [{**ENTRY, "type": "expect_column_value_to_be_in_set"}]}, "which Great Expectations does not know; did you mean expect_column_values_to_be_in_set?"),
        ({**OWN, "expectations": [{**ENTRY, "type": "ours"}]}, "ours.json: expectations[0].type is 'ours', which Great Expectations does not know; its gallery lists"),
        ({**OWN, "expectations": [{**ENTRY, "kwargs": None}]}, "ours.json: expectations[0].kwargs is None"),
        ({**OWN, "expectations": [{**ENTRY, "kwargs": {"a": [{"$PARAMETER": "x"}]}}]}, "ours.json: expectations[0].kwargs: $PARAMETER is 'x'; it is one of quarantine_warn_share"),
        ({**OWN, "expectations": [{**ENTRY, "type": "expect_table_row_count_to_be_between", "kwargs": {}}]}, "ours.json: expectations[0].kwargs: neither min_value nor max_value is given, so it would always hold"),
        ({**OWN, "expectations": [{**ENTRY, "kwargs": {"column": "a", "mostly": 0}}]}, "ours.json: expectations[0].kwargs: mostly is 0, so it would always hold"),
        ({**OWN, "expectations": [{**ENTRY, "severity": "fatal"}]}, "ours.json: expectations[0].severity is 'fatal'; it is one of critical, warning, info"),
        ({**OWN, "expectations": [{k: v for k, v in ENTRY.items() if k != "severity"}]}, "ours.json: expectations[0].severity is None"),
        ({**OWN, "expectations": [{**ENTRY, "meta": None}]}, "ours.json: expectations[0].meta is None"),
        ({**OWN, "expectations": [{**ENTRY, "meta": {**META, "rule": " "}}]}, "ours.json: expectations[0].meta.rule is ' '"),
        ({**OWN, "expectations": [{**ENTRY, "meta": {"rule": "x"}}]}, "ours.json: expectations[0].meta.says is None"),
        ({**OWN, "expectations": [ENTRY, ENTRY]}, "ours.json: expectations[1].meta.rule is 'team_is_known' once more"),
        ({**OWN, "expectations": [{**ENTRY, "meta": {**META, "rule": "times_are_in_order"}}]}, "ours.json: expectations[0].meta.rule is 'times_are_in_order', which the suite of tickets has already"),
    ],
)  # fmt: skip
def test_a_users_own_suite_is_refused_with_its_mend(tmp_path: Path, document: Any, told: str) -> None:
    folder = own_folder(tmp_path, document)
    with pytest.raises(SuiteError, match=re.escape(told)) as refused:
        load_suites(CONTRACTS, TABLES, folder)
    assert str(refused.value).startswith(str(folder))
    assert re.search(r";|:", told)


def test_quantiles_have_bounds_of_their_own(tmp_path: Path) -> None:
    ranges = {"quantiles": [0.5], "value_ranges": [[1, 9]]}
    entry = {
        **ENTRY,
        "type": "expect_column_quantile_values_to_be_between",
        "kwargs": {"column": "reopens", "quantile_ranges": ranges},
    }
    folder = own_folder(tmp_path, {**OWN, "expectations": [entry]})
    assert load_suites(CONTRACTS, TABLES, folder)["tickets"].expectations[-1]["kwargs"]["quantile_ranges"] == ranges


def test_a_folder_without_suites_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="no suite in it; a suite is a file <table>.json"):
        load_suites(CONTRACTS, TABLES, tmp_path)


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the shipped suites, that the loader takes for them."""
    copied = shutil.copytree(suites.SHIPPED, tmp_path / "expectations")
    monkeypatch.setattr(suites, "SHIPPED", copied)
    return copied


def rewrite(file: Path, edit: Any) -> None:
    document = json.loads(file.read_text())
    edit(document)
    file.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda d: d["expectations"].pop(), "tickets.json: meta.expectations is 7, but there are 6; correct the number, or what was lost"),
        (lambda d: d["meta"].pop("expectations"), "tickets.json: meta.expectations is None"),
        (lambda d: d.update(name="sessions"), "tickets.json: name is 'sessions'; it must be the name of the file"),
        (lambda d: d["expectations"][0].update(severity="info"), "tickets.json: the generated rule columns_are_as_declared is not what the schemas and contracts say; run `python -m schemas.suites`"),
        (lambda d: d["expectations"].reverse(), "tickets.json: the generated rules stand in another order than the schemas and contracts give; run `python -m schemas.suites`"),
        (lambda d: d["expectations"][1]["meta"].update(part="written"), "tickets.json: the generated rule required_columns_are_set is not what"),
        (lambda d: d["expectations"][-1]["meta"].update(part="generated"), "tickets.json: the generated rule seconds_are_differences_of_times is not what"),
        (lambda d: d["expectations"][-1]["meta"].update(part="user"), "tickets.json: expectations[6].meta.part is 'user'; it is one of generated, written"),
        (lambda d: d["expectations"][-1].update(severity="info"), "tickets.json: is not as SHA256SUMS says that it was shipped"),
    ],
)  # fmt: skip
def test_a_shipped_suite_that_differs_is_refused(shipped: Path, edit: Any, told: str) -> None:
    load_suites(CONTRACTS, TABLES)
    rewrite(shipped / "tickets.json", edit)
    with pytest.raises(SuiteError, match=re.escape(told)):
        load_suites(CONTRACTS, TABLES)


@pytest.mark.parametrize("name", ["tickets", "accounting"])
def test_a_table_or_measure_without_a_suite_is_refused(shipped: Path, name: str) -> None:
    (shipped / f"{name}.json").unlink()
    with pytest.raises(SuiteError, match=f"{name} has no suite, so nothing would be held against it"):
        load_suites(CONTRACTS, TABLES)


@pytest.mark.parametrize("spoil", ["change", "remove"])
def test_sql_that_asks_nothing_any_more_is_refused(shipped: Path, spoil: str) -> None:
    file = shipped / "session_breaks.sql"
    file.write_text(file.read_text(encoding="utf-8") + "\nlimit 0\n", encoding="utf-8")
    if spoil == "remove":  # with its suite, and with what says that there was one
        file.unlink()
        (shipped / "session_breaks.json").unlink()
    with pytest.raises(
        SuiteError, match=r"session_breaks\.(sql|json): is not (as SHA256SUMS says|there, though SHA256SUMS)"
    ):
        load_suites(CONTRACTS, TABLES)


def test_a_suite_without_its_measure_is_refused(shipped: Path) -> None:
    (shipped / "accounting.sql").unlink()
    with pytest.raises(SuiteError, match=r"accounting\.json: name is 'accounting'; it is one of"):
        load_suites(CONTRACTS, TABLES)


def test_generated_expectations_follow_the_schema() -> None:
    entries = {entry["meta"]["rule"]: entry for entry in generated_expectations(TABLES["journeys"], CONTRACTS)}
    query = entries["values_are_known_ones"]["kwargs"]["unexpected_rows_query"]
    assert """ where "status" not in ('closed', 'abandoned', 'ended', 'open') union all""" in query
    assert {entry["severity"] for entry in entries.values()} == {"critical"}
    assert "status is one of closed" in entries["values_are_known_ones"]["meta"]["says"]
