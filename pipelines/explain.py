"""`parcours explain`: all that the published run knows of one customer, and how it came to know it.

`explained` finds the customer and reads; `explain_text.py` writes it down. The timeline is read page by page, so that a
customer with millions of events needs no more memory than one with ten thousand. Nothing here imports Beam.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import duckdb

from pipelines import explain_sql as sql
from pipelines.catalog import reading
from pipelines.errors import UsageError
from pipelines.explain_identity import KINDS, SHOWN, Identities, Row, clean, find_customer, rows
from pipelines.lake import Lake
from pipelines.manifest import Manifest

#: Events of a timeline that are shown unless one asks for more: half of them the first, half the last.
LIMIT = 200

_PAGE = 10_000
_HELD = 50_000  # a customer with fewer events is read once and kept; of one with more, each question reads the files
_TABLES = (
    "touchpoints", "sessions", "journeys", "journey_stages", "customers", "tickets", "subscriptions", "subscription_periods",
    "friction_points", "identity_map", "identity_decisions",
)  # fmt: skip


class Entry(NamedTuple):
    """One line of a timeline. `what` is journey, session, event, friction_point, stage (without an event) or gap."""

    what: str
    told: Row


class Some(NamedTuple):
    """The first rows of a list, at most SHOWN, and how many there are."""

    rows: tuple[Row, ...]
    total: int


@dataclass(frozen=True)
class Explanation:
    """One customer. The rows have the columns of their tables, but those that are null are left out.

    `timeline` can be gone through once, and only while the lake is open.
    """

    run: Row
    asked: str
    found_by: Row | None
    customer: Row
    open_tickets: int
    active_subscriptions: int
    identifiers: Mapping[str, Some]
    timeline: Iterator[Entry]
    refused: Some
    ignored: Some
    revenue: tuple[Row, ...]
    orders: Some
    tickets: Some
    subscriptions: Some
    churned_by: Row | None


@contextlib.contextmanager
def explained(lake: Lake | str, asked: str, limit: int = LIMIT) -> Iterator[Explanation]:
    """The customer whom a customer_key or an identifier names; `limit` 0 tells all events.

    UsageError if nothing is published, if nobody or more than one customer is found (the message lists them), or if the
    run is of a version that did not keep how events found their customers.
    """
    lake = Lake(lake) if isinstance(lake, str) else lake
    manifest = lake.published()
    _refuse_old_run(manifest)
    try:
        with reading(lake, manifest.run_id) as con:
            key, found_by = find_customer(con, manifest, lake.path, asked)
            yield _Customer(con, manifest, key, limit).explanation(asked, found_by)
    except duckdb.Error as error:
        reason = " ".join(str(error).partition("\n")[0].split())
        raise UsageError(
            f"Run {manifest.run_id} cannot be read: {clean(reason)}",
            "If a file of the lake was moved, changed or removed, restore it, or run parcours run again.",
        ) from None


def inactivity_days(con: duckdb.DuckDBPyConnection, manifest: Manifest) -> int | None:
    """As the settings gave it, or as it was fitted; None where it could not be."""
    given = manifest.settings.get("inactivity_days")
    if given != "fit":
        return given
    [[fitted]] = con.execute(
        "select max(value)::int from model_parameters where parameter = 'inactivity_days'"
    ).fetchall()
    return None if fitted is None else int(fitted)


def _refuse_old_run(manifest: Manifest) -> None:
    there = {table.name: {column["name"] for column in table.columns} for table in manifest.tables}
    missing = [name for name in _TABLES if name not in there]
    if not missing and {"identity_rule", "ignored_identifiers"} <= there["touchpoints"]:
        return
    lacks = f"has no table {missing[0]}" if missing else "has no column touchpoints.identity_rule"
    raise UsageError(
        f"Run {manifest.run_id} {lacks}: Parcours {manifest.parcours}, which made it, did not keep how events found "
        "their customers.",
        "Run parcours run again with this version, on the same input.",
    )


class _Customer:
    """One customer in an open run. `own` is the relation of the customer's touchpoints."""

    def __init__(self, con: duckdb.DuckDBPyConnection, manifest: Manifest, key: str, limit: int) -> None:
        self._con, self._manifest, self._key, self._limit = con, manifest, key, limit
        [self._row] = self._ask("select * from customers where customer_key = $key")
        columns = [c["name"] for table in manifest.tables if table.name == "touchpoints" for c in table.columns]
        self._own_fields = columns[columns.index("stage") + 1 : columns.index("extra")]
        held = "table" if self._row["touchpoints"] <= _HELD else "view"
        con.execute("set variable explained = $key", {"key": key})  # a view cannot be given a parameter
        con.execute(f"create temp {held} own as from touchpoints where customer_key = getvariable('explained')")
        if self._row["friction_points"]:
            con.execute(sql.FRICTION_IN_PLACE, {"key": key})
        in_stages = self._ask(sql.FRICTION_IN_STAGES) if self._row["friction_points"] else []
        self._friction_in_stages = {(row["stage"], row["entered_at"]): row["friction_points"] for row in in_stages}
        self._without_event = self._stages_without_event()
        self._refused = self._ask(sql.REFUSED)
        self._policy = str(manifest.settings.get("identity_policy", ""))

    def explanation(self, asked: str, found_by: Row | None) -> Explanation:
        counts = {}
        for table, state in (("tickets", "is_open"), ("subscriptions", "status = 'active'")):
            [counts[table]] = self._ask(
                f"select count(*) as total, count(*) filter ({state}) as live from {table} where customer_key = $key"
            )
        return Explanation(
            run={
                "run_id": self._manifest.run_id,
                "as_of": self._manifest.as_of,
                "identity_policy": self._policy,
                "inactivity_days": inactivity_days(self._con, self._manifest),
            },
            asked=asked,
            found_by=found_by,
            customer=self._row,
            open_tickets=counts["tickets"]["live"],
            active_subscriptions=counts["subscriptions"]["live"],
            identifiers=self._identifiers(),
            timeline=self._timeline(),
            refused=Some(tuple(self._refused[:SHOWN]), len(self._refused)),
            ignored=self._ignored(),
            revenue=tuple(rows(self._con, sql.REVENUE)),
            orders=Some(tuple(rows(self._con, sql.ORDERS)), self._row["orders"]),
            tickets=self._with_life(sql.TICKETS, counts["tickets"]["total"]),
            subscriptions=self._with_life(sql.SUBSCRIPTIONS, counts["subscriptions"]["total"]),
            churned_by=self._churned_by(),
        )

    def _with_life(self, sql: str, total: int) -> Some:
        return Some(tuple(self._ask(sql)) if total else (), total)  # it looks at everybody's events: not for nothing

    def _ask(self, sql: str, **more: Any) -> list[Row]:
        return rows(self._con, sql, key=self._key, **more)

    def _stages_without_event(self) -> list[Row]:
        stages = self._ask(sql.STAGES_WITHOUT_EVENT)
        unexplained = [stage["entered_at"] for stage in stages if "subscription_id" not in stage]
        if unexplained and self._ask("select 1 as one from subscriptions where customer_key = $key limit 1"):
            ended = {row.pop("ended_at"): row for row in self._ask(sql.ENDED_ELSEWHERE, at=unexplained)}
            stages = [stage | ended.get(stage["entered_at"], {}) for stage in stages]
        return stages

    def _identifiers(self) -> dict[str, Some]:
        found: dict[str, list[Row]] = {}
        for row in self._ask(sql.IDENTIFIERS):
            found.setdefault(row["identifier_kind"], []).append(row)
        return {
            kind: Some(
                tuple(
                    {name: row[name] for name in ("identifier", "valid_from", "valid_to", "n_events")}
                    for row in found[kind]
                ),
                found[kind][0]["total"],
            )
            for kind in sorted(found, key=lambda kind: (*KINDS, kind).index(kind))
        }

    def _ignored(self) -> Some:
        """Values on the customer's events that mean nobody: {kind, identifier, n_events, event_id of the first}."""
        told: dict[tuple[str, str], Row] = {}
        for row in rows(
            self._con,
            """
            select ignored_identifiers as told, count(*) as n_events, arg_min(event_id, seq) as event_id, min(seq) as seq
            from own where ignored_identifiers is not null group by told order by seq
            """,
        ):
            for kind, value in json.loads(row["told"]).items():
                first = {"kind": kind, "identifier": value, "n_events": 0, "event_id": row["event_id"]}
                told.setdefault((kind, value), first)["n_events"] += row["n_events"]
        return Some(tuple(told.values())[:SHOWN], len(told))

    def _churned_by(self) -> Row | None:
        """The event that ended the relation, or the stage that began without one of the customer's own."""
        if "churned_at" not in self._row:
            return None
        for stage in self._without_event:
            if stage["entered_at"] == self._row["churned_at"]:
                return self._without_an_event(stage)
        found = rows(
            self._con,
            "select event_id, event_type from own where occurred_at = $at and stage = 'churned' order by seq limit 1",
            at=self._row["churned_at"],
        )
        return found[0] if found else None

    # -- the timeline

    def _timeline(self) -> Iterator[Entry]:
        events, limit = self._row["touchpoints"], self._limit
        if not limit or events <= limit:
            yield from self._stretch(1, events)
            return
        head, tail = limit - limit // 2, limit // 2
        yield from self._stretch(1, head)
        yield self._gap(head + 1, events - tail)
        if tail:
            yield from self._stretch(events - tail + 1, events)

    def _gap(self, first: int, last: int) -> Entry:
        skipped: Row = {"from_seq": first, "to_seq": last, "events": last - first + 1, "friction_points": 0}
        if self._row["friction_points"]:
            [points] = rows(
                self._con,
                "select count(*) as n from friction_in_place where after_seq between $first and $last",
                first=first,
                last=last,
            )
            skipped["friction_points"] = points["n"]
        skipped["stages_without_event"] = sum(first <= stage["after_seq"] <= last for stage in self._without_event)
        return Entry("gap", skipped)

    def _stretch(self, first: int, last: int) -> Iterator[Entry]:
        """The entries of the events from one seq to another, page by page."""
        state = self._before(first)
        for start in range(first, last + 1, _PAGE):
            yield from self._page(start, min(start + _PAGE - 1, last), state)

    def _before(self, first: int) -> "_State":
        """Journey and stage in front of an event."""
        state = _State()
        if first == 1:
            return state
        [row] = rows(
            self._con,
            "select arg_max(stage, seq) filter (seq = $first - 1) as stage, max(journey_no) as journey_no "
            "from own where seq < $first",
            first=first,
        )
        state.stage, state.journey = row.get("stage"), row["journey_no"]
        for stage in self._without_event:
            if stage["after_seq"] == first - 1:
                state.stage = stage["stage"]
        return state

    def _page(self, first: int, last: int, state: "_State") -> Iterator[Entry]:
        events = rows(
            self._con, "select * from own where seq between $first and $last order by seq", first=first, last=last
        )
        identities = Identities(self._con, events, self._refused, self._policy)
        journeys = {
            row["journey_no"]: row
            for row in self._ask(
                "select * from journeys where customer_key = $key and journey_no between $low and $high",
                low=min(event["journey_no"] for event in events),
                high=max(event["journey_no"] for event in events),
            )
        }
        sessions = {
            row["session_id"]: row
            for row in self._ask(sql.SESSIONS, first=events[0]["occurred_at"], last=events[-1]["occurred_at"])
        }
        behind = self._behind(first, last)
        for event in events:
            number = event["journey_no"]
            if state.journey is None or number > state.journey or not state.has_begun:
                begins = state.journey is None or number > state.journey
                state.journey = number if begins else state.journey
                yield Entry("journey", journeys.get(state.journey, {"journey_no": state.journey}) | {"begins": begins})
                state.has_begun = True
            session = sessions.get(event.get("session_id", ""))
            if session is not None and session["session_id"] not in state.sessions:
                state.sessions.add(session["session_id"])
                begins = session["session_id"] == f"s:{event['event_id']}"
                yield Entry("session", session | {"begins": begins})
            yield Entry("event", self._event(event, session, identities, state))
            state.stage = event.get("stage")
            for entry in behind.get(event["seq"], ()):
                if entry.what == "stage":
                    state.stage = entry.told["stage"]
                yield entry

    def _event(self, event: Row, session: Row | None, identities: "Identities", state: "_State") -> Row:
        told = {name: value for name, value in event.items() if name not in self._own_fields}
        del told["customer_key"]
        if session is not None:
            told["session_no"] = session["session_no"]
        is_new_stage = "stage" in event and event["stage"] != state.stage
        if is_new_stage:
            told |= self._stage_friction(event["stage"], event["occurred_at"])
        return told | {
            "fields": {name: event[name] for name in self._own_fields if name in event},
            "is_new_stage": is_new_stage,
            "is_of_earlier_journey": event["journey_no"] != state.journey,
            "identity": identities.of(event),
        }

    def _stage_friction(self, stage: str, entered_at: Any) -> Row:
        """How many friction points the run of a stage has that begins at a moment; nothing where it has none."""
        points = self._friction_in_stages.get((stage, entered_at))
        return {"stage_friction_points": points} if points else {}

    def _behind(self, first: int, last: int) -> dict[int, list[Entry]]:
        """What stands behind an event: friction points that begin at it, and stages that no event gave, in the order of
        time."""
        found: list[tuple[Any, int, Entry]] = []
        if self._row["friction_points"]:
            for row in rows(
                self._con,
                "select * from friction_in_place where after_seq between $first and $last "
                "order by started_at, friction_id",
                first=first,
                last=last,
            ):
                told = {n: v for n, v in row.items() if n not in ("customer_key", "after_seq")}
                found.append((row["started_at"], row["after_seq"], Entry("friction_point", told)))
        for stage in self._without_event:
            if first <= stage["after_seq"] <= last:
                found.append((stage["entered_at"], stage["after_seq"], Entry("stage", self._without_an_event(stage))))
        behind: dict[int, list[Entry]] = {}
        for _, seq, entry in sorted(found, key=lambda part: part[0]):
            behind.setdefault(seq, []).append(entry)
        return behind

    def _without_an_event(self, stage: Row) -> Row:
        told = {n: v for n, v in stage.items() if n not in ("customer_key", "after_seq")}
        ended = "ended_elsewhere" if "ended_by" in stage else "term_ended"
        told |= self._stage_friction(stage["stage"], stage["entered_at"])
        return told | {"reason": ended if "subscription_id" in stage else "lapsed"}


class _State:
    """Where the telling of a stretch has come to."""

    def __init__(self) -> None:
        self.journey: int | None = None
        self.stage: str | None = None
        self.has_begun = False
        self.sessions: set[str] = set()
