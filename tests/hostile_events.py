"""Events of a small business, made from a seed: realistic in kind, hostile in detail.

Few customers, devices, moments and identifiers, so that everything meets: events at one moment, one event_id with
several contents, customers who share a device, a ticket and an order number, order lines out of order, refunds before
their order, copies that differ in one field only. A year of it, so that journeys fall silent and customers lapse.
"""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

Event = dict[str, Any]

AS_OF = datetime(2026, 1, 1, tzinfo=UTC)
_START = datetime(2025, 1, 1, tzinfo=UTC)
_IDS = ("a", "Z", "é", "e 1", "ё", "日本", "😀", "a:b", "0")


def make_events(seed: int, count: int = 80, spoilt: bool = True) -> list[Event]:
    """`count` events and some copies of them; some lie after AS_OF and, if `spoilt`, some break a rule."""
    rng = random.Random(seed)
    moments = [_START + timedelta(days=rng.choice((0, 1, 40, 100, 200, 330))) for _ in range(6)]
    moments += [moment + timedelta(minutes=rng.randint(1, 90)) for moment in moments for _ in range(3)]
    events = [_event(rng, number, moments) for number in range(count)]
    events += [_copy(rng, rng.choice(events), moments) for _ in range(count // 6)]
    for event in rng.sample(events, count // 16 if spoilt else 0):
        _spoil(rng, event)
    return events


def _event(rng: random.Random, number: int, moments: list[datetime]) -> Event:
    event_type = rng.choice(list(_OWN_FIELDS))
    event: Event = {
        "event_id": f"{rng.choice(_IDS)}-{number}",
        "event_type": event_type,
        "occurred_at": _time(rng, _moment(rng, moments)),
        **_who(rng),
        **_own_fields(rng, event_type),
    }
    _sometimes(rng, event, 0.3, received_at=lambda: _time(rng, rng.choice(moments) + timedelta(days=400)))
    _sometimes(rng, event, 0.7, source=lambda: rng.choice(("web", "shop", "app")))
    _sometimes(rng, event, 0.2, source_session_id=lambda: rng.choice(("ss-1", "ss-2")))
    _sometimes(rng, event, 0.4, channel=lambda: rng.choice(("direct", "email", "paid search")))
    _sometimes(rng, event, 0.1, load_time=lambda: rng.randint(1, 9))
    _sometimes(rng, event, 0.1, schema_version=lambda: "1-0-0")
    return dict(rng.sample(list(event.items()), len(event)))


def _moment(rng: random.Random, moments: list[datetime]) -> datetime:
    moment = rng.choice(moments)
    if rng.random() < 0.05:
        return AS_OF + timedelta(microseconds=rng.choice((0, 1)))
    return moment + timedelta(seconds=rng.choice((0, 0, 0, 1, 1800, 1801)), microseconds=rng.choice((0, 0, 1)))


def _time(rng: random.Random, moment: datetime) -> str:
    """One moment, told with one offset or another."""
    zone = rng.choice((timedelta(0), timedelta(hours=2), timedelta(hours=-9, minutes=-30)))
    text = (moment + zone).strftime("%Y-%m-%dT%H:%M:%S.%f")
    if not zone:
        return text + "Z"
    hours, minutes = divmod(abs(zone) // timedelta(minutes=1), 60)
    return f"{text}{'-' if zone < timedelta(0) else '+'}{hours:02}:{minutes:02}"


def _who(rng: random.Random) -> Event:
    who: Event = {}
    kind = rng.random()
    if kind < 0.5:
        who["customer_id"] = rng.choice(("c-1", "c-2", "c-3", "email:c-1", "ç", " c-1 "))
    if kind > 0.4:
        who["anonymous_id"] = rng.choice(("dev-1", "dev-2", "dev-3"))
    if rng.random() < 0.3:
        who["email"] = rng.choice(("ann@example.com", " Ann@Example.com", "ben@example.com"))
    return who


def _sometimes(rng: random.Random, event: Event, share: float, **fields: Callable[[], Any]) -> None:
    for name, value in fields.items():
        if rng.random() < share:
            event[name] = value()


def _copy(rng: random.Random, event: Event, moments: list[datetime]) -> Event:
    """The same event_id again: unchanged, or with one thing different, the time among them or not."""
    copy = dict(event)
    change = rng.randrange(7)
    if change == 1:
        copy["occurred_at"] = _time(rng, _moment(rng, moments))
    elif change == 2:
        copy["received_at"] = _time(rng, rng.choice(moments) + timedelta(days=400))
    elif change == 3:
        copy["channel"] = rng.choice(("phone", "social"))
    elif change == 4:
        copy["load_time"] = rng.choice((10, "ten"))
    elif change == 5:
        copy = {**copy, "customer_id": rng.choice(("c-2", "c-9"))}
    elif change == 6:
        copy = {**_own_fields(rng, copy["event_type"]), "source": "shop", **{k: copy[k] for k in ("event_id",
                "event_type", "occurred_at")}, "customer_id": "c-3"}  # fmt: skip
    return copy


def _spoil(rng: random.Random, event: Event) -> None:
    name, value = rng.choice(
        (
            ("event_type", "site_vist"),
            ("occurred_at", "2025-03-01T12:00:00"),
            ("occurred_at", "2025-02-30T12:00:00Z"),
            ("event_id", None),
            ("page_kind", 7),
            ("currency", "eur"),
            ("amount", "12.50"),
            ("period_months", 0.5),
            ("schema_version", "7-0-0"),
        )
    )
    event[name] = value


def _amount(rng: random.Random) -> float | int:
    return rng.choice((0.1, 0.2, 19.99, 120, 0.0001, 33.3333, 99999999.99))


def _money(rng: random.Random) -> Event:
    return {"amount": _amount(rng), "currency": rng.choice(("EUR", "EUR", "EUR", "USD"))}


def _terms(rng: random.Random) -> Event:
    return {**_money(rng), "period_months": rng.choice((1, 3, 12)), "subscription_id": rng.choice(("s-1", "s-2"))}


def _ticket(rng: random.Random) -> Event:
    return {"ticket_id": rng.choice(("t-1", "t-2", "t-3"))}


def _own_fields(rng: random.Random, event_type: str) -> Event:
    return {name: value for name, value in _OWN_FIELDS[event_type](rng).items() if value is not None}


_OWN_FIELDS: dict[str, Callable[[random.Random], Event]] = {
    "ad_view": lambda rng: {"campaign_id": "spring", "clicked": rng.choice((True, False, None))},
    "site_visit": lambda rng: {
        "page_url": rng.choice(("https://a.example/x?b=1", "/y")),
        "page_kind": rng.choice(("product", "checkout", "home", None)),
        "load_ms": rng.choice((0.1, 840, 4000, 4000.5, 60000, None)),
    },
    "product_usage": lambda rng: {
        "feature": rng.choice(("brew", "grind")),
        "task_outcome": rng.choice(("completed", "abandoned", "failed", None)),
        "duration_s": rng.choice((0.1, 12, None)),
    },
    "purchase": lambda rng: {"order_id": rng.choice(("o-1", "o-2", "o-3", "o-4")), **_money(rng), "quantity": 1},
    "offer_redeemed": lambda rng: {"offer_id": "ten", "order_id": rng.choice(("o-1", None))},
    "payment_failed": lambda rng: {"order_id": rng.choice(("o-1", None)), "provider": "p", **_money(rng)},
    "refund": lambda rng: {"order_id": rng.choice(("o-1", "o-2", "o-9")), **_money(rng)},
    "ticket_opened": lambda rng: {**_ticket(rng), "topic": rng.choice(("late", "broken", None)), "team": "desk"},
    "ticket_replied": lambda rng: {
        **_ticket(rng),
        "author": rng.choice(("agent", "customer", "bot")),
        "public": rng.choice((True, False, None)),
    },
    "ticket_resolved": _ticket,
    "ticket_reopened": _ticket,
    "survey_sent": lambda rng: {"survey_type": "csat", "survey_id": "q-1", **_ticket(rng)},
    "survey_response": lambda rng: {
        "survey_type": rng.choice(("csat", "nps", "ces")),
        "survey_id": rng.choice(("q-1", "q-2", None)),
        "score": rng.choice((0, 3, 4.5, 9, 10)),
        "scale_min": 0,
        "scale_max": 10,
    },
    "subscription_started": lambda rng: {**_terms(rng), "auto_renews": rng.choice((True, False, None))},
    "subscription_changed": lambda rng: {**_terms(rng), "plan": rng.choice(("small", "large"))},
    "renewal": lambda rng: {**_terms(rng), "outcome": rng.choice(("renewed", "declined", None))},
    "cancellation": lambda rng: {
        "subscription_id": rng.choice(("s-1", "s-2")),
        "kind": rng.choice(("requested", "effective")),
        "reason": rng.choice(("price", "moved", None)),
        "voluntary": rng.choice((True, False, None)),
    },
    "account_closed": lambda rng: {"reason": rng.choice(("price", None))},
    "review": lambda rng: {"rating": rng.choice((1, 4.5)), "scale_min": 1, "scale_max": 5},
    "referral": lambda rng: {"referred_email": "eve@example.com"},
}
