"""Contracts are compiled once; a slip in a contract of one's own is named with its file and place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from schemas.contracts import ARROW_TYPES, RESERVED, SHIPPED, ContractError, Contracts, load_contracts
from schemas.tables import tables

SHOP: dict[str, Any] = {"description": "The shop.", "type": "string", "x-arrow": "string"}
COUNT: dict[str, Any] = {"description": "How many.", "type": "integer", "x-arrow": "int64"}
AMOUNT: dict[str, Any] = {"description": "How much.", "type": "number", "x-arrow": "decimal128(18, 4)"}


def write(folder: Path, event_type: str = "store_visit", version: str = "1-0-0", **document: Any) -> Path:
    file = folder / event_type / f"{version}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"title": event_type, "properties": {"shop": SHOP}, **document}))
    return file


@pytest.fixture(scope="module")
def shipped() -> Contracts:
    return load_contracts()


def codes(contracts: Contracts, mask: Any) -> set[str]:
    return {contract.event_type for contract, is_one in zip(contracts.contracts, mask, strict=True) if is_one}


def test_all_shipped_contracts_are_there(shipped: Contracts) -> None:
    assert {(c.event_type, c.version) for c in shipped.contracts} == {
        (path.parent.name, path.stem) for path in SHIPPED.glob("*/*.json") if path.parent.name != "envelope"
    }
    assert [shipped.codes[c.event_type, c.version] for c in shipped.contracts] == list(range(len(shipped.contracts)))
    assert list(shipped.event_types) == sorted(shipped.event_types)


def test_the_envelopes_fields_come_first_and_all_have_a_type(shipped: Contracts) -> None:
    assert list(shipped.fields)[: len(shipped.envelope)] == list(shipped.envelope)
    assert {*shipped.own_fields} == {*shipped.fields} - {*shipped.envelope}
    assert all(field.arrow == ARROW_TYPES[field.x_arrow] for field in shipped.fields.values())


def test_which_types_know_require_and_restrict_a_field(shipped: Contracts) -> None:
    assert codes(shipped, shipped.required("campaign_id")) == {"ad_view"}, (
        "a type's own word comes before the envelope's"
    )
    assert codes(shipped, shipped.allowed("campaign_id")) == set(shipped.event_types)
    assert codes(shipped, shipped.allowed("page_url")) == {"site_visit"}
    assert codes(shipped, shipped.required("occurred_at")) == set(shipped.event_types)
    limits = {value: codes(shipped, who) for value, who in shipped.distinct("amount", "minimum")}
    assert set(limits) == {0}
    assert "refund" not in limits[0]
    assert [(v, codes(shipped, who)) for v, who in shipped.distinct("amount", "exclusive_minimum")] == [(0, {"refund"})]
    assert shipped.distinct("page_url", "enum") == []


def test_session_types_are_those_that_say_so(shipped: Contracts) -> None:
    assert shipped.session_types == (
        "ad_view",
        "offer_redeemed",
        "payment_failed",
        "product_usage",
        "purchase",
        "site_visit",
    )


def test_a_type_of_ones_own(tmp_path: Path, shipped: Contracts) -> None:
    limits = {**COUNT, "minimum": 1, "maximum": 9, "default": 1}
    write(tmp_path, **{"x-session": True, "required": ["shop"], "properties": {"shop": SHOP, "visitors": limits}})
    write(tmp_path, version="1-1-0", properties={"shop": SHOP, "fee": {**AMOUNT, "exclusiveMinimum": 0.5}})
    write(tmp_path, "purchase", "2-0-0")
    contracts = load_contracts(tmp_path)
    assert {c for c in contracts.codes if c not in shipped.codes} == {
        ("store_visit", "1-0-0"), ("store_visit", "1-1-0"), ("purchase", "2-0-0"),
    }  # fmt: skip
    assert "store_visit" in contracts.session_types
    assert list(contracts.fields)[: len(shipped.fields)] == list(shipped.fields), (
        "the shipped columns stay where they were"
    )
    assert list(contracts.fields)[len(shipped.fields) :] == ["shop", "visitors", "fee"]
    assert contracts.contracts[contracts.codes["store_visit", "1-0-0"]].properties["visitors"].maximum == 9


def test_a_contract_may_leave_out_what_json_schema_lets_it(tmp_path: Path) -> None:
    file = write(tmp_path)
    file.write_text(json.dumps({"title": "store_visit"}))
    assert load_contracts(tmp_path).codes["store_visit", "1-0-0"] >= 0


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"title": "other"}, "title is 'other', the folder says 'store_visit'"),
        ({"oneOf": []}, "the keyword 'oneOf' is not enforced by Parcours; remove it"),
        ({"additionalProperties": False}, "additionalProperties"),
        ({"required": ["shop", "nothing"]}, "required names nothing, which is not in properties"),
        ({"required": "shop"}, "required is a list"),
        ({"properties": ["shop"]}, "properties an object"),
        ({"properties": {"shop": "text"}}, "properties.shop: a property is an object"),
        ({"properties": {"Shop": SHOP}}, "properties.Shop: a field's name is lower-case letters"),
        ({"properties": {"shop": {**SHOP, "minLength": 1}}}, "properties.shop: the keyword 'minLength' is not enforced"),
        ({"properties": {"shop": {**SHOP, "description": ""}}}, "a description is missing"),
        ({"properties": {"shop": {**SHOP, "description": 5}}}, "a description is missing"),
        ({"properties": {"shop": {**SHOP, "x-arrow": "int32"}}}, "x-arrow is 'int32'; it is one of string, bool"),
        ({"properties": {"shop": {**SHOP, "x-arrow": None}}}, "x-arrow is"),
        ({"properties": {"shop": {**SHOP, "type": "integer"}}}, "type 'integer' does not go with x-arrow string"),
        ({"properties": {"shop": {**SHOP, "type": ["string", "null"]}}}, "type .* does not go with x-arrow string"),
        ({"properties": {"amount": {**COUNT}}}, r"x-arrow is int64, but another contract says decimal128\(18, 4\)"),
        ({"properties": {"shop": {**SHOP, "pattern": "("}}}, "properties.shop: pattern"),
        ({"properties": {"shop": {**SHOP, "pattern": "a(?=b)"}}}, "properties.shop: pattern.*RE2"),
        ({"properties": {"shop": {**SHOP, "pattern": 5}}}, "a pattern is a text"),
        ({"properties": {"n": {**COUNT, "pattern": "5"}}}, "a pattern is a text, and for texts"),
        ({"properties": {"shop": {**SHOP, "enum": [1]}}}, "an enum lists strings"),
        ({"properties": {"shop": {**SHOP, "enum": "abc"}}}, "an enum lists strings"),
        ({"properties": {"n": {**COUNT, "enum": ["1"]}}}, "an enum lists strings"),
        ({"properties": {"shop": {**SHOP, "minimum": 0}}}, "minimum is 0, which is no value of string"),
        ({"properties": {"n": {**COUNT, "minimum": "0"}}}, "minimum is '0', which is no value of int64"),
        ({"properties": {"n": {**COUNT, "maximum": 0.5}}}, "maximum is 0.5, which is no value of int64"),
        ({"properties": {"n": {**COUNT, "minimum": True}}}, "minimum is True"),
        ({"properties": {"a": {**AMOUNT, "exclusiveMinimum": 0.00001}}}, "exclusiveMinimum is 1e-05, which is no value of dec"),
        ({"properties": {"a": {**AMOUNT, "maximum": 1e300}}}, "maximum is 1e.300"),
        ({"properties": {"n": {**COUNT, "default": "one"}}}, "default is 'one', which is no value of int64"),
        ({"properties": {"shop": {**SHOP, "default": 1}}}, "default is 1, which is no value of string"),
        ({"properties": {"a": {**AMOUNT, "x-money": "currency"}}}, "store_visit 1-0-0: a refers to currency, which is not a field"),
        ({"properties": {"n": {**COUNT, "x-money": "shop"}}}, "x-money stands on int64; money is an exact decimal128"),
        ({"properties": {"a": {**AMOUNT, "x-money": "n"}, "n": COUNT}}, "store_visit 1-0-0: a is money in n, which is no text"),
        ({"properties": {"amount": {**AMOUNT, "x-money": "shop"}, "shop": SHOP}}, "x-money is shop, but another contract says currency"),
        ({"properties": {"a": {**AMOUNT, "x-money": "shop"}, "shop": SHOP, "original_a": SHOP}}, "original_a is a name of Parcours"),
        ({"properties": {"a": {**AMOUNT, "x-at-least-field": "b"}}}, "a refers to b, which is not a field of the contract"),
        ({"properties": {"a": {**AMOUNT, "x-less-than-field": "shop"}, "shop": SHOP}}, "a is compared with shop, and only numbers"),
    ],
)  # fmt: skip
def test_a_slip_is_named(tmp_path: Path, document: dict[str, Any], message: str) -> None:
    file = write(tmp_path, **document)
    with pytest.raises(ContractError, match=message) as error:
        load_contracts(tmp_path)
    assert str(file) in str(error.value) or "store_visit 1-0-0" in str(error.value)


def test_amounts_need_the_currency_that_the_shipped_contracts_give_them(tmp_path: Path) -> None:
    write(tmp_path, properties={"amount": AMOUNT})
    with pytest.raises(ContractError, match="store_visit 1-0-0: amount refers to currency"):
        load_contracts(tmp_path)


@pytest.mark.parametrize(
    ("value", "x_arrow", "kind"),
    [(True, "bool", "boolean"), ("a", "string", "string"), (1, "double", "number"), (0.5, "double", "number"),
     (2, "int64", "integer"), (2.5, "decimal128(18, 4)", "number")],
)  # fmt: skip
def test_defaults_of_each_type(tmp_path: Path, value: Any, x_arrow: str, kind: str) -> None:
    write(tmp_path, properties={"it": {"description": "It.", "type": kind, "x-arrow": x_arrow, "default": value}})
    contracts = load_contracts(tmp_path)
    assert contracts.contracts[contracts.codes["store_visit", "1-0-0"]].properties["it"].default == value


def test_a_field_may_not_take_the_name_of_a_column_that_is_added(tmp_path: Path, shipped: Contracts) -> None:
    added = {column.name for column in tables(shipped)["touchpoints"].columns} - set(shipped.fields)
    assert added <= RESERVED
    assert not RESERVED & set(shipped.fields)
    for name in sorted(RESERVED):
        write(tmp_path, properties={name: SHOP})
        with pytest.raises(ContractError, match=f"{name} is a name of Parcours' own"):
            load_contracts(tmp_path)


def test_folders_and_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="the folder of contracts does not exist"):
        load_contracts(tmp_path / "no")
    with pytest.raises(ContractError, match=r"no contract in it; a contract is a file <type>/<version>.json"):
        load_contracts(tmp_path)
    file = write(tmp_path)
    for text, message in (
        ("{", "not readable as JSON"),
        ("[]", "a contract is a JSON object"),
        ("\udcff", "not readable"),
    ):
        file.write_text(text, errors="surrogateescape")
        with pytest.raises(ContractError, match=message):
            load_contracts(tmp_path)


@pytest.mark.parametrize(
    ("event_type", "version"), [("Store", "1-0-0"), ("store", "1.0.0"), ("store", "latest"), ("2nd", "1-0-0")]
)
def test_a_path_that_says_no_type_and_version(tmp_path: Path, event_type: str, version: str) -> None:
    write(tmp_path, event_type, version)
    with pytest.raises(ContractError, match=r"a contract's path is <type>/<version>.json"):
        load_contracts(tmp_path)


def test_a_shipped_type_is_not_defined_again(tmp_path: Path) -> None:
    write(tmp_path, "purchase")
    with pytest.raises(ContractError, match="purchase 1-0-0 is defined already"):
        load_contracts(tmp_path)


def test_columns_of_events_are_columns_of_touchpoints(tmp_path: Path) -> None:
    write(tmp_path, properties={"shop": SHOP, "visitors": COUNT})
    schema = tables(load_contracts(tmp_path))["touchpoints"].schema
    assert (schema.field("shop").type, schema.field("visitors").type) == (pa.string(), pa.int64())
    assert schema.field("shop").metadata == {b"description": b"The shop."}
