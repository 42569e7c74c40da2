"""Check whole columns against the contracts: what is accepted, what goes to quarantine and why.

Rules are evaluated field by field over all types at once: a rule is an array over contracts, looked up by each row's
contract code. Every broken rule of an event is reported, not only the first.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import apache_beam as beam
import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.contracts import Contracts, Field
from transforms import duck
from transforms.batches import declared, keyed_tables, with_columns
from transforms.candidates import Candidates, Finding
from transforms.columns import one_chunk, texts, valid_mask
from transforms.convert_money import convert_money, currencies_met, too_large
from transforms.nobody import means_nobody
from transforms.quarantine import Validated, quarantine
from transforms.rates import Rates
from transforms.timestamps import NO_OFFSET, OK, parse_rfc3339

_TRIMMED = ("customer_id", "anonymous_id", "email")
_ENTITIES = ("ticket_id", "subscription_id", "order_id")
_FUTURE_US = 3_600_000_000  # an event may lie this far behind its own receipt (clocks differ); design, "Bad input"
_OBSERVED_CHARS = 200


@dataclass(frozen=True)
class Limits:
    """What the settings fix: microseconds since 1970 UTC; `exclude` is a SQL condition over event columns."""

    as_of: int
    earliest: int
    raw_cap: int = 4096
    exclude: str | None = None
    ignored: tuple[str, ...] = ()  # words that mean nobody, beside those of transforms/nobody.py
    rates: Rates | None = None  # into one currency; None: money stays as it was sent


def validate(
    candidates: Candidates, contracts: Contracts, limits: Limits, connection: duckdb.DuckDBPyConnection
) -> Validated:
    """Accept, quarantine, or set aside (after as-of, excluded) every event of a block.

    Returns tables: `events` with the contracts' fields that have a value, `contract` (int16, place in
    `contracts.contracts`) and `extra`, money in one currency where there are rates; `quarantine` with the columns of that
    table except run_id, as it was sent.
    """
    events, nobody = _ignore_nobody(_clean(candidates.events), limits.ignored)
    n = events.num_rows
    code, findings = _contract_codes(events, contracts)
    findings += [f for f in (_of_own_type(f, code, contracts) for f in candidates.findings) if f is not None]
    events, time_findings = _times(events, contracts)
    findings += [f for f in (_of_own_type(f, code, contracts) for f in time_findings) if f is not None]
    type_broken = _broken(findings)
    for field in contracts.fields.values():
        findings += _check_field(field, events, code, contracts, type_broken)
    findings += _check_times(events, limits)
    findings += _check_identity(events, code, contracts, nobody)
    events = _foreign_fields_to_extra(events, code, contracts, candidates.findings, connection)
    events = _fill_defaults(events, code, contracts)
    events = _keep_ignored(events, code, contracts, nobody, connection)
    events = with_columns(events, {"contract": pa.array(code, pa.int16())})
    if limits.rates:
        findings += too_large(events, contracts, limits.rates, _broken(findings))

    rejected = np.zeros(n, bool)
    for finding in findings:
        rejected[finding.rows] = True
    after = np.zeros(n, bool)
    if "occurred_at" in events.column_names:
        occurred = events["occurred_at"].cast(pa.int64()).fill_null(0).to_numpy()
        after = ~rejected & (occurred > limits.as_of)
    accepted = events.filter(pa.array(~rejected & ~after))
    accepted, excluded = _exclude(accepted, limits.exclude, contracts, connection)
    met: list[tuple[str, str, int]] = []
    if limits.rates:
        accepted = convert_money(accepted, contracts, limits.rates)
        met = list(currencies_met(accepted, contracts, limits.rates))

    source = candidates.block.source
    bad, by_code = quarantine(candidates, events, findings, limits.raw_cap)
    unreadable = len(np.unique(np.concatenate([f.rows for f in candidates.unreadable]))) if candidates.unreadable else 0
    tallies = [
        ("records_in", source, "", candidates.records_in),
        ("records_unreadable", source, "", unreadable),
        ("records_skipped", source, "", candidates.skipped),
        ("records_mapped", source, "", candidates.records_in - unreadable - candidates.skipped),
        ("events_in", source, "", n),
        ("quarantined_events", source, "", int(rejected.sum())),
        ("after_as_of", source, "", int(after.sum())),
        ("excluded", source, "", excluded),
        *(("quarantined", source, rule, count) for rule, count in sorted(by_code.items())),
        *(("unknown_field", source, name, count) for name, count in _unknown_fields(accepted, connection)),
        *((name, source, currency, count) for name, currency, count in met),
    ]
    return Validated(accepted, bad, tuple(t for t in tallies if t[3]))


def _clean(events: pa.Table) -> pa.Table:
    """Trim identifiers, lower-case e-mails, and make empty texts absent. event_id is never touched otherwise."""
    columns = {}
    for name in events.column_names:
        values = texts(events[name]) if pa.types.is_string(events[name].type) else events[name]
        if isinstance(values, pa.Array) and name != "extra":
            if name in _TRIMMED:
                values = pc.utf8_trim_whitespace(values)
            if name == "email":
                values = pc.utf8_lower(values)
            empty = pc.equal(pc.binary_length(values), 0)
            if pc.any(empty).as_py():
                values = pc.if_else(empty, pa.scalar(None, pa.string()), values)
        if values.null_count < len(values):
            columns[name] = values
    return pa.table(columns) if columns else pa.table({"event_id": pa.nulls(events.num_rows, pa.string())})


def _contract_codes(events: pa.Table, contracts: Contracts) -> tuple[np.ndarray, list[Finding]]:
    """int16[n]: each row's contract, -1 where its type or version is not known."""
    n = events.num_rows
    if "event_type" not in events.column_names:
        return np.full(n, -1, np.int16), []
    types = pa.array(contracts.event_types)
    versions = pa.array(sorted({c.version for c in contracts.contracts}))
    table = np.full((len(types) + 1, len(versions) + 1), -1, np.int16)
    for (event_type, version), code in contracts.codes.items():
        table[contracts.event_types.index(event_type), versions.to_pylist().index(version)] = code
    type_no = _index_in(events["event_type"], types)
    if "schema_version" in events.column_names:
        version_no = _index_in(pc.fill_null(events["schema_version"], "1-0-0"), versions)
    else:
        version_no = np.full(n, versions.to_pylist().index("1-0-0"))
    code = table[type_no, version_no]
    findings = []
    unknown = np.flatnonzero((type_no < 0) & valid_mask(events["event_type"]))
    if len(unknown):
        findings.append(_finding("type.unknown", "event_type", "an event type with a contract", unknown, events))
    no_version = np.flatnonzero((type_no >= 0) & (code < 0))
    if len(no_version):
        findings.append(_finding("version.unknown", "schema_version", "a version with a contract", no_version, events))
    return code, findings


def _index_in(values: pa.ChunkedArray, known: pa.Array) -> np.ndarray:
    """int[n]: the place of each value among the known ones, -1 where it is none of them."""
    found = pc.index_in(values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values, known)
    return np.asarray(pc.fill_null(found, -1).to_numpy(zero_copy_only=False), np.int64)


def _finding(code: str, path: str, expected: str, rows: np.ndarray, events: pa.Table) -> Finding:
    known = path in events.column_names
    observed = texts(events[path].take(pa.array(rows))) if known else pa.nulls(len(rows), pa.string())
    return Finding(code, path, expected, rows, observed)


def _of_own_type(finding: Finding, code: np.ndarray, contracts: Contracts) -> Finding | None:
    """The finding on the rows whose contract knows the field; elsewhere the field is just an unknown one."""
    keep = _look_up(contracts.allowed(finding.path), code[finding.rows], unknown=True)
    if keep.all():
        return finding
    if not keep.any():
        return None
    return Finding(
        finding.code, finding.path, finding.expected, finding.rows[keep], finding.observed.filter(pa.array(keep))
    )


def _look_up(rule: np.ndarray, code: np.ndarray, unknown: bool) -> np.ndarray:
    """bool[n]: the rule of each row's contract; `unknown` where the row has no contract."""
    return np.append(rule, unknown)[code]  # code -1 takes the last


def _times(events: pa.Table, contracts: Contracts) -> tuple[pa.Table, list[Finding]]:
    """Text timestamps to UTC microseconds, with a finding for each that is not one."""
    findings = []
    for name in (f.name for f in contracts.fields.values() if pa.types.is_timestamp(f.arrow)):
        if name not in events.column_names or not pa.types.is_string(events[name].type):
            continue
        text = texts(events[name])
        micros, status = parse_rfc3339(text)
        ok = valid_mask(text) & (status == OK)
        for rule, expected, mask in (
            ("time.no_offset", "an offset, Z or +hh:mm", status == NO_OFFSET),
            (
                "time.invalid",
                "YYYY-MM-DDThh:mm:ss[.ffffff] and an offset (RFC 3339)",
                (status != NO_OFFSET) & (status != OK),
            ),
        ):
            rows = np.flatnonzero(mask)
            if len(rows):
                findings.append(Finding(rule, name, expected, rows, text.take(pa.array(rows))))
        values = pa.array(micros, mask=~ok).cast(pa.timestamp("us", "UTC"))
        events = with_columns(events, {name: values})
    return events, findings


def _broken(findings: Iterable[Finding]) -> dict[str, np.ndarray]:
    """Rows by field that have a finding already: an unreadable value is not also a missing one."""
    rows: dict[str, list[np.ndarray]] = {}
    for finding in findings:
        rows.setdefault(finding.path, []).append(finding.rows)
    return {path: np.concatenate(parts) for path, parts in rows.items()}


def _check_field(
    field: Field, events: pa.Table, code: np.ndarray, contracts: Contracts, broken: dict[str, np.ndarray]
) -> list[Finding]:
    """required, enum, pattern, minimum, exclusiveMinimum, maximum and the rules between two fields.

    Most fields belong to few types, so rules look only at the rows that have a value.
    """
    findings = _missing(field, events, code, contracts, broken)
    if field.name not in events.column_names:
        return findings
    column = events[field.name]
    rows = np.flatnonzero(valid_mask(column))
    values = one_chunk(column if column.null_count == 0 else column.drop_null())
    contract = code[rows]

    def report(rule: str, expected: str, who: np.ndarray, broken_by: pa.Array) -> None:
        mask = broken_by.fill_null(False).to_numpy(zero_copy_only=False) & _look_up(who, contract, False)
        if mask.any():
            findings.append(_finding(rule, field.name, expected, rows[mask], events))

    for allowed, who in contracts.distinct(field.name, "enum"):
        report("field.enum", " or ".join(allowed), who, pc.invert(pc.is_in(values, pa.array(allowed))))
    for pattern, who in contracts.distinct(field.name, "pattern"):
        report("field.range", f"text like {pattern}", who, pc.invert(pc.match_substring_regex(values, pattern)))
    for attribute, compare, word in (
        ("minimum", pc.less, "at least"),
        ("exclusive_minimum", pc.less_equal, "more than"),
        ("maximum", pc.greater, "at most"),
    ):
        for limit, who in contracts.distinct(field.name, attribute):
            report("field.range", f"{word} {limit}", who, compare(values, _limit(limit, field)))
    for attribute, compare, word in (
        ("at_least_field", pc.less, "at least"),
        ("at_most_field", pc.greater, "at most"),
        ("less_than_field", pc.greater_equal, "less than"),
    ):
        for other, who in contracts.distinct(field.name, attribute):
            if other in events.column_names:
                others = one_chunk(events[other].take(pa.array(rows)))
                report("field.range", f"{word} {other}", who, compare(values, others))
    return findings


def _missing(
    field: Field, events: pa.Table, code: np.ndarray, contracts: Contracts, broken: dict[str, np.ndarray]
) -> list[Finding]:
    """Rows whose contract requires the field and that have no value, and none that was refused as unreadable."""
    required = contracts.required(field.name)
    if not required.any():
        return []
    envelope = contracts.envelope.get(field.name)
    missing = _look_up(required, code, unknown=envelope is not None and envelope.required)
    if field.name in events.column_names:
        missing &= ~valid_mask(events[field.name])
    if field.name in broken:
        missing[broken[field.name]] = False
    rows = np.flatnonzero(missing)
    return [_finding("field.missing", field.name, "a value", rows, events)] if len(rows) else []


def _limit(value: float, field: Field) -> pa.Scalar:
    return pa.scalar(Decimal(str(value)) if pa.types.is_decimal(field.arrow) else value, field.arrow)


def _check_times(events: pa.Table, limits: Limits) -> list[Finding]:
    if "occurred_at" not in events.column_names:
        return []
    valid = valid_mask(events["occurred_at"])
    occurred = events["occurred_at"].cast(pa.int64()).fill_null(0).to_numpy()
    findings = []
    old = np.flatnonzero(valid & (occurred < limits.earliest))
    if len(old):
        findings.append(_finding("time.too_old", "occurred_at", "not before the setting `earliest`", old, events))
    if "received_at" in events.column_names:
        received = events["received_at"].cast(pa.int64()).fill_null(np.iinfo(np.int64).max // 2).to_numpy()
        future = np.flatnonzero(valid & (occurred > received + _FUTURE_US))
        if len(future):
            findings.append(_finding("time.future", "occurred_at", "at most 1 h after its received_at", future, events))
    return findings


def _ignore_nobody(events: pa.Table, more: tuple[str, ...]) -> tuple[pa.Table, dict[str, pa.Array]]:
    """Make identifiers absent that mean nobody; those values by field, null elsewhere.

    An entity's id stays in its column, because its contract may require it; it only identifies nothing.
    """
    nobody = {}
    for name in (*_TRIMMED, *_ENTITIES):
        if name not in events.column_names or not pa.types.is_string(events[name].type):
            continue
        values = one_chunk(events[name])
        mask = means_nobody(values, more)
        if mask.any():
            nothing = pa.scalar(None, pa.string())
            nobody[name] = pc.if_else(pa.array(mask), pc.utf8_trim_whitespace(values), nothing)
            if name in _TRIMMED:
                events = with_columns(events, {name: pc.if_else(pa.array(mask), nothing, values)})
    return events, nobody


def _check_identity(
    events: pa.Table, code: np.ndarray, contracts: Contracts, nobody: dict[str, pa.Array]
) -> list[Finding]:
    """An event needs an identifier, or an entity that its own contract knows; a value that means nobody is none."""
    identified = np.zeros(events.num_rows, bool)
    for name in (*_TRIMMED, *_ENTITIES):
        if name in events.column_names:
            there = valid_mask(events[name]) & _look_up(contracts.allowed(name), code, True)
            identified |= there & ~valid_mask(nobody[name]) if name in nobody else there
    rows = np.flatnonzero(~identified)
    expected = "one of anonymous_id, customer_id, email, or an entity of the type"
    return [_finding("identity.missing", "", expected, rows, events)] if len(rows) else []


def _keep_ignored(
    events: pa.Table,
    code: np.ndarray,
    contracts: Contracts,
    nobody: dict[str, pa.Array],
    connection: duckdb.DuckDBPyConnection,
) -> pa.Table:
    """What was sent in place of an identifier, as JSON in `ignored_identifiers`: nothing is lost."""
    own = {name: _look_up(contracts.allowed(name), code, True) & valid_mask(v) for name, v in nobody.items()}
    rows = np.flatnonzero(np.any(list(own.values()), axis=0)) if own else np.zeros(0, np.int64)
    if not len(rows):
        return events
    columns = {n: pc.if_else(pa.array(own[n]), v, pa.scalar(None, pa.string())) for n, v in nobody.items()}
    pairs = ", ".join(f"'{name}', \"{name}\"" for name in columns)
    answer = duck.select(connection, f"select json_merge_patch('{{}}', json_object({pairs}))::varchar as told from ignored",
                         {"ignored": pa.table(columns).take(pa.array(rows))})  # fmt: skip
    place = np.full(events.num_rows, -1, np.int64)
    place[rows] = np.arange(len(rows))
    told = texts(answer["told"]).take(pa.array(place, mask=place < 0))
    return with_columns(events, {"ignored_identifiers": told})


def _foreign_fields_to_extra(
    events: pa.Table,
    code: np.ndarray,
    contracts: Contracts,
    type_findings: list[Finding],
    connection: duckdb.DuckDBPyConnection,
) -> pa.Table:
    """Move values whose type's contract does not know the field into `extra`: they are unknown fields like any other."""
    moved: dict[str, np.ndarray] = {}
    for name in events.column_names:
        if name in contracts.fields and name not in contracts.envelope:
            rows = np.flatnonzero(valid_mask(events[name]))
            rows = rows[~_look_up(contracts.allowed(name), code[rows], True)]
            if len(rows):
                moved[name] = rows
    untyped = {}
    for finding in type_findings:
        foreign = ~_look_up(contracts.allowed(finding.path), code[finding.rows], True)
        if foreign.any():
            untyped[finding.path] = (finding.rows[foreign], finding.observed.filter(pa.array(foreign)))
    if not moved and not untyped:
        return events
    rows = np.unique(np.concatenate([*moved.values(), *(r for r, _ in untyped.values())]))
    columns: dict[str, pa.Array] = {
        "extra": texts(events["extra"].take(pa.array(rows)))
        if "extra" in events.column_names
        else pa.nulls(len(rows), pa.string())
    }
    sql = ["coalesce(extra, '{}')"]
    for name in sorted({*moved, *untyped}):
        parts = []
        if name in moved:
            inside = np.isin(rows, moved[name])
            columns[name] = pc.if_else(pa.array(inside), events[name].take(pa.array(rows)).combine_chunks(),
                                       pa.scalar(None, events[name].type))  # fmt: skip
            parts.append(f'to_json("{name}")')
        if name in untyped:
            raw = pa.nulls(len(rows), pa.string())
            mask = np.isin(rows, untyped[name][0])
            columns[f"raw {name}"] = pc.replace_with_mask(raw, pa.array(mask), untyped[name][1])
            raw_name = f'"raw {name}"'
            parts.append(f"case when json_valid({raw_name}) then {raw_name}::json else to_json({raw_name}) end")
        sql.append(f"json_merge_patch('{{}}', json_object('{name}', coalesce({', '.join(parts)})))")
    answer = duck.select(connection, f"select json_merge_patch({', '.join(sql)})::varchar as extra from foreign_rows",
                         {"foreign_rows": pa.table(columns)})["extra"]  # fmt: skip
    mask = np.zeros(events.num_rows, bool)
    mask[rows] = True
    extra = texts(events["extra"]) if "extra" in events.column_names else pa.nulls(events.num_rows, pa.string())
    events = with_columns(events, {"extra": pc.replace_with_mask(extra, pa.array(mask), texts(answer))})
    for name, away in moved.items():
        gone = np.zeros(events.num_rows, bool)
        gone[away] = True
        values = pc.if_else(pa.array(gone), pa.scalar(None, events[name].type), events[name])
        events = with_columns(events, {name: values})
    return events


def _fill_defaults(events: pa.Table, code: np.ndarray, contracts: Contracts) -> pa.Table:
    """The contracts' defaults where a value is absent. schema_version is left out: Stitch writes it for every row."""
    for field in contracts.fields.values():
        for default, who in contracts.distinct(field.name, "default"):
            own = _look_up(who, code, False)
            if field.name == "schema_version" or not own.any():
                continue
            present = field.name in events.column_names
            values = one_chunk(events[field.name]) if present else pa.nulls(events.num_rows, field.arrow)
            absent = own & ~valid_mask(values)
            if absent.any():
                filled = pc.if_else(pa.array(absent), pa.scalar(default, field.arrow), values)
                events = with_columns(events, {field.name: filled})
    return events


def _exclude(
    events: pa.Table, condition: str | None, contracts: Contracts, connection: duckdb.DuckDBPyConnection
) -> tuple[pa.Table, int]:
    """Leave out the events for which the setting's SQL condition is true (bots, staff, test orders)."""
    if not condition or not events.num_rows:
        return events, 0
    # The condition may name any field, also one that no event of this block has.
    absent = {f.name: f.arrow for f in contracts.fields.values()} | {
        "extra": pa.string(),
        "ignored_identifiers": pa.string(),
    }
    absent = {name: kind for name, kind in absent.items() if name not in events.column_names}
    whole = with_columns(events, {name: pa.nulls(events.num_rows, kind) for name, kind in absent.items()})
    mask = duck.select(
        connection, f"select coalesce(({condition}\n)::boolean, false) as out from events", {"events": whole}
    )
    keep = ~np.asarray(mask["out"].to_numpy(), bool)
    return events.filter(pa.array(keep)), int((~keep).sum())


def _unknown_fields(events: pa.Table, connection: duckdb.DuckDBPyConnection) -> list[tuple[str, int]]:
    """How often each unknown field was seen, so that a renamed one shows in the run report."""
    if "extra" not in events.column_names or events["extra"].null_count == events.num_rows:
        return []
    rows = duck.select(
        connection,
        "select key, count(*) as n from (select unnest(json_keys(extra)) as key from events where extra is not null) "
        "group by key order by key",
        {"events": events.select(["extra"])},
    )
    return list(zip(rows["key"].to_pylist(), rows["n"].to_pylist(), strict=True))


def _sorted_out(validated: Validated, shards: int) -> Iterator[beam.pvalue.TaggedOutput]:
    """The quarantine and the tallies of a block, each to its own output."""
    if validated.quarantine.num_rows:
        # Any key will do that spreads the files and is the same for each of them.
        shard = zlib.crc32(validated.quarantine["file"][0].as_py().encode()) % shards
        yield beam.pvalue.TaggedOutput("quarantine", (shard, validated.quarantine))
    for tally in validated.tallies:
        yield beam.pvalue.TaggedOutput("tallies", tally)


class _Validate(beam.DoFn):
    def __init__(self, contracts: Contracts, limits: Limits, shards: int) -> None:
        self._contracts, self._limits, self._shards = contracts, limits, shards

    def setup(self) -> None:
        self._connection = duck.connect()

    def process(self, candidates: Candidates) -> Iterator[Any]:
        validated = validate(candidates, self._contracts, self._limits, self._connection)
        yield candidates.block.input_bytes, candidates.block.source, validated.events
        yield from _sorted_out(validated, self._shards)


class Validate(beam.PTransform):
    """(Candidates, unreadable records as Validated) -> events (input bytes, source, table), quarantine, tallies.

    The two inputs are only brought together behind the checks: a Flatten before them would end the runner's fusion, and
    every block would be pickled and held.
    """

    def __init__(self, contracts: Contracts, limits: Limits, shards: int = 1) -> None:
        super().__init__()
        self._contracts, self._limits, self._shards = contracts, limits, shards

    def expand(self, inputs: tuple[beam.PCollection, beam.PCollection]) -> dict[str, beam.PCollection]:
        candidates, unreadable = inputs
        checked = candidates | "CheckEvents" >> beam.ParDo(
            _Validate(self._contracts, self._limits, self._shards)
        ).with_outputs("quarantine", "tallies", main="events")
        kept = unreadable | "KeepUnreadable" >> beam.FlatMap(_sorted_out, self._shards).with_outputs(
            "quarantine", "tallies"
        )
        return {
            "events": declared(checked.events, beam.typehints.Tuple[int, str, pa.Table]),
            "quarantine": (keyed_tables(checked.quarantine, int), keyed_tables(kept.quarantine, int))
            | "Quarantine" >> beam.Flatten(),
            "tallies": (checked.tallies, kept.tallies) | "Tallies" >> beam.Flatten(),
        }
