"""Suites of expectations: what must hold of the tables of a run before it is published.

One suite a table, `expectations/<table>.json`, in Great Expectations' own form. One part of it is generated from the
tables' schemas and the event contracts (`python -m schemas.suites` writes it anew); the other is written by hand. What
takes more than one table is first worked out by SQL into a small table, a measure (`expectations/<measure>.sql`), which
has its own suite. A user's own suites are a folder of such files and add to these. Nothing here needs Great Expectations.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from schemas.contracts import Contracts, load_contracts
from schemas.tables import HISTORY_TABLES, REAL, Column, Table, sql_type, tables

#: The checksums of the shipped files, as `sha256sum` writes them.
_SUMS = "SHA256SUMS"
SHIPPED = Path(__file__).parent / "expectations"
SEVERITIES = ("critical", "warning", "info")
#: Limits that the settings give; an expectation names one as {"$PARAMETER": name}.
PARAMETERS = (
    "quarantine_warn_share", "quarantine_block_share", "volume_warn_ratio", "volume_block_ratio",
    "volume_growth_warn_ratio", "null_share_warn", "null_share_block", "freshness_warn_days",
)  # fmt: skip

_TOP_LEVEL = frozenset(("name", "meta", "expectations", "id", "notes"))
_ENTRY = frozenset(("type", "kwargs", "severity", "meta", "id", "notes", "description"))
_KEPT = ("type", "kwargs", "severity", "meta")
_ROWS = "unexpected_rows_expectation"
#: Rows in their millions: nothing is grouped here (expectations/repeated_keys.sql does), and few passes are made.
_LARGE = ("touchpoints", "sessions")
#: A quarantined record need not have an event_id, and then its other columns may be those of another of its events.
_WITHOUT_KEY = (*_LARGE, "quarantine")
_REGENERATE = "run `python -m schemas.suites`"


class SuiteError(ValueError):
    """A suite is not usable; the message names the file, the place and the mend."""


@dataclass(frozen=True)
class Suite:
    """What must hold of one table or measure. An expectation is {"type", "kwargs", "severity", "meta"}.

    Its meta holds `rule` (a name that is unique in the suite), `part` (generated, written or user) and `says` (a sentence).
    """

    name: str
    expectations: tuple[Mapping[str, Any], ...]


# --- generating ----------------------------------------------------------------------------------------------------


def generated_expectations(table: Table, contracts: Contracts) -> tuple[dict[str, Any], ...]:
    """What the schema of a table, and of touchpoints the contracts, say of its rows.

    >>> table = tables(load_contracts())["stage_transitions"]
    >>> [e["meta"]["rule"] for e in generated_expectations(table, load_contracts())]  # doctest: +NORMALIZE_WHITESPACE
    ['columns_are_as_declared', 'required_columns_are_set', 'key_is_unique', 'values_are_known_ones',
    'numbers_reach_their_minimum']
    """
    return tuple(_generate(table, contracts))


def _generate(table: Table, contracts: Contracts) -> Iterator[dict[str, Any]]:
    yield _columns_are_as_declared(table)
    yield _required_columns_are_set(table)
    if table.name not in _WITHOUT_KEY:
        yield _key_is_unique(table)
    if any(column.values for column in table.columns):
        yield _values_are_known_ones(table)
    if any(column.minimum is not None or _is_checked_for_finite(table, column) for column in table.columns):
        yield _numbers_reach_their_minimum(table)
    if table.name == "touchpoints":
        yield _fields_of_each_type_are_set(contracts)


def _generated(rule: str, kind: str, kwargs: dict[str, Any], says: str) -> dict[str, Any]:
    return {
        "type": kind,
        "kwargs": kwargs,
        "severity": "critical",
        "meta": {"rule": rule, "part": "generated", "says": says},
    }


def _columns_are_as_declared(table: Table) -> dict[str, Any]:
    """DuckDB spells the types on both sides: a type has several names."""
    declared = ", ".join(f"cast(null as {sql_type(column.type)}) as {_quote(column.name)}" for column in table.columns)
    query = (
        "with declared as (select row_number() over () as place, column_name, column_type "
        f"from (describe select {declared})), "
        "found as (select row_number() over () as place, column_name, column_type "
        "from (describe select * from {batch})) "
        "select coalesce(d.place, f.place) as place, d.column_name as declared_name, d.column_type as declared_type, "
        "f.column_name as found_name, f.column_type as found_type "
        "from declared as d full join found as f on d.place = f.place "
        "where d.column_name is distinct from f.column_name or d.column_type is distinct from f.column_type"
    )
    return _generated(
        "columns_are_as_declared",
        _ROWS,
        {"unexpected_rows_query": query},
        "The columns have the names, types and order that the schema declares.",
    )


def _wrong_values(table: Table, wrong: Mapping[str, str]) -> str:
    """A query of the rows in which a column meets its condition of being wrong.

    A scan for each column: the statistics of a Parquet file answer most of them without reading it (null checks of 1.4
    million touchpoints: 0.06 s of CPU, 0.35 s as one scan of all columns).
    """
    key = ", ".join(_quote(name) for name in table.key)
    return " union all ".join(
        f"select {key}, '{name}' as column_name, {_quote(name)}::varchar as found from {{batch}} where {condition}"
        for name, condition in wrong.items()
    )


def _required_columns_are_set(table: Table) -> dict[str, Any]:
    required = [column.name for column in table.columns if column.required]
    query = _wrong_values(table, {name: f"{_quote(name)} is null" for name in required})
    return _generated(
        "required_columns_are_set",
        _ROWS,
        {"unexpected_rows_query": query},
        f"Every row has a value in {_listed(required)}.",
    )


def _key_is_unique(table: Table) -> dict[str, Any]:
    key = ", ".join(_quote(name) for name in table.key)
    query = f"select {key}, count(*) as rows from {{batch}} group by {key} having count(*) > 1"
    return _generated(
        "key_is_unique", _ROWS, {"unexpected_rows_query": query}, f"A row is {table.grain}: {_listed(table.key)}."
    )


def _values_are_known_ones(table: Table) -> dict[str, Any]:
    """One question for all columns: Great Expectations' own kind, one for each, costs three times as much a question."""
    limited = {column.name: column.values for column in table.columns if column.values}
    query = _wrong_values(
        table, {name: f"{_quote(name)} not in ({_texts(values)})" for name, values in limited.items()}
    )
    says = "; ".join(f"{name} is one of {', '.join(values)}" for name, values in limited.items())
    if table.name in _LARGE:
        says = f"{_listed(limited)} hold only values that the contracts and rules list"
    return _generated("values_are_known_ones", _ROWS, {"unexpected_rows_query": query}, f"{says}.")


def _numbers_reach_their_minimum(table: Table) -> dict[str, Any]:
    limited = {column.name: column.minimum for column in table.columns if column.minimum is not None}
    finite = [column.name for column in table.columns if _is_checked_for_finite(table, column)]
    wrong = {name: f"{_quote(name)} < {least}" for name, least in limited.items()}
    for name in finite:
        wrong[name] = (
            f"{wrong[name]} or not isfinite({_quote(name)})" if name in wrong else f"not isfinite({_quote(name)})"
        )
    says = [f"{name} is at least {least}" for name, least in limited.items()]
    if finite:
        says.append(f"{_listed(finite)} {'are' if len(finite) > 1 else 'is'} neither infinite nor NaN")
    return _generated(
        "numbers_reach_their_minimum",
        _ROWS,
        {"unexpected_rows_query": _wrong_values(table, wrong)},
        f"Where it is there, {_listed(says)}.",
    )


def _is_checked_for_finite(table: Table, column: Column) -> bool:
    """Of touchpoints the contracts let nothing else in."""
    return column.type == REAL and table.name not in _LARGE


def _fields_of_each_type_are_set(contracts: Contracts) -> dict[str, Any]:
    """What a contract requires or fills in. Versions of a type are only told apart where they differ in it."""
    needed: dict[str, dict[str, list[str]]] = {}
    for contract in contracts.contracts:
        rules = ((name, contracts.property_of(contract, name)) for name in contracts.own_fields)
        fields = [name for name, rule in rules if rule is not None and (rule.required or rule.default is not None)]
        needed.setdefault(contract.event_type, {})[contract.version] = fields
    conditions, missing = [], []
    for kind, by_version in needed.items():
        alike = all(fields == next(iter(by_version.values())) for fields in by_version.values())
        versions = dict(list(by_version.items())[:1]) if alike else by_version
        one = []
        for version, fields in versions.items():
            for name in fields:
                absent = f"{_quote(name)} is null"
                absent += "" if alike else f" and schema_version = '{version}'"
                one.append(absent)
                missing.append(f"if(event_type = '{kind}' and {absent}, '{name}', null)")
        if one:
            conditions.append(f"when '{kind}' then {' or '.join(one)}")
    query = (
        f"select customer_key, seq, event_type, schema_version, concat_ws(', ', {', '.join(missing)}) as missing "
        f"from {{batch}} where case event_type {' '.join(conditions)} else false end"
    )
    return _generated(
        "fields_of_each_type_are_set",
        _ROWS,
        {"unexpected_rows_query": query},
        "Every event has the fields that the contract of its type requires or fills in.",
    )


def _texts(values: Iterable[str]) -> str:
    """Values as SQL. Great Expectations fills in braces, and SQLAlchemy names behind colons: they are spelled out.

    >>> _texts(["it's", "a{b}", "c:d"])
    "'it''s', 'a' || chr(123) || 'b' || chr(125) || '', 'c' || chr(58) || 'd'"
    """
    spelled = str.maketrans({"'": "''", **{mark: f"' || chr({ord(mark)}) || '" for mark in "{}:"}})
    return ", ".join(f"'{value.translate(spelled)}'" for value in values)


def _quote(name: str) -> str:
    return f'"{name}"'


def _listed(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


# --- loading -------------------------------------------------------------------------------------------------------


def measures() -> Mapping[str, str]:
    """The SQL of the small tables that are made for the audit, by name; each may read those before it.

    >>> list(measures())[:2]
    ['accounting', 'cohort_breaks']
    """
    return {file.stem: file.read_text(encoding="utf-8") for file in sorted(SHIPPED.glob("*.sql"))}


def load_suites(
    contracts: Contracts, all_tables: Mapping[str, Table], folder: str | Path | None = None
) -> Mapping[str, Suite]:
    """The shipped suites by name, tables first, with those of the user's own `folder` added to them.

    Where the user's contracts add to the shipped ones, the generated part of touchpoints follows the user's. Raises
    SuiteError for whatever would let a rule be passed over in silence.
    """
    audited = [name for name in all_tables if name not in HISTORY_TABLES]
    audited += list(measures())
    shipped_contracts = load_contracts()
    shipped_tables = tables(shipped_contracts)
    suites: dict[str, list[dict[str, Any]]] = {}
    for file in _files(SHIPPED):
        name, entries = _read(file, audited, ("generated", "written"))
        generated = [entry for entry in entries if entry["meta"]["part"] == "generated"]
        written = [entry for entry in entries if entry["meta"]["part"] == "written"]
        expected = _generated_of(shipped_tables, name, shipped_contracts)
        if generated != expected:
            raise SuiteError(f"{file}: {_first_difference(generated, expected)}; {_REGENERATE}")
        suites[name] = [*_generated_of(all_tables, name, contracts), *written]
    for name in audited:
        if name not in suites:
            raise SuiteError(f"{SHIPPED}: {name} has no suite, so nothing would be held against it; {_REGENERATE}")
    _refuse_changed(SHIPPED)
    if folder is not None:
        for file in _files(Path(folder)):
            name, entries = _read(file, audited, ("user",))
            rules = {entry["meta"]["rule"] for entry in suites[name]}
            for place, entry in enumerate(entries):
                if entry["meta"]["rule"] in rules:
                    raise SuiteError(
                        f"{file}: expectations[{place}].meta.rule is {entry['meta']['rule']!r}, "
                        f"which the suite of {name} has already; choose another name"
                    )
            suites[name] = [*suites[name], *entries]
    return {name: Suite(name, tuple(suites[name])) for name in audited}


def asks_other_kinds(folder: str | Path) -> bool:
    """Whether a user's own suites, which can be read, ask kinds of expectations that the shipped ones do not."""
    return not _kinds_in(Path(folder)) <= shipped_kinds()


def shipped_kinds() -> frozenset[str]:
    """The kinds of expectations that the shipped suites ask."""
    return _kinds_in(SHIPPED)


def _kinds_in(folder: Path) -> frozenset[str]:
    return frozenset(entry["type"] for file in _files(folder) for entry in _object_of(file)["expectations"])


def _refuse_changed(folder: Path) -> None:
    """Rules that were weakened by hand, and SQL that asks nothing any more, look like any others: their sums differ."""
    listed = (folder / _SUMS).read_text(encoding="utf-8") if (folder / _SUMS).exists() else ""
    known = {name: digest for digest, name in (line.split("  ", 1) for line in listed.splitlines())}
    for name, digest in _checksums(folder).items():
        if known.pop(name, None) != digest:
            raise SuiteError(f"{folder / name}: is not as {_SUMS} says that it was shipped; {_REGENERATE}")
    if known:
        raise SuiteError(f"{folder / min(known)}: is not there, though {_SUMS} lists it; {_REGENERATE}")


def _checksums(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.iterdir() if file.suffix in (".json", ".sql"))
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def _generated_of(all_tables: Mapping[str, Table], name: str, contracts: Contracts) -> list[dict[str, Any]]:
    """Measures have no generated part: their SQL is their schema."""
    return list(generated_expectations(all_tables[name], contracts)) if name in all_tables else []


def _first_difference(found: Sequence[Mapping[str, Any]], expected: Sequence[Mapping[str, Any]]) -> str:
    by_rule = [{entry["meta"]["rule"]: entry for entry in entries} for entries in (found, expected)]
    for rule in dict.fromkeys((*by_rule[1], *by_rule[0])):
        if by_rule[0].get(rule) != by_rule[1].get(rule):
            return f"the generated rule {rule} is not what the schemas and contracts say"
    return "the generated rules stand in another order than the schemas and contracts give"


def _files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.json"))
    if not files:
        raise SuiteError(f"{folder}: no suite in it; a suite is a file <table>.json")
    return files


def _read(file: Path, audited: Sequence[str], parts: tuple[str, ...]) -> tuple[str, list[dict[str, Any]]]:
    """The name and the entries of one file. `parts` are those that may stand in it; the user's own is given to all."""
    document = _object_of(file)
    for key in document:
        if key not in _TOP_LEVEL:
            raise SuiteError(f"{file}: unknown key {key!r}; a suite has name, meta and expectations")
    name = document.get("name")
    if not isinstance(name, str) or name not in audited:
        raise SuiteError(f"{file}: name is {name!r}; it is one of {', '.join(audited)}")
    if parts != ("user",) and name != file.stem:
        raise SuiteError(f"{file}: name is {name!r}; it must be the name of the file")
    given = document.get("expectations")
    if not isinstance(given, list) or not given:
        raise SuiteError(f"{file}: expectations must be a list with at least one; an empty suite would always pass")
    meta = document.get("meta", {})
    if not isinstance(meta, dict):
        raise SuiteError(f"{file}: meta is {meta!r}; it is an object")
    count = meta.get("expectations", len(given) if parts == ("user",) else None)
    if count != len(given):
        raise SuiteError(
            f"{file}: meta.expectations is {count}, but there are {len(given)}; correct the number, or what was lost"
        )
    entries = [_entry(file, f"expectations[{place}]", entry, parts) for place, entry in enumerate(given)]
    rules = [entry["meta"]["rule"] for entry in entries]
    for place, rule in enumerate(rules):
        if rule in rules[:place]:
            raise SuiteError(f"{file}: expectations[{place}].meta.rule is {rule!r} once more; a rule's name is unique")
    return name, entries


def _object_of(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SuiteError(f"{file}: not readable as JSON: {error}") from error
    if not isinstance(document, dict):
        raise SuiteError(f"{file}: a suite is a JSON object with name, meta and expectations")
    return document


def _entry(file: Path, place: str, entry: Any, parts: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise SuiteError(f"{file}: {place} is no object; an expectation has type, kwargs, severity and meta")
    for key in entry:
        if key not in _ENTRY:
            raise SuiteError(
                f"{file}: {place}: unknown key {key!r}; an expectation has type, kwargs, severity and meta"
            )
    if not isinstance(entry.get("type"), str) or not entry["type"]:
        raise SuiteError(
            f"{file}: {place}.type is {entry.get('type')!r}; it names an expectation of Great Expectations"
        )
    if _known_types() and entry["type"] not in _known_types():
        near = difflib.get_close_matches(entry["type"], sorted(_known_types()), n=1)
        raise SuiteError(
            f"{file}: {place}.type is {entry['type']!r}, which Great Expectations does not know; "
            + (f"did you mean {near[0]}?" if near else "its gallery lists those that there are")
        )
    if not isinstance(entry.get("kwargs"), dict):
        raise SuiteError(f"{file}: {place}.kwargs is {entry.get('kwargs')!r}; it is an object with the arguments")
    if reason := _always_holds(entry["type"], entry["kwargs"]):
        raise SuiteError(f"{file}: {place}.kwargs: {reason}, so it would always hold")
    for name in _parameters(entry["kwargs"]):
        if name not in PARAMETERS:
            raise SuiteError(f"{file}: {place}.kwargs: $PARAMETER is {name!r}; it is one of {', '.join(PARAMETERS)}")
    if entry.get("severity") not in SEVERITIES:
        raise SuiteError(f"{file}: {place}.severity is {entry.get('severity')!r}; it is one of {', '.join(SEVERITIES)}")
    meta = entry.get("meta")
    if not isinstance(meta, dict):
        raise SuiteError(f"{file}: {place}.meta is {meta!r}; it is an object with rule and says")
    for key, what in (("rule", "a short name, unique in the suite"), ("says", "a sentence: what must hold")):
        if not isinstance(meta.get(key), str) or not meta[key].strip():
            raise SuiteError(f"{file}: {place}.meta.{key} is {meta.get(key)!r}; it is {what}")
    if parts != ("user",) and meta.get("part") not in parts:
        raise SuiteError(f"{file}: {place}.meta.part is {meta.get('part')!r}; it is one of {', '.join(parts)}")
    part = meta["part"] if parts != ("user",) else "user"
    return {**{key: entry[key] for key in _KEPT}, "meta": {**meta, "part": part}}


def _always_holds(kind: str, kwargs: Mapping[str, Any]) -> str | None:
    """Why an expectation could not fail.

    >>> _always_holds("expect_table_row_count_to_be_between", {})
    'neither min_value nor max_value is given'
    """
    if kwargs.get("mostly") == 0:
        return "mostly is 0"
    bounds = [kwargs.get(name) for name in ("min_value", "max_value", "quantile_ranges")]
    if kind.endswith("_to_be_between") and not any(bound is not None for bound in bounds):
        return "neither min_value nor max_value is given"
    return None


@cache
def _known_types() -> frozenset[str]:
    """The types of expectations, as the installed Great Expectations names its files: to import it would take seconds.

    Empty where it is not installed, or keeps them elsewhere: the audit, which asks itself, tells of it.
    """
    package = importlib.util.find_spec("great_expectations")
    folders = (package.submodule_search_locations if package else None) or ()
    files = [file for folder in folders for file in Path(folder, "expectations", "core").glob("[!_]*.py")]
    return frozenset(file.stem for file in files)


def _parameters(value: Any) -> Iterator[Any]:
    """The names of the limits in an expectation's arguments."""
    if isinstance(value, dict):
        if "$PARAMETER" in value:
            yield value["$PARAMETER"]
        for inner in value.values():
            yield from _parameters(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _parameters(inner)


# --- writing -------------------------------------------------------------------------------------------------------


def regenerate(folder: Path = SHIPPED) -> list[Path]:
    """Write the generated part of each table's suite anew, keep what is written by hand, and give the files changed."""
    contracts = load_contracts()
    changed = []
    for name, table in tables(contracts).items():
        if name in HISTORY_TABLES:
            continue
        file = folder / f"{name}.json"
        document: dict[str, Any] = {"name": name, "meta": {}, "expectations": []}
        if file.exists():
            document = _object_of(file)
        written = [entry for entry in document["expectations"] if entry["meta"].get("part") != "generated"]
        together = [*generated_expectations(table, contracts), *written]
        document["meta"] = {**document["meta"], "expectations": len(together)}
        document["expectations"] = together
        text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
            changed.append(file)
    sums = folder / _SUMS
    text = "".join(f"{digest}  {name}\n" for name, digest in _checksums(folder).items())
    if not sums.exists() or sums.read_text(encoding="utf-8") != text:
        sums.write_text(text, encoding="utf-8")
        changed.append(sums)
    return changed


if __name__ == "__main__":
    for path in regenerate():
        print(path.name)
