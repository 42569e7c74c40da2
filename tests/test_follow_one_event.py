"""docs/follow-one-event.md, value by value: the steps are run one after the other on the fixture company.

Every value of the page stands in a table (or, for the raw line, in a block). Each is worked out here by the functions
that the page names, and held against what the real command publishes. After a change,
`python tests/test_follow_one_event.py` writes the values anew.
"""

from __future__ import annotations

import importlib
import re
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipelines.lake import Lake, Run
from pipelines.manifest import utc_text
from pipelines.run import make_plan, run
from pipelines.settings import Settings
from transforms import duck
from transforms.answers import DUPLICATE, answers
from transforms.assign_stages import assign_stages, stages_of_events
from transforms.batches import BUCKETS, shard_of_bucket
from transforms.build_entities import build_entities
from transforms.build_journeys import build_journeys
from transforms.candidates import Block
from transforms.find_duplicates import break_ties, find_duplicates, hash_contents
from transforms.find_friction import find_friction
from transforms.identities import RULES, Identities
from transforms.load_by_customer import customer_bucket, load_block
from transforms.map_identities import map_identities
from transforms.map_source import map_source
from transforms.measure import measure, merge, partials_of
from transforms.read_blocks import read_range, split_file
from transforms.resolve_identity import resolve_identity
from transforms.stage_blocks import identifier_rows
from transforms.stitch import stitch
from transforms.summarise_customers import summarise_customers
from transforms.validate import validate

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "follow-one-event.md"
COMPANY = ROOT / "fixtures" / "company"
FILE = COMPANY / "events.jsonl"
EVENT, CUSTOMER = "ann-06", "c-ann"
AS_OF = datetime(2026, 3, 31, tzinfo=UTC)
_METRICS = ("active_customers", "aov", "arpu", "orders", "revenue")
_NEVER = np.iinfo(np.int64).max

Values = dict[str, dict[str, str]]


def shown(value: Any) -> str:
    """A value as the page has it."""
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case datetime():
            return utc_text(value)
        case Decimal():
            return format(value, "f")
        case list():
            return ", ".join(shown(part) for part in value) or "none"
        case _:
            return str(value)


def row_of(table: pa.Table, **where: Any) -> dict[str, Any]:
    """The one row of a table with these values."""
    mask = np.ones(table.num_rows, bool)
    for name, value in where.items():
        mask &= np.array([cell == value for cell in table[name].to_pylist()], bool)
    [row] = table.filter(pa.array(mask)).to_pylist()
    return dict(row)


def pick(row: dict[str, Any], *names: str) -> dict[str, str]:
    return {name: shown(row[name]) for name in names}


def follow() -> Values:
    """Every value of the page, by step and name."""
    steps: Values = {}
    connection = duck.connect()
    settings = Settings(as_of=AS_OF)
    plan = make_plan([str(COMPANY)], settings, "follow", Run("follow", "/nowhere"), {}, AS_OF)

    # -- block by block
    staged: dict[str, pa.Table] = {}
    for file in plan.files:
        for part in split_file(file, plan.read):
            for block in read_range(part, plan.read):
                if not isinstance(block, Block):
                    continue
                candidates = map_source(block, plan.mappings[block.source], plan.contracts, connection)
                validated = validate(candidates, plan.contracts, plan.limits, connection)
                if file.path == str(FILE):
                    _describe_block(steps, block, candidates, validated, plan, part)
                if validated.events.num_rows:
                    staged[f"block-{len(staged)}"] = validated.events
    home = next(path for path, events in staged.items() if EVENT in events["event_id"].to_pylist())
    rows = {path: identifier_rows(events, path) for path, events in staged.items()}
    place = staged[home]["event_id"].to_pylist().index(EVENT)
    identifier = rows[home].slice(place, 1).to_pylist()[0]
    steps["StageBlocks"] = {
        "row in its block": shown(identifier["row"]),
        "event_id, hashed": f"{identifier['id_high']:016x}{identifier['id_low']:016x}",
        "occurred_at": shown(identifier["occurred_at"]),
        "received_at": "none, sorts last" if identifier["received_at"] == _NEVER else shown(identifier["received_at"]),
    }

    # -- narrow rows
    identifiers = pa.concat_tables(rows.values()).unify_dictionaries()
    later, ties = find_duplicates(identifiers)
    contents = [
        hash_contents(staged[path], _in_block(ties, path), path, plan.contracts, connection)
        for path in staged
        if _in_block(ties, path).num_rows
    ]
    duplicates = [later, *([break_ties(pa.concat_tables(contents))] if contents else [])]
    dropped = pa.concat_tables([answers(DUPLICATE, rows, row=rows["row"]) for rows in duplicates]).unify_dictionaries()
    same_id = (identifiers["id_high"].to_numpy() == identifier["id_high"]) & (
        identifiers["id_low"].to_numpy() == identifier["id_low"]
    )
    steps["FindDuplicates"] = {
        "copies of its event_id": shown(int(same_id.sum())),
        "rows to leave out, in the whole company": shown(dropped.num_rows),
        "is it one of them": shown(place in _in_block(dropped, home)["row"].to_pylist()),
    }

    # -- whose
    told, refused = resolve_identity(staged, dropped, plan.identity)
    resolved = Identities(staged[home], plan.identity, told[home])
    keys, number = resolved.resolve(), int(np.searchsorted(resolved.rows, place))
    key = keys.names[int(keys.key[number])].as_py()
    steps["ResolveIdentity"] = {
        "identity_rule": RULES[keys.rule[number]],
        "customer_key": key,
        "answers to all blocks": shown(sum(table.num_rows for table in told.values())),
        "identifiers refused, in the whole company": shown(refused.num_rows),
    }

    # -- by customer
    bucket = int(customer_bucket(pa.array([key]))[0])
    steps["LoadByCustomer"] = {
        "bucket": f"{bucket:,} of {BUCKETS:,}",
        "shard, of one": shown(int(shard_of_bucket(np.array([bucket]), 1)[0])),
        "shard, if there were 16": shown(int(shard_of_bucket(np.array([bucket]), 16)[0])),
    }
    pieces = [
        piece
        for path, events in staged.items()
        for _, piece in load_block(events, told[path], plan.identity, plan.shards)[1]
    ]
    shard = stitch(pieces, plan.contracts, plan.stitch)
    event = row_of(shard["touchpoints"], event_id=EVENT)
    session = row_of(shard["sessions"], session_id=event["session_id"])
    steps["Stitch"] = {
        **pick(event, "seq", "session_id", "visits_before", "orders_before", "order_no", "opens_order"),
        "first_order_at": shown(event["first_order_at"]),
        "its session: touchpoints": shown(session["touchpoints"]),
        "its session: started_at": shown(session["started_at"]),
        "its session: has_purchase": shown(session["has_purchase"]),
    }
    shard = build_entities(shard, plan.entities, connection)
    of_customer = {name: _count(shard[name], CUSTOMER) for name in ("tickets", "subscriptions")}
    steps["BuildEntities"] = {f"{name} of the customer": shown(count) for name, count in of_customer.items()}

    given = stages_of_events(shard["touchpoints"], plan.stages.sql, connection)
    row = shard["touchpoints"]["event_id"].to_pylist().index(EVENT)
    shard = assign_stages(shard, plan.stages, connection)
    stages = shard["touchpoints"]["stage"].to_pylist()
    run_of_stage = row_of(shard["journey_stages"], customer_key=CUSTOMER, entered_at=event["occurred_at"])
    steps["AssignStages"] = {
        "stage of the event before": shown(stages[row - 1]),
        "stage that the SQL gives": shown(given[row].as_py()),
        "stage": shown(stages[row]),
        **{f"its run: {name}": text for name, text in pick(
            run_of_stage, "stage_no", "entered_at", "left_at", "next_stage", "duration_s", "touchpoints").items()},
    }  # fmt: skip

    shard = build_journeys(shard, plan.journeys, connection)
    event = row_of(shard["touchpoints"], event_id=EVENT)
    same_order = shard["touchpoints"].filter(
        (pc.field("customer_key") == CUSTOMER)
        & (pc.field("order_id") == event["order_id"])
        & (pc.field("event_type") == "purchase")
    )
    shard = find_friction(shard, plan.friction, connection)
    journey = row_of(shard["journeys"], customer_key=CUSTOMER, journey_no=event["journey_no"])
    money = shard["money"].filter(pc.field("journey_id") == event["journey_id"]).to_pylist()
    steps["BuildJourneys"] = {
        "journey_no": shown(event["journey_no"]),
        "lines of its order": shown(same_order["event_id"].to_pylist()),
        "journey_no of these lines": shown(same_order["journey_no"].to_pylist()),
        "month": shown(event["month"]),
        "money of the journey": shown([f"{part['kind']} {part['amount']} {part['currency']}" for part in money]),
        **{f"its journey: {name}": text for name, text in pick(
            journey, "started_at", "ended_at", "status", "outcome", "stage_path", "channel_path", "touchpoints",
            "sessions", "revenue", "currency").items()},
    }  # fmt: skip
    steps["FindFriction"] = {
        "friction points of its journey": shown(journey["friction_points"]),
        "friction points of the company": shown(shard["friction_points"].num_rows),
    }

    shard = summarise_customers(shard, plan.customers, connection)
    customer = row_of(shard["customers"], customer_key=CUSTOMER)
    steps["SummariseCustomers"] = pick(
        customer, "touchpoints", "sessions", "journeys", "orders", "first_order_at", "last_order_at", "revenue",
        "currency", "first_channel", "current_stage",
    )  # fmt: skip

    shard = map_identities(shard)
    steps["MapIdentities"] = {
        row["identifier_kind"] + " " + row["identifier"]: f"{row['n_events']} events"
        for row in shard["identity_map"].to_pylist()
        if row["customer_key"] == CUSTOMER and row["identifier_kind"] in ("customer_id", "email", "anonymous_id")
    }

    # -- sums
    shard = measure(shard, plan.measure, connection)
    partials = partials_of(shard)
    month, euros = event["month"], event["currency"]
    sums = [
        r
        for r in partials["sums"].to_pylist()
        if r["month"] == month and r["currency"] in (euros, None) and r["segment"] == "all"
    ]
    steps["MeasureShards"] = {
        **{f"its customer's month: {name}": text for name, text in pick(
            row_of(shard["customer_months"], customer_key=CUSTOMER, month=month),
            "is_active", "is_subscriber", "orders", "revenue", "currency", "stage").items()},
        **{_name(r): _partial(r) for r in sums if r["metric"] in _METRICS},
    }  # fmt: skip
    merged = merge({name: [table] for name, table in partials.items()}, plan.measure, plan.tables)
    metrics = merged["lifecycle_metrics"]
    steps["lifecycle_metrics"] = _metric_values(metrics, month, euros)
    steps["The published run"] = _published(event, customer, journey, session, run_of_stage, metrics)
    return steps


def _describe_block(steps: Values, block: Block, candidates: Any, validated: Any, plan: Any, part: Any) -> None:
    """The values of the three steps that see the event's own block."""
    events, number = candidates.events, candidates.events["event_id"].to_pylist().index(EVENT)
    record = int(candidates.record_of[number])
    raw = block.records["record"][record].as_py()
    steps["The raw line"] = {"line": raw.rstrip("\r\n")}
    lines = FILE.read_bytes()[: int(block.positions[record])].count(b"\n")
    steps["ReadBlocks"] = {
        "range of bytes": f"{part.start} to {part.stop}",
        "records in the block": shown(block.records.num_rows),
        "its row in the block": shown(record),
        "its position in the file": shown(int(block.positions[record])),
        "its line in the file": shown(lines + 1),
    }
    event = events.slice(number, 1).to_pylist()[0]
    names = ("event_id", "event_type", "occurred_at", "source", "customer_id", "order_id", "amount", "quantity")
    steps["MapSource"] = {
        f"{name} ({_arrow(events, name)})": shown(event[name]) for name in names
    } | {"extra": shown(event.get("extra"))}  # fmt: skip
    accepted = row_of(validated.events, event_id=EVENT)
    contract = plan.contracts.contracts[accepted["contract"]]
    tally = {name: count for name, _, code, count in validated.tallies if not code}
    steps["Validate"] = {
        f"occurred_at ({_arrow(validated.events, 'occurred_at')})": shown(accepted["occurred_at"]),
        "contract": f"{contract.event_type} {contract.version}",
        "its required fields": shown([name for name, prop in contract.properties.items() if prop.required]),
        "events of the block": shown(tally["events_in"]),
        "accepted of them": shown(validated.events.num_rows),
        "is it one of them": shown(EVENT in validated.events["event_id"].to_pylist()),
    }


def _arrow(table: pa.Table, name: str) -> str:
    return str(table.schema.field(name).type)


def _in_block(table: pa.Table, path: str) -> pa.Table:
    return table.filter(pc.equal(table["block"].cast(pa.string()), path))


def _count(table: pa.Table, customer: str) -> int:
    return sum(key == customer for key in table["customer_key"].to_pylist())


def _partial(row: dict[str, Any]) -> str:
    below = "" if row["denominator"] is None else f" / {row['denominator']:f}"
    return f"{row['numerator']:f}{below}, n {row['n']}"


def _metric_values(metrics: pa.Table, month: Any, currency: str) -> dict[str, str]:
    rows = [
        row
        for row in metrics.to_pylist()
        if row["period_start"] == month
        and row["segment"] == "all"
        and row["metric"] in _METRICS
        and row["currency"] in (currency, None)
    ]
    return {_name(row): f"{row['value']} {row['unit']}, {row['status']}" for row in rows}


def _name(row: dict[str, Any]) -> str:
    return f"{row['metric']} in {row['currency']}" if row["currency"] else row["metric"]


def _published(event: dict[str, Any], customer: dict[str, Any], journey: dict[str, Any], session: dict[str, Any],
               run_of_stage: dict[str, Any], metrics: pa.Table) -> dict[str, str]:  # fmt: skip
    """What the real command publishes. It must be what the functions gave, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(str(Path(folder) / "lake"))
        run([str(COMPANY)], lake.path, Settings(as_of=AS_OF))
        manifest = lake.published()
        home = Path(lake.run(manifest.run_id).folder)
        read = {
            table.name: pa.concat_tables(pq.read_table(home / path) for path in manifest.paths(table.name))
            for table in manifest.tables
            if manifest.paths(table.name)
        }
        counts = lake.history.run(manifest.run_id)
    for name, where, made in (
        ("touchpoints", {"event_id": EVENT}, event),
        ("customers", {"customer_key": CUSTOMER}, customer),
        ("sessions", {"session_id": session["session_id"]}, session),
        ("journeys", {"customer_key": CUSTOMER, "journey_no": journey["journey_no"]}, journey),
        ("journey_stages", {"customer_key": CUSTOMER, "stage_no": run_of_stage["stage_no"]}, run_of_stage),
    ):
        row = row_of(read[name], **where)
        assert row == {column: made.get(column) for column in row}, name
    assert read["lifecycle_metrics"].to_pylist() == metrics.to_pylist()
    assert counts is not None
    return {
        **pick(counts, "records_in", "records_mapped", "records_unreadable", "events_in", "touchpoints", "duplicates",
               "quarantined", "after_as_of"),
        "revenue of the month, in the table": _metric_values(read["lifecycle_metrics"], event["month"], "EUR")[
            "revenue in EUR"
        ],
    }  # fmt: skip


# ---- the page ----------------------------------------------------------------------------------------

_TABLE_REST = r"\A(?:\|.*\n)*"
_ROW = re.compile(r"^\| (?!---|What)([^|]+) \| ([^|]*) \|$", re.M)


@pytest.fixture(scope="module")
def values() -> Values:
    return follow()


def sections() -> Iterator[tuple[str, str]]:
    """(heading, text) of each step of the page."""
    for part in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        heading, _, text = part.partition("\n")
        yield heading, text


def test_every_step_stands_on_the_page_in_order(values: Values) -> None:
    assert [heading for heading, _ in sections()] == list(values)


def test_every_value_on_the_page_is_right(values: Values) -> None:
    for heading, text in sections():
        table = {name.strip("`"): value.strip("`") for name, value in _ROW.findall(text)}
        if heading == "The raw line":
            [line] = re.findall(r"^```json\n(.*)\n```$", text, flags=re.M)
            table = {"line": line}
        assert table == values[heading], heading


def test_no_value_stands_outside_of_the_tables() -> None:
    """A number in the prose would be held by nothing."""
    for heading, text in sections():
        prose = re.sub(r"^(\|.*|```json\n.*\n```)$", "", text, flags=re.M)
        prose = re.sub(r"\[[^]]*\]\([^)]*\)", "", prose)
        assert set(re.findall(r"[\w.,:-]*\d[\w.,:-]*", prose)) <= {EVENT, "MurmurHash3"}, heading


def test_the_functions_that_the_page_names_exist() -> None:
    named = re.findall(r"`(transforms|pipelines)/(\w+)\.py`[:,] ((?:`\w+\(\)`(?:, | and )?)+)", PAGE.read_text("utf-8"))
    assert len(named) >= len(list(sections())) - 2
    for package, module, functions in named:
        for function in re.findall(r"`(\w+)\(\)`", functions):
            assert callable(getattr(importlib.import_module(f"{package}.{module}"), function)), function


def write() -> None:
    """Put the values of today into the page's tables: a row a value, in the order of `follow`."""
    values, text = follow(), PAGE.read_text(encoding="utf-8")
    head, *parts = text.split("\n## ")
    made = [head]
    for part in parts:
        heading = part.partition("\n")[0]
        if heading == "The raw line":
            before, _, behind = part.partition("```json\n")
            made.append(f"{before}```json\n{values[heading]['line']}\n```{behind.partition('```')[2]}")
        else:
            before, _, behind = part.partition("| --- | --- |\n")
            rows = "".join(f"| {name} | `{value}` |\n" for name, value in values[heading].items())
            made.append(f"{before}| --- | --- |\n{rows}{re.sub(_TABLE_REST, '', behind)}")
    PAGE.write_text("\n## ".join(made), encoding="utf-8")


if __name__ == "__main__":
    write()
    sys.stdout.write(f"{PAGE.relative_to(ROOT)} written\n")
