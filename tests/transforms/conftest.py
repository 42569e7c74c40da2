"""Fixtures of the steps' tests.

`contracts`   the shipped event contracts, compiled
`connection`  one DuckDB connection for all tests: a step must not mind what an earlier one did with it
`steps`       short rows to events, and the steps after the shuffle on them, one by one or all (`Steps`)
`blocks`      short rows to staged blocks, and what identity asks about them and is told (`Blocks`)
`microseconds`  a moment, written as in the rows, as whole microseconds
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from schemas.contracts import Contracts, load_contracts
from schemas.dictionary import load_friction, load_metrics
from schemas.tables import tables
from transforms import duck
from transforms.answers import ANSWERS, BLOCK, DUPLICATE
from transforms.assign_stages import StageRules, assign_stages
from transforms.batches import ShardTables
from transforms.build_entities import EntityRules, build_entities
from transforms.build_journeys import JourneyRules, build_journeys
from transforms.find_friction import FrictionRules, find_friction
from transforms.identities import RULES, Identities, IdentityRules
from transforms.lifetime_value import ForecastRules
from transforms.measure import MERGED_OF, MeasureRules, measure, merge, partials_of
from transforms.metric_inputs import Calendar
from transforms.resolve_identity import resolve_identity
from transforms.sessionize import GAP_US
from transforms.stage_blocks import read_block, write_block
from transforms.stitch import StitchRules, event_schema, stitch
from transforms.summarise_customers import CustomerRules, summarise_customers
from transforms.time_zones import Periods, micros

Row = dict[str, Any]
DAY_US = 86_400_000_000
#: What a type cannot do without. A row of a test says only what the test is about.
DEFAULTS: Mapping[str, Row] = {
    "site_visit": {"page_url": "https://shop.example/"},
    "product_usage": {"feature": "reports"},
    "purchase": {"amount": "10", "currency": "EUR"},
    "refund": {"amount": "1", "currency": "EUR"},
    "ticket_replied": {"author": "agent", "public": True},
    "subscription_started": {"amount": "30", "currency": "EUR", "period_months": 1, "auto_renews": True},
    "subscription_changed": {"amount": "30", "currency": "EUR", "period_months": 1, "auto_renews": True},
    "renewal": {"amount": "30", "currency": "EUR", "period_months": 1, "outcome": "renewed"},
    "cancellation": {"kind": "effective"},
}


def moment(at: str | datetime.datetime) -> datetime.datetime:
    """`2026-01-05 10:00` or a datetime, in UTC where it says nothing else."""
    time = datetime.datetime.fromisoformat(at) if isinstance(at, str) else at
    return time.replace(tzinfo=datetime.UTC) if time.tzinfo is None else time


class Steps:
    """Rows are dicts with `type`, `at`, `who` (the customer_key, default ann) and any field of an event."""

    def __init__(self, contracts: Contracts, connection: duckdb.DuckDBPyConnection) -> None:
        self.contracts, self.connection = contracts, connection
        self.tables = tables(contracts)
        self.known = load_metrics()

    def events(self, rows: Iterable[Row]) -> pa.Table:
        """Rows as they arrive from the shuffle. Ids default to e0000, e0001, ... in the order given."""
        return pa.Table.from_pylist(
            [self._event(f"e{number:04}", row) for number, row in enumerate(rows)], event_schema(self.contracts)
        )

    def _event(self, event_id: str, row: Row) -> Row:
        given = {k: v for k, v in row.items() if k not in ("type", "at", "who")}
        who = row.get("who", "ann")
        event = {
            "event_id": event_id,
            "customer_key": who,
            "is_known": not who.startswith("anon:"),
            "event_type": row["type"],
            "occurred_at": moment(row["at"]),
            "contract": self.contracts.codes[row["type"], "1-0-0"],
            **DEFAULTS.get(row["type"], {}),
            **given,
        }
        if row["type"] == "purchase":
            event.setdefault("order_id", event["event_id"])
        if event.get("amount") is not None:
            event["amount"] = Decimal(event["amount"])
        return event

    def stitch(self, rows: Iterable[Row], gap_us: int = GAP_US, by_source: bool = False) -> ShardTables:
        return stitch([self.events(rows)], self.contracts, StitchRules(gap_us, by_source))

    def entities(self, rows: Iterable[Row], as_of: str | datetime.datetime) -> ShardTables:
        return build_entities(self.stitch(rows), EntityRules(moment(as_of)), self.connection)

    def stages(
        self,
        rows: Iterable[Row],
        as_of: str | datetime.datetime,
        inactivity_days: int | None = 90,
        sql: str | None = None,
    ) -> ShardTables:
        rules = StageRules(sql or duck.read_sql("assign_stages"), moment(as_of), inactivity_days)
        return assign_stages(self.entities(rows, as_of), rules, self.connection)

    def journeys(
        self, rows: Iterable[Row], as_of: str | datetime.datetime, silence_days: int = 90, timezone: str = "UTC"
    ) -> ShardTables:
        rules = JourneyRules(moment(as_of), silence_days * DAY_US, Periods(timezone))
        return build_journeys(self.stages(rows, as_of), rules, self.connection)

    def friction(
        self, rows: Iterable[Row], as_of: str | datetime.datetime, kinds: Sequence[str] | None = None,
        parameters: Mapping[str, Mapping[str, Any]] | None = None, timezone: str = "UTC",
    ) -> ShardTables:  # fmt: skip
        wanted = [k for k in load_friction(parameters=parameters).values() if kinds is None or k.kind in kinds]
        rules = FrictionRules(tuple(wanted), moment(as_of))
        return find_friction(self.journeys(rows, as_of, timezone=timezone), rules, self.connection)

    def customers(
        self,
        rows: Iterable[Row],
        as_of: str | datetime.datetime,
        timezone: str = "UTC",
        kinds: Sequence[str] | None = None,
    ) -> ShardTables:
        """`kinds` of friction that are looked for; None: all, half of the time that this takes."""
        found = self.friction(rows, as_of, kinds, timezone=timezone)
        return summarise_customers(found, CustomerRules(moment(as_of)), self.connection)

    def rules(
        self, as_of: str | datetime.datetime, *names: str, timezone: str = "UTC",
        segments: Mapping[str, str] | None = None,
    ) -> MeasureRules:  # fmt: skip
        known = self.known
        calendar = Calendar(Periods(timezone), moment(as_of))
        return MeasureRules(tuple(known[name] for name in names), calendar, ForecastRules(calendar), segments or {})

    def measured(
        self, rows: Iterable[Row], as_of: str | datetime.datetime, *names: str, timezone: str = "UTC",
        segments: Mapping[str, str] | None = None, kinds: Sequence[str] | None = (),
    ) -> ShardTables:  # fmt: skip
        """One shard with `customer_months` and the partial tables of some metrics, which read no friction."""
        rules = self.rules(as_of, *names, timezone=timezone, segments=segments)
        return measure(self.customers(rows, as_of, timezone, kinds), rules, self.connection)

    def merged(
        self, rows: Iterable[Row], as_of: str | datetime.datetime, *names: str, timezone: str = "UTC",
        shards: int = 1, segments: Mapping[str, str] | None = None,
    ) -> dict[str, pa.Table]:  # fmt: skip
        """The tables that are merged from the shards' numbers, the customers dealt to several shards."""
        rules = self.rules(as_of, *names, timezone=timezone, segments=segments)
        rows = list(rows)
        whose = sorted({row.get("who", "ann") for row in rows})
        partials: dict[str, list[pa.Table]] = {name: [] for name in MERGED_OF}
        for shard in range(shards):
            dealt = [r for r in rows if whose.index(r.get("who", "ann")) % shards == shard]
            if dealt:
                found = measure(self.customers(dealt, as_of, timezone, kinds=()), rules, self.connection)
                for name, table in partials_of(found).items():
                    partials.setdefault(name, []).append(table)
        return merge(partials, rules, self.tables)

    def metrics(
        self, rows: Iterable[Row], as_of: str | datetime.datetime, *names: str, timezone: str = "UTC",
        shards: int = 1, segments: Mapping[str, str] | None = None,
    ) -> list[Row]:  # fmt: skip
        """The rows of lifecycle_metrics of some metrics (of everyone, without `segments`)."""
        found = self.merged(rows, as_of, *names, timezone=timezone, shards=shards, segments=segments)
        return [
            row
            for row in found["lifecycle_metrics"].to_pylist()
            if segments is not None or row["segment"] not in ("first_channel", "plan")
        ]


class Blocks:
    """Rows are dicts with `at` (a minute, or a time; default 0), `type` (default site_visit) and what identifies.

    Ids default to e0, e1, ... in the block. A block of several is known by its name.
    """

    rules = IdentityRules(session_types=("site_visit",))

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, *rows: Row, name: str = "block") -> str:
        """The path of the staged block of the rows; columns without a value are left out, as in a run."""
        events = [
            {
                "event_id": row.get("event_id", f"e{number}"),
                "event_type": row.get("type", "site_visit"),
                "occurred_at": _minute(row.get("at", 0)),
                **{k: v for k, v in row.items() if k not in ("at", "type") and v is not None},
            }
            for number, row in enumerate(rows)
        ]
        schema = {"event_id": pa.string(), "event_type": pa.string(), "occurred_at": pa.timestamp("us", "UTC")}
        schema |= {column: pa.string() for event in events for column in event if column not in schema}
        path = str(self._folder / name)
        write_block(pa.Table.from_pylist(events, pa.schema(schema)).replace_schema_metadata({"source": "events"}), path)
        return path

    def open(self, path: str, *told: pa.Table, rules: IdentityRules = rules) -> Identities:
        return Identities.read(path, pa.concat_tables((ANSWERS.empty_table(), *told)), rules)

    def block(self, *rows: Row, told: Sequence[pa.Table] = (), rules: IdentityRules = rules) -> Identities:
        return self.open(self.write(*rows), *told, rules=rules)

    @staticmethod
    def told(kind: int, **columns: Any) -> pa.Table:
        """One answer."""
        return pa.Table.from_pylist([{"kind": kind, **columns}], ANSWERS)

    def name(self, kind: str, source: str, entity_id: str) -> str:
        """What an entity is called in questions and answers."""
        block = self.open(self.write({kind: entity_id, "source": source, "anonymous_id": "d"}, name="only a name"))
        (name,) = block.entities[kind].names.to_pylist()
        return str(name)

    @staticmethod
    def whose(block: Identities) -> list[tuple[str, str]]:
        """For each event its customer_key, and the rule that found it."""
        found = block.resolve()
        keys = found.names.take(pa.array(found.key)).to_pylist()
        return [(key, RULES[rule]) for key, rule in zip(keys, found.rule.tolist(), strict=True)]

    def resolve(
        self, *blocks: Sequence[Row], rules: IdentityRules = rules, duplicates: Collection[str] = ()
    ) -> Resolution:
        """All rounds, without Beam: all that is known of each event in the end, and what was decided."""
        paths = [self.write(*rows, name=f"block-{number}") for number, rows in enumerate(blocks)]
        events = {path: read_block(path) for path in paths}
        copies = [
            {"block": path, "kind": DUPLICATE, "row": row}
            for path, block in events.items()
            for row, event_id in enumerate(block["event_id"].to_pylist())
            if event_id in duplicates
        ]
        schema = ANSWERS.insert(0, pa.field("block", BLOCK))
        told, decisions = resolve_identity(events, pa.Table.from_pylist(copies, schema), rules)
        return Resolution([self.open(path, told[path], rules=rules) for path in paths], decisions.to_pylist())


class Resolution:
    """What identity says: of each event, and in identity_decisions."""

    def __init__(self, blocks: list[Identities], decisions: list[Row]) -> None:
        self.blocks, self.decisions = blocks, decisions

    def by_event(self, values: Callable[[Identities], Iterable[Any]]) -> dict[str, Any]:
        return {
            event_id: value
            for block in self.blocks
            for event_id, value in zip(block.event_ids(np.arange(len(block))).to_pylist(), values(block), strict=True)
        }

    @property
    def whose(self) -> dict[str, tuple[str, str]]:
        """Of each event_id the customer_key and the rule."""
        return self.by_event(Blocks.whose)

    @property
    def customers(self) -> dict[str, str]:
        return {event_id: key for event_id, (key, _) in self.whose.items()}


def _minute(at: int | str | datetime.datetime) -> datetime.datetime:
    return moment("2026-01-01") + datetime.timedelta(minutes=at) if isinstance(at, int) else moment(at)


@pytest.fixture
def blocks(tmp_path: Path) -> Blocks:
    return Blocks(tmp_path)


@pytest.fixture(scope="session")
def contracts() -> Contracts:
    return load_contracts()


@pytest.fixture(scope="session")
def connection() -> duckdb.DuckDBPyConnection:
    return duck.connect()


@pytest.fixture(scope="session")
def steps(contracts: Contracts, connection: duckdb.DuckDBPyConnection) -> Steps:
    return Steps(contracts, connection)


@pytest.fixture(scope="session")
def microseconds() -> Callable[[str | datetime.datetime], int]:
    return lambda at: micros(moment(at))
