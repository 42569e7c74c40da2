"""Small worlds, made from a seed, in which every rule of identity, order and sessions is met at its limit, on both sides.

A crowd of a few customers, e-mails, devices, tickets, subscriptions and orders meets at a few moments; among it play
scenes, one for each thing that can go wrong, mostly with identifiers of their own and sometimes with the crowd's. All
identifiers of a world begin with its namespace, so that many worlds go through one run without meeting: only the values
that mean nobody, and those that nearly do, are the same everywhere.

tests/test_the_oracle_itself.py counts what the worlds of WORLDS hold, so that no scene falls silent unnoticed.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

Event = dict[str, Any]

AS_OF = datetime(2026, 1, 1, tzinfo=UTC)
US, MINUTE, HOUR, DAY = timedelta(microseconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)

#: What the setting ignored_identifiers adds, as somebody may write it there.
ADDED = ("N.N.", "Büro", "Nobody@Shop.example")
NOBODY = (
    " NULL ", "null", "n/a", "N/A", "\tNaN", "0", "0000", "0-0", "-", "--", "-1", "-1 ", "None", "Undefined", "unknown",
    "ANONYMOUS", "Guest", "Test", "n.n.", "BÜRO", " nobody@shop.EXAMPLE", "00000000-0000-0000-0000-000000000000",
)  # fmt: skip
NEARLY_NOBODY = (
    "0x", "nulls", "00001", "tester", "-1-", "--1", "n / a", "na", "0 0", "none.", "guest1", "−1", "０", "tést", "büro 1",
    "00.00", "0_0", "#N/A", "[null]",
)  # fmt: skip
BLANK = ("", " ", "\t \u00a0")

#: Endings of ids at one moment, in the order of their UTF-8 bytes. By UTF-16 the last two would stand before the two in
#: front of them; some are the beginnings of others; two look the same.
TAILS = ("", "\x00", " ", "!", "-", "0", "00", "10", "9", "A", "Z", "a", "a ", "aa", "b", "e\u0301", "z", "~", "é",
         "ё", "日本", "\ufb01", "\uff5a", "\U00010000", "😀")  # fmt: skip
#: A final sigma, a dotted I, a letter that only exists as a capital in this form: lower-cased one by one.
LETTERS = ("ann", "ΑΣ", "İD", "ẞ", "ben+x", "日本", "O'Neil")


@dataclass(frozen=True)
class Worlds:
    """Seeds whose worlds go into one run together, and the limit at which their devices are made."""

    seeds: range
    max_customers_per_device: int

    def events(self, seed: int) -> list[Event]:
        return make_events(seed, namespace(seed), self.max_customers_per_device)

    def all_events(self) -> list[Event]:
        return [event for seed in self.seeds for event in self.events(seed)]


AT_THE_DEFAULT = Worlds(range(0, 105), 5)
AT_TWO = Worlds(range(105, 210), 2)
AT_ONE = Worlds(range(210, 212), 1)
WORLDS = (AT_THE_DEFAULT, AT_TWO, AT_ONE)


def lower(text: str) -> str:
    """Code point by code point, as e-mails are."""
    return "".join(letter.lower()[0] for letter in text)


def namespace(seed: int) -> str:
    return f"w{seed}."


def make_events(seed: int, namespace: str = "", max_customers_per_device: int = 5) -> list[Event]:
    """60 to 120 events, in the order in which the scenes tell them: shuffle them."""
    world = World(seed, namespace, max_customers_per_device)
    crowd(world, world.rng.randint(20, 30))
    for scene in world.rng.sample(SCENES, len(SCENES)):
        if len(world.events) < 85:
            scene(world)
    return [dict(world.rng.sample(list(event.items()), len(event))) for event in world.events]


class World:
    """Who and what there is, and the events so far."""

    def __init__(self, seed: int, namespace: str, limit: int) -> None:
        self.rng = random.Random(seed)
        self.namespace = namespace
        self.limit = limit
        self.events: list[Event] = []
        self._made = 0
        rng, prefix = self.rng, namespace
        # The same texts for customers, devices and entities: only their kind tells them apart.
        texts = ["a", "A", "aa", "ç", "c\u0327", "x y", "b:1", "1"]
        self.customers = [prefix + text for text in rng.sample(texts, rng.randint(4, 8))]
        self.devices = [prefix + text for text in rng.sample(texts, rng.randint(4, 6))]
        self.emails = [f"{prefix}{text}@x.example" for text in rng.sample(LETTERS, rng.randint(3, 5))]
        self.entities = [prefix + text for text in rng.sample(texts, 2)]
        start = datetime(2025, 3, 1, 12, tzinfo=UTC)
        self.moments = [start + rng.randrange(40) * DAY / 2 for _ in range(3)]

    def new(self, what: str) -> str:
        self._made += 1
        return f"{self.namespace}{what}{self._made}"

    def customer(self) -> str:
        return self.new("c")

    def email(self) -> str:
        return self.new(self.rng.choice(LETTERS)) + "@y.example"

    def device(self) -> str:
        """A device of its own, or now and then one of the crowd's."""
        return self.new("d") if self.rng.random() < 0.85 else self.rng.choice(self.devices)

    def moment(self) -> datetime:
        return self.rng.choice(self.moments) + self.rng.choice((timedelta(0), timedelta(0), 7 * MINUTE, 3 * HOUR))

    def source(self) -> str | None:
        return self.rng.choice(("web", "shop", "web:1", None))

    def add(self, at: datetime, event_type: str = "", **fields: Any) -> Event:
        """One event, written in one of the ways in which sources write it. Without a type: a visit, or the like."""
        event_type = event_type or self.rng.choice(("site_visit", "ad_view", "product_usage"))
        self._made += 1
        event = {
            "event_id": f"{self.namespace}e{self._made}",
            "event_type": event_type,
            "occurred_at": self.time(at),
            **REQUIRED[event_type],
            **fields,
        }
        for name in ("customer_id", "email", "anonymous_id"):
            if event.get(name):
                event[name] = self.spelt(name, event[name])
        event = {name: value for name, value in event.items() if value is not None}
        self.events.append(event)
        return event

    def spelt(self, name: str, value: str) -> str:
        """The same identifier with white space around it; e-mails in capitals too, where these come back lower-cased."""
        if name == "email" and self.rng.random() < 0.4 and lower(value.upper()) == lower(value):
            value = value.upper()
        return self.rng.choice(("", "", "", " ", "\t", "\u3000")) + value + self.rng.choice(("", "", "", " ", "\r\n"))

    def time(self, at: datetime) -> str:
        """One moment, told with one offset or another; digits past the sixth are cut."""
        minutes = self.rng.choice((0, 0, 120, -570, 840))
        text = (at + minutes * MINUTE).strftime("%Y-%m-%dT%H:%M:%S.%f")
        if text.endswith(".000000") and self.rng.random() < 0.5:
            text = text[:-7]
        else:
            text += self.rng.choice(("", "", "0", "9", "999999"))
        if not minutes:
            return text.replace("T", self.rng.choice("TTt")) + self.rng.choice("ZZz")
        return f"{text}{'+' if minutes > 0 else '-'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"

    def ids_at_one_moment(self, count: int) -> list[str]:
        """Ids of so many events that only the bytes of the id put in order, in that order."""
        group = self.new("t") + ":"
        tails = self.rng.sample(TAILS if self.rng.random() < 0.6 else TAILS[-count - 3 :], count)
        return sorted((group + tail for tail in tails), key=str.encode)

    def identified(self, at: datetime, key: str, by_email: bool = True, **fields: Any) -> Event:
        """An event that one of rules 1 to 3 gives to the customer `key`, or 4 to an e-mail with such a name."""
        ways = ("customer_id", "customer_id", "linked_email", "entity", "email")
        way = self.rng.choice(ways if by_email else ways[:-1])
        if way == "customer_id":
            return self.add(at, customer_id=key, **fields)
        if way == "email":
            return self.add(at, email=f"{key}@z.example", **fields)
        if way == "linked_email":
            email = f"{key}@linked.example"
            self.add(self.moment(), "referral", customer_id=key, email=email)
            return self.add(at, email=email, **fields)
        source = self.source()
        self.add(self.moment(), "refund", customer_id=key, order_id=f"{key}/o", source=source)
        return self.add(at, "purchase", order_id=f"{key}/o", source=source, **fields)


_MONEY = {"amount": 10, "currency": "EUR"}
_SCALE = {"scale_min": 0, "scale_max": 10}
#: What each type needs beside its entity.
REQUIRED: dict[str, Event] = {
    "ad_view": {"campaign_id": "spring"},
    "site_visit": {"page_url": "/"},
    "product_usage": {"feature": "brew"},
    "purchase": {**_MONEY},
    "offer_redeemed": {},
    "payment_failed": {},
    "refund": {**_MONEY},
    "ticket_opened": {},
    "ticket_replied": {"author": "agent"},
    "ticket_resolved": {},
    "ticket_reopened": {},
    "survey_sent": {"survey_type": "nps"},
    "survey_response": {"survey_type": "nps", "score": 7, **_SCALE},
    "subscription_started": {**_MONEY, "period_months": 1},
    "subscription_changed": {**_MONEY, "period_months": 1},
    "renewal": {**_MONEY, "period_months": 1},
    "cancellation": {"kind": "requested"},
    "account_closed": {},
    "review": {"rating": 5, **_SCALE},
    "referral": {},
}
ENTITIES_OF = {
    "purchase": ("order_id",), "offer_redeemed": ("order_id",), "payment_failed": ("order_id", "subscription_id"),
    "refund": ("order_id",), "ticket_opened": ("ticket_id",), "ticket_replied": ("ticket_id",), "ticket_resolved": ("ticket_id",),
    "ticket_reopened": ("ticket_id",), "survey_sent": ("ticket_id", "order_id"), "survey_response": ("ticket_id", "order_id"),
    "subscription_started": ("subscription_id",), "subscription_changed": ("subscription_id",), "renewal": ("subscription_id",),
    "cancellation": ("subscription_id",), "review": ("order_id",),
}  # fmt: skip
SESSION_TYPES = ("site_visit", "ad_view", "product_usage", "purchase", "offer_redeemed", "payment_failed")


def crowd(world: World, count: int) -> None:
    """Everybody meets everybody: whatever the scenes forget."""
    rng = world.rng
    is_named, has_email, has_device = rng.choice((0.1, 0.3, 0.6)), rng.choice((0.1, 0.4)), rng.choice((0.5, 0.9))
    for number in range(count):
        event_type = rng.choice(tuple(REQUIRED) + SESSION_TYPES)
        at = rng.choice(world.moments) + rng.choice(
            (timedelta(0), timedelta(0), US, 30 * MINUTE, 30 * MINUTE + US, DAY)
        )
        event = world.add(
            at,
            event_type,
            customer_id=rng.choice(world.customers) if rng.random() < is_named else None,
            email=rng.choice(world.emails) if rng.random() < has_email else None,
            anonymous_id=rng.choice(world.devices) if rng.random() < has_device else None,
            source=world.source(),
            source_session_id=rng.choice(("1", "2", None, None, None)),
            **{name: rng.choice(world.entities) for name in ENTITIES_OF.get(event_type, ())},
        )
        if not event.keys() & {"customer_id", "email", "anonymous_id", *ENTITIES_OF.get(event_type, ())}:
            event["anonymous_id"] = rng.choice(world.devices)
        if rng.random() < 0.1:
            event[rng.choice(("customer_id", "email", "anonymous_id"))] = rng.choice(NOBODY)
        event["event_id"] = f"{world.namespace}{rng.choice(TAILS)}.{number}"


# ---- scenes: e-mails


def emails_linked_to_one_two_and_none(world: World) -> None:
    at, one, two, none = world.moment(), world.email(), world.email(), world.email()
    ann, ben, device = world.customer(), world.customer(), world.device()
    world.add(at, email=one)
    world.add(
        at + DAY, "account_closed", customer_id=ann, email=one
    )  # the link comes later than the event that needs it
    world.add(at + 2 * DAY, "referral", customer_id=ann, email=one)  # once more: still one customer
    world.add(at, email=two, anonymous_id=world.rng.choice((None, device, device)))
    world.add(at + 3 * DAY, customer_id=ann, email=two)
    world.add(at - 3 * DAY, customer_id=ben, email=two)
    world.add(at, email=none, anonymous_id=device)
    world.add(at + US, email=none)
    if world.rng.random() < 0.5:  # the shared e-mail's event comes to have a customer after all
        world.identified(at + MINUTE, ben, anonymous_id=device)


def emails_that_only_what_is_dropped_links(world: World) -> None:
    at, ann, ben = world.moment(), world.customer(), world.customer()
    for is_linked in world.rng.sample((True, False), 2):
        email = world.email()
        world.add(at, email=email)
        if is_linked:  # then the dropped link would have been the second one
            world.add(at + HOUR, customer_id=ann, email=email)
        how = world.rng.choice(("duplicate", "quarantined", "after as-of", "at as-of"))
        if how == "duplicate":
            kept = world.add(at + MINUTE, customer_id=ben)
            world.add(at + 2 * MINUTE, customer_id=ben, email=email, event_id=kept["event_id"])
        elif how == "quarantined":
            world.add(at, "site_visit", page_url=None, customer_id=ben, email=email)
        else:  # an event at as-of is the last one that counts
            world.add(AS_OF + (US if how == "after as-of" else 0 * US), customer_id=ben, email=email)


# ---- scenes: devices


def device_in_time(world: World) -> None:
    """Unidentified events before the first, between and after two customers, and an e-mail of both."""
    at, device, ryan, cassidy, email = world.moment(), world.device(), world.customer(), world.customer(), world.email()
    step = world.rng.choice((US, MINUTE, 8 * HOUR))
    whose = [None, ryan, None, cassidy, None, ryan, None]
    for number, customer in enumerate(world.rng.choice((whose, whose[:5], whose[1:3], whose[:2]))):
        if customer:
            world.identified(at + number * step, customer, anonymous_id=device)
        else:
            world.add(at + number * step, world.rng.choice(("", "referral")), anonymous_id=device)
    if world.rng.random() < 0.6:
        world.add(at - DAY, customer_id=ryan, email=email)
        world.add(at - DAY, customer_id=cassidy, email=email)
        world.add(at + world.rng.randint(0, 6) * step, email=email, anonymous_id=device)


def device_at_one_moment(world: World) -> None:
    """Only the bytes of event_id say who was there before an unidentified event."""
    at, device, customers = world.moment(), world.device(), [world.customer(), world.customer()]
    is_named = world.rng.choice((0.3, 0.6))
    for event_id in world.ids_at_one_moment(world.rng.randint(4, 7)):
        who = world.rng.choice(customers) if world.rng.random() < is_named else None
        world.add(at, customer_id=who, anonymous_id=device, event_id=event_id)


def device_with_as_many_customers_as_it_may(world: World) -> None:
    at, device = world.moment(), world.device()
    is_over = world.rng.random() < 0.5
    customers = [world.customer() for _ in range(world.limit + is_over)]
    world.add(at - MINUTE, anonymous_id=device)
    for number, customer in enumerate(customers):
        again = number in (0, world.limit - 1)
        world.identified(at + number * MINUTE, customer, by_email=not again, anonymous_id=device)
        if again:  # in another way: the same customer counts once
            world.add(at + number * MINUTE, customer_id=customer, anonymous_id=device)
    world.add(at + world.rng.randrange(world.limit) * MINUTE + 1 * US, "", anonymous_id=device)
    last = at + world.limit * MINUTE + US
    world.add(last, world.rng.choice(("", "account_closed")), anonymous_id=device)
    if world.rng.random() < 0.5:  # nothing more to go by than a shared e-mail: no key of 1 to 4, so none of the limit
        email = world.email()
        for customer in (world.customer(), world.customer()):
            world.add(at, customer_id=customer, email=email)
        world.add(last, email=email, anonymous_id=device)
    if world.rng.random() < 0.3:  # one more customer, but on a copy that is dropped
        kept = world.add(at, customer_id=customers[0], anonymous_id=device)
        world.add(at + US, customer_id=world.customer(), anonymous_id=device, event_id=kept["event_id"])


# ---- scenes: entities


def entity_found_later(world: World) -> None:
    at, source, device = world.moment(), world.source(), world.device()
    ticket, subscription, ann, ben = world.new("t"), world.new("s"), world.customer(), world.customer()
    world.add(
        at, "ticket_replied", ticket_id=ticket, source=source, email=world.rng.choice((None, None, world.email()))
    )
    world.add(at + HOUR, "ticket_opened", ticket_id=ticket, source=source, customer_id=ann)
    world.add(at + 2 * HOUR, "ticket_resolved", ticket_id=ticket, source=source, anonymous_id=device)
    world.add(
        at + 3 * HOUR, "survey_response", ticket_id=ticket, source=source, customer_id=ben
    )  # too late to be the first
    first, second = world.ids_at_one_moment(2)  # the earliest of two at one moment
    for event_id, customer in world.rng.sample([(first, ann), (second, ben)], 2):
        world.add(at, "renewal", subscription_id=subscription, source=source, customer_id=customer, event_id=event_id)
    world.add(
        at - DAY,
        "cancellation",
        subscription_id=subscription,
        source=source,
        email=world.rng.choice((None, world.email())),
    )
    usage = {"subscription_id": subscription, "source": source, "anonymous_id": device}
    world.add(at, "product_usage", schema_version="1-1-0", **usage)
    world.add(
        at + US, "product_usage", schema_version=world.rng.choice((None, "1-0-0")), **usage
    )  # does not know the field
    world.add(at, "site_visit", ticket_id=world.rng.choice((ticket, 7)), source=source, anonymous_id=world.device())


def entities_of_several_sources(world: World) -> None:
    """One id in three sources and in none is four orders; so are two pairs that read the same once written as one text."""
    at, order = world.moment(), world.new("o")
    sources = world.rng.sample(("web", "shop", "app", None), 3)
    for source in sources:
        world.add(at, "purchase", order_id=order, source=source, customer_id=world.rng.choice((None, world.customer())))
        world.add(at + HOUR, "review", order_id=order, source=source)
    world.add(at, "review", order_id=f" {order}", source=sources[0])  # an entity's id is not trimmed
    world.add(at, "refund", order_id=order, source=world.rng.choice(("", " web", "WEB")))
    if world.rng.random() < 0.5:
        inner = world.new("o")
        world.add(at, "purchase", order_id=f"{inner}:1", source="web", customer_id=world.customer())
        world.add(at, "refund", order_id="1", source=f"web:{inner}")


def several_entities(world: World) -> None:
    """ticket before subscription before order, and only those that 1 or 2 identified."""
    at, source, rng = world.moment(), world.source(), world.rng
    ticket, subscription, order, email = world.new("t"), world.new("s"), world.new("o"), world.email()
    for event_type, entity in (
        ("ticket_opened", {"ticket_id": ticket}),
        ("renewal", {"subscription_id": subscription}),
        ("purchase", {"order_id": order}),
    ):
        who = rng.choice(
            ("customer", "email", "nobody")
        )  # an e-mail without a customer is rule 4: it identifies no entity
        world.add(
            at + rng.choice((-DAY, DAY)),
            event_type,
            source=source,
            customer_id=world.customer() if who == "customer" else None,
            email=email if who == "email" else None,
            **entity,
        )
    device = rng.choice((None, world.device()))
    world.add(at, "survey_response", ticket_id=ticket, order_id=order, source=source)
    world.add(at, "payment_failed", order_id=order, subscription_id=subscription, source=source, anonymous_id=device)
    world.add(at, "survey_sent", order_id=order, source=source, email=rng.choice((None, email)))
    if rng.random() < 0.5:  # one event identifies two of its entities at once
        both = {"ticket_id": world.new("t"), "order_id": world.new("o")}
        world.add(at, "survey_sent", source=source, customer_id=world.customer(), **both)
        world.add(at - DAY, "ticket_replied", source=source, ticket_id=both["ticket_id"])
        world.add(at + DAY, "review", source=source, order_id=both["order_id"])


# ---- scenes: values that mean nobody, and names that look like keys


def values_that_mean_nobody(world: World) -> None:
    at, rng, device = world.moment(), world.rng, world.device()

    def nobody() -> str:
        return rng.choice(NOBODY + BLANK)

    for name in rng.sample(("customer_id", "email", "anonymous_id"), 3):
        who = {"anonymous_id": device, "email": world.email(), "customer_id": world.customer()}
        other = rng.choice([other for other in who if other != name])
        world.add(at, **{other: who[other], name: rng.choice(NOBODY)})
    world.add(at, customer_id=nobody(), email=nobody(), anonymous_id=nobody())  # nobody at all
    source = world.source()
    if rng.random() < 0.5:  # two orders of nobody are not one
        world.add(at, "purchase", order_id=rng.choice(NOBODY), source=source, customer_id=world.customer())
        world.add(at, "purchase", order_id=rng.choice(NOBODY), source=source, anonymous_id=device)
    world.add(at, "ticket_opened", ticket_id=rng.choice((*NOBODY, " ")), source=source)  # nobody at all
    order = world.new("o")
    world.add(at, "survey_response", ticket_id=rng.choice(NOBODY), order_id=order, source=source)
    world.add(at, "review", order_id=order, source=source, customer_id=world.customer())
    # A ticket_id of nobody that the type does not know is a field like any other.
    world.add(at, "review", ticket_id="null", order_id=order, source=source, account_id="guest")


def values_that_nearly_mean_nobody(world: World) -> None:
    at, rng = world.moment(), world.rng
    world.add(at, customer_id=rng.choice(NEARLY_NOBODY), anonymous_id=world.device())
    near = rng.choice(NEARLY_NOBODY) + world.namespace
    world.add(at, **{rng.choice(("customer_id", "email", "anonymous_id")): near})
    world.add(at, "ticket_opened", ticket_id=near)


def customers_named_like_keys(world: World) -> None:
    """None of them may meet the e-mail, the device or the order of which it has the name, nor each other."""
    at, rng = world.moment(), world.rng
    email, device, order = world.email(), world.new("d"), world.new("o")
    world.add(at, email=email)
    world.add(at, anonymous_id=device)
    world.add(at, "refund", order_id=order, source="web")
    lowered = lower(email)
    likes = [f"email:{lowered}", f"anon:{device}", f"order:web:{order}"]
    like = rng.choice(likes)
    others = [
        f"ticket:{world.new('t')}",
        f"subscription:{world.new('s')}",
        "id:",
        "email:",
        f"Email:{lowered}",
        f"anon {device}",
    ]
    for customer in (like, f"id:{like}", f"id:id:{like}", rng.choice(others)):
        world.add(at, customer_id=customer, anonymous_id=rng.choice((None, world.device())))


# ---- scenes: sessions


def session_gaps(world: World) -> None:
    """30:00 stays, a microsecond more does not; with a device, and on the track of the events without one."""
    at, customer = world.moment(), world.customer()
    for device in world.rng.sample((None, world.device(), None), 2):
        when = at
        for gap in world.rng.choices((30 * MINUTE, 30 * MINUTE + US, 30 * MINUTE - US, MINUTE), k=4):
            world.add(
                when, world.rng.choice(SESSION_TYPES), customer_id=customer, anonymous_id=device, **_own_order(world)
            )
            when += gap
        world.add(when - MINUTE, "account_closed", customer_id=customer, anonymous_id=device)  # not of any session
        world.add(when, customer_id=customer, anonymous_id=device)


def _own_order(world: World) -> Event:
    return {"order_id": world.new("o")}


def session_of_a_day(world: World) -> None:
    """24 h after its start an event still belongs, a microsecond later it does not."""
    at, rng, customer, device = world.moment(), world.rng, world.customer(), world.device()
    who = {"customer_id": customer, "anonymous_id": device}
    if len(world.events) < 60 and rng.random() < 0.4:  # long enough for `sessions: gap` too
        for number in range(48):
            world.add(at + number * 30 * MINUTE, **who)
    else:
        world.add(at, **who)
    last = at + 24 * HOUR
    if rng.random() < 0.7:
        world.add(last, **who, source_session_id=rng.choice((None, "1")))
    world.add(last + US, **who, source_session_id=rng.choice((None, "1", "2")))
    world.add(last + HOUR, **who)


def sessions_of_the_source(world: World) -> None:
    at, customer, device = world.moment(), world.customer(), world.device()
    for number, value in enumerate(world.rng.choices(("1", "1", "2", "", None), k=7)):
        world.add(at + number * MINUTE, customer_id=customer, anonymous_id=device, source_session_id=value)


def somebody_else_in_between(world: World) -> None:
    """At one moment, in any order of ids; what is no session event, or has no device, comes between nothing."""
    at, rng, device = world.moment(), world.rng, world.device()
    ryan, cassidy = world.customer(), world.customer()
    step = rng.choice((0 * US, US, MINUTE))
    for number, event_id in enumerate(world.ids_at_one_moment(rng.randint(5, 7))):
        who, place, what = rng.choice(
            (
                (ryan, device, ""), (ryan, device, ""), (ryan, device, ""), (cassidy, device, ""), (cassidy, device, "referral"),
                (cassidy, None, ""), (ryan, None, ""), (ryan, world.new("d"), ""), (None, device, ""),
            )
        )  # fmt: skip
        if who or place:
            world.add(at + number * step, what, customer_id=who, anonymous_id=place, event_id=event_id)


# ---- scenes: copies, and what breaks a rule


def copies(world: World) -> None:
    """One event_id, several contents: the earliest wins, whichever file it stands in."""
    at, rng = world.moment(), world.rng
    for _ in range(2):
        device, email, received_at = world.device(), world.email(), at + rng.choice((-MINUTE, MINUTE, DAY))
        first = world.add(
            at,
            "site_visit",
            customer_id=rng.choice((None, world.customer())),
            anonymous_id=device,
            email=rng.choice((None, email)),
            received_at=rng.choice((None, world.time(received_at))),
        )
        for _ in range(rng.randint(1, 3)):
            copy = dict(first)
            change = rng.randrange(10)
            if change <= 2:  # the other times: earlier, later, unknown
                copy["occurred_at"] = world.time(at + rng.choice((-US, US)))
            elif change <= 4:
                copy["received_at"] = world.time(received_at + rng.choice((-US, US)))
            elif change == 5:
                copy.pop("received_at", None)
            elif change == 6:  # another way to say the same
                copy["occurred_at"] = world.time(at)
                copy["anonymous_id"] = world.spelt("anonymous_id", device)
            if rng.random() < 0.7:  # at the same times, only a hash tells which one stays
                name, value = rng.choice(
                    (("customer_id", world.customer()), ("customer_id", None), ("email", world.email()), ("channel", "phone"),
                     ("anonymous_id", world.device()), ("load_time", rng.randint(1, 9)))
                )  # fmt: skip
                copy.pop(name, None)
                copy |= {name: value} if value is not None else {}
            world.events.append(copy)
        world.add(at + rng.choice((0 * US, MINUTE)), anonymous_id=device)
        world.add(at, email=email)


def broken(world: World) -> None:
    at, rng, device = world.moment(), world.rng, world.device()
    who = {"customer_id": world.customer(), "anonymous_id": device}  # would identify the device
    spoils: Sequence[Event] = (
        {"event_type": "site_vist"}, {"event_type": None}, {"schema_version": "7-0-0"}, {"schema_version": "1-1-0"},
        {"page_url": None}, {"page_url": ""}, {"page_url": 7}, {"load_ms": "840"}, {"http_status": 200.5}, {"http_status": True},
        {"occurred_at": "2025-03-01T12:00:00"}, {"occurred_at": "2025-02-30T12:00:00Z"}, {"occurred_at": "2025-03-01 12:00:00Z"},
        {"occurred_at": None, "page_url": None}, {"received_at": "2025-03-01T12:00:00"}, {"customer_id": 7}, {"event_id": None},
        {"occurred_at": world.time(datetime(1990, 1, 1, tzinfo=UTC) - US)},
    )  # fmt: skip
    for spoil in rng.sample(spoils, 3):
        event = world.add(at, "site_visit", **who)
        event |= spoil
        if rng.random() < 0.3:  # beside a good copy: it is no duplicate
            world.add(at + MINUTE, anonymous_id=device, event_id=event["event_id"])
    world.add(at, "site_visit", http_status=200.0, anonymous_id=device)
    for beyond in (0 * US, US):  # an hour after it was received, and more
        world.add(at + HOUR + beyond, received_at=world.time(at), **who)
    world.add(at, "purchase", order_id=None)  # two rules at once: no field, and so nobody
    world.add(at, "account_closed", account_id="acme")  # an account is nobody
    world.add(at, "site_visit", order_id="o-1")  # nor is an entity that the type does not know


def at_as_of(world: World) -> None:
    """At as-of exactly is in; what lies after it is in no table, and identifies nobody."""
    device = world.device()
    for moment in (AS_OF - MINUTE, AS_OF, AS_OF + US):
        world.add(moment, customer_id=world.rng.choice((None, world.customer())), anonymous_id=device)
    world.add(datetime(1990, 1, 1, tzinfo=UTC), anonymous_id=device)


SCENES: Sequence[Callable[[World], None]] = (
    emails_linked_to_one_two_and_none,
    emails_that_only_what_is_dropped_links,
    device_in_time,
    device_at_one_moment,
    device_with_as_many_customers_as_it_may,
    entity_found_later,
    entities_of_several_sources,
    several_entities,
    values_that_mean_nobody,
    values_that_nearly_mean_nobody,
    customers_named_like_keys,
    session_gaps,
    session_of_a_day,
    sessions_of_the_source,
    somebody_else_in_between,
    copies,
    broken,
    at_as_of,
)
