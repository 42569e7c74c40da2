"""An explanation as text for people, or as one JSON object. Both are written as they are read, line by line.

No value of the data reaches a terminal with control characters: they are replaced in text, and escaped in JSON.
"""

import decimal
import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from pipelines.explain import Entry, Explanation, Some
from pipelines.explain_identity import KINDS, Row, clean, count, refusal
from pipelines.query import plain

_LETTERS = 40  # of one value on an event's line
_FIELDS = 6  # of an event's own fields
_INDENT = 8  # of what is told of an event, below its line
_SUMMANDS = 10  # events behind one number; JSON has more
_TOGETHER = "\u00a0"  # a space at which no line ends; values have none, since clean() makes them plain spaces


def as_text(explanation: Explanation, width: int = 110) -> Iterator[str]:
    """The lines of an explanation, at most `width` wide where words allow it."""
    yield from _head(explanation, width)
    yield from _known_by(explanation, width)
    yield from _timeline(explanation.timeline, explanation.run, width)
    yield from _refused(explanation, width)
    yield from _numbers(explanation, width)


def as_json(explanation: Explanation, width: int = 110) -> Iterator[str]:
    """The lines of one JSON object: all that was read. Each entry of `timeline` is a line of its own."""
    parts = {name: getattr(explanation, name) for name in explanation.__dataclass_fields__}
    before = "{"
    for name, value in parts.items():
        head = f"{before}{json.dumps(name)}: "
        before = ""
        if name == "timeline":
            yield f"{head}["
            waiting: str | None = None
            for entry in value:
                if waiting is not None:
                    yield f"{waiting},"
                waiting = " " + _json({"entry": entry.what} | entry.told)
            yield waiting if waiting is not None else ""
            yield "],"
        else:
            yield head + _json(_listed(value)) + ("}" if name == list(parts)[-1] else ",")


def _listed(value: Any) -> Any:
    match value:
        case Some():
            return {"total": value.total, "shown": value.rows}
        case Mapping():
            return {name: _listed(part) for name, part in value.items()}
        case _:
            return value


def _json(value: Any) -> str:
    """One line of JSON; what a terminal would obey rather than show is escaped."""
    line = json.dumps(plain(value), ensure_ascii=False, allow_nan=False)
    return re.sub(r"[^ -~]", lambda found: found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1], line)


# ---- the parts -----------------------------------------------------------------------------------


def _head(told: Explanation, width: int) -> Iterator[str]:
    customer, run = told.customer, told.run
    known = "known" if customer["is_known"] else "not known"
    by = told.found_by
    found = f", found by {_kind(by['identifier_kind'])} {clean(by['identifier'])}" if by else ""
    yield from _wrapped(f"Customer {clean(customer['customer_key'])} ({known}){found}", width)
    policy = f", identity policy {run['identity_policy']}" if run["identity_policy"] else ""
    of_run = f"Run {clean(run['run_id'])}, as of {clean(run['as_of'])}{clean(policy)}. Times are UTC."
    yield from _wrapped(of_run, width)
    yield ""
    seen = f"{_time(customer['first_seen_at'])} to {_time(customer['last_seen_at'])}"
    channel = f", first through {clean(customer['first_channel'])}" if "first_channel" in customer else ""
    counted = ", ".join(
        count(customer[name], name.removesuffix("s").replace("_", " "))
        for name in ("touchpoints", "sessions", "journeys", "friction_points")
    )
    rows = [
        ("seen", seen + channel),
        ("has", counted),
        ("stage", clean(customer.get("current_stage", "none yet"))),
        ("orders", f"{customer['orders']:,}"),
        ("revenue", ", ".join(_money(part) for part in customer.get("revenue_by_currency", ())) or "none"),
        ("tickets", _of_which(told.tickets.total, told.open_tickets, "open")),
        ("subscriptions", _of_which(told.subscriptions.total, told.active_subscriptions, "active")),
    ]
    if "churned_at" in customer:
        rows.append(("churned", _churn(told)))
    yield from _pairs(rows, width)


def _of_which(total: int, some: int, state: str) -> str:
    return f"{total:,}, of which {some:,} {state}" if total else "none"


def _churn(told: Explanation) -> str:
    at, reason = told.customer["churned_at"], told.customer.get("churn_reason")
    by = told.churned_by or {}
    said = f", reason {clean(reason)}" if reason and reason != by.get("reason") else ""
    if not by:
        return f"{_time(at)}{said}"
    if "event_id" in by:
        return f"{_time(at)}{said}, by {clean(by['event_type'])} {clean(by['event_id'])}"
    return f"{_time(at)}{said}: {_without_event(by, told.run)}"


def _known_by(told: Explanation, width: int) -> Iterator[str]:
    yield ""
    yield "Known by"
    rows: list[tuple[str, str]] = []
    for kind, some in told.identifiers.items():
        lines = [f"{clean(row['identifier'])}  ({_when(row)})" for row in some.rows] + _more(some)
        rows += [(_kind(kind) if number == 0 else "", line) for number, line in enumerate(lines)]
    yield from _pairs(rows or [("", "nothing")], width, indent=2)


def _when(row: Row) -> str:
    first, last = _day(row["valid_from"]), _day(row["valid_to"])
    return f"{count(row['n_events'], 'event')}, {first}" + ("" if first == last else f" to {last}")


def _timeline(timeline: Iterable[Entry], run: Row, width: int) -> Iterator[str]:
    after_gap = True
    for entry in timeline:
        told = entry.told
        match entry.what:
            case "journey":
                yield ""
                yield from _wrapped(_journey(told), width, indent=2)
            case "session":
                yield from _wrapped(f"  -- {_session(told)} ".ljust(width, "-"), width, 5)
            case "event":
                yield from _wrapped(_event(told), width, _INDENT)
                yield from _wrapped(" " * _INDENT + "; ".join(_story(told, after_gap)), width, _INDENT)
                after_gap = False
            case "friction_point":
                yield from _wrapped(" " * _INDENT + f"! {_friction(told)}", width, _INDENT + 2)
            case "stage":
                yield f"  {_time(told['entered_at']):<26}           (no event)"
                story = f"{_stage(told)}; {_without_event(told, run)}"
                yield from _wrapped(" " * _INDENT + story, width, _INDENT)
            case "gap":
                yield ""
                yield from _wrapped(_gap(told), width, indent=2)
                after_gap = True


def _journey(told: Row) -> str:
    number = f"Journey {told['journey_no']:,}" + ("" if told["begins"] else ", continued")
    if "status" not in told:
        return number
    state = clean(told["status"]) + (f" by {clean(told['outcome'])}" if "outcome" in told else "")
    started = _time(told["started_at"])
    lasted = f"{state}, {started} to {_time(told['ended_at'])}" if "ended_at" in told else f"{state} since {started}"
    money = [_money(part) for part in told.get("revenue_by_currency", ())]
    counts = [count(told["touchpoints"], "touchpoint")]
    if told["friction_points"]:
        counts.append(count(told["friction_points"], "friction point"))
    return f"{number}: " + ", ".join([lasted, *counts, *money])


def _session(told: Row) -> str:
    number = f"session {told['session_no']:,}" + ("" if told["begins"] else ", continued")
    device = f" on device {_short(told['anonymous_id'])}" if "anonymous_id" in told else ""
    cut = ", cut at 24 hours or 10,000 events (is_truncated)" if told["is_truncated"] else ""
    return f"{number}{device}: {count(told['touchpoints'], 'event')}, to {_time(told['ended_at'])}{cut}"


def _event(told: Row) -> str:
    session = f"s{told['session_no']}" if "session_no" in told else ""
    when = f"  {_time(told['occurred_at']):<26} {told['seq']:>8,}"
    return f"{when}  {_short(told['event_type']):<20}  {session:<4}  {clean(told['event_id'])}"


def _story(told: Row, after_gap: bool) -> Iterator[str]:
    """What stands below an event's line: a new stage, its own fields, how it came, and how it found its customer."""
    if "stage" in told and (told["is_new_stage"] or after_gap):
        yield _stage(told)
    if told["is_of_earlier_journey"]:
        yield f"belongs to journey {told['journey_no']:,}"
    if fields := _fields(told["fields"]):
        yield ", ".join(fields)
    if came := [f"{name} {_short(told[column])}" for name, column in _CAME if column in told]:
        yield ", ".join(came)
    yield clean(told["identity"]["words"])
    if "ignored_identifiers" in told:
        ignored = json.loads(told["ignored_identifiers"]).items()
        yield "ignored: " + ", ".join(f"{_kind(kind)} {_quoted(value)}" for kind, value in ignored)


def _stage(told: Row) -> str:
    """A stage that begins, with the friction points that lie in it."""
    points = told.get("stage_friction_points")
    return f"-> {clean(told['stage'])}" + (f" ({count(points, 'friction point')})" if points else "")


_CAME = (("channel", "channel"), ("campaign", "campaign_id"))


def _fields(fields: Row) -> list[str]:
    """The first of an event's own fields, in the order of the contracts; a currency stands with its amount.

    What rates converted stands with what was sent.
    """
    shown = dict(fields)
    currency = shown.pop("currency", None) if "amount" in shown or "cost" in shown else None
    sent = {name: shown.pop(f"original_{name}", None) for name in ("amount", "cost")}
    if any(value is not None for value in sent.values()):
        sent_in = f"{_TOGETHER}{clean(shown.pop('original_currency'))}"
    told = []
    for name, value in shown.items():
        money = f"{_TOGETHER}{clean(currency)}" if currency and name in ("amount", "cost") else ""
        if sent.get(name) is not None:
            money += f" (sent as {_amount(sent[name])}{sent_in})"
        told.append(f"{name}{_TOGETHER}{_value(name, value)}{money}")
    more = len(told) - _FIELDS
    return [*told[:_FIELDS], f"{more} more fields"] if more > 1 else told


def _value(name: str, value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case decimal.Decimal():
            return _amount(value)
        case float():
            return f"{value:.15g}"
        case datetime():
            return _time(value)
        case str() if name.endswith("_url"):
            path = re.match(r"(?:[a-zA-Z][a-zA-Z0-9+.-]*://[^/?#]*)?([^?#]*)", value)
            return _short(path[1] if path and path[1] else value)
        case _:
            return _short(value)


def _friction(told: Row) -> str:
    subject = f" on {_short(told['subject'])}" if "subject" in told else ""
    lost = f", {_amount(told['minutes_lost'])} min lost" if told.get("minutes_lost") else ""
    lasted = told.get("ended_at", told["started_at"]) > told["started_at"]
    until = f", to {_time(told['ended_at'])}" if lasted else ""
    outcome = f"; later in the journey: {clean(told['next_outcome'])}" if "next_outcome" in told else ""
    return f"friction {clean(told['kind'])}{subject} ({clean(told['area'])}){lost}{until}: {_ids(told)}{outcome}"


def _ids(told: Row) -> str:
    ids = told.get("event_ids", [])
    more = told["n_events"] - len(ids)
    return ", ".join(_short(name) for name in ids) + (f" and {more:,} more" if more > 0 else "")


def _without_event(told: Row, run: Row) -> str:
    if told["reason"] == "ended_elsewhere":
        return f"subscription {clean(told['subscription_id'])} ended{_by(told, 'ended_by')}"
    if told["reason"] == "term_ended":
        return f"the term of subscription {clean(told['subscription_id'])} ended unrenewed"
    days = run.get("inactivity_days")
    return f"lapsed, no order for {days:,} days" if days else "lapsed"


def _gap(told: Row) -> str:
    beside = [
        count(told[name], thing)
        for name, thing in (("friction_points", "friction point"), ("stages_without_event", "lapse"))
        if told[name]
    ]
    among = f", with {' and '.join(beside)}" if beside else ""
    numbers = f"{told['from_seq']:,} to {told['to_seq']:,}"
    return f"... {count(told['events'], 'event')} between (seq {numbers}{among}); --limit 0 shows all ..."


def _refused(told: Explanation, width: int) -> Iterator[str]:
    yield ""
    yield "Refused"
    lines = [refusal(row) for row in told.refused.rows] + _more(told.refused)
    for row in told.ignored.rows:
        of = count(row["n_events"], "event")
        value = f"{_kind(row['kind'])} {_quoted(row['identifier'])}"
        lines.append(f"{value} means nobody: ignored on {of} of this customer, first {clean(row['event_id'])}")
    lines += _more(told.ignored)
    for line in lines or ["nothing"]:
        yield from _wrapped(f"  {line}", width, indent=4)


# ---- the numbers, and what they are made of ------------------------------------------------------


def _numbers(told: Explanation, width: int) -> Iterator[str]:
    yield ""
    yield "Numbers, and what they are made of"
    rows = [("revenue", _revenue(row)) for row in told.revenue] or [("revenue", "none")]
    of_orders = _sum(", ", [*map(_order, told.orders.rows), *_more(told.orders)])
    rows.append(("orders", f"{told.orders.total:,}{of_orders}" if told.orders.total else "none"))
    rows += [("ticket", _ticket(row)) for row in told.tickets.rows]
    rows += [("tickets", line) for line in _more(told.tickets)]
    rows += [("subscription", _subscription(row)) for row in told.subscriptions.rows]
    rows += [("subscriptions", line) for line in _more(told.subscriptions)]
    yield from _pairs(rows, width, indent=2)


def _order(row: Row) -> str:
    more = f" and {count(row['lines'] - 1, 'more line')}" if row["lines"] > 1 else ""
    amount = f" {_money(row)}" if "amount" in row else ""
    return f"{clean(row['order_id'])} ({clean(row['event_id'])}{more}){amount}"


def _revenue(row: Row) -> str:
    total = _money({"amount": row["amount"], "currency": row.get("currency")})
    if row["n_events"] <= _SUMMANDS:
        return total + _sum(" + ", [f"{clean(e['event_id'])} {_amount(e['amount'])}" for e in row["events"]])
    kinds = [f"{count(k['n_events'], clean(k['event_type']))} {_amount(k['amount'])}" for k in row["event_types"]]
    return total + _sum(" + ", kinds)


def _sum(between: str, parts: Sequence[str]) -> str:
    return f" = {between.join(parts)}" if parts else ""


def _ticket(row: Row) -> str:
    about = ", ".join(clean(row[name]) for name in ("topic", "priority", "team") if name in row)
    named = _of_source(row, "ticket_id") + (f" ({about})" if about else "")
    parts = [f"opened {_time(row['opened_at'])}{_by(row, 'opened_by')}"]
    if "first_response_s" in row:
        parts.append(f"first response after {_minutes(row['first_response_s'])} min{_by(row, 'first_response_by')}")
    else:
        parts.append("no response by an agent")
    if "resolution_s" in row:
        parts.append(f"resolved after {_minutes(row['resolution_s'])} min{_by(row, 'first_resolved_by')}")
    if row["reopens"]:
        parts.append(f"{count(row['reopens'], 'reopening')}")
    if row["is_open"]:
        parts.append("open")
    return f"{named}: {', '.join(parts)}"


def _subscription(row: Row) -> str:
    plan = f" (plan {clean(row['plan'])})" if "plan" in row else ""
    parts = [f"started {_time(row['started_at'])}", clean(row["status"])]
    if "ended_at" in row:
        reason = f", reason {clean(row['cancelled_reason'])}" if "cancelled_reason" in row else ""
        parts[-1] += f" {_time(row['ended_at'])}{_by(row, 'ended_by')}{reason}"
    if "mrr" in row:
        parts.append(f"{_amount(row['mrr'])} {clean(row.get('currency', ''))} a month")
    parts.append(count(row["renewals"], "renewal"))
    shown = row.get("events", [])[:_SUMMANDS]
    events = [
        f"{clean(event['event_type'])} {clean(event['event_id'])}"
        + _of_other(event["customer_key"] if event["customer_key"] != row["customer_key"] else None)
        for event in shown
    ]
    more = row.get("n_events", 0) - len(events)
    made_of = ", ".join([*events, f"and {more:,} more"] if more > 0 else events)
    told = f"{_of_source(row, 'subscription_id')}{plan}: " + ", ".join(parts)
    return f"{told}; events: {made_of}" if made_of else told


def _of_source(row: Row, name: str) -> str:
    return clean(row[name]) + (f" of {clean(row['source'])}" if "source" in row else "")


def _by(row: Row, name: str) -> str:
    return f" ({clean(row[name])}{_of_other(row.get(f'{name}_customer'))})" if name in row else ""


def _of_other(customer: str | None) -> str:
    return f" of customer {clean(customer)}" if customer else ""


def _minutes(seconds: int) -> str:
    return f"{decimal.Decimal(seconds) / 60:,.1f}"


# ---- values and lines ----------------------------------------------------------------------------


def _kind(kind: str) -> str:
    return KINDS.get(kind, clean(kind))


def _quoted(value: object) -> str:
    return f'"{_short(value)}"'


def _more(some: Some) -> list[str]:
    more = some.total - len(some.rows)
    return [f"and {more:,} more"] if more > 0 else []


def _amount(value: decimal.Decimal) -> str:
    """
    >>> _amount(decimal.Decimal("1234.5000")), _amount(decimal.Decimal("0.0833"))
    ('1,234.50', '0.0833')
    """
    whole, _, digits = f"{value:,f}".partition(".")
    return f"{whole}.{digits.rstrip('0'):0<2}"


def _money(part: Mapping[str, Any]) -> str:
    currency = part.get("currency")
    return _amount(part["amount"]) + (f"{_TOGETHER}{clean(currency)}" if currency else "")


def _time(moment: datetime) -> str:
    """
    >>> _time(datetime(2026, 1, 2, 3, 4, 5, 600_000))
    '2026-01-02 03:04:05.6'
    """
    return (
        f"{moment:%Y-%m-%d %H:%M:%S.%f}".rstrip("0").rstrip(".")
        if moment.microsecond
        else f"{moment:%Y-%m-%d %H:%M:%S}"
    )


def _day(moment: date) -> str:
    return f"{moment:%Y-%m-%d}"


def _short(value: object) -> str:
    shown = clean(value)
    return shown if len(shown) <= _LETTERS else shown[: _LETTERS - 1] + "…"


def _wrapped(line: str, width: int, indent: int = 0) -> list[str]:
    """The lines of a text; those after the first are indented."""
    fits = len(line) <= width  # as most do; to wrap takes a hundred times as long
    lines = [line] if fits else textwrap.wrap(line, width, subsequent_indent=" " * indent, break_on_hyphens=False)
    return [part.replace(_TOGETHER, " ") for part in lines]


def _pairs(rows: Sequence[tuple[str, str]], width: int, indent: int = 0) -> Iterator[str]:
    """Labels and texts in two columns."""
    label_width = max((len(label) for label, _ in rows), default=0)
    for label, line in rows:
        yield from _wrapped(f"{'':<{indent}}{label:<{label_width}}  {line}", width, indent + label_width + 2)
