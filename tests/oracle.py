"""What the design says of bad input, duplicates, identity, order and sessions, in plain Python: slow, and easy to check.

Written from the text of the design alone, and from nothing that computes it: beside each step stands the sentence that
it reads. tests/test_oracle.py holds whole runs against it, tests/test_the_oracle_itself.py holds it against cases worked
by hand. Validation is here as far as the events of tests/hostile_identities.py need it: types and required fields,
times and identifiers, but no ranges and enumerations.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from typing import Any

Raw = Mapping[str, Any]
#: (kind, source, id). "each within its source", which is empty where there is none.
Entity = tuple[str, str, str]


@dataclass(frozen=True)
class Rules:
    """The settings that change what is read, under the names that they have in a settings file."""

    as_of: datetime
    identity_policy: str = "device_split"
    max_customers_per_device: int = 5
    ignored_identifiers: tuple[str, ...] = ()
    sessions: str = "gap"
    session_gap_minutes: int = 30
    earliest: datetime = datetime(1990, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Touchpoint:
    """What the table touchpoints is to say of an accepted event."""

    customer_key: str
    is_known: bool
    identity_rule: str
    seq: int
    session_id: str | None


@dataclass(frozen=True)
class Event:
    """An event that passed validation: its fields as the tables hold them, and who it names."""

    fields: Mapping[str, Any]  # the contract's fields, cleaned
    extra: Mapping[str, Any]
    entities: tuple[Entity, ...]  # in the order of rule 3
    ignored: tuple[tuple[str, str], ...]  # (kind, value) of the values that mean nobody

    @property
    def id(self) -> str:
        return str(self.fields["event_id"])

    @property
    def at(self) -> datetime:
        when: datetime = self.fields["occurred_at"]
        return when

    @property
    def place(self) -> tuple[datetime, bytes]:
        """ "Every ordering is total: (occurred_at, event_id by UTF-8 bytes)." """
        return self.at, self.id.encode()

    @property
    def device(self) -> str | None:
        return self.fields.get("anonymous_id")

    @property
    def email(self) -> str | None:
        return self.fields.get("email")

    @property
    def customer_id(self) -> str | None:
        return self.fields.get("customer_id")

    @property
    def is_in_sessions(self) -> bool:
        return self.fields["event_type"] in SESSION_TYPES

    @property
    def contents(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        return self.fields, self.extra


#: Who picks among copies of one event that no time tells apart: "a 128-bit hash of the typed contract fields".
Pick = Callable[[Sequence[Event]], Event]


@dataclass(frozen=True)
class Reading:
    """Everything that the design says of some events."""

    touchpoints: Mapping[str, Touchpoint]  # by event_id
    duplicates: int
    after_as_of: int
    quarantined: Counter[tuple[str | None, tuple[str, ...]]]  # (event_id, codes in order of the alphabet)
    identity_map: frozenset[tuple[Any, ...]]  # kind, identifier, customer_key, valid_from, valid_to, n_events
    identity_decisions: frozenset[tuple[Any, ...]]  # kind, identifier, decision, reason, n_customers, n_events
    truncated_sessions: frozenset[str]
    events: Mapping[str, Event] = field(repr=False)  # the accepted ones, by event_id


def read(raw_events: Iterable[Raw], rules: Rules, pick: Pick = lambda tied: tied[0]) -> Reading:
    """ "The order: read, map, validate (row by row), drop what lies after as-of, dedupe over the whole input, and only
    then identity." """
    quarantined: Counter[tuple[str | None, tuple[str, ...]]] = Counter()
    valid: list[Event] = []
    for raw in raw_events:
        codes = broken_rules(raw, rules)
        if codes:
            event_id = raw.get("event_id")
            quarantined[event_id if isinstance(event_id, str) and event_id else None, codes] += 1
        else:
            valid.append(clean(raw, rules))
    # "An event after --as-of is after_as_of: not wrong, counted, in no table, in a later run."
    in_time = [event for event in valid if event.at <= rules.as_of]
    kept = without_duplicates(in_time, pick)

    identities = identify(kept, rules)
    key_of = {event_id: key for event_id, (key, _) in identities.items()}
    seq = number(kept, key_of)
    session_of, truncated = sessions(kept, key_of, rules)
    touchpoints = {
        event_id: Touchpoint(key, rule in KNOWN, rule, seq[event_id], session_of.get(event_id))
        for event_id, (key, rule) in identities.items()
    }
    return Reading(
        touchpoints=touchpoints,
        duplicates=len(in_time) - len(kept),
        after_as_of=len(valid) - len(in_time),
        quarantined=quarantined,
        identity_map=identity_map(kept, key_of),
        identity_decisions=identity_decisions(kept, identities, rules),
        truncated_sessions=frozenset(truncated),
        events={event.id: event for event in kept},
    )


# ---- the contracts: the tables of "Events in"; * is required

ENVELOPE = """event_id* event_type* occurred_at* schema_version received_at source source_session_id anonymous_id
    customer_id email account_id channel campaign_id utm_source utm_medium device_type country"""
OWN_FIELDS = {
    "ad_view": "campaign_id* creative_id clicked cost currency",
    "site_visit": "page_url* page_kind load_ms http_status error_code element",
    "product_usage": "feature* task task_outcome duration_s error_count",
    "purchase": "order_id* amount* currency* product_id quantity",
    "offer_redeemed": "offer_id order_id",
    "payment_failed": "order_id subscription_id amount currency failure_code provider",
    "refund": "order_id* amount* currency*",
    "ticket_opened": "ticket_id* topic priority team self_service",
    "ticket_replied": "ticket_id* author* public",
    "ticket_resolved": "ticket_id*",
    "ticket_reopened": "ticket_id*",
    "survey_sent": "survey_type* survey_id ticket_id order_id",
    "survey_response": """survey_type* score* scale_min* scale_max* survey_id ticket_id order_id context
        easier_is_higher comment""",
    "subscription_started": "subscription_id* amount* currency* period_months* plan auto_renews",
    "subscription_changed": "subscription_id* amount* currency* period_months* plan auto_renews",
    "renewal": "subscription_id* amount* currency* period_months* outcome",
    "cancellation": "subscription_id* kind* reason voluntary",
    "account_closed": "reason",
    "review": "rating* scale_min* scale_max* order_id",
    "referral": "referred_email",
}
#: "schema_version (default 1-0-0)", and what the types hold that have a later one.
VERSIONS = {"1-0-0": OWN_FIELDS, "1-1-0": {"product_usage": OWN_FIELDS["product_usage"] + " subscription_id"}}
SESSION_TYPES = {"ad_view", "site_visit", "product_usage", "purchase", "offer_redeemed", "payment_failed"}

# "ids, names, codes and URLs are strings; amounts, scores, costs and durations numbers; http_status, error_count,
# quantity and period_months whole numbers (10.0 is one); flags true or false."
TIMES = {"occurred_at", "received_at"}
MONEY = {"amount", "cost"}
NUMBERS = MONEY | {"load_ms", "duration_s", "score", "scale_min", "scale_max", "rating"}
WHOLE_NUMBERS = {"http_status", "error_count", "quantity", "period_months"}
FLAGS = {"clicked", "self_service", "public", "easier_is_higher", "auto_renews", "voluntary"}


def contract_of(given: Raw) -> str | None:
    """Own fields of the event's type and version, or None where no contract has them."""
    return VERSIONS.get(given.get("schema_version", "1-0-0"), {}).get(given.get("event_type", ""))


@cache
def names(listed: str) -> set[str]:
    return {name.rstrip("*") for name in listed.split()}


@cache
def required(listed: str) -> set[str]:
    return {name.rstrip("*") for name in listed.split() if name.endswith("*")}


# ---- bad input


def broken_rules(raw: Raw, rules: Rules) -> tuple[str, ...]:
    """ "every broken rule, not only the first": the codes in the order of the alphabet, one for each place."""
    given = present(raw)
    own = contract_of(given)
    contract = ENVELOPE + " " + (own or "")
    codes = ["field.missing" for name in required(contract) if name not in given]
    if "event_type" in given and own is None:
        codes.append("version.unknown" if given["event_type"] in OWN_FIELDS else "type.unknown")
    codes += ["field.type" for name in names(contract) - TIMES if name in given and not has_its_type(name, given[name])]
    times: dict[str, datetime | str] = {name: parse_time(given[name]) for name in TIMES if name in given}
    codes += [time for time in times.values() if isinstance(time, str)]
    occurred_at, received_at = times.get("occurred_at"), times.get("received_at")
    if isinstance(occurred_at, datetime):
        # "time.future (more than 1 h after its own received_at), time.too_old (before the setting earliest ...)";
        # "received_at has the same form but is never future or old."
        if isinstance(received_at, datetime) and occurred_at > received_at + timedelta(hours=1):
            codes.append("time.future")
        if occurred_at < rules.earliest:
            codes.append("time.too_old")
    # "An event left without any identifier or entity is quarantined (identity.missing)."
    if not who(given, names(contract), rules)[0]:
        codes.append("identity.missing")
    return tuple(sorted(codes))


def present(raw: Raw) -> dict[str, Any]:
    """ "An empty string is an absent field." "A null is an absent field, everywhere." """
    return {name: value for name, value in raw.items() if value is not None and value != ""}


def has_its_type(name: str, value: Any) -> bool:
    if name in FLAGS:
        return isinstance(value, bool)
    if name in NUMBERS | WHOLE_NUMBERS:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and (name in NUMBERS or value == int(value))
    return isinstance(value, str)


_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)?")


def parse_time(value: Any) -> datetime | str:
    """The moment in UTC, or the code of what is wrong.

    "occurred_at (RFC 3339 with offset)"; "Times need T (or t), digits past the sixth are cut". """  # fmt: skip
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return "time.invalid"
    day, clock, fraction, offset = match.groups()
    if offset is None:
        return "time.no_offset"
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{'+00:00' if offset in 'Zz' else offset}")
    except ValueError:
        return "time.invalid"
    return moment.astimezone(UTC) + timedelta(microseconds=int((fraction or ".0")[1:7].ljust(6, "0")))


# ---- what the tables hold


def clean(raw: Raw, rules: Rules) -> Event:
    """ "The tables hold the cleaned values." A field that the contract does not know "is kept as JSON in extra"."""
    given = present(raw)
    known = names(f"{ENVELOPE} {contract_of(given)}")
    fields: dict[str, Any] = {"schema_version": "1-0-0"}
    for name in known & given.keys():
        value = given[name]
        if name in TIMES:
            fields[name] = parse_time(value)
        elif name in MONEY:  # "Money is decimal128(18, 4) from the reader to the metric"
            fields[name] = Decimal(str(value)).quantize(Decimal("0.0001"), ROUND_HALF_UP)
        elif name not in IDENTIFIERS:
            fields[name] = value
        elif not means_nobody(value, rules):
            fields[name] = as_identifier(name, value)
    identifiers, ignored = who(given, known, rules)
    source = str(given.get("source", ""))
    entities = tuple((name.removesuffix("_id"), source, identifiers[name]) for name in ENTITIES if name in identifiers)
    return Event(fields, {n: v for n, v in given.items() if n not in known}, entities, ignored)


IDENTIFIERS = ("customer_id", "email", "anonymous_id")
#: "ticket_id before subscription_id before order_id".
ENTITIES = ("ticket_id", "subscription_id", "order_id")


def who(given: Raw, known: set[str], rules: Rules) -> tuple[dict[str, str], tuple[tuple[str, str], ...]]:
    """The identifiers and entities that an event really has, and (kind, value) of those that mean nobody.

    "at least one of anonymous_id, customer_id, email, or an entity", which is one "by the contract fields of its type".
    "Values that mean nobody are ignored and counted, as if absent". What is nothing but white space is empty once it is
    trimmed: absent, and no value that could be counted.
    """
    found: dict[str, str] = {}
    ignored: list[tuple[str, str]] = []
    for name in (*IDENTIFIERS, *ENTITIES):
        value = given.get(name) if name in known else None
        if not isinstance(value, str):
            continue
        if not means_nobody(value, rules):
            found[name] = as_identifier(name, value)
        elif value.strip():
            ignored.append((name, lower(value.strip()) if name == "email" else value.strip()))
    return found, tuple(ignored)


def as_identifier(name: str, value: str) -> str:
    """ "customer_id, anonymous_id and email are trimmed of white space, only email is lower-cased (code point by code
    point)". The id of an entity stays as it is."""
    if name in ENTITIES:
        return value
    return lower(value.strip()) if name == "email" else value.strip()


@cache
def lower(text: str) -> str:
    """Code point by code point: a final sigma is a sigma, and one letter stays one letter (a dotted I)."""
    return "".join(letter.lower()[0] for letter in text)


def means_nobody(value: str, rules: Rules) -> bool:
    """ "(trimmed, in any case): empty, those whose every character is 0 or - (0000, 0-0), -1, null, none, n/a, nan,
    undefined, unknown, anonymous, guest, test (settings can add)"."""
    text = lower(value.strip())
    listed = ("-1", "null", "none", "n/a", "nan", "undefined", "unknown", "anonymous", "guest", "test")
    added = (lower(other.strip()) for other in rules.ignored_identifiers)
    return set(text) <= {"0", "-"} or text in listed or text in added


# ---- duplicates


def without_duplicates(events: Iterable[Event], pick: Pick) -> list[Event]:
    """ "An event_id stands at most once, over the whole input; the copy kept is the earliest by (occurred_at,
    received_at with nulls last, a 128-bit hash of the typed contract fields in schema order)"."""
    copies: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        copies[event.id].append(event)
    kept = []
    for of_one_id in copies.values():
        first = min(map(_earliest, of_one_id))
        tied: list[Event] = []
        for event in of_one_id:
            if _earliest(event) == first and event.contents not in [other.contents for other in tied]:
                tied.append(event)
        kept.append(tied[0] if len(tied) == 1 else pick(tied))
    return kept


def _earliest(event: Event) -> tuple[datetime, bool, datetime]:
    received_at = event.fields.get("received_at")
    return event.at, received_at is None, received_at or event.at


# ---- identity

#: The rules that give a customer_id's key or an e-mail's: a key found through an entity or a device is one of these.
KNOWN = ("customer_id", "linked_email", "entity", "email", "device", "shared_email")
#: "the customer of the last event before it on that device that 1 to 4 identify".
IDENTIFYING = ("customer_id", "linked_email", "entity", "email")


def identify(kept: Sequence[Event], rules: Rules) -> dict[str, tuple[str, str]]:
    """event_id -> (customer_key, the rule that gave it). "the first of these that applies"."""
    events = sorted(kept, key=lambda event: event.place)
    links = customers_of_emails(events)
    found: dict[str, tuple[str, str]] = {}

    for event in events:
        linked = links[event.email] if event.email is not None else set()
        if event.customer_id is not None:  # 1. "its customer_id"
            found[event.id] = key_of_customer(event.customer_id), "customer_id"
        elif len(linked) == 1:  # 2. "its email, if all the input links that e-mail to exactly one customer_id"
            found[event.id] = key_of_customer(*linked), "linked_email"

    # 3. "its entity, if any event of that entity is identified by 1 or 2: the customer of the earliest such event"
    customer_of: dict[Entity, str] = {}
    for event in events:
        if event.id in found:
            for entity in event.entities:
                customer_of.setdefault(entity, found[event.id][0])
    for event in events:
        if event.id not in found:
            for entity in event.entities:
                if entity in customer_of:
                    found[event.id] = customer_of[entity], "entity"
                    break

    # 4. "email:<email>, if no event links that e-mail to a customer_id"
    for event in events:
        if event.id not in found and event.email is not None and not links[event.email]:
            found[event.id] = f"email:{event.email}", "email"

    # 5. "the timeline of its anonymous_id", from what 1 to 4 found and nothing else
    found |= {event.id: (key, "device") for event, key in on_devices(events, found, rules)}

    for event in events:
        if event.id in found:
            continue
        if event.email is not None:  # 6. "email:<email> (an e-mail of several customers, and nothing better)"
            found[event.id] = f"email:{event.email}", "shared_email"
        elif event.device is not None:  # 7. "anon:<anonymous_id>"
            found[event.id] = f"anon:{event.device}", "anonymous_id"
        else:  # 8. "ticket:<source>:<id>, subscription:..., order:..."
            found[event.id] = ":".join(event.entities[0]), "entity_id"
    return found


def key_of_customer(customer_id: str) -> str:
    """ "A customer_id that itself begins with one of these prefixes is written id:<customer_id>." """
    prefixes = ("email:", "anon:", "ticket:", "subscription:", "order:", "id:")
    return f"id:{customer_id}" if customer_id.startswith(prefixes) else customer_id


def customers_of_emails(events: Iterable[Event]) -> defaultdict[str, set[str]]:
    """ "an accepted event that carries both, at any time" links its e-mail to its customer_id."""
    links: defaultdict[str, set[str]] = defaultdict(set)
    for event in events:
        if event.email is not None and event.customer_id is not None:
            links[event.email].add(event.customer_id)
    return links


def on_devices(
    events: Sequence[Event], found: Mapping[str, tuple[str, str]], rules: Rules
) -> list[tuple[Event, str]]:  # fmt: skip
    """The events that rule 5 gives a customer, each with the key. "none: 5 does not apply." """
    if rules.identity_policy == "none":
        return []
    given = []
    for timeline in timelines(events).values():
        keys = [found[event.id][0] if event.id in found else None for event in timeline]
        if len(set(keys) - {None}) > rules.max_customers_per_device:
            continue  # "a kiosk, under each policy: 5 does not apply to its events"
        for at, event in enumerate(timeline):
            before = [key for key in keys[:at] if key is not None]
            after = [key for key in keys[at + 1 :] if key is not None]
            if keys[at] is not None or not (before or after):
                continue
            if rules.identity_policy == "last_auth":
                # "all of a device's unidentified events go to its last identified customer"
                given.append((event, (before + after)[-1]))
            else:
                # "the customer of the last event before it on that device that 1 to 4 identify; if there is none before,
                # of the first one after it"
                given.append((event, before[-1] if before else after[0]))
    return given


def timelines(events: Iterable[Event]) -> dict[str, list[Event]]:
    """The events of each device, "ordered by (occurred_at, event_id)"."""
    found: dict[str, list[Event]] = defaultdict(list)
    for event in sorted(events, key=lambda event: event.place):
        if event.device is not None:
            found[event.device].append(event)
    return found


# ---- order and sessions


def number(kept: Iterable[Event], key_of: Mapping[str, str]) -> dict[str, int]:
    """ "seq (1.. in a customer)"."""
    seq: dict[str, int] = {}
    last: Counter[str] = Counter()
    for event in sorted(kept, key=lambda event: event.place):
        last[key_of[event.id]] += 1
        seq[event.id] = last[key_of[event.id]]
    return seq


def sessions(
    kept: Iterable[Event], key_of: Mapping[str, str], rules: Rules
) -> tuple[dict[str, str], set[str]]:  # fmt: skip
    """event_id -> session_id of the events whose "contract says x-session: true", and the sessions that are truncated."""
    session_of: dict[str, str] = {}
    truncated: set[str] = set()
    # "a run of events of one customer on one device (a customer's events without a device form one track of their own,
    # and neither join nor cut a session on a device)"
    tracks: dict[tuple[str, str | None], list[Event]] = defaultdict(list)
    last_customer_on: dict[str, str] = {}
    cut_by_others: set[str] = set()
    for event in sorted(kept, key=lambda event: event.place):
        if not event.is_in_sessions:
            continue
        key = key_of[event.id]
        tracks[key, event.device].append(event)
        if event.device is not None:
            # "Where another customer's session event came between on that device, a new session starts."
            if last_customer_on.get(event.device, key) != key:
                cut_by_others.add(event.id)
            last_customer_on[event.device] = key

    for track in tracks.values():
        session: list[Event] = []
        source_session = None  # the last value seen in it
        for event in track:
            value = event.fields.get("source_session_id", source_session)
            if session:
                # "It also ends where source_session_id changes from one value to another; with the setting sessions: source,
                # only there." What is absent is no change.
                changes = source_session is not None and value != source_session
                # "each at most 30:00 after the one before (30:00 exactly stays; more splits)"
                gap = timedelta(minutes=rules.session_gap_minutes)
                is_late = rules.sessions == "gap" and event.at - session[-1].at > gap
                ends = event.id in cut_by_others or changes or is_late
                # "An event more than 24 h after the session's start, or the 10,001st, starts a new one, and the closed
                # one is is_truncated if the event would otherwise have stayed in it."
                is_full = event.at - session[0].at > timedelta(hours=24) or len(session) == 10_000
                if is_full and not ends:
                    truncated.add(f"s:{session[0].id}")
                if is_full or ends:
                    session = []
                    value = event.fields.get("source_session_id")
            session.append(event)
            source_session = value
            session_of[event.id] = f"s:{session[0].id}"  # "session_id = s: + its first event_id"
    return session_of, truncated


# ---- the tables of identity


def identity_map(kept: Iterable[Event], key_of: Mapping[str, str]) -> frozenset[tuple[Any, ...]]:
    """ "one row an identifier and customer_key: identifier_kind, identifier, customer_key, valid_from and valid_to =
    first and last occurred_at, n_events"."""
    times: dict[tuple[str, str, str], list[datetime]] = defaultdict(list)
    for event in kept:
        carried = [(kind, event.fields[kind]) for kind in IDENTIFIERS if kind in event.fields]
        carried += [(f"{kind}_id", f"{source}:{number}") for kind, source, number in event.entities]
        for kind, identifier in carried:
            times[kind, identifier, key_of[event.id]].append(event.at)
    return frozenset((*row, min(when), max(when), len(when)) for row, when in times.items())


def identity_decisions(
    kept: Sequence[Event], identities: Mapping[str, tuple[str, str]], rules: Rules
) -> frozenset[tuple[Any, ...]]:
    """ "Every refusal (shared e-mail, kiosk, ignored value) is a row of identity_decisions." """
    rows: list[tuple[Any, ...]] = []
    for email, customers in customers_of_emails(kept).items():
        if len(customers) > 1:
            n_events = sum(event.email == email for event in kept)
            rows.append(("email", email, "refused", "shared_email", len(customers), n_events))
    for device, timeline in timelines(kept).items():
        keys = {identities[event.id][0] for event in timeline if identities[event.id][1] in IDENTIFYING}
        if len(keys) > rules.max_customers_per_device:
            rows.append(("anonymous_id", device, "refused", "kiosk", len(keys), len(timeline)))
    for (kind, value), n_events in Counter(pair for event in kept for pair in event.ignored).items():
        rows.append((kind, value, "ignored", "means_nobody", None, n_events))
    return frozenset(rows)
