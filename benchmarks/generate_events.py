"""Write seeded, realistic touchpoint events as JSON lines, for benchmarks and load tests.

The same arguments give the same bytes. Events are made in time slices of whole sessions, as numpy columns of
small codes, and become text only when a slice is written: the memory needed hardly grows with their number.
What one time slice starts and a later one finishes (ticket replies, renewals, refunds, copies sent again)
waits in between, as in a real stream. `truth.json` beside the files says what an honest reader has to find.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Ints = np.ndarray[Any, np.dtype[np.int64]]
Frame = dict[str, Ints]

SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
FIRST_DAY = np.datetime64("2025-07-01", "D")
DAYS = 365
START = int(FIRST_DAY.astype("datetime64[us]").astype(np.int64))
END = START + DAYS * DAY

LINES_PER_SLICE = 100_000
MINIMUM_PER_FILE = 1000
EVENTS_PER_CUSTOMER = 50
RESENT_SHARE = 0.03
BAD_SHARE = 0.01
MEAN_SESSION = 12.5  # events browsed in a session, before what follows from it

TYPES = (
    "site_visit", "product_usage", "ad_view", "purchase", "offer_redeemed", "payment_failed", "refund",
    "ticket_opened", "ticket_replied", "ticket_resolved", "ticket_reopened", "survey_sent", "survey_response",
    "subscription_started", "renewal", "cancellation", "site_vist",
)  # fmt: skip
TYPE = {name: code for code, name in enumerate(TYPES)}
SOURCES = ("web", "app", "ads", *["shop"] * 4, *["helpdesk"] * 4, *["survey"] * 2, *["billing"] * 3, "web")
PAGE_KINDS = ("home", "search", "product", "help", "account", "other", "cart", "checkout", "payment")
PAGE = {name: code for code, name in enumerate(PAGE_KINDS)}
PAGE_STEMS = tuple(f"https://shop.example/{name}" for name in PAGE_KINDS)
CHANNELS = ("direct", "organic_search", "paid_search", "email", "social", "referral", "display")

# Column name -> the words its codes stand for.
WORDS: dict[str, tuple[str, ...]] = {
    "channel": CHANNELS,
    "device_type": ("desktop", "mobile", "tablet"),
    "country": ("DE", "FR", "NL", "ES", "IT", "PL", "SE", "GB"),
    "page_kind": PAGE_KINDS,
    "error_code": ("upstream_timeout", "asset_missing", "form_invalid"),
    "feature": ("export", "dashboard", "alerts", "import", "sharing", "search", "api", "reports"),
    "task": ("create_report", "invite_user", "connect_source"),
    "task_outcome": ("completed", "abandoned", "failed"),
    "currency": ("EUR", "USD"),
    "failure_code": ("card_declined", "insufficient_funds", "expired_card", "issuer_timeout"),
    "provider": ("northpay", "cardex"),
    "topic": ("delivery", "billing", "login", "returns", "bug", "how_to"),
    "priority": ("normal", "high", "low"),
    "team": ("first_line", "billing", "technical"),
    "author": ("agent", "customer", "bot"),
    "survey_type": ("nps", "csat"),
    "context": ("relationship", "transactional"),
    "plan": ("basic", "plus", "team"),
    "outcome": ("renewed", "declined"),
    "kind": ("requested", "effective"),
    "reason": ("price", "missing_feature", "support", "competitor", "unused"),
}
FLAGS = ("clicked", "public", "auto_renews", "voluntary")
WHOLE = (
    "load_ms",
    "http_status",
    "error_count",
    "quantity",
    "period_months",
    "score",
    "scale_min",
    "scale_max",
)
CENTS = ("amount", "cost")
IDENTIFIERS = {
    "order_id": ("o-", 9), "product_id": ("p", 5), "offer_id": ("offer-", 3), "ticket_id": ("T", 8),
    "subscription_id": ("sub-", 8), "survey_id": ("sv-", 8), "creative_id": ("cr", 3),
}  # fmt: skip
# Every column of a frame is int64 and -1 where the event does not have it.
COLUMNS = (
    "type", "at", "received", "customer", "device", "email_only", "session", "campaign", "page",
    "duration_ds", *WORDS, *FLAGS, *WHOLE, *CENTS, *IDENTIFIERS,
)  # fmt: skip

BAD_KINDS = {
    "malformed_json": "json.malformed",
    "unknown_type": "type.unknown",
    "missing_required": "field.missing",
    "number_in_string": "field.type",
    "time_without_offset": "time.no_offset",
    "negative_amount": "field.range",
    "no_identifier": "identity.missing",
}


def frame(rows: int, **columns: Any) -> Frame:
    """Make a frame of `rows` events; what is not named is absent."""
    made = {name: np.full(rows, -1, np.int64) for name in COLUMNS}
    for name, values in columns.items():
        made[name][:] = values
    return made


def take(rows: Frame, index: Any) -> Frame:
    """Pick rows by a mask or by positions."""
    return {name: values[index] for name, values in rows.items()}


def stack(frames: Sequence[Frame]) -> Frame:
    """Put frames one after the other."""
    return {name: np.concatenate([each[name] for each in frames]) for name in COLUMNS}


def mix(values: np.ndarray[Any, np.dtype[np.uint64]]) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """SplitMix64: one to one on 64 bits, so different numbers can never give the same identifier."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


# ---------------------------------------------------------------------------------------------- sessions


@dataclass
class World:
    """What outlives one time slice: who the customers are, and the counters that make identifiers unique."""

    seed: int
    customers: int
    weights: np.ndarray[Any, np.dtype[np.float64]] = field(init=False)
    counters: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Zipf's law with a shifted rank: without the shift one customer would own a tenth of all events."""
        ranks = np.arange(self.customers) + max(1.0, self.customers / 1000)
        self.weights = np.cumsum(1 / ranks)
        self.weights /= self.weights[-1]

    def number(self, name: str, count: int) -> Ints:
        """Hand out the next `count` numbers of one kind of identifier."""
        first = self.counters[name]
        self.counters[name] += count
        return np.arange(first, first + count, dtype=np.int64)


@dataclass
class Sessions:
    """The sessions of one time slice, one array element each."""

    number: Ints
    customer: Ints
    device: Ints
    shopping: np.ndarray[Any, np.dtype[np.bool_]]
    guest: np.ndarray[Any, np.dtype[np.bool_]]
    has_account: np.ndarray[Any, np.dtype[np.bool_]]
    intent: Ints  # 0 looks around, 1 reaches the cart, 2 the checkout, 3 buys
    channel: Ints
    begins: Ints
    length: Ints
    ends: Ints = field(init=False)


def draw_sessions(world: World, rng: np.random.Generator, count: int, begin: int, end: int) -> Sessions:
    """Draw sessions that begin in [begin, end), more of them in the evening than at night."""
    customer = np.searchsorted(world.weights, rng.random(count)).astype(np.int64)
    hours = np.array([1, 1, 1, 1, 1, 2, 3, 5, 6, 7, 7, 7, 8, 7, 7, 7, 8, 9, 10, 11, 11, 9, 6, 3], np.float64)
    hour = rng.choice(24, count, p=hours / hours.sum())
    day = (begin - START + (rng.random(count) * (end - begin)).astype(np.int64)) // DAY
    shopping = rng.random(count) < 0.65
    has_account = mix((customer + 7).astype(np.uint64)) % np.uint64(100) >= 5
    intent = rng.choice(4, count, p=(0.60, 0.13, 0.10, 0.17))
    number = world.number("session", count)
    device = customer * 4 + np.minimum(rng.geometric(0.7, count) - 1, 2)
    return Sessions(
        number=number,
        customer=customer,
        device=np.where(number % 14 == 3, -1, device),  # cookies refused
        shopping=shopping,
        guest=~has_account | (rng.random(count) < 0.06),
        has_account=has_account,
        intent=np.where(shopping, intent, 0),
        channel=rng.choice(len(CHANNELS), count, p=(0.28, 0.24, 0.15, 0.12, 0.10, 0.06, 0.05)),
        begins=START + day * DAY + hour * HOUR + rng.integers(0, HOUR, count),
        length=4 + np.minimum(rng.poisson(rng.gamma(3.0, (MEAN_SESSION - 4) / 3.0, count)), 80).astype(np.int64),
    )


def browse(sessions: Sessions, rng: np.random.Generator) -> Frame:
    """Make what a customer sees and does in each session; sets when each session ends."""
    rows = int(sessions.length.sum())
    first = np.cumsum(sessions.length) - sessions.length
    of = np.repeat(np.arange(len(sessions.length)), sessions.length)
    position = np.arange(rows) - first[of]
    from_end = sessions.length[of] - 1 - position
    gaps = (rng.lognormal(3.1, 1.1, rows) * SECOND).astype(np.int64) + rng.integers(1000, SECOND, rows)
    gaps[first] = 0
    elapsed = np.cumsum(gaps)
    at = sessions.begins[of] + elapsed - elapsed[first][of]
    sessions.ends = at[first + sessions.length - 1]

    chance = rng.random(rows)
    shopping, intent = sessions.shopping[of], sessions.intent[of]
    paid = np.isin(sessions.channel[of], (2, 4, 6))
    is_ad = ((position == 0) & paid & (chance < 0.6)) | ((position > 0) & (from_end > 2) & (chance > 0.98))
    kind = np.where(is_ad, TYPE["ad_view"], np.where(shopping | (chance < 0.2), 0, TYPE["product_usage"]))
    made = frame(
        rows,
        type=kind,
        at=at,
        customer=sessions.customer[of],
        email_only=sessions.guest[of],
        device=sessions.device[of],
        session=np.where(sessions.number[of] % 4 == 0, sessions.number[of], -1),
    )
    landing = position == 0
    made["channel"][:] = np.where(landing | is_ad, sessions.channel[of], -1)
    made["device_type"][:] = np.where(landing, sessions.number[of] % 3, -1)
    made["country"][:] = np.where(landing, sessions.customer[of] % 8, -1)
    made["campaign"][:] = np.where(is_ad | (landing & paid), rng.integers(0, 40, rows), -1)
    fill_visits(made, rng, intent, from_end)
    fill_usage(made, rng)
    fill_ads(made, rng)
    return made


def fill_visits(made: Frame, rng: np.random.Generator, intent: Ints, from_end: Ints) -> None:
    """Give site visits their page; the last ones of a session lead to cart, checkout and payment."""
    rows = len(intent)
    visit = made["type"] == TYPE["site_visit"]
    page_kind = rng.choice(6, rows, p=(0.15, 0.20, 0.45, 0.06, 0.08, 0.06))
    for step in (1, 2, 3):
        page_kind = np.where((intent >= step) & (from_end == intent - step), PAGE["cart"] + step - 1, page_kind)
    status = np.where(rng.random(rows) < 0.985, 200, rng.choice((404, 500, 503), rows))
    made["page_kind"][visit] = page_kind[visit]
    made["page"][visit] = np.minimum(rng.zipf(1.3, rows), 99_999)[visit]
    made["load_ms"][visit] = np.clip(rng.lognormal(6.7, 0.75, rows), 20, 60_000).astype(np.int64)[visit]
    made["http_status"][visit] = status[visit]
    failed = visit & (status != 200)
    made["error_code"][failed] = rng.integers(0, 3, rows)[failed]


def fill_usage(made: Frame, rng: np.random.Generator) -> None:
    """Give product usage its feature, and every third one a task with an outcome."""
    usage = np.flatnonzero(made["type"] == TYPE["product_usage"])
    made["feature"][usage] = np.minimum(rng.geometric(0.3, len(usage)) - 1, 7)
    made["duration_ds"][usage] = np.clip(rng.lognormal(5.5, 1.0, len(usage)), 5, 36_000).astype(np.int64)
    tasks = usage[rng.random(len(usage)) < 0.35]
    made["task"][tasks] = rng.integers(0, 3, len(tasks))
    made["task_outcome"][tasks] = rng.choice(3, len(tasks), p=(0.85, 0.09, 0.06))
    made["error_count"][tasks] = rng.poisson(0.2, len(tasks))


def fill_ads(made: Frame, rng: np.random.Generator) -> None:
    """Give advertisements a creative, a cost and whether they were clicked."""
    ads = np.flatnonzero(made["type"] == TYPE["ad_view"])
    made["creative_id"][ads] = rng.integers(0, 200, len(ads))
    made["clicked"][ads] = rng.random(len(ads)) < 0.3
    made["cost"][ads] = rng.integers(1, 90, len(ads))
    made["currency"][ads] = 0


# ----------------------------------------------------------------------------- what follows from sessions


def buy(sessions: Sessions, world: World, rng: np.random.Generator) -> list[Frame]:
    """Make orders of one to three lines, failed payments, offers, refunds and the surveys after an order."""
    bought = np.flatnonzero(sessions.intent == 3)
    order = world.number("order", len(bought))
    lines = rng.choice((1, 2, 3), len(bought), p=(0.55, 0.28, 0.17))
    of = np.repeat(np.arange(len(bought)), lines)
    paid_at = sessions.ends[bought] + rng.integers(15, 120, len(bought)) * SECOND + rng.integers(0, SECOND, len(bought))
    within = np.arange(len(of)) - (np.cumsum(lines) - lines)[of]
    who = {
        "customer": sessions.customer[bought],
        "email_only": sessions.guest[bought],
        "device": sessions.device[bought],
        "session": np.where(sessions.number[bought] % 4 == 0, sessions.number[bought], -1),
    }
    currency = (sessions.customer[bought] % 10 == 9).astype(np.int64)
    purchases = frame(
        len(of),
        type=TYPE["purchase"],
        at=paid_at[of] + within * 1500,
        order_id=order[of],
        product_id=np.minimum(rng.zipf(1.3, len(of)), 99_999),
        quantity=rng.choice((1, 2, 3), len(of), p=(0.8, 0.15, 0.05)),
        amount=np.clip(rng.lognormal(8.1, 0.8, len(of)), 99, 900_000).astype(np.int64),
        currency=currency[of],
        **{name: values[of] for name, values in who.items()},
    )
    ones = len(bought)
    offers = take(
        frame(
            ones,
            type=TYPE["offer_redeemed"],
            at=paid_at - 9 * SECOND,
            order_id=order,
            offer_id=rng.integers(0, 60, ones),
            **who,
        ),
        rng.random(ones) < 0.12,
    )
    first_amount = purchases["amount"][within == 0]
    failed = take(
        frame(
            ones,
            type=TYPE["payment_failed"],
            at=paid_at - 12 * SECOND,
            order_id=order,
            amount=first_amount,
            currency=currency,
            failure_code=rng.integers(0, 4, ones),
            provider=rng.integers(0, 2, ones),
            **who,
        ),
        rng.random(ones) < 0.07,
    )
    owner = {"customer": who["customer"], "email_only": who["email_only"]}
    refunds = take(
        frame(
            ones,
            type=TYPE["refund"],
            at=paid_at + rng.integers(2 * DAY, 25 * DAY, ones),
            order_id=order,
            amount=first_amount,
            currency=currency,
            **owner,
        ),
        rng.random(ones) < 0.05,
    )
    asked = rng.random(ones) < 0.25
    surveys = ask(
        "nps",
        world,
        rng,
        paid_at[asked] + 2 * DAY,
        {name: v[asked] for name, v in owner.items()},
        order_id=order[asked],
    )
    return [purchases, offers, failed, refunds, *surveys]


def ask(kind: str, world: World, rng: np.random.Generator, at: Ints, owner: Frame, **entity: Ints) -> list[Frame]:
    """Send surveys and answer four in ten of them."""
    rows = len(at)
    survey = world.number("survey", rows)
    code = WORDS["survey_type"].index(kind)
    sent = frame(rows, type=TYPE["survey_sent"], at=at, survey_type=code, survey_id=survey, **owner, **entity)
    low, high, chances = 1, 5, [0.07, 0.08, 0.15, 0.35, 0.35]
    if kind == "nps":
        low, high, chances = 0, 10, [0.02, 0.01, 0.01, 0.02, 0.02, 0.05, 0.06, 0.15, 0.25, 0.21, 0.20]
    answers = frame(
        rows,
        type=TYPE["survey_response"],
        at=at + rng.integers(300 * SECOND, 60 * HOUR, rows),
        survey_type=code,
        survey_id=survey,
        score=rng.choice(np.arange(low, high + 1), rows, p=chances),
        scale_min=low,
        scale_max=high,
        context=rng.integers(0, 2, rows),
        **owner,
        **entity,
    )
    return [sent, take(answers, rng.random(rows) < 0.4)]


def contact(sessions: Sessions, world: World, rng: np.random.Generator) -> list[Frame]:
    """Make tickets: opened, then replied, then mostly resolved, a few reopened and resolved again."""
    some = np.flatnonzero(sessions.has_account & (rng.random(len(sessions.customer)) < 0.07))
    rows = len(some)
    ticket = world.number("ticket", rows)
    owner: Frame = {"customer": sessions.customer[some], "email_only": np.zeros(rows, np.int64)}
    opened_at = sessions.ends[some] + (rng.exponential(2 * HOUR, rows)).astype(np.int64) + 60 * SECOND
    replied_at = opened_at + np.clip(rng.lognormal(1.3, 1.3, rows) * HOUR, 2 * 60 * SECOND, 20 * DAY).astype(np.int64)
    asked_at = replied_at + (rng.exponential(3 * HOUR, rows)).astype(np.int64) + SECOND
    again_at = asked_at + (rng.exponential(5 * HOUR, rows)).astype(np.int64) + SECOND
    longer, solved = rng.random(rows) < 0.45, rng.random(rows) < 0.9
    last_at = np.where(longer, again_at, replied_at)
    resolved_at = last_at + (rng.exponential(9 * HOUR, rows)).astype(np.int64) + SECOND
    reopened_at = resolved_at + (rng.exponential(20 * HOUR, rows)).astype(np.int64) + SECOND
    reopened = solved & (rng.random(rows) < 0.06)

    def step(name: str, at: Ints, **columns: Any) -> Frame:
        return frame(rows, type=TYPE[name], at=at, ticket_id=ticket, **owner, **columns)

    def reply(at: Ints, author: str) -> Frame:
        return step("ticket_replied", at, author=WORDS["author"].index(author), public=1)

    opened = step(
        "ticket_opened",
        opened_at,
        topic=rng.integers(0, 6, rows),
        priority=rng.choice(3, rows, p=(0.7, 0.2, 0.1)),
        team=rng.integers(0, 3, rows),
    )
    rated = solved & (rng.random(rows) < 0.5)
    surveys = ask(
        "csat",
        world,
        rng,
        resolved_at[rated] + HOUR,
        {name: v[rated] for name, v in owner.items()},
        ticket_id=ticket[rated],
    )
    return [
        opened,
        take(reply(opened_at + 20 * SECOND, "bot"), rng.random(rows) < 0.3),
        reply(replied_at, "agent"),
        take(reply(asked_at, "customer"), longer),
        take(reply(again_at, "agent"), longer),
        take(step("ticket_resolved", resolved_at), solved),
        take(step("ticket_reopened", reopened_at), reopened),
        take(step("ticket_resolved", reopened_at + 5 * HOUR), reopened),
        *surveys,
    ]


def subscribe(sessions: Sessions, world: World, rng: np.random.Generator) -> list[Frame]:
    """Make monthly subscriptions: started, renewed for some terms, and then perhaps declined or cancelled."""
    some = np.flatnonzero(sessions.has_account & (rng.random(len(sessions.customer)) < 0.035))
    rows = len(some)
    plan = rng.choice(3, rows, p=(0.6, 0.3, 0.1))
    what: Frame = {
        "customer": sessions.customer[some],
        "email_only": np.zeros(rows, np.int64),
        "subscription_id": world.number("subscription", rows),
    }
    price: Frame = {
        "amount": np.array((900, 1900, 4900), np.int64)[plan],
        "currency": (sessions.customer[some] % 10 == 9).astype(np.int64),
        "period_months": np.ones(rows, np.int64),
    }
    started_at = sessions.ends[some] + rng.integers(20 * SECOND, 300 * SECOND, rows)
    term = 30 * DAY
    renewed = np.minimum(rng.geometric(0.13, rows) - 1, 12)
    of = np.repeat(np.arange(rows), renewed)
    month = np.arange(len(of)) - (np.cumsum(renewed) - renewed)[of] + 1
    renewals = frame(
        len(of),
        type=TYPE["renewal"],
        at=started_at[of] + month * term,
        outcome=0,
        **{name: v[of] for name, v in (what | price).items()},
    )
    last_term = started_at + (renewed + 1) * term
    declined = rng.random(rows) < 0.15
    reason = rng.integers(0, 5, rows)
    leaving: Frame = what | {"reason": reason, "voluntary": np.ones(rows, np.int64)}
    return [
        frame(rows, type=TYPE["subscription_started"], at=started_at, plan=plan, auto_renews=1, **what, **price),
        renewals,
        take(frame(rows, type=TYPE["renewal"], at=last_term, outcome=1, **what, **price), declined),
        take(
            frame(
                rows,
                type=TYPE["cancellation"],
                at=last_term - rng.integers(HOUR, 20 * DAY, rows),
                kind=0,
                **leaving,
            ),
            ~declined,
        ),
        take(frame(rows, type=TYPE["cancellation"], at=last_term, kind=1, **leaving), ~declined),
    ]


def make_slice(
    world: World, rng: np.random.Generator, waiting: Frame, wanted: int, begin: int, end: int
) -> tuple[Frame, Frame]:
    """Make `wanted` events up to `end`, in order of time, and hand back what happens later than that."""
    made = waiting
    # How much follows on a session differs from world to world: with many customers few come again, and less follows.
    while (short := wanted - int((made["at"] < end).sum())) > 0:
        sessions = draw_sessions(world, rng, math.ceil(short / MEAN_SESSION * 1.03) + 30, begin, end)
        browsed = browse(sessions, rng)
        follow = [*buy(sessions, world, rng), *contact(sessions, world, rng), *subscribe(sessions, world, rng)]
        made = stack([made, browsed, *follow])
    made["received"][:] = np.where(
        made["received"] >= 0,
        made["received"],
        np.where(
            rng.random(len(made["at"])) < 0.5,
            made["at"] + (rng.lognormal(0.5, 1.0, len(made["at"])) * SECOND).astype(np.int64),
            -1,
        ),
    )
    now, later = take(made, made["at"] < end), take(made, made["at"] >= end)
    now = take(now, np.argsort(now["at"], kind="stable"))
    surplus = len(now["at"]) - wanted
    plain = np.flatnonzero(now["type"] <= TYPE["ad_view"])  # what nothing else refers to
    keep = np.ones(len(now["at"]), np.bool_)
    keep[rng.choice(plain, surplus, replace=False)] = False
    return take(now, keep), later


# ---------------------------------------------------------------------------------------------- rendering


def texts(matrix: np.ndarray[Any, np.dtype[np.uint8]], lengths: Ints | None = None) -> pa.StringArray:
    """Turn a matrix of bytes, one row a string, into an Arrow array; `lengths` says how much of each row."""
    rows, width = matrix.shape
    if lengths is None:
        lengths = np.full(rows, width, np.int64)
        data = matrix.reshape(-1)
    else:
        data = matrix[np.arange(width) < lengths[:, None]]
    offsets = np.zeros(rows + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pa.StringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(data)))


def write_digits(matrix: np.ndarray[Any, np.dtype[np.uint8]], column: int, values: Ints, width: int) -> None:
    """Write numbers with leading zeros into `width` columns of a byte matrix."""
    rest = values.copy()
    for place in range(column + width - 1, column - 1, -1):
        rest, digit = np.divmod(rest, 10)
        matrix[:, place] = digit + 48


def identifiers(prefix: str, values: Ints, width: int) -> pa.Array:
    """Render numbers as a prefix and fixed digits; -1 becomes null."""
    matrix = np.empty((len(values), len(prefix) + width), np.uint8)
    matrix[:, : len(prefix)] = np.frombuffer(prefix.encode(), np.uint8)
    write_digits(matrix, len(prefix), np.maximum(values, 0), width)
    return blank(texts(matrix), values < 0)


def blank(values: pa.Array, absent: np.ndarray[Any, np.dtype[np.bool_]]) -> pa.Array:
    """Make the marked values null."""
    return pc.if_else(pa.array(absent), pa.scalar(None, pa.string()), values)


def words(vocabulary: Sequence[str], codes: Ints) -> pa.Array:
    """Look codes up; -1 becomes null."""
    return pa.array(vocabulary, pa.string()).take(pa.array(codes, mask=codes < 0))


def uuids(seed: int, numbers: Ints) -> pa.StringArray:
    """Render numbers as version 4 UUIDs that differ for as long as the numbers do."""
    high = mix(numbers.astype(np.uint64) ^ mix(np.full(1, seed, np.uint64)))
    low = mix(high ^ np.uint64(0x5DEECE66D))
    data = np.stack([high, low], axis=1).astype(">u8").view(np.uint8).reshape(-1, 16).copy()
    nibbles = np.empty((len(numbers), 32), np.uint8)
    nibbles[:, 0::2], nibbles[:, 1::2] = data >> 4, data & 15
    # The version digit is put between the two halves, so that no bit of the one-to-one half is lost.
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)[nibbles]
    matrix = np.full((len(numbers), 36), ord("-"), np.uint8)
    matrix[:, 0:8], matrix[:, 9:13], matrix[:, 14] = digits[:, 0:8], digits[:, 8:12], ord("4")
    matrix[:, 15:18], matrix[:, 19], matrix[:, 20:23] = digits[:, 12:15], ord("a"), digits[:, 16:19]
    matrix[:, 24:35], matrix[:, 35] = digits[:, 19:30], digits[:, 15]
    return texts(matrix)


DAY_TEXT = np.frombuffer("".join(str(FIRST_DAY + day) for day in range(DAYS + 40)).encode(), np.uint8).reshape(-1, 10)


def times(
    at: Ints, fine: np.ndarray[Any, np.dtype[np.bool_]], eastern: np.ndarray[Any, np.dtype[np.bool_]]
) -> pa.Array:
    """Render RFC 3339 times: microseconds where `fine`, else milliseconds; +02:00 where `eastern`, else Z."""
    day, clock = np.divmod(np.maximum(at, START) - START + np.where(eastern, 2 * HOUR, 0), DAY)
    matrix = np.empty((len(at), 32), np.uint8)
    matrix[:, :10] = DAY_TEXT[day]
    matrix[:, (10, 13, 16, 19)] = np.frombuffer(b"T::.", np.uint8)
    for column, unit, size, width in (
        (11, HOUR, 24, 2),
        (14, 60 * SECOND, 60, 2),
        (17, SECOND, 60, 2),
        (20, 1, SECOND, 6),
    ):
        write_digits(matrix, column, clock // unit % size, width)
    end = np.where(fine, 26, 23)
    rows = np.arange(len(at))
    for place, letters in enumerate(zip(b"+02:00", b"Z     ", strict=True)):
        matrix[rows, end + place] = np.where(eastern, *letters)
    return blank(texts(matrix, end + np.where(eastern, 6, 1)), at < 0)


def decimals(values: Ints, places: int) -> pa.Array:
    """Render whole units as decimal text (1234 -> 12.34); the smallest number stands for absent."""
    present = pa.array(values, mask=values == -1)
    scale = 10**places
    text = pc.cast(pc.floor(pc.divide(pc.abs(present).cast(pa.float64()), scale)).cast(pa.int64()), pa.string())
    rest = identifiers(".", np.abs(values) % scale, places)
    sign = pa.array(np.where(values < -1, "-", ""), pa.string())
    return pc.binary_join_element_wise(sign, text, rest, "")


def e_mails(rows: Frame, hidden: Ints) -> pa.Array:
    """Render addresses; every twentieth is written with a capital, as people do."""
    matrix = np.empty((len(hidden), 24), np.uint8)
    matrix[:] = np.frombuffer(b"user0000000@mail.example", np.uint8)
    write_digits(matrix, 4, hidden, 7)
    matrix[rows["at"] % 20 == 0, 0] = ord("U")
    shown = (rows["email_only"] == 1) | (rows["type"] == TYPE["purchase"])
    return blank(texts(matrix), ~shown)


NAMED, NAMELESS, MEANS_NOBODY = 0, 1, 2


def names(rows: Frame, mixed: bool) -> tuple[Ints, Ints]:
    """How each event names its customer, and its device: plainly, or as sites and help desks really do (`mixed`).

    Mixed: of a customer's hours on a device, 30 % are logged in throughout, 35 % never, the others from some minute on;
    one in 200 of the nameless events sends a customer_id that means nobody. Agents' replies and resolutions name the
    ticket only, half of the renewals and refunds the subscription or order only. One device in 25 is the neighbour's
    first one, and 1 % of a customer's hours are spent at one of 40 terminals.
    """
    device, how = rows["device"], np.full(len(rows["at"]), NAMED)
    if not mixed:
        return device, how
    hour = (mix(rows["customer"].astype(np.uint64) * np.uint64(8_761) + (rows["at"] // HOUR).astype(np.uint64))
            % np.uint64(2**40)).astype(np.int64)  # fmt: skip
    kind, minute = hour % 100, hour // 100 % 60
    logged_in = (kind < 30) | ((kind >= 65) & (rows["at"] % HOUR >= minute * 60 * SECOND))
    browses = np.isin(rows["type"], [TYPE[name] for name in ("site_visit", "ad_view", "product_usage", "site_vist")])
    how[browses & ~logged_in & (rows["device"] >= 0)] = NAMELESS
    how[(how == NAMELESS) & (hour // 6000 % 200 == 0)] = MEANS_NOBODY
    by_desk = np.isin(rows["type"], [TYPE[name] for name in ("ticket_replied", "ticket_resolved")])
    by_billing = np.isin(rows["type"], [TYPE[name] for name in ("renewal", "refund")]) & (rows["customer"] % 2 == 0)
    how[by_desk | by_billing] = NAMELESS
    lent = (device >= 0) & (device % 4 == 0) & (mix(rows["customer"].astype(np.uint64)) % np.uint64(25) == 0)
    device = np.where(lent, (rows["customer"] ^ 1) * 4, device)
    terminal = -2 - hour // 6000 % 40
    return np.where((device >= 0) & (hour // 100 % 100 == 7), terminal, device), how


def render(rows: Frame, numbers: Ints, seed: int, damage: Ints, mixed: bool) -> pa.Array:
    """Turn a frame into JSON lines; `damage` says which kind of bad line each one becomes (-1: none)."""

    def damaged(kind: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
        return np.equal(damage, list(BAD_KINDS).index(kind))

    nobody = damaged("no_identifier")
    hidden = (rows["customer"] * 7_368_787 + 1_234_567) % 10_000_000
    at = times(rows["at"], rows["type"] >= TYPE["purchase"], rows["customer"] % 50 == 0)
    no_offset = pc.replace_substring_regex(at, r"(Z|[+]02:00)$", "")
    at = pc.if_else(pa.array(damaged("time_without_offset")), no_offset, at)
    device, how = names(rows, mixed)
    no_device = (device == -1) | nobody
    device = mix(np.where(device < -1, 2**40 - device, np.maximum(device, 0)).astype(np.uint64)) % np.uint64(10**12)
    customer = blank(identifiers("c", hidden, 7), (rows["email_only"] == 1) | nobody | (how != NAMED))
    customer = pc.if_else(pa.array((how == MEANS_NOBODY) & ~nobody), pa.scalar("anonymous"), customer)
    quoted: list[tuple[str, pa.Array]] = [
        ("event_id", uuids(seed, numbers)),
        ("event_type", words(TYPES, rows["type"])),
        ("occurred_at", at),
        (
            "received_at",
            times(rows["received"], rows["type"] >= TYPE["purchase"], np.zeros(len(numbers), np.bool_)),
        ),
        ("source", words(SOURCES, rows["type"])),
        ("source_session_id", identifiers("ws-", rows["session"], 8)),
        ("anonymous_id", blank(identifiers("d", device.astype(np.int64), 12), no_device)),
        ("customer_id", customer),
        ("email", blank(e_mails(rows, hidden), nobody | (how != NAMED))),
        ("campaign_id", identifiers("cmp", rows["campaign"], 3)),
    ]
    quoted += [(name, identifiers(prefix, rows[name], width)) for name, (prefix, width) in IDENTIFIERS.items()]
    url = pc.binary_join_element_wise(words(PAGE_STEMS, rows["page_kind"]), identifiers("", rows["page"], 5), "/")
    quoted.append(("page_url", blank(url, damaged("missing_required"))))
    quoted += [(name, words(vocabulary, rows[name])) for name, vocabulary in WORDS.items()]
    bare: list[tuple[str, pa.Array]] = [(name, decimals(rows[name], 2)) for name in CENTS]
    bare.append(("duration_s", decimals(rows["duration_ds"], 1)))
    bare += [(name, words(("false", "true"), rows[name])) for name in FLAGS]
    bare += [(name, pa.array(rows[name], mask=rows[name] < 0).cast(pa.string())) for name in WHOLE]
    in_string = pa.array(damaged("number_in_string"))
    bare = [
        (
            name,
            pc.if_else(in_string, pc.binary_join_element_wise('"', v, '"', ""), v) if name == "load_ms" else v,
        )
        for name, v in bare
    ]
    pieces = [
        pc.binary_join_element_wise(f'"{name}":"', values, '"', "")
        for name, values in quoted
        if values.null_count < len(values)
    ]
    pieces += [
        pc.binary_join_element_wise(f'"{name}":', values, "")
        for name, values in bare
        if values.null_count < len(values)
    ]
    body = pc.binary_join_element_wise(*pieces, ",", null_handling="skip")
    lines = pc.binary_join_element_wise("{", body, "}", "")
    cut = pc.utf8_slice_codeunits(lines, 0, 120)
    return pc.if_else(pa.array(damaged("malformed_json")), cut, lines)


def spoil(rows: Frame, world: World, rng: np.random.Generator, count: int) -> Ints:
    """Choose `count` site visits to become bad lines, as many of each kind, and spoil them."""
    damage = np.full(len(rows["at"]), -1, np.int64)
    chosen = rng.choice(np.flatnonzero(rows["type"] == TYPE["site_visit"]), count, replace=False)
    damage[chosen] = np.arange(count) % len(BAD_KINDS)
    kinds = list(BAD_KINDS)
    rows["type"][damage == kinds.index("unknown_type")] = TYPE["site_vist"]
    negative = np.flatnonzero(damage == kinds.index("negative_amount"))
    rows["type"][negative] = TYPE["purchase"]
    for name in ("page_kind", "page", "load_ms", "http_status", "error_code"):
        rows[name][negative] = -1
    rows["order_id"][negative] = world.number("order", len(negative))
    rows["amount"][negative] = -rng.integers(100, 90_000, len(negative))
    rows["currency"][negative] = 0
    return damage


# ------------------------------------------------------------------------------------------------- output


def shares(total: int, parts: int) -> list[int]:
    """Cut a number into parts that differ by at most one."""
    return [total * (part + 1) // parts - total * part // parts for part in range(parts)]


def send_again(
    rows: Frame, numbers: Ints, good: Ints, count: int, seed: int, rng: np.random.Generator, mixed: bool
) -> tuple[pa.Array, int]:
    """Render copies of `count` good rows; about half have a later received_at, the others the same bytes."""
    chosen = rng.choice(good, count, replace=False)
    copies = take(rows, chosen)
    late = rng.random(count) < 0.5
    since = np.maximum(copies["received"], copies["at"])
    copies["received"] = np.where(late, since + rng.integers(SECOND, 2 * DAY, count), copies["received"])
    return render(copies, numbers[chosen], seed, np.full(count, -1, np.int64), mixed), int(late.sum())


def spread(copies: pa.Array, late_lines: list[list[pa.Array]], index: int, rng: np.random.Generator) -> None:
    """Queue copies for this slice or a later one: a third comes soon, the others anywhere up to the end."""
    soon = rng.random(len(copies)) < 0.33
    target = np.where(soon, index, rng.integers(index, len(late_lines), len(copies)))
    for slot in np.unique(target):
        late_lines[slot].append(copies.filter(pa.array(target == slot)))


def interleave(lines: pa.Array, extra: list[pa.Array], rng: np.random.Generator) -> pa.Buffer:
    """Put extra lines at random places between the others and end each line."""
    both = pa.concat_arrays([lines, *extra])
    places = np.concatenate([np.arange(len(lines)), rng.random(len(both) - len(lines)) * len(lines)])
    ordered = both.take(pa.array(np.argsort(places, kind="stable")))
    return pc.binary_join_element_wise(ordered, "", "\n").buffers()[2]


@dataclass
class Stream:
    """The whole output, one time slice after the other, and a tally of what it truly holds."""

    events: int
    seed: int
    slices: int
    mixed: bool
    customers: int
    world: World = field(init=False)
    waiting: Frame = field(default_factory=lambda: frame(0))
    late_lines: list[list[pa.Array]] = field(init=False)
    quotas: list[list[int]] = field(init=False)
    done: int = 0
    tally: Counter[str] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)
    bad: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Cut the year and the number of lines into slices."""
        self.world = World(self.seed, self.customers)
        self.late_lines = [[] for _ in range(self.slices)]
        resent, bad = round(self.events * RESENT_SHARE), round(self.events * BAD_SHARE)
        self.tally.update(distinct_events=self.events - resent - bad, resent=resent, bad_total=bad)
        self.quotas = [shares(self.tally[name], self.slices) for name in ("distinct_events", "resent", "bad_total")]

    def next_slice(self) -> pa.Buffer:
        """Make the lines of the next slice of the year."""
        rng = np.random.default_rng((self.seed, self.done))
        good, again, spoiled = (quota[self.done] for quota in self.quotas)
        step = (END - START) / self.slices
        begin, end = START + int(self.done * step), START + int((self.done + 1) * step)
        rows, self.waiting = make_slice(self.world, rng, self.waiting, good + spoiled, begin, end)
        damage = spoil(rows, self.world, rng, spoiled)
        numbers = self.world.number("event", len(damage))
        sound = np.flatnonzero(damage < 0)
        copies, late = send_again(rows, numbers, sound, again, self.seed, rng, self.mixed)
        spread(copies, self.late_lines, self.done, rng)
        self.count(take(rows, sound), damage, late)
        lines = interleave(render(rows, numbers, self.seed, damage, self.mixed), self.late_lines[self.done], rng)
        self.late_lines[self.done] = []
        self.done += 1
        return lines

    def count(self, sound: Frame, damage: Ints, late: int) -> None:
        """Add one slice to the tally."""
        self.tally.update(resent_with_later_received_at=late, email_only=int((sound["email_only"] == 1).sum()))
        self.types.update(
            {TYPES[t]: int(n) for t, n in zip(*np.unique(sound["type"], return_counts=True), strict=True)}
        )
        self.bad.update({kind: int((damage == code).sum()) for code, kind in enumerate(BAD_KINDS)})

    def truth(self) -> dict[str, Any]:
        """Say what an honest reader has to find in all that was written."""
        return {
            "seed": self.seed,
            "mixed": self.mixed,
            "as_of": "2026-07-01T00:00:00Z",
            "lines": self.events,
            **self.tally,
            "bad": dict(self.bad),
            "bad_codes": {BAD_KINDS[kind]: n for kind, n in self.bad.items()},
            "event_types": dict(sorted(self.types.items())),
            "customers_drawn_from": self.world.customers,
        }


def generate(
    events: int, seed: int, output: Path, files: int, file_format: str, mixed: bool, customers: int
) -> dict[str, Any]:
    """Write `events` lines into `files` files and truth.json; return the truth."""
    output.mkdir(parents=True, exist_ok=True)
    stream = Stream(events, seed, max(files, math.ceil(events / LINES_PER_SLICE)), mixed, customers)
    compression = {"jsonl.gz": "gzip", "jsonl.zst": "zstd"}.get(file_format)
    paths = [output / f"events-{number:03d}.{file_format}" for number in range(files)]
    for path, slices in zip(paths, shares(stream.slices, files), strict=True):
        with pa.output_stream(str(path), compression=compression) as out:
            for _ in range(slices):
                out.write(stream.next_slice())
    sizes = {path.name: path.stat().st_size for path in paths}
    truth = stream.truth() | {"files": list(sizes), "bytes": sum(sizes.values())}
    (output / "truth.json").write_text(json.dumps(truth, indent=2) + "\n", encoding="utf-8")
    return truth


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and write the files."""
    parser = argparse.ArgumentParser(description="Write seeded, realistic touchpoint events as JSON lines.")
    parser.add_argument("--events", type=int, default=5_000_000, help="lines to write, bad and resent ones included")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same bytes")
    parser.add_argument("--output", type=Path, required=True, help="the directory for the files and truth.json")
    parser.add_argument("--files", type=int, default=4, help="how many files to write (in order of time)")
    parser.add_argument("--format", choices=("jsonl", "jsonl.gz", "jsonl.zst"), default="jsonl")
    parser.add_argument(
        "--customers", type=int, help=f"how many may turn up (default: one for {EVENTS_PER_CUSTOMER} events)"
    )
    parser.add_argument(
        "--mixed", action="store_true", help="leave names out as sites and help desks do; lend devices; add terminals"
    )
    options = parser.parse_args(arguments)
    if options.files < 1 or options.seed < 0 or options.events < MINIMUM_PER_FILE * options.files:
        parser.error(f"--events must be at least {MINIMUM_PER_FILE} for each of --files, and --seed at least 0")
    expected = {f"events-{number:03d}.{options.format}" for number in range(options.files)}
    if strangers := sorted(p.name for p in options.output.glob("events-*") if p.name not in expected):
        parser.error(f"{options.output} holds {strangers[0]}, which is not of this set: empty it or name another")
    customers = options.customers or max(1, options.events // EVENTS_PER_CUSTOMER)
    truth = generate(
        options.events, options.seed, options.output, options.files, options.format, options.mixed, customers
    )
    json.dump(
        {name: truth[name] for name in ("lines", "distinct_events", "resent", "bad_total", "bytes")},
        sys.stdout,
    )
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
