"""Whom a name means, and how each event found its customer: the parts of `parcours explain` that speak of identity.

The rules are those of docs/data-model.md, "Customer". A device or a ticket tells an event's customer through another
event of the same customer, so the customer's own events suffice to name the one that told.
"""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import duckdb

from pipelines.catalog import text
from pipelines.errors import UsageError
from pipelines.manifest import Manifest
from pipelines.summary import one_line

Row = dict[str, Any]

#: Rows of each list beside the timeline: identifiers of one kind, orders, tickets, refusals.
SHOWN = 20

#: Kinds of identifiers, in the order in which the rules try them, and what they are called.
ENTITIES: Mapping[str, str] = {"ticket_id": "ticket", "subscription_id": "subscription", "order_id": "order"}
KINDS: Mapping[str, str] = {"customer_id": "customer_id", "email": "e-mail", "anonymous_id": "device", **ENTITIES}

_SHORT = 300  # letters of a value that are shown
_LETTERS = 80  # of an identifier in words; it stands beside them whole
_NEAR = 2_000_000  # identifiers among which a misspelt one is looked for
_TELLS_DEVICE = ("customer_id", "linked_email", "entity", "email")
_TELLS_ENTITY = ("customer_id", "linked_email")


def rows(con: duckdb.DuckDBPyConnection, sql: str, **parameters: Any) -> list[Row]:
    """The rows of an answer, each without its nulls."""
    answer = con.sql(sql, params=parameters or None).to_arrow_table()
    return [{name: value for name, value in row.items() if value is not None} for row in answer.to_pylist()]


def clean(value: object) -> str:
    """A value on one line of a terminal: no control characters, and not too long.

    >>> clean("red \\x1b[31m"), clean(None)
    ('red \ufffd[31m', '')
    """
    if isinstance(value, str) and len(value) <= _SHORT and value.isprintable():
        return value  # nearly all are; a look at each letter would be the larger part of all work
    return one_line(value)


def count(n: int, thing: str) -> str:
    """
    >>> count(1, "journey"), count(1234, "purchase")
    ('1 journey', '1,234 purchases')
    """
    return f"{n:,} {thing}" if n == 1 else f"{n:,} {thing}s"


# ---- whom a name means ---------------------------------------------------------------------------

_IDENTIFIED = """
select customer_key, identifier_kind, identifier, n_events, valid_from, valid_to
from identity_map
where
    identifier = $name
    or (identifier_kind = 'email' and identifier = lower($name))
    or (identifier_kind in ('ticket_id', 'subscription_id', 'order_id')
        and $name <> '' and ends_with(identifier, ':' || $name))
"""
_NEAR_ONES = f"""
with some_identifiers as (select identifier_kind, identifier from identity_map limit {_NEAR}),
compared as (
    select
        identifier_kind,
        identifier,
        lower(if(ends_with(identifier_kind, '_id') and identifier_kind not in ('customer_id', 'anonymous_id'),
            substr(identifier, instr(identifier, ':') + 1), identifier)) as name
    from some_identifiers
    where length(identifier) < 200
)
select distinct
    identifier_kind,
    identifier,
    jaro_winkler_similarity(name, lower($name)) + if(contains(name, lower($name)), 0.5, 0) as nearness
from compared
where nearness > 0.85
order by nearness desc, identifier_kind, identifier
limit 5
"""


def find_customer(con: duckdb.DuckDBPyConnection, manifest: Manifest, lake: str, asked: str) -> tuple[str, Row | None]:
    """The customer_key, and the row of identity_map that led to it if the name is not the key itself."""
    if rows(con, "select 1 as found from customers where customer_key = $name limit 1", name=asked):
        return asked, None
    name = asked.strip()
    found = rows(
        con,
        f"""
        with found as ({_IDENTIFIED}), customers as (select count(distinct customer_key) as total from found)
        select * from found, customers order by n_events desc, customer_key, identifier_kind, identifier limit {SHOWN}
        """,
        name=name,
    )
    if not found:
        raise _nobody(con, manifest, lake, name)
    if found[0]["total"] > 1:
        raise _several(con, lake, name, found)
    return found[0]["customer_key"], {part: found[0][part] for part in ("identifier_kind", "identifier")}


def _several(con: duckdb.DuckDBPyConnection, lake: str, name: str, found: Sequence[Row]) -> UsageError:
    total = found[0]["total"]
    lines = [f"{clean(name)} leads to {total:,} customers:"]
    lines += [
        f"  {clean(row['customer_key'])}{'' if _can_be_typed(row['customer_key']) else ' (cleaned, not to be copied)'}"
        f"  as {_named(row)}: {count(row['n_events'], 'event')}, "
        f"{row['valid_from']:%Y-%m-%d} to {row['valid_to']:%Y-%m-%d}"
        for row in found
    ]
    shown = {row["customer_key"] for row in found}
    if total > len(shown):
        lines.append(f"  and {total - len(shown):,} more")
    named = {(row["identifier_kind"], row["identifier"]) for row in found}
    refused = rows(
        con,
        "select * from identity_decisions where decision = 'refused' and list_contains($names, identifier)",
        names=sorted({identifier for _, identifier in named}),
    )
    lines += [f"  Refused: {refusal(row)}." for row in refused if (row["kind"], row["identifier"]) in named]
    typed = [row["customer_key"] for row in found if _can_be_typed(row["customer_key"])]
    if not typed:
        return UsageError(
            "\n".join(lines), "No key can be copied from here: name an identifier that only one of them has."
        )
    options = "-- " if typed[0].startswith("-") else ""
    example = f"parcours explain --lake {shlex.quote(lake)} {options}{shlex.quote(typed[0])}"
    return UsageError("\n".join(lines), f"Name one of the keys: {example}")


def _nobody(con: duckdb.DuckDBPyConnection, manifest: Manifest, lake: str, name: str) -> UsageError:
    said = f'No customer of run {manifest.run_id} has the key or identifier "{clean(name)}".'
    ignored = rows(
        con,
        """
        select kind, sum(n_events)::bigint as n_events from identity_decisions
        where decision = 'ignored' and lower(trim(identifier)) = lower($name) group by kind order by kind
        """,
        name=name,
    )
    if ignored:
        told = ", ".join(
            f"as {KINDS.get(row['kind'], row['kind'])} of {count(row['n_events'], 'event')}" for row in ignored
        )
        sql = (
            "select customer_key, event_id, ignored_identifiers from touchpoints where ignored_identifiers is not null"
        )
        return UsageError(
            f"{said} The value means nobody, and was ignored {told}.",
            f"Name the customer otherwise; these are the events: {_query(lake, sql)}",
        )
    near = rows(con, _NEAR_ONES, name=name) if name else []
    mend = [f"Did you mean {', '.join(_named(row) for row in near)}?"] if near else []
    if name and manifest.rows.get("quarantine"):
        [held] = rows(con, "select count(*) as n from quarantine where contains(raw, $name)", name=name)
        if held["n"]:
            sql = f"select file, position, errors from quarantine where contains(raw, {text(name)})"
            query = f": {_query(lake, sql)}" if _can_be_typed(name) else "."
            mend.append(f"This text is in {count(held['n'], 'record')} of the quarantine{query}")
    return UsageError(said, " ".join(mend) or f"Some that there are: {_query(lake, 'from identity_map limit 100')}")


def _can_be_typed(value: str) -> bool:
    return clean(value) == value


def _query(lake: str, sql: str) -> str:
    return f"parcours query --lake {shlex.quote(lake)} {shlex.quote(sql)}"


def _named(row: Row) -> str:
    return f"{KINDS.get(row['identifier_kind'], row['identifier_kind'])} {clean(row['identifier'])}"


def refusal(row: Mapping[str, Any]) -> str:
    """A refused row of identity_decisions in words.

    >>> refusal({"kind": "email", "identifier": "a@b.example", "reason": "shared_email", "n_customers": 2, "n_events": 9})
    'e-mail a@b.example links nothing: 2 customer_ids share it (9 events)'
    """
    customers, events = row.get("n_customers"), count(row["n_events"], "event")
    because = {
        "shared_email": f"{customers:,} customer_ids share it",
        "kiosk": f"a kiosk, with {customers:,} customers",
    }.get(row["reason"], row["reason"])
    return f"{KINDS.get(row['kind'], row['kind'])} {clean(row['identifier'])} links nothing: {because} ({events})"


# ---- how an event found its customer -------------------------------------------------------------


class Identities:
    """How the events of a page found their customer: the rule, the identifier that it went by, and the event that told.

    An entity or a device tells through another event of the same customer, so the customer's own events suffice.
    """

    def __init__(
        self, con: duckdb.DuckDBPyConnection, events: Sequence[Row], refused: Iterable[Row], policy: str
    ) -> None:
        self._policy = policy
        self._refused = {(row["kind"], row["identifier"]): row for row in refused}
        self._of_entity = _tell_entities(con, [event for event in events if event["identity_rule"] == "entity"])
        self._of_device = _tell_devices(con, [event for event in events if event["identity_rule"] == "device"])
        self._last_on_device: dict[str, str] = {}

    def of(self, event: Row) -> Row:
        """The events of a page are to be asked for in their order."""
        rule = event["identity_rule"]
        device = event.get("anonymous_id")
        found: Row = {"rule": rule}
        if rule in ("entity", "entity_id"):
            found |= self._by_entity(event, rule)
        else:
            kind = {
                "customer_id": "customer_id",
                "linked_email": "email",
                "email": "email",
                "shared_email": "email",
                "device": "anonymous_id",
                "anonymous_id": "anonymous_id",
            }.get(rule)
            if kind is not None:
                found |= {"kind": kind, "identifier": event.get(kind)}
        if rule == "device" and device in self._of_device:
            told = self._of_device[device]
            before = self._last_on_device.get(device) or told.get("before")
            if self._policy == "last_auth":
                found |= {"told_by": told.get("last"), "is_later": told["last_seq"] > event["seq"]}
            else:
                found |= {"told_by": before or told.get("first"), "is_later": before is None}
        if device is not None and rule in _TELLS_DEVICE:
            self._last_on_device[device] = event["event_id"]
        refused = self._refused.get((found.get("kind", ""), found.get("identifier", "")))
        return found | {"words": in_words(found, refused, self._policy)}

    def _by_entity(self, event: Row, rule: str) -> Row:
        ignored = json.loads(event.get("ignored_identifiers", "{}"))
        named = [(kind, event[kind]) for kind in ENTITIES if kind in event and kind not in ignored]
        for kind, value in named:
            teller = self._of_entity.get((kind, event.get("source"), value))
            if rule == "entity_id" or teller is not None:
                told = {"told_by": teller} if rule == "entity" else {}
                return {"kind": kind, "identifier": value} | told
        return {}


def _tell_entities(con: duckdb.DuckDBPyConnection, events: Sequence[Row]) -> dict[tuple[str, Any, str], str]:
    """By (kind, source, id): the first event of the entity that its customer_id or a linked e-mail identifies."""
    told: dict[tuple[str, Any, str], str] = {}
    for kind in ENTITIES:
        names = sorted({event[kind] for event in events if kind in event})
        if not names:
            continue
        for row in rows(
            con,
            f"""
            select source, {kind} as name, arg_min(event_id, seq) as event_id
            from own where list_contains($names, {kind}) and list_contains($rules, identity_rule)
            group by source, name
            """,
            names=names,
            rules=list(_TELLS_ENTITY),
        ):
            told[kind, row.get("source"), row["name"]] = row["event_id"]
    return told


def _tell_devices(con: duckdb.DuckDBPyConnection, events: Sequence[Row]) -> dict[str, Row]:
    """By device: its first and last identified event, and the last one before the first of these events."""
    if not events:
        return {}
    found = rows(
        con,
        """
        select
            anonymous_id,
            arg_max(event_id, seq) filter (seq < $start) as before,
            arg_min(event_id, seq) as first,
            arg_max(event_id, seq) as last,
            max(seq) as last_seq
        from own
        where list_contains($names, anonymous_id) and list_contains($rules, identity_rule)
        group by anonymous_id
        """,
        start=events[0]["seq"],
        names=sorted({event["anonymous_id"] for event in events}),
        rules=list(_TELLS_DEVICE),
    )
    return {row["anonymous_id"]: row for row in found}


def in_words(found: Mapping[str, Any], refused: Mapping[str, Any] | None, policy: str) -> str:
    """How an event found its customer.

    >>> in_words({"rule": "entity", "kind": "ticket_id", "identifier": "T1", "told_by": "e-7"}, None, "device_split")
    'by ticket T1, whose event e-7 tells the customer'
    """
    what = KINDS.get(found.get("kind", ""), "identifier")
    name = clean(found.get("identifier"))
    named = f"{what} {name[:_LETTERS]}{'…' if len(name) > _LETTERS else ''}".rstrip()
    told_by = found.get("told_by")
    match found["rule"]:
        case "customer_id":
            return "by its customer_id"
        case "linked_email":
            return f"by {named}, linked to one customer_id"
        case "entity":
            return f"by {named}, whose event {told_by} tells the customer" if told_by else f"by {named}"
        case "email":
            return f"by {named}, which no event links to a customer_id"
        case "device":
            if told_by is None:
                return f"by {named}"
            which = "later" if found.get("is_later") else "earlier"
            which = "last identified" if policy == "last_auth" else which
            return f"by {named}, whose {which} event {told_by} tells the customer"
        case "shared_email":
            shared = f", which {refused['n_customers']:,} customer_ids share" if refused else ", which is shared"
            return f"by {named} itself{shared}"
        case "anonymous_id":
            if refused:
                return f"by {named} itself, a kiosk with {refused['n_customers']:,} customers"
            return f"by {named} itself" + (
                ", as the policy links no device" if policy == "none" else ", on which nobody was identified"
            )
        case "entity_id":
            return f"by {named} itself, no event of which tells a customer"
        case rule:
            return f"by the rule {rule}"
