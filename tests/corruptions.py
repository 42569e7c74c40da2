"""Corruptions of input, of staged tables, and of suites: what is done, and how a run notices.

Each is a function that does it to a healthy copy; its name and docstring, and what its decorator says, are its row in
docs/corruptions.md. test_corruptions.py makes a run with each.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.audit import Audit, Auditor
from pipelines.lake import Lake

Kind = Literal["input", "staged", "suite"]
#: How it is done, and so which test does it.
Way = Literal["records", "inputs", "tables", "own_suites", "installed", "process"]
Row = dict[str, Any]

#: Lines that are no JSON: with the 7 broken records of the healthy input they are exactly a fifth of all.
GARBAGE = 96
#: Visits of the till, in a file of their own: more than half of all events.
VISITS = 242


@dataclass(frozen=True)
class Corruption:
    """`caught`: quarantine codes where `how` is so, else `<table or measure>: <rule>`, else parts of the message."""

    name: str
    kind: Kind
    way: Way
    does: str
    how: Literal["quarantine", "rule", "message"]
    caught: tuple[str, ...]
    status: int
    make: Callable[..., Any]


CORPUS: list[Corruption] = []
Register = Callable[[Callable[..., Any]], Callable[..., Any]]


def _register(
    kind: Kind, way: Way, how: Literal["quarantine", "rule", "message"], caught: tuple[str, ...], status: int
) -> Register:
    def register(make: Callable[..., Any]) -> Callable[..., Any]:
        does = " ".join((make.__doc__ or "").split())
        CORPUS.append(Corruption(make.__name__.replace("_", " "), kind, way, does, how, caught, status, make))
        return make

    return register


def a_record(*codes: str) -> Register:
    """One bad record among good ones: it is quarantined, and all else is published."""
    return _register("input", "records", "quarantine", codes, 0)


def quarantined(*codes: str) -> Register:
    return _register("input", "inputs", "quarantine", codes, 0)


def unreadable(*says: str) -> Register:
    """Input that cannot be read, or that changes."""
    return _register("input", "inputs", "message", says, 3)


def refused_input(*rules: str) -> Register:
    return _register("input", "inputs", "rule", rules, 1)


def refused_tables(*rules: str) -> Register:
    return _register("staged", "tables", "rule", rules, 1)


def unusable_tables(status: int, *says: str) -> Register:
    """Tables on which the audit itself cannot be made."""
    return _register("staged", "tables", "message", says, status)


def unusable_suite(*says: str) -> Register:
    """A suite or setting of the user's that is found before anything is read."""
    return _register("suite", "own_suites", "message", says, 2)


def blocking_suite(*rules: str) -> Register:
    """A suite of the user's that can be loaded, and not be asked."""
    return _register("suite", "own_suites", "rule", rules, 1)


def broken_installation(status: int, *says: str) -> Register:
    """The suites that come with Parcours, as they are installed."""
    return _register("suite", "installed", "message", says, status)


def broken_process(status: int, *says: str) -> Register:
    """The audit's process."""
    return _register("suite", "process", "message", says, status)


# ==== input


def write_till(folder: Path) -> None:
    """The visits at a till. One device id means nobody, so that identity_decisions has a row."""
    head = "event_id,event_type,occurred_at,source,customer_id,anonymous_id,page_url,channel"
    rows = [
        f"till-{n:03},site_visit,2026-{n % 3 + 1:02}-{n % 28 + 1:02}T{n % 24:02}:00:00Z,till,c-till-{n % 20},"
        f"{'unknown' if n == 0 else ''},/till,store"
        for n in range(VISITS)
    ]
    (folder / "till.csv").write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")


def _line(event_id: str, **fields: object) -> bytes:
    event = {
        "event_id": event_id,
        "event_type": "purchase",
        "occurred_at": "2026-02-01T10:00:00Z",
        "customer_id": "c-ann",
        "order_id": f"order of {event_id}",
        "amount": 10,
        "currency": "EUR",
    }
    return json.dumps({name: value for name, value in (event | fields).items() if value is not None}).encode() + b"\n"


def _add(folder: Path, name: str, data: bytes) -> None:
    with (folder / name).open("ab") as file:
        file.write(data)


def _change(file: Path, old: bytes, new: bytes, times: int = -1) -> None:
    data = file.read_bytes()
    assert old in data
    file.write_bytes(data.replace(old, new, times))


# ---- single records; each has the name of its corruption for event_id


@a_record("json.malformed")
def a_line_cut_short(folder: Path, event_id: str) -> None:
    """A JSON line ends in the middle."""
    _add(folder, "bad.jsonl", _line(event_id)[:-20] + b"\n")


@a_record("json.malformed")
def a_key_named_twice(folder: Path, event_id: str) -> None:
    """A JSON line names its amount twice, with two values."""
    _add(folder, "bad.jsonl", _line(event_id).replace(b'"currency"', b'"amount": 99, "currency"'))


@a_record("encoding.invalid")
def a_letter_in_another_encoding(folder: Path, event_id: str) -> None:
    """A name with é in Latin-1."""
    _add(folder, "bad.jsonl", _line(event_id, customer_id="c-ren").replace(b"c-ren", b"c-ren\xe9"))


@a_record("csv.malformed")
def a_csv_row_with_a_field_too_many(folder: Path, event_id: str) -> None:
    """A page's address with a comma, without quotes around it."""
    row = f"{event_id},site_visit,2026-02-01T10:00:00Z,till,c-ann,,/till?a=1,2,store\n"
    _add(folder, "till.csv", row.encode())


@a_record("type.unknown")
def an_event_type_misspelt(folder: Path, event_id: str) -> None:
    """A purchase is called purchse."""
    _add(folder, "bad.jsonl", _line(event_id, event_type="purchse"))


@a_record("version.unknown")
def a_version_that_there_is_not(folder: Path, event_id: str) -> None:
    """An event says that it follows version 9-0-0 of its contract."""
    _add(folder, "bad.jsonl", _line(event_id, schema_version="9-0-0"))


@a_record("field.missing")
def a_purchase_without_an_amount(folder: Path, event_id: str) -> None:
    """The amount of a purchase is left out."""
    _add(folder, "bad.jsonl", _line(event_id, amount=None))


@a_record("field.type")
def an_amount_as_text(folder: Path, event_id: str) -> None:
    """The amount of a purchase is text: "10,00"."""
    _add(folder, "bad.jsonl", _line(event_id, amount="10,00"))


@a_record("field.range")
def an_amount_below_nothing(folder: Path, event_id: str) -> None:
    """The amount of a purchase is -10."""
    _add(folder, "bad.jsonl", _line(event_id, amount=-10))


@a_record("field.range")
def a_wrong_currency(folder: Path, event_id: str) -> None:
    """The currency is the word euro, not the code EUR."""
    _add(folder, "bad.jsonl", _line(event_id, currency="euro"))


@a_record("field.enum")
def a_kind_of_page_that_there_is_not(folder: Path, event_id: str) -> None:
    """A visit's page_kind is none of those that the contract lists."""
    _add(folder, "bad.jsonl", _line(event_id, event_type="site_visit", page_url="/", page_kind="cart?"))


@a_record("time.no_offset")
def a_time_without_an_offset(folder: Path, event_id: str) -> None:
    """The time says no zone, so it is no moment."""
    _add(folder, "bad.jsonl", _line(event_id, occurred_at="2026-02-01T10:00:00"))


@a_record("time.invalid")
def a_day_that_there_is_not(folder: Path, event_id: str) -> None:
    """The event happened on a 30th of February."""
    _add(folder, "bad.jsonl", _line(event_id, occurred_at="2026-02-30T10:00:00Z"))


@a_record("time.future")
def a_time_after_it_was_received(folder: Path, event_id: str) -> None:
    """The event is received a day before it happens."""
    _add(folder, "bad.jsonl", _line(event_id, received_at="2026-01-31T10:00:00Z"))


@a_record("time.too_old")
def a_time_before_all_others(folder: Path, event_id: str) -> None:
    """A clock that stood at nothing: the event happened in 1970."""
    _add(folder, "bad.jsonl", _line(event_id, occurred_at="1970-01-01T00:00:00Z"))


@a_record("identity.missing")
def an_event_of_nobody(folder: Path, event_id: str) -> None:
    """No identifier at all, or only blanks."""
    _add(folder, "bad.jsonl", _line(event_id, customer_id="  ", order_id=None, event_type="site_visit", page_url="/"))


# ---- whole files


@quarantined("json.malformed")
def a_fifth_of_garbage(folder: Path) -> None:
    """Lines that are no JSON, so many that exactly 20 % of all records are broken: the limit, which still passes."""
    _add(folder, "garbage.jsonl", b"".join(b"garbage %d\n" % n for n in range(GARBAGE)))


@refused_input("quarantine_shares: quarantine_is_no_flood")
def more_than_a_fifth_of_garbage(folder: Path) -> None:
    """One line more that is no JSON: above 20 %."""
    _add(folder, "garbage.jsonl", b"".join(b"garbage %d\n" % n for n in range(GARBAGE + 1)))


@refused_input("quarantine_shares: quarantine_is_no_flood")
def a_column_renamed_in_a_csv(folder: Path) -> None:
    """The header of the till's CSV says client for customer_id: its events are nobody's."""
    _change(folder / "till.csv", b"customer_id", b"client", 1)


@refused_input("quarantine_shares: quarantine_is_no_flood")
def all_times_in_the_future(folder: Path) -> None:
    """A clock a month ahead: all events of the till happen after they were received."""
    text = (folder / "till.csv").read_text(encoding="utf-8").splitlines()
    rows = [f"{text[0]},received_at", *(f"{row},2025-12-01T00:00:00Z" for row in text[1:])]
    (folder / "till.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


@refused_input("quarantine_shares: quarantine_is_no_flood")
def fields_in_another_order_than_the_header(folder: Path) -> None:
    """The header of the till's CSV has event_type and occurred_at exchanged, the rows have not."""
    _change(folder / "till.csv", b"event_type,occurred_at", b"occurred_at,event_type", 1)


@refused_input("source_volumes: volumes_have_not_collapsed")
def five_percent_of_the_events(folder: Path) -> None:
    """The till's export breaks off after 12 of 242 rows, at the end of a line."""
    rows = (folder / "till.csv").read_bytes().splitlines(keepends=True)
    (folder / "till.csv").write_bytes(b"".join(rows[:13]))


@refused_input("source_volumes: volumes_have_not_collapsed")
def a_source_that_vanished(folder: Path) -> None:
    """The till's export is not there."""
    (folder / "till.csv").unlink()


@refused_input("touchpoint_nulls: columns_are_not_emptied")
def a_column_that_vanished(folder: Path) -> None:
    """The header of the till's CSV says kanal for channel, an optional field that most events had."""
    _change(folder / "till.csv", b"channel", b"kanal", 1)


@unreadable("late.jsonl.gz breaks off or is damaged")
def a_gzip_cut_in_the_middle(folder: Path) -> None:
    """A compressed file of which half was copied."""
    packed = gzip.compress(b"".join(_line(f"late-{n}-{n * 7919}") for n in range(2_000)), mtime=0)
    (folder / "late.jsonl.gz").write_bytes(packed[: len(packed) // 2])


@unreadable("more-events.parquet is not a whole Parquet file")
def half_a_parquet_file(folder: Path) -> None:
    """A Parquet file of which half was copied."""
    data = (folder / "more-events.parquet").read_bytes()
    (folder / "more-events.parquet").write_bytes(data[: len(data) // 2])


@unreadable("till.csv", "the header line is not readable")
def a_csv_in_utf_16(folder: Path) -> None:
    """The till's CSV as a spreadsheet's "Unicode text", which is UTF-16."""
    text = (folder / "till.csv").read_text(encoding="utf-8")
    (folder / "till.csv").write_bytes(text.encode("utf-16"))


@unreadable("till.csv is empty (0 bytes)")
def a_file_of_no_bytes(folder: Path) -> None:
    """The till's export made its file and died."""
    (folder / "till.csv").write_bytes(b"")


@unreadable("till.csv changed while it was read")
def a_file_that_grows_while_it_is_read(folder: Path) -> Callable[[], None]:
    """The till's export goes on writing while the pipeline reads its file."""
    return lambda: _add(folder, "till.csv", b"till-999,site_visit,2026-02-01T10:00:00Z,till,c-ann,,/till,store\n")


@unreadable("till.csv", "changed while it was read")
def a_file_that_is_written_anew_while_it_is_read(folder: Path) -> Callable[[], None]:
    """The till's export is made anew while the pipeline reads it, as long as it was."""
    file = folder / "till.csv"

    def write() -> None:
        told = file.stat()
        _change(file, b",store", b",STORE")
        os.utime(file, ns=(told.st_atime_ns, told.st_mtime_ns + 10**9))

    return write


# ==== staged tables


class StagedTables:
    """The tables of a run that is not audited yet. What is changed here is written with a manifest that is right."""

    def __init__(self, tables: dict[str, pa.Table], tallies: Sequence[Row]) -> None:
        self._tables = tables
        self._rows: dict[str, list[Row]] = {}
        self._pieces: dict[str, list[pa.Table]] = {}
        self.tallies = [dict(tally) for tally in tallies]
        #: Done to the run's folder when its manifest is written.
        self.afterwards: Callable[[Path], None] | None = None

    def rows(self, name: str) -> list[Row]:
        """The rows of a table, to be changed."""
        return self._rows.setdefault(name, self._tables[name].to_pylist())

    def row(self, name: str, **where: Any) -> Row:
        """The first row with these values, to be changed."""
        return next(row for row in self.rows(name) if all(row[key] == value for key, value in where.items()))

    def first(self, name: str, holds: Callable[[Row], bool]) -> Row:
        return next(row for row in self.rows(name) if holds(row))

    def table(self, name: str) -> pa.Table:
        return self._tables[name]

    def put(self, name: str, *pieces: pa.Table) -> None:
        """The table in so many files, of whatever schema."""
        self._pieces[name] = list(pieces)

    def changed(self) -> Iterator[tuple[str, list[pa.Table]]]:
        """Each table that is no more what it was, a piece a file."""
        for name, rows in self._rows.items():
            yield name, [pa.Table.from_pylist(rows, self._tables[name].schema)]
        yield from self._pieces.items()


_SECOND = timedelta(seconds=1)
_CENT = Decimal("0.01")

# ---- touchpoints


@refused_tables("accounting: sums_agree", "customer_breaks: customers_agree_with_their_rows")
def a_touchpoint_lost(staged: StagedTables) -> None:
    """The last touchpoint of a customer is left out."""
    rows = staged.rows("touchpoints")
    rows.remove(max((row for row in rows if row["customer_key"] == "c-jon"), key=lambda row: row["seq"]))


@refused_tables("touchpoint_order: seq_has_no_gaps", "repeated_keys: ids_are_unique", "accounting: sums_agree")
def a_touchpoint_twice(staged: StagedTables) -> None:
    """A touchpoint stands twice, one copy behind the other."""
    rows = staged.rows("touchpoints")
    rows.insert(5, dict(rows[5]))


@refused_tables("repeated_keys: ids_are_unique")
def an_event_id_twice(staged: StagedTables) -> None:
    """Two touchpoints of one customer have one event_id; all counts are right."""
    first, second = (row for row in staged.rows("touchpoints") if row["customer_key"] == "c-jon" and row["seq"] < 3)
    second["event_id"] = first["event_id"]


@refused_tables("touchpoint_order: seq_has_no_gaps")
def a_gap_in_seq(staged: StagedTables) -> None:
    """A customer's last touchpoint is numbered one too high."""
    max((row for row in staged.rows("touchpoints") if row["customer_key"] == "c-jon"), key=lambda r: r["seq"])[
        "seq"
    ] += 1


@refused_tables("touchpoint_order: time_goes_forward")
def two_touchpoints_in_the_wrong_order(staged: StagedTables) -> None:
    """Two neighbours of one session have each other's time."""
    rows = staged.rows("touchpoints")
    one, two = rows[0], rows[1]
    assert one["session_id"] == two["session_id"] and one["occurred_at"] < two["occurred_at"]
    one["occurred_at"], two["occurred_at"] = two["occurred_at"], one["occurred_at"]


@refused_tables("touchpoint_order: customer_is_in_one_place")
def a_customer_in_two_files(staged: StagedTables) -> None:
    """The file of touchpoints is cut in two within a customer."""
    table = staged.table("touchpoints")
    keys = table["customer_key"].to_pylist()
    cut = next(place for place in range(20, len(keys)) if keys[place] == keys[place - 1])
    staged.put("touchpoints", table.slice(0, cut), table.slice(cut))


@refused_tables("touchpoint_order: customer_is_in_one_place")
def a_customer_in_two_places(staged: StagedTables) -> None:
    """A customer's last touchpoint stands at the end of the file, behind those of others."""
    rows = staged.rows("touchpoints")
    last = max((row for row in rows if row["customer_key"] == "c-ann"), key=lambda row: row["seq"])
    rows.remove(last)
    rows.append(last)


@refused_tables("touchpoints: required_columns_are_set")
def a_touchpoint_without_a_customer(staged: StagedTables) -> None:
    """The customer_key of one touchpoint is null."""
    staged.rows("touchpoints")[-1]["customer_key"] = None


@refused_tables("customer_breaks: customers_agree_with_their_rows")
def a_touchpoint_of_another_customer(staged: StagedTables) -> None:
    """The last touchpoint of a customer is given to the next one, and all are numbered anew."""
    rows = staged.rows("touchpoints")
    place = next(place for place in range(30, len(rows)) if rows[place]["seq"] == 1 and rows[place - 1]["seq"] > 1)
    rows[place - 1] |= {
        "customer_key": rows[place]["customer_key"],
        "occurred_at": rows[place]["occurred_at"],
        "seq": 0,
    }
    for row in rows:
        row["seq"] += row["customer_key"] == rows[place]["customer_key"]


@refused_tables("touchpoints: values_are_known_ones")
def an_event_type_that_there_is_not(staged: StagedTables) -> None:
    """The event_type of one touchpoint is none that a contract describes."""
    staged.row("touchpoints", event_type="site_visit")["event_type"] = "site_vist"


@refused_tables("touchpoints: fields_of_each_type_are_set")
def a_visit_without_a_page(staged: StagedTables) -> None:
    """The page_url of one visit is lost on the way."""
    staged.row("touchpoints", event_type="site_visit")["page_url"] = None


@refused_tables("revenue_sums: revenue_agrees")
def an_amount_a_cent_too_high(staged: StagedTables) -> None:
    """One purchase costs a cent more than in the sums made of it."""
    staged.row("touchpoints", event_type="purchase")["amount"] += _CENT


@refused_tables("touchpoint_nulls: columns_are_not_emptied")
def a_column_emptied(staged: StagedTables) -> None:
    """The optional column channel is null in all touchpoints."""
    for row in staged.rows("touchpoints"):
        row["channel"] = None


@refused_tables("accounting: sums_agree", "source_volumes: volumes_have_not_collapsed")
def a_table_without_its_rows(staged: StagedTables) -> None:
    """No file of touchpoints was written."""
    staged.put("touchpoints")


# ---- customers


@refused_tables("customers: known_keys_are_told_by_their_form", "accounting: sums_agree")
def a_customer_that_is_not_known(staged: StagedTables) -> None:
    """is_known of one customer is false."""
    staged.row("customers", customer_key="c-ann")["is_known"] = False


@refused_tables("customers: revenue_agrees_with_its_list")
def a_revenue_changed(staged: StagedTables) -> None:
    """The revenue of one customer is a cent more than its list by currency."""
    staged.row("customers", customer_key="c-ann")["revenue"] += _CENT


@refused_tables("revenue_sums: revenue_agrees")
def a_revenue_and_its_list_changed(staged: StagedTables) -> None:
    """The revenue of one customer is a cent too high in the number and in the list."""
    row = staged.row("customers", customer_key="c-ann")
    row["revenue"] += _CENT
    row["revenue_by_currency"][0]["amount"] += _CENT


@refused_tables("customer_breaks: every_key_is_a_customer", "accounting: sums_agree")
def a_customer_missing(staged: StagedTables) -> None:
    """The row of one customer is left out."""
    staged.rows("customers").remove(staged.row("customers", customer_key="c-jon"))


@refused_tables("customers: key_is_unique")
def a_customer_twice(staged: StagedTables) -> None:
    """The row of one customer stands twice."""
    staged.rows("customers").append(dict(staged.row("customers", customer_key="c-jon")))


@refused_tables("accounting: sums_agree")
def an_order_too_many(staged: StagedTables) -> None:
    """A customer's number of orders is one too high."""
    staged.row("customers", customer_key="c-ann")["orders"] += 1


@refused_tables("customer_breaks: customers_are_where_they_stand")
def a_current_stage_that_is_not_the_open_one(staged: StagedTables) -> None:
    """A customer's current stage is one that does not exist."""
    staged.first("customers", lambda row: row["current_stage"] == "consideration")["current_stage"] = "daydreaming"


@refused_tables("customers: columns_are_as_declared")
def a_column_renamed(staged: StagedTables) -> None:
    """The column first_channel of customers is called channel."""
    table = staged.table("customers")
    staged.put(
        "customers", table.rename_columns(["channel" if n == "first_channel" else n for n in table.column_names])
    )


@refused_tables("customers: columns_are_as_declared")
def money_as_a_floating_number(staged: StagedTables) -> None:
    """The column revenue of customers is a double, not a decimal."""
    _cast(staged, "customers", "revenue", pa.float64())


@refused_tables("customers: columns_are_as_declared")
def a_column_too_many(staged: StagedTables) -> None:
    """A column that no schema declares stands behind those of customers."""
    table = staged.table("customers")
    staged.put("customers", table.append_column("notes", pa.nulls(table.num_rows, pa.string())))


@refused_tables("customers: columns_are_as_declared")
def numbers_as_text(staged: StagedTables) -> None:
    """The column orders of customers is text: no sum could be made of it."""
    _cast(staged, "customers", "orders", pa.string())


@refused_tables("customer_breaks: customers_agree_with_their_rows")
def orders_of_one_customer_with_another(staged: StagedTables) -> None:
    """A customer has an order more and another one an order less: the sum of all is right."""
    one, two, *_ = (row for row in staged.rows("customers") if row["orders"] > 1)
    one["orders"] += 1
    two["orders"] -= 1


@refused_tables("customer_breaks: customers_agree_with_their_rows", "metric_sources: metrics_agree_with_customers")
def a_customer_won_elsewhere(staged: StagedTables) -> None:
    """The first channel of a customer is one that no touchpoint names."""
    staged.first("customers", lambda row: row["is_known"] and row["first_channel"])["first_channel"] = "hearsay"


@refused_tables("customers: forecasts_are_of_buyers")
def a_forecast_without_a_model(staged: StagedTables) -> None:
    """A buyer has p_alive and expected purchases, although the model of purchases was not fitted."""
    row = staged.first("customers", lambda row: row["is_known"] and row["orders"] > 0)
    row |= {"p_alive": 0.9, "expected_purchases_12m": 3.0}


# ---- sessions


@refused_tables("session_breaks: sessions_agree_with_their_touchpoints")
def a_session_that_ends_too_early(staged: StagedTables) -> None:
    """A session ends a second before its last touchpoint."""
    staged.first("sessions", lambda row: row["started_at"] < row["ended_at"])["ended_at"] -= _SECOND


@refused_tables("session_breaks: sessions_agree_with_their_touchpoints", "accounting: sums_agree")
def a_session_lost(staged: StagedTables) -> None:
    """A session is left out; its touchpoints name it."""
    staged.rows("sessions").pop(3)


@refused_tables("session_breaks: sessions_agree_with_their_touchpoints")
def a_session_that_counts_wrong(staged: StagedTables) -> None:
    """One session counts a touchpoint too many, and another one too few."""
    one, two, *_ = (row for row in staged.rows("sessions") if row["touchpoints"] > 1)
    one["touchpoints"] += 1
    two["touchpoints"] -= 1


# ---- journeys and stages


@refused_tables("succession_breaks: stages_follow_one_another")
def stages_that_overlap(staged: StagedTables) -> None:
    """A stage is left a second after the next one is entered."""
    row = staged.first("journey_stages", lambda row: not row["is_open"])
    row["left_at"] += _SECOND
    row["duration_s"] += 1


@refused_tables("succession_breaks: stages_follow_one_another")
def two_open_stages(staged: StagedTables) -> None:
    """A stage that was left is open."""
    row = staged.first("journey_stages", lambda row: not row["is_open"])
    row |= {"is_open": True, "left_at": None, "next_stage": None, "duration_s": None}


@refused_tables("succession_breaks: stages_follow_one_another")
def a_stage_that_does_not_exist(staged: StagedTables) -> None:
    """A stage in the middle of a customer's way has a name that no rule gives."""
    staged.first("journey_stages", lambda row: row["stage_no"] == 2)["stage"] = "daydreaming"


@refused_tables("journeys: journey_ends_after_it_starts")
def a_journey_that_ends_before_it_starts(staged: StagedTables) -> None:
    """A closed journey ends a second before its start."""
    row = staged.row("journeys", status="closed")
    row["ended_at"] = row["started_at"] - _SECOND


@refused_tables("succession_breaks: journeys_follow_one_another", "customer_breaks: customers_agree_with_their_rows")
def a_journey_lost(staged: StagedTables) -> None:
    """The first of a customer's journeys is left out."""
    staged.rows("journeys").remove(staged.first("journeys", lambda row: row["status"] == "closed"))


@refused_tables("customer_breaks: customers_agree_with_their_rows")
def outcomes_exchanged(staged: StagedTables) -> None:
    """Two closed journeys of a customer have each other's outcome."""
    by_customer: dict[str, list[Row]] = {}
    for row in staged.rows("journeys"):
        if row["outcome"] is not None:
            by_customer.setdefault(row["customer_key"], []).append(row)
    rows = next(rows for rows in by_customer.values() if len({row["outcome"] for row in rows}) > 1)
    one, two = rows[0], next(row for row in rows if row["outcome"] != rows[0]["outcome"])
    one["outcome"], two["outcome"] = two["outcome"], one["outcome"]


@refused_tables("stage_transitions: mean_is_the_total_divided")
def a_mean_changed(staged: StagedTables) -> None:
    """The mean duration of a step between stages is doubled."""
    staged.first("stage_transitions", lambda row: row["mean_duration_s"])["mean_duration_s"] *= 2


@refused_tables("accounting: sums_agree")
def a_step_too_many(staged: StagedTables) -> None:
    """A step between stages is counted once more than it was made."""
    staged.first("stage_transitions", lambda row: row["from_stage"] == "(start)")["transitions"] += 1


@refused_tables("path_breaks: paths_add_up")
def a_path_lost(staged: StagedTables) -> None:
    """The last path of its kind is left out: the ranks have no gap."""
    rows = staged.rows("journey_paths")
    rows.remove([row for row in rows if row["path_kind"] == "page"][-1])


@refused_tables("path_breaks: credit_adds_up")
def a_conversion_credited_twice(staged: StagedTables) -> None:
    """A channel is credited with a conversion more than there are."""
    staged.row("channel_credit", model="linear")["conversions"] += 1


@refused_tables("path_breaks: stages_are_left_or_open")
def customers_who_wait_and_are_not_told(staged: StagedTables) -> None:
    """The open runs of a stage are left out of its entries, as if only the finished counted."""
    row = staged.first("stage_durations", lambda row: row["segment"] == "all" and row["open_now"] and row["exits"])
    row |= {"entries": row["exits"], "open_now": 0, "open_beyond_p90": None if row["p90_s"] is None else 0}


@refused_tables("customers: stage_has_its_time")
def a_stage_entered_at_no_time(staged: StagedTables) -> None:
    """A customer is in a stage since nobody knows when."""
    staged.first("customers", lambda row: row["current_stage"])["stage_entered_at"] = None


# ---- tickets, subscriptions, friction


@refused_tables("tickets: times_are_in_order")
def a_ticket_answered_before_it_was_opened(staged: StagedTables) -> None:
    """The first response to a ticket comes a second before its opening."""
    row = staged.first("tickets", lambda row: row["first_response_at"] is not None)
    row |= {"first_response_at": row["opened_at"] - _SECOND, "first_response_s": 0}


@refused_tables("subscriptions: subscription_ends_after_it_starts")
def a_subscription_that_ends_before_it_starts(staged: StagedTables) -> None:
    """A cancelled subscription ended a second before its start."""
    row = staged.row("subscriptions", status="cancelled")
    row["ended_at"] = row["started_at"] - _SECOND


@refused_tables("accounting: sums_agree")
def a_friction_point_lost(staged: StagedTables) -> None:
    """A friction point is left out."""
    staged.rows("friction_points").pop()


@refused_tables("entity_breaks: tickets_agree_with_their_events")
def a_ticket_lost_with_its_count(staged: StagedTables) -> None:
    """A ticket is left out, and its customer counts one less."""
    row = staged.rows("tickets").pop()
    staged.row("customers", customer_key=row["customer_key"])["tickets"] -= 1


@refused_tables("entity_breaks: tickets_agree_with_their_events")
def a_ticket_with_an_event_of_another(staged: StagedTables) -> None:
    """A ticket names the opening of another one as its own."""
    one, two, *_ = staged.rows("tickets")
    one["opened_event_id"] = two["opened_event_id"]


@refused_tables("tickets: open_periods_agree")
def a_ticket_that_is_open_and_was_closed(staged: StagedTables) -> None:
    """A resolved ticket is open, and its last period has an end."""
    staged.row("tickets", is_open=False)["is_open"] = True


@refused_tables(
    "entity_breaks: subscriptions_agree_with_their_events", "entity_breaks: subscriptions_agree_with_their_periods"
)
def a_subscription_lost(staged: StagedTables) -> None:
    """A subscription that has ended is left out: its customer was no subscriber any more."""
    rows = staged.rows("subscriptions")
    rows.remove(staged.first("subscriptions", lambda row: row["status"] != "active"))


@refused_tables("entity_breaks: subscriptions_agree_with_their_periods")
def a_subscription_at_another_price(staged: StagedTables) -> None:
    """The MRR of a subscription is a cent more than that of its last period."""
    staged.row("subscriptions", status="active")["mrr"] += _CENT


@refused_tables("entity_breaks: periods_follow_one_another")
def periods_that_overlap(staged: StagedTables) -> None:
    """A period of a subscription ends a second after the next one begins."""
    staged.first("subscription_periods", lambda row: row["ended_by"] == "renewed")["ended_at"] += _SECOND


@refused_tables("entity_breaks: periods_follow_one_another")
def a_period_lost(staged: StagedTables) -> None:
    """A period in the middle of a subscription is left out, and those after it are numbered anew."""
    rows = staged.rows("subscription_periods")
    lost = staged.first("subscription_periods", lambda row: row["period_no"] == 2 and row["ended_by"] == "changed")
    rows.remove(lost)
    for row in rows:
        if row["subscription_id"] == lost["subscription_id"] and row["period_no"] > 2:
            row["period_no"] -= 1


@refused_tables("entity_breaks: periods_agree_with_their_events", "month_breaks: months_agree_with_what_held")
def a_price_that_nobody_asked(staged: StagedTables) -> None:
    """The MRR of a subscription and of its only period is twice what its start says."""
    row = staged.row("subscriptions", status="active", customer_key="c-ivy")
    of_it = staged.row("subscription_periods", subscription_id=row["subscription_id"])
    row["mrr"], of_it["mrr"] = row["mrr"] * 2, of_it["mrr"] * 2


# ---- months of customers, and cohorts


@refused_tables("month_breaks: months_are_whole")
def a_month_of_a_customer_lost(staged: StagedTables) -> None:
    """A month in which nothing happened is left out between two others of a customer."""
    rows = staged.rows("customer_months")
    rows.remove(
        staged.first("customer_months", lambda row: not (row["is_new"] or row["is_active"] or row["is_subscriber"]))
    )


@refused_tables("customer_months: state_agrees_with_itself", "metric_sources: metrics_agree_with_customers")
def a_subscriber_that_is_told_to_be_none(staged: StagedTables) -> None:
    """is_subscriber is false in a month with a subscription."""
    staged.row("customer_months", is_subscriber=True)["is_subscriber"] = False


@refused_tables("metric_sources: metrics_agree_with_customers", "month_breaks: months_agree_with_what_held")
def an_mrr_a_cent_too_high(staged: StagedTables) -> None:
    """A customer's MRR of a month is a cent too high, in the number and in the list."""
    row = staged.first("customer_months", lambda row: row["customer_key"] == "c-ivy" and row["mrr"])
    row["mrr"] += _CENT
    row["mrr_by_currency"][0]["amount"] += _CENT


@refused_tables("metric_sources: metrics_agree_with_customers", "cohort_breaks: cohorts_agree_with_months")
def an_order_in_another_month(staged: StagedTables) -> None:
    """A customer's order counts in the month after it was made: all months together are right."""
    row = staged.first("customer_months", lambda row: row["orders"] == 1)
    row["orders"] = 0
    later = next(
        other for other in staged.rows("customer_months")
        if other["customer_key"] == row["customer_key"] and other["month"] > row["month"]
    )  # fmt: skip
    later["orders"] += 1


@refused_tables("month_breaks: months_agree_with_customers")
def revenue_of_a_month_with_another_customer(staged: StagedTables) -> None:
    """Two customers have each other's revenue of one month: the month's sum is right."""
    one = staged.first("customer_months", lambda row: row["revenue"])
    two = staged.first(
        "customer_months", lambda row: row["customer_key"] != one["customer_key"] and row["month"] == one["month"]
    )
    for name in ("revenue", "revenue_by_currency", "currency"):
        one[name], two[name] = two[name], one[name]


@refused_tables("month_breaks: months_agree_with_what_held")
def a_stage_of_another_month(staged: StagedTables) -> None:
    """A customer is in the stage advocacy at the end of a month in which the stages say another one."""
    staged.row("customer_months", stage="consideration")["stage"] = "advocacy"


@refused_tables("cohort_breaks: cohorts_agree_with_months")
def a_cohort_that_keeps_too_many(staged: StagedTables) -> None:
    """One customer more of a cohort is active in a later month, in number and share."""
    row = staged.first("cohorts", lambda row: row["cohort_month"] is not None and row["active"] < row["cohort_size"])
    row["active"] += 1
    row["retention"] = row["active"] / row["cohort_size"]


@refused_tables("cohort_breaks: cohorts_agree_with_months")
def cohorts_together_with_the_open_month(staged: StagedTables) -> None:
    """The row of all cohorts together counts one whose month is not over yet."""
    row = staged.first("cohorts", lambda row: row["cohort_month"] is None and row["months_since"] == 1)
    row["cohort_size"] += 1
    row["retention"] = row["active"] / row["cohort_size"]


@refused_tables("cohort_breaks: cells_are_shares")
def customers_that_came_back_from_churn(staged: StagedTables) -> None:
    """The survival of a cohort rises from one month to the next."""
    rows = [row for row in staged.rows("cohorts") if row["survival"] == 1 and row["months_since"] == 0]
    rows[-1]["survival"] = 0.1


# ---- models, and service and loyalty


@refused_tables("model_parameters: reason_stands_where_nothing_was_fitted")
def a_model_without_parameters_or_reason(staged: StagedTables) -> None:
    """A model that was not fitted does not say why."""
    staged.row("model_parameters", converged=False)["reason"] = None


@refused_tables("service_loyalty: rows_are_whole")
def a_claim_of_too_few(staged: StagedTables) -> None:
    """A comparison of fewer than 30 customers claims that service pays."""
    row = staged.first("service_loyalty", lambda row: row["n"] < 30)
    row |= {"claim": "better service, more loyalty", "difference": 0.5, "p_value": 0.001, "q_value": 0.01}


@refused_tables("service_loyalty: rows_are_whole")
def a_comparison_that_nobody_sees(staged: StagedTables) -> None:
    """One of the twelve comparisons is left out, as who looks for a finding leaves out the others."""
    staged.rows("service_loyalty").pop()


@refused_tables("funnels: segments_add_up")
def a_dropout_that_is_told_as_open(staged: StagedTables) -> None:
    """One who dropped out of a funnel is told to be still under way: whoever entered is still accounted for."""
    row = staged.first("funnels", lambda row: row["segment"] == "all" and row["dropped"])
    row["dropped"], row["open"] = row["dropped"] - 1, row["open"] + 1


@refused_tables("funnels: segments_add_up")
def a_segment_of_a_funnel_lost(staged: StagedTables) -> None:
    """The rows of one channel are missing from a funnel."""
    value = staged.first("funnels", lambda row: row["segment"] == "channel")["segment_value"]
    rows = staged.rows("funnels")
    rows[:] = [row for row in rows if (row["segment"], row["segment_value"]) != ("channel", value)]


@refused_tables("friction_summary: claims_follow_from_their_figures")
def a_price_that_was_never_shown(staged: StagedTables) -> None:
    """Friction is given a price though nothing was compared."""
    staged.rows("friction_summary")[0] |= {"excess_losses": 12.0, "revenue_at_risk": 1000}


@refused_tables("friction_summary: points_are_those_of_friction_points")
def a_struggle_that_nobody_counts(staged: StagedTables) -> None:
    """A kind of friction is missing from the summary."""
    staged.rows("friction_summary").pop()


# ---- metrics


@refused_tables("metric_breaks: metrics_are_whole")
def a_metric_lost(staged: StagedTables) -> None:
    """No row of the dictionary's metric csat is there."""
    rows = staged.rows("lifecycle_metrics")
    rows[:] = [row for row in rows if row["metric"] != "csat"]


@refused_tables("metric_breaks: metrics_are_whole")
def a_month_of_a_metric_lost(staged: StagedTables) -> None:
    """A ratio has no row for a month in which there was nothing to divide."""
    staged.rows("lifecycle_metrics").remove(
        staged.first(
            "lifecycle_metrics", lambda row: row["segment"] == "all" and row["period_start"] and row["denominator"] == 0
        )
    )


@refused_tables("metric_breaks: metrics_add_up")
def a_segment_too_many(staged: StagedTables) -> None:
    """Orders of one channel are told twice as many as they were, in the months and over all."""
    for row in staged.rows("lifecycle_metrics"):
        if (row["metric"], row["segment"]) == ("orders", "first_channel"):
            row |= {"numerator": row["numerator"] * 2, "value": row["value"] * 2, "n": row["n"] * 2}


@refused_tables("metric_breaks: metrics_add_up")
def a_total_that_is_a_mean(staged: StagedTables) -> None:
    """csat over all is that of its best month, numerator and denominator."""
    rows = [row for row in staged.rows("lifecycle_metrics") if row["metric"] == "csat" and row["segment"] == "all"]
    best = max((row for row in rows if row["period_start"]), key=lambda row: row["value"] or 0)
    total = next(row for row in rows if not row["period_start"])
    total |= {name: best[name] for name in ("numerator", "denominator", "value")}


@refused_tables("metric_sources: metrics_agree_with_customers")
def a_churn_that_was_not(staged: StagedTables) -> None:
    """Nobody churned, says the churn rate of all, in its months, its reasons and over all."""
    for row in staged.rows("lifecycle_metrics"):
        if row["metric"] == "churn_rate" and row["numerator"]:
            row |= {"numerator": Decimal(0), "value": 0.0}


@refused_tables("metric_sources: metrics_agree_with_customers")
def a_retention_of_all_revenue(staged: StagedTables) -> None:
    """Net revenue retention is 1 wherever there was revenue to retain, everywhere alike."""
    for row in staged.rows("lifecycle_metrics"):
        if row["metric"] == "nrr" and row["denominator"]:
            row |= {"numerator": row["denominator"], "value": 1.0}


@refused_tables("lifecycle_metrics: values_are_numbers")
def a_metric_that_is_no_number(staged: StagedTables) -> None:
    """A value of a metric is NaN."""
    staged.first("lifecycle_metrics", lambda row: row["denominator"])["value"] = float("nan")


@refused_tables("lifecycle_metrics: values_are_what_was_divided")
def a_metric_that_was_not_divided(staged: StagedTables) -> None:
    """A value of a ratio is half of numerator / denominator."""
    staged.first("lifecycle_metrics", lambda row: row["unit"] == "ratio" and row["value"])["value"] /= 2


@refused_tables("revenue_sums: revenue_agrees")
def a_revenue_metric_changed(staged: StagedTables) -> None:
    """The revenue of one month is a cent too high, in numerator and value."""
    row = staged.row("lifecycle_metrics", metric="revenue", period_kind="month")
    row["numerator"] += _CENT
    row["value"] = float(row["numerator"])


# ---- identity, quarantine, sums


@refused_tables("identity_breaks: keys_follow_their_rules", "identity_breaks: identity_map_is_that_of_the_touchpoints")
def a_customer_id_under_the_key_of_another(staged: StagedTables) -> None:
    """Two customers are one: a touchpoint of one customer_key carries the customer_id of another one."""
    one = staged.first("touchpoints", lambda row: row["customer_id"] is not None)
    other = staged.first("touchpoints", lambda row: row["customer_id"] not in (None, one["customer_id"]))
    one["customer_id"] = other["customer_id"]


@refused_tables("identity_breaks: identity_map_is_that_of_the_touchpoints")
def an_identifier_given_to_another_customer(staged: StagedTables) -> None:
    """A device in identity_map is another customer's."""
    row = staged.first("identity_map", lambda row: row["identifier_kind"] == "anonymous_id")
    row["customer_key"] = staged.first("customers", lambda c: c["customer_key"] != row["customer_key"])["customer_key"]


@refused_tables("friction_breaks: points_are_made_of_touchpoints")
def a_friction_point_of_events_that_are_not_there(staged: StagedTables) -> None:
    """A friction point lists an event that no touchpoint is."""
    staged.rows("friction_points")[0]["event_ids"] = ["nothing"]


@refused_tables("customer_breaks: customers_agree_with_their_rows")
def a_journey_with_a_session_too_many(staged: StagedTables) -> None:
    """A journey counts a session that has no touchpoint in it."""
    staged.rows("journeys")[0]["sessions"] += 1


@refused_tables("path_breaks: stages_are_left_or_open")
def time_in_a_stage_that_nobody_spent(staged: StagedTables) -> None:
    """stage_durations tells a tenth more days than journey_stages."""
    staged.rows("stage_durations")[0]["customer_days"] *= 1.1


@refused_tables("service_loyalty: numbers_reach_their_minimum")
def an_infinite_number(staged: StagedTables) -> None:
    """The mean of a metric of loyalty is infinite."""
    staged.rows("service_loyalty")[0]["difference"] = float("inf")


@refused_tables("identity_map: validity_ends_after_it_begins")
def a_validity_turned_round(staged: StagedTables) -> None:
    """An identifier is last seen before it is first seen."""
    row = staged.first("identity_map", lambda row: row["valid_from"] < row["valid_to"])
    row["valid_from"], row["valid_to"] = row["valid_to"], row["valid_from"]


@refused_tables("identity_decisions: values_are_known_ones")
def a_decision_without_a_known_reason(staged: StagedTables) -> None:
    """The reason for ignoring an identifier is none of those that there are."""
    staged.rows("identity_decisions")[0]["reason"] = "whim"


@refused_tables("accounting: sums_agree")
def a_quarantined_record_lost(staged: StagedTables) -> None:
    """A row of quarantine is left out."""
    staged.rows("quarantine").pop()


@refused_tables("quarantine: every_row_says_why")
def a_quarantined_record_without_a_reason(staged: StagedTables) -> None:
    """A row of quarantine has an empty list of errors."""
    staged.rows("quarantine")[0]["errors"] = []


@refused_tables("customer_breaks: customers_agree_with_their_rows")
def revenue_of_one_customer_with_another(staged: StagedTables) -> None:
    """Two customers have each other's revenue: the sum of all is right."""
    one, two, *_ = (row for row in staged.rows("customers") if row["revenue"])
    for name in ("revenue", "currency", "revenue_by_currency"):
        one[name], two[name] = two[name], one[name]


@refused_tables("accounting: sums_agree")
def sums_that_do_not_add_up(staged: StagedTables) -> None:
    """The run counts one record in more than it mapped, skipped or could not read."""
    next(tally for tally in staged.tallies if tally["name"] == "records_in")["count"] += 1


# ---- files that are no more what the manifest says


@unusable_tables(1, "its checksum differs from the manifest's", "customers/part-")
def a_file_cut_short(staged: StagedTables) -> None:
    """The file of customers loses its second half when the manifest is written."""
    staged.afterwards = lambda folder: _cut(next(folder.glob("customers/*.parquet")))


@unusable_tables(1, "a file of run", "cannot be read", "sessions/part-")
def a_file_missing(staged: StagedTables) -> None:
    """The file of sessions is removed when the manifest is written."""
    staged.afterwards = lambda folder: next(folder.glob("sessions/*.parquet")).unlink()


@unusable_tables(1, "its checksum differs from the manifest's", "touchpoints/part-")
def a_file_of_zeros(staged: StagedTables) -> None:
    """The middle of the file of touchpoints is zeros, as a crashed disk leaves it."""
    staged.afterwards = lambda folder: _blank(next(folder.glob("touchpoints/*.parquet")))


@unusable_tables(1, "its checksum differs from the manifest's", "customers/part-")
def a_file_replaced(staged: StagedTables) -> None:
    """The file of customers is replaced by one that reads just as well, when the manifest is written."""
    staged.afterwards = lambda folder: _replace(next(folder.glob("customers/*.parquet")))


def _replace(file: Path) -> None:
    pq.write_table(pq.read_table(file).slice(1), file)


def _cast(staged: StagedTables, name: str, column: str, kind: pa.DataType) -> None:
    table = staged.table(name)
    place = table.schema.get_field_index(column)
    staged.put(name, table.set_column(place, pa.field(column, kind), table[column].cast(kind)))


def _cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def _blank(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[50 : len(data) // 2] = bytes(len(data) // 2 - 50)
    file.write_bytes(data)


# ==== suites, settings, and the audit itself

#: A rule that holds; a suite of the user's is made of such.
RULE: Row = {
    "type": "expect_column_values_to_not_be_null",
    "kwargs": {"column": "customer_key"},
    "severity": "critical",
    "meta": {"rule": "own_rule", "says": "Every customer has a key."},
}
_QUERY = "unexpected_rows_expectation"


def write_suite(folder: Path, *rules: Row, **suite: Any) -> None:
    """A suite of the user's for customers, and a settings file that names its folder."""
    (folder / "suites").mkdir()
    document = {"name": "customers", "expectations": list(rules)} | suite
    (folder / "suites" / "own.json").write_text(json.dumps(document), encoding="utf-8")
    write_settings(folder)


def write_settings(folder: Path, text: str = 'expectations = "suites"\n') -> None:
    (folder / "settings.toml").write_text(text, encoding="utf-8")


def change_suite(file: Path, change: Callable[[list[Row]], None]) -> None:
    """Change the expectations of a suite that comes with Parcours."""
    document = json.loads(file.read_text(encoding="utf-8"))
    change(document["expectations"])
    file.write_text(json.dumps(document), encoding="utf-8")


# ---- the user's


@unusable_suite("own.json: not readable as JSON")
def a_suite_that_is_no_json(folder: Path) -> None:
    """A comma too many behind the last expectation."""
    write_suite(folder, RULE)
    _change(folder / "suites" / "own.json", b"]", b",]")


@unusable_suite("own.json: expectations must be a list with at least one")
def a_suite_without_expectations(folder: Path) -> None:
    """An empty list of expectations, which would always pass."""
    write_suite(folder)


@unusable_suite("own.json: unknown key 'expectation'")
def an_unknown_key_in_a_suite(folder: Path) -> None:
    """The list is called expectation, beside another one."""
    write_suite(folder, RULE, expectation=[RULE])


@unusable_suite("own.json: expectations[0]: unknown key 'severty'")
def an_unknown_key_in_an_expectation(folder: Path) -> None:
    """An expectation gives its severity under a key that is misspelt."""
    write_suite(folder, RULE | {"severty": "critical"})


@unusable_suite("own.json: expectations[0].severity is 'fatal'")
def an_unknown_severity(folder: Path) -> None:
    """An expectation's severity is one that Great Expectations does not know."""
    write_suite(folder, RULE | {"severity": "fatal"})


@unusable_suite("own.json: expectations[1].meta.rule is 'own_rule' once more")
def a_rule_twice(folder: Path) -> None:
    """Two expectations have one name, and so one result."""
    write_suite(folder, RULE, RULE)


@unusable_suite("own.json: expectations[0].meta.rule is 'key_is_unique', which the suite of customers has already")
def a_rule_that_would_replace_a_shipped_one(folder: Path) -> None:
    """An expectation has the name of one that comes with Parcours."""
    write_suite(folder, RULE | {"meta": RULE["meta"] | {"rule": "key_is_unique"}})


@unusable_suite("own.json: name is 'costumers'; it is one of")
def a_suite_of_an_unknown_table(folder: Path) -> None:
    """A suite is for a table that there is not."""
    write_suite(folder, RULE, name="costumers")


@unusable_suite("own.json: meta.expectations is 2, but there are 1")
def an_expectation_lost(folder: Path) -> None:
    """A suite says how many expectations it has, and one is gone."""
    write_suite(folder, RULE, meta={"expectations": 2})


@unusable_suite("own.json: expectations[0].kwargs: $PARAMETER is 'quarantine_limit'")
def an_unknown_parameter(folder: Path) -> None:
    """An expectation takes its limit from a setting that there is not."""
    write_suite(folder, RULE | {"kwargs": {"column": "orders", "max_value": {"$PARAMETER": "quarantine_limit"}}})


@unusable_suite("suites: no suite in it")
def a_folder_without_suites(folder: Path) -> None:
    """The folder of suites that the settings name is empty."""
    (folder / "suites").mkdir()
    write_settings(folder)


@unusable_suite("audit.quarantine_block_share = 20")
def a_limit_out_of_its_range(folder: Path) -> None:
    """The largest share of quarantine is set to 20, not to 0.2: nothing would ever be refused for it."""
    write_settings(folder, "[audit]\nquarantine_block_share = 20\n")


@unusable_suite("audit.volume_blok_ratio is not a setting", "volume_block_ratio")
def a_limit_misspelt(folder: Path) -> None:
    """The limit of a fall in volume is set under a name that there is not."""
    write_settings(folder, "[audit]\nvolume_blok_ratio = 0.5\n")


@unusable_suite(
    "own.json: expectations[0].type is 'expect_customers_to_be_happy', which Great Expectations does not know"
)
def a_kind_of_expectation_that_there_is_not(folder: Path) -> None:
    """An expectation is of a type that Great Expectations does not know, and would drop in silence; severity info."""
    write_suite(folder, RULE | {"type": "expect_customers_to_be_happy", "severity": "info"})


@blocking_suite("customers: own_rule")
def a_kind_of_expectation_that_sql_cannot_answer(folder: Path) -> None:
    """An expectation is of a type that Great Expectations has for data frames only; severity info."""
    kwargs = {"column": "orders"}
    write_suite(folder, RULE | {"type": "expect_column_values_to_be_increasing", "kwargs": kwargs, "severity": "info"})


@blocking_suite("customers: own_rule")
def an_expectation_of_a_column_that_there_is_not(folder: Path) -> None:
    """A warning is about a column that the table has not: it cannot be evaluated, which blocks whatever its severity."""
    write_suite(folder, RULE | {"kwargs": {"column": "costumer_key"}, "severity": "warning"})


@blocking_suite("customers: own_rule")
def an_expectation_with_a_slip_in_its_sql(folder: Path) -> None:
    """The SQL of a warning is no SQL."""
    query = "select customer_key from {batch} whree orders < 0"
    write_suite(folder, RULE | {"type": _QUERY, "kwargs": {"unexpected_rows_query": query}, "severity": "warning"})


@blocking_suite("customers: own_rule")
def an_expectation_that_is_no_question(folder: Path) -> None:
    """The SQL of a critical rule makes a view, and so has no rows that must not be there."""
    query = "create or replace view main.no_question as select 1 as x"
    write_suite(folder, RULE | {"type": _QUERY, "kwargs": {"unexpected_rows_query": query}})


@blocking_suite("customers: own_rule")
def an_expectation_that_deletes_what_others_see(folder: Path) -> None:
    """The SQL of a rule, severity info, deletes the rows that the later rules ask for."""
    query = "with gone as (delete from customers returning customer_key) select * from gone where false"
    write_suite(folder, RULE | {"type": _QUERY, "kwargs": {"unexpected_rows_query": query}, "severity": "info"})


@blocking_suite("customers: own_rule")
def an_expectation_whose_sql_fails_on_the_data(folder: Path) -> None:
    """The SQL of a warning casts keys to numbers, which they are not."""
    query = "select customer_key from {batch} where customer_key::int < 0"
    write_suite(folder, RULE | {"type": _QUERY, "kwargs": {"unexpected_rows_query": query}, "severity": "warning"})


@blocking_suite("customers: own_rule")
def an_expectation_without_its_arguments(folder: Path) -> None:
    """An expectation of a column names none."""
    write_suite(folder, RULE | {"kwargs": {}, "severity": "info"})


# ---- those that come with Parcours


@broken_installation(2, "customers has no suite, so nothing would be held against it")
def a_shipped_suite_deleted(expectations: Path) -> None:
    """The suite of customers is not there."""
    (expectations / "customers.json").unlink()


@broken_installation(2, "customer_breaks.json: meta.expectations is 3, but there are 2")
def a_shipped_expectation_removed(expectations: Path) -> None:
    """One of the expectations that were written by hand is gone."""
    change_suite(expectations / "customer_breaks.json", lambda entries: entries.pop())


@broken_installation(
    2, "sessions.json", "the generated rule required_columns_are_set is not what the schemas and contracts say"
)
def a_shipped_expectation_altered(expectations: Path) -> None:
    """The generated rule of what must be there looks for nothing."""

    def change(entries: list[Row]) -> None:
        entry = next(entry for entry in entries if entry["meta"]["rule"] == "required_columns_are_set")
        entry["kwargs"]["unexpected_rows_query"] += " and false"

    change_suite(expectations / "sessions.json", change)


@broken_installation(2, "accounting.json: name is 'accounting'; it is one of")
def a_measure_deleted(expectations: Path) -> None:
    """The SQL of the sums is not there, its suite is."""
    (expectations / "accounting.sql").unlink()


@broken_installation(2, "accounting.sql", "is not as SHA256SUMS says that it was shipped")
def a_measure_with_a_slip_in_its_sql(expectations: Path) -> None:
    """The SQL of the sums is cut short."""
    _cut(expectations / "accounting.sql")


# ---- the audit's process; each gives the class that starts it


class _Elsewhere(Auditor):
    """An audit process that finds its modules in this folder first."""

    folder: Path

    def __enter__(self) -> Auditor:  # type: ignore[override]
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join([str(self.folder), *([before] if before else [])])
        try:
            return super().__enter__()
        finally:
            if before is None:
                del os.environ["PYTHONPATH"]
            else:
                os.environ["PYTHONPATH"] = before


@broken_process(1, "ended without a result, so nothing is published: ImportError: no such library")
def great_expectations_not_installed(folder: Path) -> type[Auditor]:
    """Great Expectations cannot be imported."""
    (folder / "great_expectations.py").write_text('raise ImportError("no such library")\n', encoding="utf-8")
    return type("WithoutGreatExpectations", (_Elsewhere,), {"folder": folder})


@broken_process(2, "customer_breaks.json: meta.expectations is 3, but there are 2")
def a_suite_that_changes_during_the_run(folder: Path) -> type[Auditor]:
    """An expectation that comes with Parcours is removed when the run has begun: only the audit's process sees it."""
    copy_installation(folder)
    change_suite(folder / "schemas" / "expectations" / "customer_breaks.json", lambda entries: entries.pop())
    return type("WithOtherSuites", (_Elsewhere,), {"folder": folder})


@broken_process(1, "ended without a result, so nothing is published: its process was ended by signal 9 (SIGKILL)")
def an_audit_that_is_killed(folder: Path) -> type[Auditor]:
    """The audit's process is killed in the middle of its work, as for want of memory."""
    query = "select customer_key from {batch} where (select sum(sin(range)) from range(1000000000000)) > 2"
    write_suite(folder, RULE | {"type": _QUERY, "kwargs": {"unexpected_rows_query": query}})

    class Killed(Auditor):
        def audit(self, lake: str, run_id: str, beam_args: Sequence[str] = (), minutes: float = 60) -> Audit:
            published = Lake(lake).current()
            assert self._process is not None and published is not None
            super().audit(lake, published)  # it answers, so it is at work
            timer = threading.Timer(1, os.kill, (self._process.pid, signal.SIGKILL))
            timer.start()
            try:
                return super().audit(lake, run_id, beam_args)
            finally:
                timer.cancel()

    return Killed


@broken_process(1, "gave no answer in 0.02 minutes, so nothing is published")
def an_audit_that_hangs(folder: Path) -> type[Auditor]:
    """The audit's process stands still, as on a disk that does not answer."""

    class Hangs(Auditor):
        def audit(self, lake: str, run_id: str, beam_args: Sequence[str] = (), minutes: float = 60) -> Audit:
            assert self._process is not None
            os.kill(self._process.pid, signal.SIGSTOP)
            return super().audit(lake, run_id, beam_args, 0.02)

    return Hangs


def copy_installation(folder: Path) -> None:
    """Parcours, to be changed."""
    for package in ("pipelines", "schemas", "transforms"):
        shutil.copytree(Path(__file__).parent.parent / package, folder / package)
