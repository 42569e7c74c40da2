"""The oracle of tests/oracle.py against cases worked by hand, and the worlds it is used on against what they claim.

Each case names its events in one line, `HH:MM[:SS[.ffffff]] who`, and says what the design's text makes of them. `who`
is `c:` a customer_id, `@:` an e-mail, `d:` a device, `o:` an order, `t:` a ticket, `s:` a subscription, `src:` a source,
`ss:` the source's session; the event_id is the line's number, from 1.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from tests.hostile_identities import ADDED, AS_OF, NEARLY_NOBODY, NOBODY, TAILS, US, WORLDS, Worlds, make_events
from tests.oracle import (
    SESSION_TYPES,
    Event,
    Reading,
    Rules,
    broken_rules,
    clean,
    customers_of_emails,
    means_nobody,
    read,
    timelines,
)

Raw = dict[str, Any]
NAMES = {"c": "customer_id", "@": "email", "d": "anonymous_id", "o": "order_id", "t": "ticket_id", "s": "subscription_id",
         "src": "source", "ss": "source_session_id", "id": "event_id"}  # fmt: skip
RULES = Rules(AS_OF)


def event(line: str, event_id: str = "1") -> Raw:
    """One event of the notation above. Its type follows from its entities; without one it is a site_visit."""
    time, *who = line.split()
    fields = {NAMES[short]: value for short, value in (word.split(":", 1) for word in who)}
    day, clock = time.split("T") if "T" in time else ("2025-03-01", time)
    kinds: dict[tuple[str, ...], Raw] = {
        (): {"event_type": "site_visit", "page_url": "/"},
        ("order_id",): {"event_type": "review", "rating": 4, "scale_min": 1, "scale_max": 5},
        ("ticket_id",): {"event_type": "ticket_resolved"},
        ("subscription_id",): {"event_type": "cancellation", "kind": "requested"},
        ("order_id", "subscription_id"): {"event_type": "payment_failed"},
        ("order_id", "ticket_id"): {"event_type": "survey_sent", "survey_type": "csat"},
    }
    kind = kinds[tuple(sorted(fields.keys() & {"order_id", "ticket_id", "subscription_id"}))]
    return {
        "event_id": event_id,
        "occurred_at": f"{day}T{clock if clock.count(':') > 1 else clock + ':00'}Z",
        **kind,
        **fields,
    }


def events(*lines: str) -> list[Raw]:
    return [event(line, str(number)) for number, line in enumerate(lines, 1)]


def found(rules: Rules, *lines: str) -> list[str]:
    """`customer_key rule` of each line, in the order of the lines."""
    given = events(*lines)
    reading = read(given, rules)
    return [
        f"{reading.touchpoints[e['event_id']].customer_key} {reading.touchpoints[e['event_id']].identity_rule}"
        for e in given
    ]


# ---- the worked case of the design


@pytest.mark.parametrize(
    ("policy", "keys"),
    [
        ("device_split", ["ryan", "ryan", "ryan", "ryan", "cassidy", "cassidy"]),
        ("last_auth", ["cassidy", "cassidy", "ryan", "cassidy", "cassidy", "cassidy"]),
        ("none", ["anon:pc", "anon:pc", "ryan", "anon:pc", "cassidy", "anon:pc"]),
    ],
)
def test_the_worked_case(policy: str, keys: list[str]) -> None:
    lines = (
        "12:01 d:pc",
        "12:02 d:pc",
        "12:03 d:pc c:ryan",
        "12:07 d:pc",
        "12:08 d:pc c:cassidy",
        "2025-03-02T09:00 d:pc",
    )
    reading = read(events(*lines), Rules(AS_OF, policy))
    assert [reading.touchpoints[str(n)].customer_key for n in range(1, 7)] == keys
    assert [reading.touchpoints[str(n)].is_known for n in range(1, 7)] == ["anon" not in key for key in keys]


# ---- one rule after the other


@pytest.mark.parametrize(
    ("lines", "keys"),
    [
        (["12:00 c:ann @:x d:pc"], ["ann customer_id"]),
        (["12:00 c:email:x", "12:00 c:id:1", "12:00 c:orders"], ["id:email:x customer_id", "id:id:1 customer_id", "orders customer_id"]),
        # 2: the link comes later, twice; and with a second customer it is none
        (["12:00 @:x", "13:00 c:ann @:x", "14:00 c:ann @:X"], ["ann linked_email", "ann customer_id", "ann customer_id"]),
        (["12:00 @:x", "13:00 c:ann @:x", "14:00 c:Ann @:x"], ["email:x shared_email", "ann customer_id", "Ann customer_id"]),
        (["12:00 @:x", "12:00 c:email:y @:x"], ["id:email:y linked_email", "id:email:y customer_id"]),
        # 3: the earliest event of the order that 1 or 2 identify, before or after; an e-mail of nobody identifies no order
        (["12:00 o:1", "14:00 o:1 c:ben", "13:00 o:1 c:ann"], ["ann entity", "ben customer_id", "ann customer_id"]),
        (["12:00 o:1 src:a", "13:00 o:1 c:ann", "13:00 o:1 src:b c:ben"], ["order:a:1 entity_id", "ann customer_id", "ben customer_id"]),
        (["12:00 o:1", "13:00 o:1 @:x"], ["order::1 entity_id", "email:x email"]),
        (["12:00 o:1 @:x", "13:00 o:1 c:ann"], ["ann entity", "ann customer_id"]),
        (["12:00 o:1", "13:00 o:1 @:x", "14:00 @:x c:ann"], ["ann entity", "ann linked_email", "ann customer_id"]),
        (["12:00 o:1 t:2", "09:00 o:1 c:ann", "13:00 t:2 c:ben"], ["ben entity", "ann customer_id", "ben customer_id"]),
        (["12:00 o:1 s:2", "09:00 o:1 c:ann", "13:00 s:2 @:x"], ["ann entity", "ann customer_id", "email:x email"]),
        (["12:00 o:1 s:2 c:ann", "13:00 s:2", "13:00 o:1"], ["ann customer_id", "ann entity", "ann entity"]),
        (["12:00 o:1 s:2", "13:00 t:1"], ["subscription::2 entity_id", "ticket::1 entity_id"]),
        # 5: neither another device nor an event of rule 5 to 8 says who it was
        (["12:00 d:pc @:x", "13:00 d:pc"], ["email:x email", "email:x device"]),
        (["12:00 d:pc o:1", "13:00 d:pc", "14:00 o:1 c:ann"], ["ann entity", "ann device", "ann customer_id"]),
        (["12:00 d:pc", "12:00 d:tv c:ann"], ["anon:pc anonymous_id", "ann customer_id"]),
        # 6 only where 5 knows nothing better, and it identifies nobody else on the device
        (
            ["12:00 d:pc @:x", "13:00 c:a @:x", "13:00 c:b @:x", "13:00 d:pc", "13:00 d:tv c:a", "14:00 d:tv @:x"],
            ["email:x shared_email", "a customer_id", "b customer_id", "anon:pc anonymous_id", "a customer_id", "a device"],
        ),
        # 7 before 8
        (["12:00 d:pc o:1"], ["anon:pc anonymous_id"]),
    ],
)  # fmt: skip
def test_one_rule(lines: list[str], keys: list[str]) -> None:
    assert found(RULES, *lines) == keys


def test_on_a_device_the_bytes_of_the_id_decide_at_one_moment() -> None:
    """U+FF5A stands before U+10000 by UTF-8 bytes, and behind it by UTF-16: cassidy comes after the visit in between."""
    names = ("a", "ab", "\uff5a", "\U00010000")
    lines = ("12:00 d:pc c:ryan", "12:00 d:pc", "12:00 d:pc", "12:00 d:pc c:cassidy")
    reading = read([event(line) | {"event_id": name} for line, name in zip(lines, names, strict=True)], RULES)
    assert [reading.touchpoints[name].customer_key for name in names] == ["ryan", "ryan", "ryan", "cassidy"]


@pytest.mark.parametrize("policy", ["device_split", "last_auth", "none"])
@pytest.mark.parametrize("limit", [1, 2])
def test_a_kiosk_is_one_customer_more_than_the_limit(policy: str, limit: int) -> None:
    lines = ["12:00 d:pc c:ann", "12:01 d:pc c:ann", "12:02 d:pc @:x", "12:03 d:pc"]
    reading = read(events(*lines), Rules(AS_OF, policy, max_customers_per_device=limit))
    is_kiosk, has_rule_5 = limit == 1, policy != "none"
    assert reading.touchpoints["4"].customer_key == ("email:x" if has_rule_5 and not is_kiosk else "anon:pc")
    kiosks = {row for row in reading.identity_decisions if row[3] == "kiosk"}
    assert kiosks == ({("anonymous_id", "pc", "refused", "kiosk", 2, 4)} if is_kiosk else set())


def test_values_that_mean_nobody_and_those_that_nearly_do() -> None:
    rules = Rules(AS_OF, ignored_identifiers=ADDED)
    assert [value for value in NOBODY if not means_nobody(value, rules)] == []
    assert [value for value in NEARLY_NOBODY if means_nobody(value, rules)] == []
    assert not means_nobody("n.n.", RULES), "only the setting adds it"


def test_a_value_of_nobody_is_absent_and_counted() -> None:
    given = [
        event("12:00 d:pc", "1") | {"customer_id": " Guest "},
        event("12:01 d:0-0 @:X", "2") | {"email": "N/A", "customer_id": "ann"},
        event("12:02 o:null c:ann", "3"),
        event("12:03 o:null d:tv", "4"),
        event("12:04 o:NULL", "5"),
        event("12:05 d:tv", "6") | {"customer_id": "  ", "email": ""},
    ]
    reading = read(given, RULES)
    assert reading.touchpoints["1"].customer_key == "anon:pc"
    assert reading.touchpoints["4"].customer_key == "anon:tv"
    assert reading.events["3"].fields["order_id"] == "null" and "customer_id" not in reading.events["1"].fields
    assert reading.quarantined == {("5", ("identity.missing",)): 1}
    assert reading.identity_decisions == {
        ("customer_id", "Guest", "ignored", "means_nobody", None, 1),
        ("anonymous_id", "0-0", "ignored", "means_nobody", None, 1),
        ("email", "n/a", "ignored", "means_nobody", None, 1),
        ("order_id", "null", "ignored", "means_nobody", None, 2),
    }
    assert {row[:3] for row in reading.identity_map} == {
        ("anonymous_id", "pc", "anon:pc"), ("customer_id", "ann", "ann"), ("anonymous_id", "tv", "anon:tv"),
    }  # fmt: skip


def test_the_map_and_the_refusals() -> None:
    lines = ("12:00 c:a @:x", "13:00 c:b @:X d:pc", "11:00 @:x d:pc", "14:00 o:1 src:web c:a", "10:00 o:1 src:web")
    reading = read(events(*lines), RULES)
    at = [datetime(2025, 3, 1, hour, tzinfo=UTC) for hour in range(24)]
    assert reading.identity_map == {
        ("customer_id", "a", "a", at[12], at[14], 2),
        ("customer_id", "b", "b", at[13], at[13], 1),
        ("email", "x", "a", at[12], at[12], 1),
        ("email", "x", "b", at[11], at[13], 2),
        ("anonymous_id", "pc", "b", at[11], at[13], 2),
        ("order_id", "web:1", "a", at[10], at[14], 2),
    }
    assert reading.identity_decisions == {("email", "x", "refused", "shared_email", 2, 3)}


@pytest.mark.parametrize(
    ("spoil", "codes"),
    [
        ({}, ()),
        ({"page_url": ""}, ("field.missing",)),
        ({"page_url": 7, "load_ms": "7"}, ("field.type", "field.type")),
        ({"http_status": 200.0}, ()),
        ({"http_status": 200.5}, ("field.type",)),
        ({"event_type": "visit"}, ("type.unknown",)),
        ({"schema_version": "1-1-0"}, ("version.unknown",)),
        ({"event_type": "product_usage", "schema_version": "1-1-0", "feature": "f"}, ()),
        ({"occurred_at": "2025-03-01T12:00:00"}, ("time.no_offset",)),
        ({"occurred_at": "2025-02-30T12:00:00Z"}, ("time.invalid",)),
        ({"occurred_at": "2025-03-01T12:00:60Z"}, ("time.invalid",)),
        ({"occurred_at": "1989-12-31T23:59:59.9999999Z"}, ("time.too_old",)),
        ({"received_at": "2025-03-01T11:00:00Z"}, ()),
        ({"received_at": "2025-03-01T11:59:59.999999+01:00"}, ("time.future",)),
        ({"anonymous_id": " -1"}, ("identity.missing",)),
        ({"anonymous_id": None, "order_id": "o-1", "account_id": "acme"}, ("identity.missing",)),
    ],
)
def test_what_breaks_a_rule(spoil: Raw, codes: tuple[str, ...]) -> None:
    assert broken_rules(event("12:00 d:pc") | spoil, RULES) == codes


def test_of_copies_the_earliest_stays() -> None:
    given = [
        event("12:00 c:late") | {"received_at": "2025-03-01T12:01:00Z"},
        event("12:00 c:ann") | {"received_at": "2025-03-01T12:00:00Z"},
        event("12:00 c:nowhere"),
        event("13:00 c:later") | {"received_at": "2025-03-01T12:00:00Z"},
        event("09:00") | {"occurred_at": "2025-03-01T09:00:00"},  # broken: no copy
        event("2026-01-01T00:00:00.000001 c:ann"),  # after as-of: no copy
    ]
    reading = read(given, RULES)
    assert (reading.touchpoints["1"].customer_key, reading.duplicates, reading.after_as_of) == ("ann", 3, 1)
    tied = [
        event("12:00 c:ann"),
        event("12:00 c:ben"),
        event("12:00 c:ann") | {"occurred_at": "2025-03-01T13:00:00+01:00"},
    ]
    assert read(tied, RULES, lambda copies: copies[-1]).touchpoints["1"].customer_key == "ben"


# ---- sessions


def sessions_of(rules: Rules, *lines: str) -> tuple[str, set[str]]:
    """The number of each line's session, `-` where it has none; and the truncated sessions."""
    reading = read(events(*lines), rules)
    numbers: dict[str | None, str] = {None: "-"}
    for number in range(1, len(lines) + 1):
        session_id = reading.touchpoints[str(number)].session_id
        numbers.setdefault(session_id, str(len(numbers)))
    told = " ".join(numbers[reading.touchpoints[str(n)].session_id] for n in range(1, len(lines) + 1))
    return told, set(reading.truncated_sessions)


SOURCE = Rules(AS_OF, sessions="source")
DAY_LATER = "2025-03-02T12:00"


@pytest.mark.parametrize(
    ("rules", "lines", "told", "truncated"),
    [
        (RULES, ["12:00 c:a d:1", "12:30 c:a d:1", "13:00:00.000001 c:a d:1"], "1 1 2", set()),
        (SOURCE, ["12:00 c:a d:1", "20:00 c:a d:1", f"{DAY_LATER} c:a d:1", f"{DAY_LATER}:00.000001 c:a d:1"], "1 1 1 2", {"s:1"}),
        # the gap would have ended it anyway, or the source did
        (RULES, ["12:00 c:a d:1", f"{DAY_LATER}:00.000001 c:a d:1"], "1 2", set()),
        (SOURCE, ["12:00 c:a d:1 ss:x", f"{DAY_LATER}:00.000001 c:a d:1 ss:y"], "1 2", set()),
        # from one value to another; an absent one is no change, and a new session begins without a value
        (RULES, ["12:00 c:a ss:x", "12:01 c:a", "12:02 c:a ss:x", "12:03 c:a", "12:04 c:a ss:y"], "1 1 1 1 2", set()),
        (RULES, ["12:00 c:a", "12:01 c:a ss:x", "13:00 c:a", "13:01 c:a ss:y"], "1 1 2 2", set()),
        (SOURCE, ["12:00 c:a ss:x", f"{DAY_LATER}:01 c:a", f"{DAY_LATER}:02 c:a ss:y"], "1 2 2", {"s:1"}),
        # another customer in between; not on another device, not without one, not with an event of no session
        (RULES, ["12:00 c:a d:1", "12:01 c:b d:1", "12:02 c:a d:1"], "1 2 3", set()),
        (SOURCE, ["12:00 c:a d:1", "12:00 c:b d:1", "12:00 c:a d:1"], "1 2 3", set()),
        (RULES, ["12:00 c:a d:1", "12:01 c:b d:2", "12:01 c:b", "12:01 c:b d:1 t:1", "12:02 c:a d:1"], "1 2 3 - 1", set()),
        # events without a device are a track of their own
        (RULES, ["12:00 c:a d:1", "12:20 c:a", "12:40 c:a d:1", "12:45 c:a"], "1 2 3 2", set()),
    ],
)  # fmt: skip
def test_sessions(rules: Rules, lines: list[str], told: str, truncated: set[str]) -> None:
    assert sessions_of(rules, *lines) == (told, truncated)


def test_the_10001st_event_of_a_session() -> None:
    start = datetime(2025, 3, 1, tzinfo=UTC)
    given = [
        event("12:00 c:a", f"{number:05}") | {"occurred_at": (start + number * timedelta(seconds=1)).isoformat()}
        for number in range(10_001)
    ]
    assert_session(given[:10_000], "s:00000", set())
    assert_session(given, "s:10000", {"s:00000"})


def assert_session(given: list[Raw], last: str, truncated: set[str]) -> None:
    reading = read(given, RULES)
    assert reading.touchpoints[given[-1]["event_id"]].session_id == last
    assert reading.truncated_sessions == truncated


# ---- the worlds hold what they claim


def test_the_endings_of_ids_stand_in_the_order_of_their_bytes() -> None:
    assert sorted(TAILS, key=str.encode) == list(TAILS)
    assert sorted(TAILS, key=lambda tail: tail.encode("utf-16-be")) != list(TAILS)


def test_a_world_is_the_same_every_time_and_meets_no_other() -> None:
    assert make_events(3, "w3.") == make_events(3, "w3.") != make_events(4, "w3.")
    ids = [{str(e.get("event_id")) for e in WORLDS[0].events(seed)} - {"None"} for seed in range(5)]
    assert len(set.union(*ids)) == sum(map(len, ids))
    assert all(50 < len(worlds.events(seed)) < 140 for worlds in WORLDS for seed in worlds.seeds)


def situations(worlds: Worlds, sessions: str) -> Counter[str]:
    rules = Rules(AS_OF, "device_split", worlds.max_customers_per_device, ADDED, sessions)
    raw = worlds.all_events()
    reading = read(raw, rules)
    judged = [(event, broken_rules(event, rules)) for event in raw]
    valid = [clean(event, rules) for event, codes in judged if not codes]
    broken = [(event, codes) for event, codes in judged if codes]
    of_broken = customers_of_emails(clean(event, rules) for event, codes in broken if set(codes) == {"field.missing"})
    found: Counter[str] = Counter()
    for part in (of_results(reading), of_emails(valid, of_broken, reading), of_devices(reading, rules), of_entities(reading),
                 of_names(raw, reading), of_sessions(reading), of_copies(valid, reading)):  # fmt: skip
        found += part
    found["broken beside a good copy"] = sum(event.get("event_id") in reading.events for event, _ in broken)
    return found


def of_results(reading: Reading) -> Counter[str]:
    found = Counter(f"rule {touchpoint.identity_rule}" for touchpoint in reading.touchpoints.values())
    found.update(f"decision {row[3]}" for row in reading.identity_decisions)
    found.update(f"ignored {row[0]}" for row in reading.identity_decisions if row[2] == "ignored")
    found.update(f"code {code}" for (_, codes), times in reading.quarantined.items() for code in codes * times)
    found["several codes"] = sum(len(set(codes)) > 1 for _, codes in reading.quarantined)
    found["duplicates"], found["after as-of"] = reading.duplicates, reading.after_as_of
    found["at as-of"] = sum(event.at == AS_OF for event in reading.events.values())
    found["truncated sessions"] = len(reading.truncated_sessions)
    return found


def of_emails(valid: Iterable[Event], of_broken: Mapping[str, set[str]], reading: Reading) -> Counter[str]:
    found: Counter[str] = Counter()
    accepted = list(reading.events.values())
    links = customers_of_emails(accepted)
    any_links = customers_of_emails(valid)
    linked_at: dict[str, datetime] = {}
    for event in accepted:
        if event.email and event.customer_id:
            linked_at[event.email] = min(event.at, linked_at.get(event.email, event.at))
    for event in accepted:
        if event.email is None or event.customer_id is not None:
            continue
        size = len(links[event.email])
        found[f"e-mail of {min(size, 2)} customers"] += 1
        found["e-mail linked later"] += size == 1 and linked_at[event.email] > event.at
        if len(any_links[event.email]) > size or of_broken.get(event.email, set()) - links[event.email]:
            found[f"e-mail of {min(size, 1)} customers and one more that is dropped"] += 1
        if any(letter in event.email for letter in "σßi"):
            found["e-mail with letters of its own"] += 1
    return found


def of_devices(reading: Reading, rules: Rules) -> Counter[str]:
    found: Counter[str] = Counter()
    for timeline in timelines(reading.events.values()).values():
        touchpoints = [reading.touchpoints[event.id] for event in timeline]
        keys = [
            t.customer_key if t.identity_rule in ("customer_id", "linked_email", "entity", "email") else None
            for t in touchpoints
        ]
        number, limit = len(set(keys) - {None}), rules.max_customers_per_device
        for at, key in enumerate(keys):
            if key is not None:
                continue
            before, after = [k for k in keys[:at] if k], [k for k in keys[at + 1 :] if k]
            found["unidentified on a device at its limit"] += number == limit
            found["unidentified on a device one over its limit"] += number == limit + 1
            found["unidentified before the first"] += bool(after and not before)
            found["unidentified after the last"] += bool(before and not after)
            found["unidentified between two customers"] += bool(before and after and before[-1] != after[0])
            found["shared e-mail on a device that knows better"] += touchpoints[at].identity_rule == "device" and bool(
                timeline[at].email
            )
            found["shared e-mail at a kiosk"] += number > limit and touchpoints[at].identity_rule == "shared_email"
            # who was there before follows from the ids alone, and other orders would say another
            now = [(e, k) for e, k in zip(timeline, keys, strict=True) if e.at == timeline[at].at]
            by_bytes = [k for e, k in now if k and e.id.encode() < timeline[at].id.encode()]
            by_utf_16 = [
                k
                for e, k in sorted(now, key=lambda p: p[0].id.encode("utf-16-be"))
                if k and e.id.encode("utf-16-be") < timeline[at].id.encode("utf-16-be")
            ]
            found["only the id says who was before"] += bool(by_bytes) and len({k for _, k in now if k}) > 1
            found["only the bytes say who was before"] += by_bytes[-1:] != by_utf_16[-1:]
        if number > limit:
            found["kiosk by way of more than customer_ids"] += len({t.identity_rule for t in touchpoints}) > 2
    return found


def of_entities(reading: Reading) -> Counter[str]:
    found: Counter[str] = Counter()
    by_entity: dict[tuple[str, str, str], list[str]] = {}
    for event in sorted(reading.events.values(), key=lambda e: e.place):
        for entity in event.entities:
            by_entity.setdefault(entity, []).append(event.id)
    rule = {event_id: touchpoint.identity_rule for event_id, touchpoint in reading.touchpoints.items()}
    identified = {
        entity: [i for i in ids if rule[i] in ("customer_id", "linked_email")] for entity, ids in by_entity.items()
    }
    sources_of = Counter((kind, number) for kind, _, number in {e for e, ids in identified.items() if ids})
    for entity, ids in by_entity.items():
        if identified[entity]:
            first = reading.events[identified[entity][0]]
            of_it = {reading.touchpoints[i].customer_key for i in identified[entity]}
            found["entity of several customers"] += len(of_it) > 1
            found["entity found later"] += any(rule[i] == "entity" and reading.events[i].at < first.at for i in ids)
            found["first of an entity by its id alone"] += (
                len(
                    {
                        reading.touchpoints[i].customer_key
                        for i in identified[entity]
                        if reading.events[i].at == first.at
                    }
                )
                > 1
            )
        else:
            found["entity that only rule 4 or 5 reaches"] += any(rule[i] in ("email", "device") for i in ids)
    for event in reading.events.values():
        if len(event.entities) > 1 and rule[event.id] not in ("customer_id", "linked_email"):
            known = [bool(identified[entity]) for entity in event.entities]
            found["several entities, and the first one known"] += known[0]
            found["several entities, and only a later one known"] += any(known) and not known[0]
        found["several entities identified at once"] += len(event.entities) > 1 and rule[event.id] == "customer_id"
        found["product_usage with an entity"] += event.fields["event_type"] == "product_usage" and bool(event.entities)
        found["entity in extra"] += bool(event.extra.keys() & {"ticket_id", "subscription_id", "order_id"})
        found["entity not trimmed"] += any(number != number.strip() for _, _, number in event.entities)
    found["one id in several sources"] = sum(times > 1 for times in sources_of.values())
    texts = Counter((kind, f"{source}:{number}") for kind, source, number in by_entity)
    found["two entities of one text"] = sum(times > 1 for times in texts.values())
    return found


def of_names(raw: Iterable[Raw], reading: Reading) -> Counter[str]:
    found: Counter[str] = Counter()
    keys = {touchpoint.customer_key for touchpoint in reading.touchpoints.values()}
    found["customers named like keys"] = sum(key.startswith("id:") for key in keys)
    found["customers named like keys that there are"] = sum(key.startswith("id:") and key[3:] in keys for key in keys)
    found["keys that nearly mean nobody"] = len(keys & set(NEARLY_NOBODY))
    given = [event.get(name) for event in raw for name in ("customer_id", "email", "anonymous_id")]
    found["identifiers with white space"] = sum(isinstance(value, str) and value != value.strip() for value in given)
    spellings = {value.strip().lower() for value in NOBODY}
    found["spellings of nobody"] = len({v.strip().lower() for v in given if isinstance(v, str)} & spellings)
    return found


def of_sessions(reading: Reading) -> Counter[str]:
    found: Counter[str] = Counter()
    tracks: dict[tuple[str, str | None], list[str]] = {}
    in_order = sorted(
        (e for e in reading.events.values() if e.fields["event_type"] in SESSION_TYPES), key=lambda e: e.place
    )
    for event in in_order:
        tracks.setdefault((reading.touchpoints[event.id].customer_key, event.device), []).append(event.id)
    on_device = timelines(in_order)
    for (_, device), ids in tracks.items():
        for one, other in pairwise(ids):
            gap = reading.events[other].at - reading.events[one].at
            is_one = reading.touchpoints[one].session_id == reading.touchpoints[other].session_id
            track = "device" if device else "no device"
            found[f"gap of 30:00 on {track}"] += gap == timedelta(minutes=30)
            found[f"gap of 30:00.000001 on {track}"] += gap == timedelta(minutes=30) + US
            values = [reading.events[i].fields.get("source_session_id") for i in (one, other)]
            found["source session changes"] += None not in values and values[0] != values[1] and not is_one
            found["source session comes or goes"] += (None in values) and values[0] != values[1] and is_one
            between = [
                event
                for event in on_device.get(device or "", [])
                if reading.events[one].place < event.place < reading.events[other].place
            ]
            found["somebody else in between"] += bool(between) and gap <= timedelta(minutes=30)
            found["somebody else in between at one moment"] += bool(between) and gap == timedelta(0)
        for event_id in ids:
            first = str(reading.touchpoints[event_id].session_id).removeprefix("s:")
            found["24 h to the microsecond"] += reading.events[event_id].at - reading.events[first].at == timedelta(
                hours=24
            )
    return found


def of_copies(valid: Iterable[Event], reading: Reading) -> Counter[str]:
    found: Counter[str] = Counter()
    copies: dict[str, list[Event]] = {}
    for event in valid:
        if event.at <= AS_OF:
            copies.setdefault(event.id, []).append(event)
    for event_id, of_one_id in copies.items():
        kept = reading.events[event_id]
        others = [copy for copy in of_one_id if copy is not kept and copy.contents != kept.contents]
        received = [copy.fields.get("received_at") for copy in (kept, *others)]
        found["copies at other times"] += any(copy.at > kept.at for copy in others)
        found["the kept copy comes later in the input"] += bool(others) and of_one_id[0].contents != kept.contents
        found["only received_at decides"] += any(
            copy.at == kept.at and when != received[0] for copy, when in zip(others, received[1:], strict=True)
        )
        found["an absent received_at loses"] += None in received[1:] and received[0] is not None
        found["only a hash decides"] += any(
            copy.at == kept.at and when == received[0] for copy, when in zip(others, received[1:], strict=True)
        )
        found["copies of other customers"] += any(copy.customer_id != kept.customer_id for copy in others)
        found["copies that say the same"] += len(of_one_id) > len(others) + 1
    return found


RULE_NAMES = ("customer_id", "linked_email", "entity", "email", "device", "shared_email", "anonymous_id", "entity_id")
CODES = ("field.missing", "field.type", "identity.missing", "time.future", "time.invalid", "time.no_offset", "time.too_old",
         "type.unknown", "version.unknown")  # fmt: skip
#: What the worlds must hold, at least so often over all seeds.
CLAIMS: Mapping[str, int] = {
    **{f"rule {name}": 100 for name in RULE_NAMES},
    **{f"code {code}": 10 for code in CODES},
    **{f"ignored {kind}": 10 for kind in ("customer_id", "email", "anonymous_id", "ticket_id", "order_id")},
    "decision kiosk": 30, "decision shared_email": 100, "several codes": 10, "duplicates": 100, "after as-of": 30, "at as-of": 30,
    "e-mail of 0 customers": 100, "e-mail of 1 customers": 100, "e-mail of 2 customers": 50, "e-mail linked later": 50,
    "e-mail of 0 customers and one more that is dropped": 20, "e-mail of 1 customers and one more that is dropped": 20,
    "e-mail with letters of its own": 50, "unidentified on a device at its limit": 100,
    "unidentified on a device one over its limit": 100, "unidentified before the first": 100, "unidentified after the last": 100,
    "unidentified between two customers": 100, "shared e-mail on a device that knows better": 20, "shared e-mail at a kiosk": 10,
    "only the id says who was before": 50, "only the bytes say who was before": 10, "kiosk by way of more than customer_ids": 20,
    "entity of several customers": 50, "entity found later": 50, "first of an entity by its id alone": 20,
    "entity that only rule 4 or 5 reaches": 20, "several entities, and the first one known": 50,
    "several entities, and only a later one known": 20, "several entities identified at once": 20, "product_usage with an entity": 20,
    "entity in extra": 50, "entity not trimmed": 20, "one id in several sources": 20, "two entities of one text": 20,
    "customers named like keys": 100, "customers named like keys that there are": 50, "keys that nearly mean nobody": 20,
    "identifiers with white space": 500, "spellings of nobody": 40, "truncated sessions": 50, "gap of 30:00 on device": 100,
    "gap of 30:00.000001 on device": 50, "gap of 30:00 on no device": 20, "gap of 30:00.000001 on no device": 20,
    "source session changes": 50, "source session comes or goes": 50, "somebody else in between": 100,
    "somebody else in between at one moment": 30, "24 h to the microsecond": 20, "copies at other times": 20,
    "the kept copy comes later in the input": 20, "only received_at decides": 20, "an absent received_at loses": 10,
    "only a hash decides": 50, "copies of other customers": 30, "copies that say the same": 10, "broken beside a good copy": 20,
}  # fmt: skip


def test_the_worlds_hold_what_they_claim() -> None:
    found: Counter[str] = Counter()
    for worlds, sessions in zip(WORLDS, ("gap", "source", "gap"), strict=True):
        found += situations(worlds, sessions)
    assert {claim: (found[claim], least) for claim, least in CLAIMS.items() if found[claim] < least} == {}
    assert not found.keys() - CLAIMS.keys() - {"decision means_nobody", "ignored subscription_id"}, (
        "what is counted is claimed"
    )


def test_the_policies_differ_on_the_worlds() -> None:
    readings = [
        read(Worlds(range(20), 5).all_events(), Rules(AS_OF, policy, ignored_identifiers=ADDED)).touchpoints
        for policy in ("device_split", "last_auth", "none")
    ]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert sum(readings[one][i].customer_key != readings[other][i].customer_key for i in readings[0]) > 50
