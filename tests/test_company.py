"""A small company through the real command, held against what was worked out by hand (fixtures/company).

The lake is made once; each test then compares one section of `_expected.json`. fixtures/company/README.md says which
event proves what.
"""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from schemas.dictionary import load_friction

ROOT = Path(__file__).parent.parent
COMPANY = ROOT / "fixtures" / "company"
EXPECTED: dict[str, Any] = json.loads((COMPANY / "_expected.json").read_text(encoding="utf-8"))
CUSTOMERS: dict[str, dict[str, Any]] = EXPECTED["customers"]
SCRIPT = Path(sys.executable).with_name("parcours")
COMMAND = [str(SCRIPT)] if SCRIPT.exists() else [sys.executable, "-c", "from pipelines.start import main; main()"]

Row = dict[str, Any]
Tables = dict[str, list[Row]]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lake that `parcours run` published; the folder is the input, as a user would name it."""
    lake = tmp_path_factory.mktemp("company") / "lake"
    options = ["--input", str(COMPANY), "--output", str(lake), "--as-of", EXPECTED["as_of"], "--quiet"]
    done = subprocess.run([*COMMAND, "run", *options], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr + done.stdout
    return lake


@pytest.fixture(scope="module")
def manifest(lake: Path) -> dict[str, Any]:
    run_id = json.loads((lake / "current.json").read_text())["run_id"]
    manifest: dict[str, Any] = json.loads((lake / "runs" / run_id / "manifest.json").read_text())
    return manifest


@pytest.fixture(scope="module")
def tables(lake: Path, manifest: dict[str, Any]) -> Tables:
    """The rows of every table, read from the files that the manifest lists."""
    folder = lake / "runs" / manifest["run_id"]
    rows: Tables = {table["name"]: [] for table in manifest["tables"]}
    for file in manifest["files"]:
        rows[file["table"]] += pq.ParquetFile(folder / file["path"]).read().to_pylist()
    rows["runs"] = pq.ParquetFile(lake / "history" / "runs" / f"{manifest['run_id']}.parquet").read().to_pylist()
    return rows


@pytest.fixture(scope="module")
def touchpoints(tables: Tables) -> dict[str, Row]:
    return by(tables["touchpoints"], "event_id")


# --- the fixtures themselves ---------------------------------------------------------------------------------------


def test_generating_again_gives_the_same_files(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(ROOT / "fixtures" / "generate.py"), str(tmp_path)], check=True, timeout=60)
    made = sorted(file.name for file in tmp_path.iterdir())
    assert made == sorted(file.name for file in COMPANY.iterdir() if not file.name.startswith(("_", ".")))
    for name in made:
        if name.endswith(".parquet"):  # another version of pyarrow writes other bytes
            assert pq.read_table(tmp_path / name).equals(pq.read_table(COMPANY / name))
        else:
            assert (tmp_path / name).read_bytes() == (COMPANY / name).read_bytes(), name


def test_what_is_expected_agrees_with_itself() -> None:
    counts = EXPECTED["counts"]
    in_timelines = [event_id for customer in CUSTOMERS.values() for event_id, _, _ in timeline(customer)]
    in_quarantine = [codes for records in EXPECTED["quarantine"].values() for codes in records.values()]
    unreadable = [c for c in in_quarantine if c[1] in ("json.malformed", "encoding.invalid", "csv.malformed")]
    assert len(in_timelines) == len(set(in_timelines)) == counts["touchpoints"]
    assert len(in_quarantine) == counts["quarantined"] + counts["records_unreadable"]
    assert len(unreadable) == counts["records_unreadable"]
    assert counts["records_in"] == counts["records_mapped"] + counts["records_skipped"] + counts["records_unreadable"]
    assert counts["events_in"] == sum(
        counts[part] for part in ("touchpoints", "duplicates", "quarantined", "after_as_of", "excluded")
    )


def test_every_event_type_stage_and_status_appears(tables: Tables, touchpoints: dict[str, Row]) -> None:
    contracts = {folder.name for folder in (ROOT / "schemas" / "events").iterdir() if folder.is_dir()}
    assert {row["event_type"] for row in touchpoints.values()} == contracts - {"envelope"}
    assert {stage for c in CUSTOMERS.values() for stage, _ in c["stages"]} == {
        "awareness", "consideration", "purchase", "onboarding", "usage", "loyalty", "advocacy", "service", "churned",
    }  # fmt: skip
    assert {row["status"] for row in tables["journeys"]} == {"closed", "abandoned", "ended", "open"}


# --- what came in ---------------------------------------------------------------------------------------------------


def test_counts(tables: Tables) -> None:
    (run,) = tables["runs"]
    counts = {name: value for name, value in EXPECTED["counts"].items() if name != "how"}
    assert {name: run[name] for name in counts} == counts
    assert run["as_of"] == moment(EXPECTED["as_of"])


def test_unknown_fields_are_counted(manifest: dict[str, Any]) -> None:
    counted = {t["code"]: t["count"] for t in manifest["tallies"] if t["name"] == "unknown_field"}
    assert counted == EXPECTED["unknown_fields"]


@pytest.mark.parametrize("file", EXPECTED["quarantine"])
def test_quarantine(tables: Tables, file: str) -> None:
    """Each bad record is there once, with every rule that it broke. It is known by its line, in the CSV by its id."""
    text = (COMPANY / file).read_bytes()
    found: dict[str, list[str | None]] = {}
    for row in tables["quarantine"]:
        if Path(row["file"]).name == file:
            place = row["position"]
            is_csv = file.endswith(".csv")
            record = text[place:].split(b",")[0].decode() if is_csv else str(text.count(b"\n", 0, place) + 1)
            assert record not in found, f"{record} stands twice"
            found[record] = [row["event_id"], *sorted(rule(error) for error in row["errors"])]
    wanted = EXPECTED["quarantine"][file]
    assert found == {record: [codes[0], *sorted(codes[1:])] for record, codes in wanted.items()}


def test_only_the_broken_files_are_in_quarantine(tables: Tables) -> None:
    assert {Path(row["file"]).name for row in tables["quarantine"]} == set(EXPECTED["quarantine"])


def test_values_of_touchpoints(touchpoints: dict[str, Row]) -> None:
    """Cleaned values, the copies that were kept, and fields of all three formats."""
    found = {
        event_id: {name: plain(touchpoints[event_id][name]) for name in values}
        for event_id, values in EXPECTED["touchpoint_values"].items()
    }
    assert found == EXPECTED["touchpoint_values"]
    for event_id, values in EXPECTED["one_of_two_copies"].items():
        for name, allowed in values.items():
            assert touchpoints[event_id][name] in allowed


def test_extra_holds_what_no_contract_knows(touchpoints: dict[str, Row]) -> None:
    extra = {event_id: json.loads(row["extra"]) for event_id, row in touchpoints.items() if row["extra"] is not None}
    assert extra == EXPECTED["extra"]


# --- customers, one by one ------------------------------------------------------------------------------------------


def test_the_customers_are_these(tables: Tables) -> None:
    found = {row["customer_key"]: row["is_known"] for row in tables["customers"]}
    assert found == {key: customer["is_known"] for key, customer in CUSTOMERS.items()}
    assert {(row["customer_key"], row["is_known"]) for row in tables["touchpoints"]} == set(found.items())


@pytest.mark.parametrize("key", CUSTOMERS)
def test_timeline(tables: Tables, key: str) -> None:
    """The order of a customer's events, and the stage and the journey of each."""
    rows = sorted(of(tables["touchpoints"], key), key=lambda row: row["seq"])
    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
    assert [[row["event_id"], row["stage"], row["journey_no"]] for row in rows] == timeline(CUSTOMERS[key])


@pytest.mark.parametrize("key", CUSTOMERS)
def test_sessions(tables: Tables, key: str) -> None:
    members: dict[str, list[str]] = defaultdict(list)
    for row in sorted(of(tables["touchpoints"], key), key=lambda row: row["seq"]):
        if row["session_id"] is not None:
            members[row["session_id"]].append(row["event_id"])
    wanted = [expand(session) for session in CUSTOMERS[key]["sessions"]]
    assert sorted(members.values()) == sorted(wanted)
    sessions = by(of(tables["sessions"], key), "session_id")
    assert {name: row["touchpoints"] for name, row in sessions.items()} == {"s:" + s[0]: len(s) for s in wanted}
    truncated = [name for name, row in sessions.items() if row["is_truncated"]]
    assert truncated == CUSTOMERS[key].get("truncated_sessions", [])


@pytest.mark.parametrize("key", CUSTOMERS)
def test_journeys(tables: Tables, key: str) -> None:
    rows = sorted(of(tables["journeys"], key), key=lambda row: row["journey_no"])
    at = {row["event_id"]: row["occurred_at"] for row in of(tables["touchpoints"], key)}
    wanted = [
        [no, status, outcome, at[last] if last else None] for no, status, outcome, last in CUSTOMERS[key]["journeys"]
    ]
    assert [[row["journey_no"], row["status"], row["outcome"], row["ended_at"]] for row in rows] == wanted
    sizes = [sum(no == row["journey_no"] for _, _, no in timeline(CUSTOMERS[key])) for row in rows]
    assert [row["touchpoints"] for row in rows] == sizes


@pytest.mark.parametrize("key", CUSTOMERS)
def test_journey_stages(tables: Tables, key: str) -> None:
    """Runs of one stage, those that a lapse or the end of a term began included; each ends where the next begins."""
    rows = sorted(of(tables["journey_stages"], key), key=lambda row: row["stage_no"])
    wanted = [[stage, moment(time)] for stage, time in CUSTOMERS[key]["stages"]]
    assert [[row["stage"], row["entered_at"]] for row in rows] == wanted
    assert [row["left_at"] for row in rows] == [*(time for _, time in wanted[1:]), *([None] if wanted else [])]
    assert sum(row["touchpoints"] for row in rows) == sum(s is not None for _, s, _ in timeline(CUSTOMERS[key]))


def test_stage_transitions(tables: Tables) -> None:
    """Every run of a stage has one before it, or the start, and one after it, or is open."""
    wanted = Counter(
        pair
        for customer in CUSTOMERS.values()
        for pair in pairwise(["(start)", *(stage for stage, _ in customer["stages"]), "(open)"])
    )
    found = {(row["from_stage"], row["to_stage"]): row["transitions"] for row in tables["stage_transitions"]}
    assert found == wanted


@pytest.mark.parametrize("key", CUSTOMERS)
def test_customer(tables: Tables, key: str) -> None:
    (row,) = of(tables["customers"], key)
    wanted = CUSTOMERS[key]
    revenue = {currency: Decimal(amount) for currency, amount in wanted["revenue"].items()}
    assert row["orders"] == wanted["orders"]
    assert {part["currency"]: part["amount"] for part in row["revenue_by_currency"]} == revenue
    alone = next(iter(revenue.items())) if len(revenue) == 1 else (None, None if revenue else 0)
    assert (row["currency"], row["revenue"]) == alone
    assert row["current_stage"] == (wanted["stages"][-1][0] if wanted["stages"] else None)
    assert row["is_subscriber"] == wanted.get("is_subscriber", False)
    churned_at, reason = wanted.get("churned", [None, None])
    assert (row["churned_at"], row["churn_reason"]) == (moment(churned_at), reason)


# --- tickets, subscriptions, friction -------------------------------------------------------------------------------


def test_tickets(tables: Tables) -> None:
    assert chosen(by(tables["tickets"], "ticket_id"), EXPECTED["tickets"]) == without_how(EXPECTED["tickets"])


def test_subscriptions(tables: Tables) -> None:
    found = chosen(by(tables["subscriptions"], "subscription_id"), EXPECTED["subscriptions"])
    assert found == without_how(EXPECTED["subscriptions"])


@pytest.mark.parametrize("kind", load_friction())
def test_friction(tables: Tables, kind: str) -> None:
    """A point is known by its first event. A kind that is not stated has none."""
    points = {row["event_ids"][0]: row for row in tables["friction_points"] if row["kind"] == kind}
    for event_id in EXPECTED["friction"]["left_open"].get(kind, []):
        points.pop(event_id, None)
    wanted = EXPECTED["friction"].get(kind, {})
    assert chosen(points, wanted) == wanted


# --- metrics ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", EXPECTED["metrics"]["all"], ids=lambda m: f"{m['metric']}-{m['currency']}")
def test_metric_over_all(tables: Tables, wanted: Row) -> None:
    (row,) = [
        row
        for row in tables["lifecycle_metrics"]
        if (row["metric"], row["period_kind"], row["segment"], row["currency"])
        == (wanted["metric"], "all", "all", wanted["currency"])
    ]
    assert row["value"] == pytest.approx(wanted["value"], rel=1e-12)
    for part in ("numerator", "denominator"):
        if part in wanted:
            assert row[part] == wanted[part]


@pytest.mark.parametrize("name", EXPECTED["metrics"]["month"])
def test_metric_by_month(tables: Tables, name: str) -> None:
    """The months with a value other than 0 are these and no others; where a rate is 0 it is said."""
    metric, _, currency = name.partition(" ")
    found = {
        f"{row['period_start']:%Y-%m}": row["value"]
        for row in tables["lifecycle_metrics"]
        if (row["metric"], row["period_kind"], row["segment"]) == (metric, "month", "all")
        and (row["currency"] or "") == currency
    }
    wanted = {month: value for month, value in EXPECTED["metrics"]["month"][name].items() if month != "how"}
    assert {month: value for month, value in found.items() if value or month in wanted} == pytest.approx(wanted)


# --- small words ------------------------------------------------------------------------------------------------------


def by(rows: Iterable[Row], key: str) -> dict[str, Row]:
    """Rows by a column that is unique."""
    rows = list(rows)
    found = {row[key]: row for row in rows}
    assert len(found) == len(rows), f"{key} is not unique"
    return found


def of(rows: Iterable[Row], customer: str) -> list[Row]:
    return [row for row in rows if row["customer_key"] == customer]


def expand(ids: list[str]) -> list[str]:
    """`tess-01..tess-49` stands for all events from the first to the last."""
    out: list[str] = []
    for part in ids:
        first, _, last = part.partition("..")
        if last:
            name, start = first.rsplit("-", 1)
            out += [f"{name}-{n:0{len(start)}}" for n in range(int(start), int(last.rsplit("-", 1)[1]) + 1)]
        else:
            out.append(part)
    return out


def timeline(customer: Row) -> list[list[Any]]:
    return [[event_id, stage, no] for ids, stage, no in customer["timeline"] for event_id in expand([ids])]


def rule(error: Row) -> str:
    """A broken rule as _expected.json writes it: a rule on a field with the field, one on the whole record without."""
    names_field = error["code"].startswith(("field.", "time."))
    return f"{error['code']} {error['path']}" if names_field else error["code"]


def moment(text: str | None) -> datetime.datetime | None:
    return None if text is None else datetime.datetime.fromisoformat(text)


def plain(value: Any) -> Any:
    """A value of a table as JSON can say it."""
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Decimal):
        return str(value)
    return value


def chosen(rows: dict[str, Row], wanted: dict[str, Row]) -> dict[str, Row]:
    """Of rows, the columns that are stated; a row that is not stated at all is given whole."""
    return {name: {c: plain(row[c]) for c in wanted.get(name, row) if c != "how"} for name, row in rows.items()}


def without_how(wanted: dict[str, Row]) -> dict[str, Row]:
    return {name: {c: value for c, value in row.items() if c != "how"} for name, row in wanted.items()}
