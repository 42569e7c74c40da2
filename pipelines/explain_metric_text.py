"""An explanation of a metric as text for people, or as one JSON object.

No value of the data reaches a terminal with control characters: they are replaced in text, and escaped in JSON.
"""

import datetime
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from pipelines.explain_identity import Row, clean, count
from pipelines.explain_metric import MetricExplanation
from schemas.dictionary import Metric

_EVENTS = 10  # of one part; JSON has all


def as_json(explanation: MetricExplanation) -> str:
    """All of it, as one JSON object: decimals are texts, times RFC 3339."""
    document = {
        "run": explanation.run,
        "metric": explanation.metric.name,
        "period": explanation.asked.period,
        "customer": explanation.asked.customer,
        "segment": explanation.asked.segment,
        "segment_value": explanation.asked.segment_value,
        "published": explanation.published,
        "sums": explanation.sums,
        "values": explanation.values,
        "agree": explanation.agree,
        "customers": explanation.customers,
        "lifespan": explanation.lifespan,
        "why_null": explanation.why_null,
        "contributions": explanation.contributions,
    }
    return json.dumps(document, default=_plain, ensure_ascii=True)


def _plain(value: Any) -> str:
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.UTC).isoformat().replace("+00:00", "Z")
    return str(value)


def as_text(explanation: MetricExplanation, limit: int = 200) -> Iterator[str]:
    """The lines of an explanation: the number, whether its parts add up to it, and the parts with their events."""
    metric, asked = explanation.metric, explanation.asked
    whose = f", customer {clean(asked.customer)}" if asked.customer else ""
    of = f", {clean(asked.segment)} = {clean(str(asked.segment_value))}" if asked.segment else ""
    yield f"{asked.metric}, {asked.period}{of}{whose}: {metric.description}"
    zone = explanation.run["timezone"]
    yield f"Run {explanation.run['run_id']}, as of {_plain(explanation.run['as_of'])}, months of {zone}"
    yield ""
    yield f"Formula      {metric.formula}"
    for row in explanation.published:
        # of money the currency is the unit
        unit = " ".join(
            part for part in ("" if metric.unit == "currency" else metric.unit, row.get("currency")) if part
        )
        value = "null" if row.get("value") is None else f"{row['value']:.10g}"
        below = f" / {_number(row['denominator'])}" if "denominator" in row else ""
        parts = f"  = {_number(row['numerator'])}{below}" if "numerator" in row else ""
        yield f"Published    {value} {unit}".rstrip() + f"{parts}  n {row['n']:,}  {row['status']}"
    if explanation.why_null:
        yield f"No value     {clean(explanation.why_null)}"
    # Of a quantile the sum says nothing: what its values come to is held against it.
    quantile = metric.shape == "distribution" and not asked.metric.endswith("_mean")
    for total in explanation.sums:
        if quantile:
            counted = total.get("n_with_open", 0) if asked.metric.endswith("_km_p50") else total["n"]
            yield f"Worked out   {_value(explanation.values[0])} {metric.unit}  of {count(counted, 'value')}"
            continue
        currency = f" {total['currency']}" if total.get("currency") else ""
        below = f" / {_number(total['denominator'])}" if metric.shape not in ("count", "sum") else ""
        yield f"Added up     {_number(total['numerator'])}{below}{currency}"
    if explanation.lifespan:
        yield from _lifespan(explanation)
    if explanation.agree is not None:
        yes = f"the parts below {'come to' if quantile else 'add up to'} what is published"
        no = "THE PARTS BELOW DO NOT ADD UP to what is published: please report it"
        yield f"             {yes if explanation.agree else no}"
    elif asked.customer:
        yield "             of this customer alone; the published number is of all"
    for side in ("numerator", "denominator"):
        parts_of = [row for row in explanation.contributions if _counts(metric, row, side)]
        if not parts_of:
            continue
        label = "Values" if metric.shape == "distribution" else side.capitalize()
        customers = len({row["customer_key"] for row in parts_of})
        yield ""
        yield f"{label}: {getattr(metric, side)}"
        yield f"  {count(len(parts_of), 'part')} of {count(customers, 'customer')}"
        for contribution in parts_of[: limit or None]:
            yield from _part(metric, contribution, side)
        if limit and len(parts_of) > limit:
            yield f"  ... and {len(parts_of) - limit:,} more: --limit 0 shows all"


def _lifespan(explanation: MetricExplanation) -> Iterator[str]:
    """The churn and the years that make a lifetime value of money a year, and what comes of them."""
    stay = explanation.lifespan or {}
    churn = f"{_number(stay['left'])} / {_number(stay['could_leave'])} = {stay['monthly_churn']:.6g} a month"
    yield f"Churn        {stay['churn_metric']} over all: {churn}"
    most = f"at most {stay['max_lifespan_years']:g}"
    yield f"Years        {stay['expected_years']:.6g}  = 1 / (12 x churn), {most}"
    margin = "" if stay["margin"] == 1 else f" x margin {stay['margin']:g}"
    by_currency = {total["currency"]: total for total in explanation.sums}
    for row, value in zip(explanation.published, explanation.values, strict=True):
        total = by_currency.get(row.get("currency"))
        if total is not None and value is not None:
            parts = f"{_number(total['numerator'])} / {_number(total['denominator'])} days x 365.25 x years{margin}"
            yield f"Worked out   {_value(value)} {row.get('currency', '')}".rstrip() + f"  = {parts}"


def _value(value: float | None) -> str:
    return "null" if value is None else f"{value:.10g}"


def _counts(metric: Metric, row: Row, side: str) -> bool:
    """Whether a part belongs on a side: it adds to it, or is shown with 0 for the events that made it so (who has left)."""
    if metric.shape == "distribution":
        return side == "numerator"
    left_nothing = metric.compares_ends and side == "numerator" and any(row[f"{side}_events"])
    return bool(row.get(side)) or left_nothing


def _part(metric: Metric, row: Row, side: str) -> Iterator[str]:
    if metric.shape == "distribution":
        amount = f"{row['value'] / metric.divisor:,.10g} {metric.unit}" + (
            " and not ended by then" if row.get("is_open") else ""
        )
    else:
        amount = _number(row[side]) + (f" {row['currency']}" if row.get("currency") else "")
    told = "".join(f"  {name} {clean(str(row[name]))}" for name in metric.dimensions if row.get(name) is not None)
    month = f"  {row['month']:%Y-%m}" if row.get("month") else ""
    yield f"  {clean(row['customer_key'])}{month}  {amount}{told}"
    events = row[f"{side}_events"]
    for event in events[:_EVENTS]:
        if "occurred_at" not in event:
            yield f"      {clean(event['event_id'])}"
            continue
        money = f"  {_number(event['amount'])} {event.get('currency') or ''}" if event.get("amount") is not None else ""
        yield f"      {_plain(event['occurred_at'])}  {event['event_type']}  {clean(event['event_id'])}{money}".rstrip()
    if len(events) > _EVENTS:
        yield f"      ... and {len(events) - _EVENTS:,} more events"


def _number(value: Any) -> str:
    if value is None:
        return "null"
    number = Decimal(value)
    return f"{number:,.2f}" if number != number.to_integral_value() else f"{int(number):,}"
