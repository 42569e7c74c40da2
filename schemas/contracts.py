"""Event contracts: the JSON Schema files under `events/`, compiled once into arrays that whole tables are checked with.

A contract is one file, `<type>/<version>.json`, in JSON Schema 2020-12 with the annotations that the code needs
(`x-arrow`, `x-identifier`, `x-money`, `x-session`, ...; docs/data-model.md lists them). A user's own event types are a
folder of such files, named by the setting `contracts`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

SHIPPED = Path(__file__).parent / "events"
ENVELOPE = "envelope"

#: `x-arrow` to Arrow. Nothing else is a column type of an event.
ARROW_TYPES: Mapping[str, pa.DataType] = {
    "string": pa.string(),
    "bool": pa.bool_(),
    "int64": pa.int64(),
    "double": pa.float64(),
    "decimal128(18, 4)": pa.decimal128(18, 4),
    "timestamp[us, tz=UTC]": pa.timestamp("us", tz="UTC"),
}
_JSON_TYPE_OF_ARROW = {
    "string": {"string"},
    "bool": {"boolean"},
    "int64": {"integer"},
    "double": {"number"},
    "decimal128(18, 4)": {"number"},
    "timestamp[us, tz=UTC]": {"string"},
}
_TOP_LEVEL = frozenset(
    ("$schema", "$id", "title", "description", "type", "allOf", "x-session", "required", "properties")
)
_PROPERTY = frozenset(
    (
        "description", "type", "format", "enum", "minimum", "exclusiveMinimum", "maximum", "pattern", "default",
        "x-arrow", "x-identifier", "x-money", "x-personal", "x-low-cardinality",
        "x-at-least-field", "x-at-most-field", "x-less-than-field",
    )
)  # fmt: skip
_NUMBERS = frozenset(("int64", "double", "decimal128(18, 4)"))
#: Names of columns that the steps add to an event, published or not: a field of the same name would be lost.
RESERVED = frozenset(
    (
        "customer_key", "is_known", "seq", "session_id", "journey_no", "stage", "extra", "contract", "fingerprint",
        "customer_no", "session_no", "visits_before", "orders_before", "order_no", "opens_order", "order_row",
        "first_order_at", "journey_id", "month", "row_no", "record_no", "record_key", "identity_rule",
        "ignored_identifiers", "starts_session", "owner_key", "is_copy", "original_amount", "original_cost",
        "original_currency",
    )
)  # fmt: skip
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_VERSION = re.compile(r"\d+-\d+-\d+")


class ContractError(ValueError):
    """A contract file says something that the compiler does not understand; the message names file and place."""


@dataclass(frozen=True)
class Field:
    """One field name over all contracts: it has the same type wherever it stands."""

    name: str
    x_arrow: str
    description: str
    identifier: str | None = None
    money: str | None = None
    personal: bool = False
    low_cardinality: bool = False

    @property
    def arrow(self) -> pa.DataType:
        return ARROW_TYPES[self.x_arrow]


@dataclass(frozen=True)
class Property:
    """What one contract says of one field."""

    field: str
    required: bool
    enum: tuple[str, ...] | None = None
    minimum: float | None = None
    exclusive_minimum: float | None = None
    maximum: float | None = None
    pattern: str | None = None
    default: Any = None
    at_least_field: str | None = None
    at_most_field: str | None = None
    less_than_field: str | None = None


@dataclass(frozen=True)
class Contract:
    """One event type at one version."""

    event_type: str
    version: str
    description: str
    session: bool
    properties: Mapping[str, Property]


@dataclass(frozen=True)
class Contracts:
    """All event types, compiled. `fields` keeps the order of the columns: the envelope's, then by type and place."""

    fields: Mapping[str, Field]
    envelope: Mapping[str, Property]
    contracts: tuple[Contract, ...]

    @cached_property
    def codes(self) -> Mapping[tuple[str, str], int]:
        """(event type, version) to the contract's place in `contracts`."""
        return {(c.event_type, c.version): i for i, c in enumerate(self.contracts)}

    @cached_property
    def event_types(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(c.event_type for c in self.contracts))

    @cached_property
    def session_types(self) -> tuple[str, ...]:
        return tuple(sorted({c.event_type for c in self.contracts if c.session}))

    @cached_property
    def own_fields(self) -> tuple[str, ...]:
        return tuple(name for name in self.fields if name not in self.envelope)

    @cached_property
    def money(self) -> Mapping[str, str]:
        """The fields that are money, each with the field that holds its currency (`x-money`)."""
        return {field.name: field.money for field in self.fields.values() if field.money is not None}

    @cached_property
    def originals(self) -> Mapping[str, str]:
        """Money and currencies, which fixed rates convert, by the column that keeps what was sent."""
        return {original(name): name for name in (*self.money, *self.money.values())}

    def property_of(self, contract: Contract, field: str) -> Property | None:
        """The rules of `field` in `contract`; a type's own word on an envelope field comes first."""
        return contract.properties.get(field) or self.envelope.get(field)

    @cached_property
    def _compiled(self) -> dict[tuple[str, str], Any]:
        """Rules by (field, attribute), worked out when they are first asked for and kept."""
        return {}

    def allowed(self, field: str) -> np.ndarray:
        """bool[contract]: does the contract know the field? Where it does not, the value belongs into `extra`."""
        key = (field, "allowed")
        if key not in self._compiled:
            known = [self.property_of(c, field) is not None for c in self.contracts]
            self._compiled[key] = np.array(known, dtype=bool)
        return self._compiled[key]

    def required(self, field: str) -> np.ndarray:
        """bool[contract]: must the field be there?"""
        key = (field, "required")
        if key not in self._compiled:
            must = [(p := self.property_of(c, field)) is not None and p.required for c in self.contracts]
            self._compiled[key] = np.array(must, dtype=bool)
        return self._compiled[key]

    def distinct(self, field: str, attribute: str) -> list[tuple[Any, np.ndarray]]:
        """Each distinct value of a rule (say `minimum`) on a field, with the contracts (bool[contract]) that say it."""
        key = (field, attribute)
        if key not in self._compiled:
            self._compiled[key] = list(self._distinct(field, attribute))
        return self._compiled[key]

    def _distinct(self, field: str, attribute: str) -> Iterator[tuple[Any, np.ndarray]]:
        groups: dict[Any, np.ndarray] = {}
        for code, contract in enumerate(self.contracts):
            prop = self.property_of(contract, field)
            value = getattr(prop, attribute) if prop is not None else None
            if value is not None:
                groups.setdefault(value, np.zeros(len(self.contracts), dtype=bool))[code] = True
        yield from groups.items()


def original(name: str) -> str:
    """The column of touchpoints that keeps what was sent in a field that fixed rates convert.

    >>> original("amount")
    'original_amount'
    """
    return f"original_{name}"


def load_contracts(extra_folder: str | Path | None = None) -> Contracts:
    """Read the shipped contracts and, if named, a folder of the user's own (`<type>/<version>.json`).

    Raises ContractError for a keyword that the compiler does not enforce (a rule that is silently ignored would be
    worse than none), for a field whose type differs between contracts, and for a shipped type defined again.
    """
    envelope_fields, envelope = _read_properties(SHIPPED / ENVELOPE / "1-0-0.json")
    fields: dict[str, Field] = dict(envelope_fields)
    contracts: dict[tuple[str, str], Contract] = {}
    for folder in [SHIPPED, *([Path(extra_folder)] if extra_folder else [])]:
        if not folder.is_dir():
            raise ContractError(f"{folder}: the folder of contracts does not exist")
        files = sorted(f for f in folder.glob("*/*.json") if f.parent.name != ENVELOPE)
        if not files:
            raise ContractError(f"{folder}: no contract in it; a contract is a file <type>/<version>.json")
        for file in files:
            contract = _read_contract(file, fields)
            key = (contract.event_type, contract.version)
            if key in contracts:
                raise ContractError(f"{file}: {contract.event_type} {contract.version} is defined already")
            contracts[key] = contract
    _check_field_references(contracts.values(), fields)
    compiled = Contracts(fields, envelope, tuple(contracts[key] for key in sorted(contracts)))
    for contract in compiled.contracts:
        for name in compiled.originals.keys() & contract.properties.keys():
            raise ContractError(
                f"{contract.event_type} {contract.version}: {name} is a name of Parcours' own, beside the field "
                f"{compiled.originals[name]}; choose another"
            )
    return compiled


def _read_contract(file: Path, fields: dict[str, Field]) -> Contract:
    own_fields, properties = _read_properties(file)
    for name, field in own_fields.items():
        known = fields.setdefault(name, field)
        if known.x_arrow != field.x_arrow:
            raise ContractError(
                f"{file}: properties.{name}: x-arrow is {field.x_arrow}, but another contract says {known.x_arrow}; "
                "a field has one type in all contracts: rename it"
            )
        if field.money is not None and field.money != known.money:
            raise ContractError(
                f"{file}: properties.{name}: x-money is {field.money}, but another contract says {known.money or 'none'}; "
                "a field is money in one currency field in all contracts: rename it"
            )
    document = _load(file)
    event_type, version = file.parent.name, file.stem
    if not _NAME.fullmatch(event_type) or not _VERSION.fullmatch(version):
        raise ContractError(f"{file}: a contract's path is <type>/<version>.json, such as store_visit/1-0-0.json")
    if document.get("title") != event_type:
        raise ContractError(f"{file}: title is {document.get('title')!r}, the folder says {event_type!r}")
    return Contract(
        event_type, version, document.get("description", ""), bool(document.get("x-session", False)), properties
    )


def _load(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ContractError(f"{file}: not readable as JSON: {error}") from error
    if not isinstance(document, dict):
        raise ContractError(f"{file}: a contract is a JSON object")
    return document


def _read_properties(file: Path) -> tuple[dict[str, Field], dict[str, Property]]:
    document = _load(file)
    _refuse_unknown(document, _TOP_LEVEL, f"{file}")
    required, specs = document.get("required", []), document.get("properties", {})
    if not isinstance(required, list) or not isinstance(specs, dict):
        raise ContractError(f"{file}: required is a list of names, and properties an object")
    fields, properties = {}, {}
    for name, spec in specs.items():
        where = f"{file}: properties.{name}"
        if not _NAME.fullmatch(name):
            raise ContractError(f"{where}: a field's name is lower-case letters, digits and _")
        if name in RESERVED:
            raise ContractError(f"{where}: {name} is a name of Parcours' own; choose another")
        if not isinstance(spec, dict):
            raise ContractError(f"{where}: a property is an object")
        _refuse_unknown(spec, _PROPERTY, where)
        fields[name] = _field(name, spec, where)
        properties[name] = _property(name, spec, name in required, where)
    for name in required:
        if name not in properties:
            raise ContractError(f"{file}: required names {name}, which is not in properties")
    return fields, properties


def _refuse_unknown(spec: Mapping[str, Any], known: frozenset[str], where: str) -> None:
    for keyword in spec:
        if keyword not in known:
            raise ContractError(f"{where}: the keyword {keyword!r} is not enforced by Parcours; remove it")


def _field(name: str, spec: Mapping[str, Any], where: str) -> Field:
    x_arrow = str(spec.get("x-arrow"))
    if x_arrow not in ARROW_TYPES:
        raise ContractError(f"{where}: x-arrow is {x_arrow!r}; it is one of {', '.join(ARROW_TYPES)}")
    if not isinstance(spec.get("type"), str) or spec["type"] not in _JSON_TYPE_OF_ARROW[x_arrow]:
        raise ContractError(f"{where}: type {spec.get('type')!r} does not go with x-arrow {x_arrow}")
    if "x-money" in spec and x_arrow != "decimal128(18, 4)":
        raise ContractError(f"{where}: x-money stands on {x_arrow}; money is an exact decimal128(18, 4)")
    if not isinstance(spec.get("description"), str) or not spec["description"]:
        raise ContractError(f"{where}: a description is missing; it becomes the column's comment")
    return Field(
        name,
        x_arrow,
        spec["description"],
        spec.get("x-identifier"),
        spec.get("x-money"),
        bool(spec.get("x-personal", False)),
        bool(spec.get("x-low-cardinality", False)),
    )


def _property(name: str, spec: Mapping[str, Any], required: bool, where: str) -> Property:
    if "pattern" in spec:
        if spec["x-arrow"] != "string" or not isinstance(spec["pattern"], str):
            raise ContractError(f"{where}: a pattern is a text, and for texts")
        try:
            pc.match_substring_regex(pa.array([""]), spec["pattern"])
        except pa.ArrowException as error:
            raise ContractError(f"{where}: pattern: {error} (RE2, which has no lookaround)") from error
    enum = spec.get("enum")
    if enum is not None and (
        spec["x-arrow"] != "string" or not isinstance(enum, list) or not all(isinstance(v, str) for v in enum)
    ):
        raise ContractError(f"{where}: an enum lists strings")
    for keyword in ("minimum", "exclusiveMinimum", "maximum", "default"):
        if keyword in spec:
            _check_value(keyword, spec[keyword], spec["x-arrow"], where)
    return Property(
        name,
        required,
        tuple(enum) if enum is not None else None,
        spec.get("minimum"),
        spec.get("exclusiveMinimum"),
        spec.get("maximum"),
        spec.get("pattern"),
        spec.get("default"),
        spec.get("x-at-least-field"),
        spec.get("x-at-most-field"),
        spec.get("x-less-than-field"),
    )


def _check_bound(spec: Mapping[str, Any], keyword: str, where: str) -> None:
    """A bound is a number, on a number, and a whole one on whole numbers: rounded, it would be another rule."""
    bound = spec.get(keyword)
    if bound is None:
        return
    if isinstance(bound, bool) or not isinstance(bound, int | float) or spec["type"] not in ("number", "integer"):
        raise ContractError(f"{where}: {keyword} is a number, on a number")
    if spec["x-arrow"] == "int64" and bound != int(bound):
        raise ContractError(f"{where}: {keyword} {bound} is no whole number, and the field is one")


def _check_value(keyword: str, value: Any, x_arrow: str, where: str) -> None:
    """A limit or a default is a value of its field."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if x_arrow == "int64":
        number = number and value == value // 1
    fits = (
        number
        if x_arrow in _NUMBERS
        else keyword == "default" and isinstance(value, bool if x_arrow == "bool" else str)
    )
    try:
        if fits and x_arrow in ARROW_TYPES:
            pa.scalar(Decimal(str(value)) if x_arrow.startswith("decimal") else value, ARROW_TYPES[x_arrow])
    except (pa.ArrowException, ArithmeticError):
        fits = False
    if not fits:
        raise ContractError(f"{where}: {keyword} is {value!r}, which is no value of {x_arrow}")


def _check_field_references(contracts: Any, fields: Mapping[str, Field]) -> None:
    for contract in contracts:
        for prop in contract.properties.values():
            for other in (prop.at_least_field, prop.at_most_field, prop.less_than_field, fields[prop.field].money):
                if other is not None and other not in contract.properties:
                    raise ContractError(
                        f"{contract.event_type} {contract.version}: {prop.field} refers to {other}, "
                        "which is not a field of the contract"
                    )
            money = fields[prop.field].money
            if money is not None and fields[money].x_arrow != "string":
                raise ContractError(
                    f"{contract.event_type} {contract.version}: {prop.field} is money in {money}, which is no text"
                )
            for other in (prop.at_least_field, prop.at_most_field, prop.less_than_field):
                if other is not None and not {fields[prop.field].x_arrow, fields[other].x_arrow} <= _NUMBERS:
                    raise ContractError(
                        f"{contract.event_type} {contract.version}: {prop.field} is compared with {other}, "
                        "and only numbers can be"
                    )
