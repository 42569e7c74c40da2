"""Fixed rates: amounts worked out by hand, what was sent beside them, and what becomes too large."""

from __future__ import annotations

import dataclasses
import decimal
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.contracts import load_contracts
from tests.transforms.test_validate import ANY_TIME, Event, run, tallies_of, visit
from transforms.convert_money import convert_money
from transforms.rates import RATE_DIGITS, Rates

RATES = Rates("EUR", (("USD", Decimal("0.92")), ("GBP", Decimal("1.17")), ("JPY", Decimal("0.5"))))
COLUMNS = ("amount", "cost", "currency", "original_amount", "original_cost", "original_currency")


def paid(amount: str, currency: str, **fields: Any) -> str:
    """A purchase as a line: the amount as it is written, and not as a float would be."""
    event = visit(event_type="purchase", page_url=None, order_id="o", amount=0, currency=currency, **fields)
    return json.dumps(event).replace('"amount": 0', f'"amount": {amount}')


def accepted(steps: Any, events: list[Event | str], rates: Rates | None = RATES, **limits: Any) -> list[dict[str, Any]]:
    """Money and currencies of the events that are accepted, absent ones left out, amounts as text."""
    validated = run(steps, events, dataclasses.replace(ANY_TIME, rates=rates, **limits))
    return [
        {n: str(row[n]) for n in COLUMNS if row.get(n) is not None} for row in validated.events.to_pylist()
    ]  # fmt: skip


def test_money_is_in_the_base_and_what_was_sent_stays_beside_it(steps: Any) -> None:
    events = [paid("100", "USD"), paid("10.01", "GBP"), paid("7.5", "EUR"), paid("8", "CHF"), paid("0", "USD")]
    assert accepted(steps, events) == [
        {"amount": "92.0000", "currency": "EUR", "original_amount": "100.0000", "original_currency": "USD"},
        {"amount": "11.7117", "currency": "EUR", "original_amount": "10.0100", "original_currency": "GBP"},
        {"amount": "7.5000", "currency": "EUR"},
        {"amount": "8.0000", "currency": "CHF"},
        {"amount": "0.0000", "currency": "EUR", "original_amount": "0.0000", "original_currency": "USD"},
    ]


@pytest.mark.parametrize(
    ("rate", "sent", "worth"),
    [
        ("0.5", "0.0001", "0.0000"),  # 0.00005: half, to the even 0
        ("0.5", "0.0003", "0.0002"),  # 0.00015, to the even 2
        ("0.5", "0.0005", "0.0002"),  # 0.00025, to the even 2
        ("0.5", "0.0007", "0.0004"),  # 0.00035, to the even 4
        ("0.5000000001", "0.0001", "0.0001"),  # 0.00005000000001: more than half
        ("0.5000000001", "0.0005", "0.0003"),
        ("0.4999999999", "0.0003", "0.0001"),  # 0.00014999999997: less than half
        ("0.92", "12345678901234.5678", "11358024589135.8024"),  # 11358024589135.802376: no float holds it
        ("0.0000000001", "99999999999999.9999", "10000.0000"),  # 9999.99999999999999
        ("999999999.9999999999", "99999.9999", "99999999900000.0000"),  # 99999999899999.99999000000001
    ],
)  # fmt: skip
def test_rounded_half_to_even_from_exact_decimals(steps: Any, rate: str, sent: str, worth: str) -> None:
    [row] = accepted(steps, [paid(sent, "USD")], Rates("EUR", (("USD", Decimal(rate)),)))
    assert (row["amount"], row["currency"]) == (worth, "EUR")
    assert Decimal(row["original_amount"]) == Decimal(sent)


amounts = st.decimals("-99999", "99999", places=4)
rates = st.decimals("0.0000000001", "999999999", places=RATE_DIGITS[1]).filter(bool)


@given(st.lists(st.tuples(amounts, st.sampled_from(["USD", "EUR", "CHF", None])), min_size=1), rates)
@example([(Decimal("-0.0003"), "USD")], Decimal("0.5"))
def test_every_amount_is_what_python_makes_of_it(
    steps: Any, sent: list[tuple[Decimal, str | None]], rate: Decimal
) -> None:
    events = pa.table(
        {
            "amount": pa.array([amount for amount, _ in sent], pa.decimal128(18, 4)),
            "currency": pa.array([currency for _, currency in sent], pa.string()),
            "contract": pa.array([steps.contracts.codes["purchase", "1-0-0"]] * len(sent), pa.int16()),
        }
    )
    converted = convert_money(events, steps.contracts, Rates("EUR", (("USD", rate),)))
    with decimal.localcontext(prec=60):
        expected = [
            (amount * rate).quantize(Decimal("0.0001"), decimal.ROUND_HALF_EVEN) if currency == "USD" else amount
            for amount, currency in sent
        ]
    assert converted["amount"].to_pylist() == expected
    cut = [convert_money(events.slice(n, 1), steps.contracts, Rates("EUR", (("USD", rate),))) for n in range(len(sent))]
    assert [piece["amount"][0].as_py() for piece in cut] == expected, "in any cut"


def test_every_field_that_is_money_is_converted_and_no_other(steps: Any) -> None:
    events = [
        visit(event_type="ad_view", page_url=None, campaign_id="c", cost=0.5, currency="USD"),
        visit(event_type="payment_failed", page_url=None, currency="USD"),  # of no amount: its currency is told alike
        visit(amount=5, currency="USD", load_ms=100.5),  # no fields of a visit
        visit(),
    ]
    assert accepted(steps, events) == [
        {"cost": "0.4600", "currency": "EUR", "original_cost": "0.5000", "original_currency": "USD"},
        {"currency": "EUR", "original_currency": "USD"},
        {},
        {},
    ]
    [row] = run(steps, events[2:3], dataclasses.replace(ANY_TIME, rates=RATES)).events.to_pylist()
    assert json.loads(row["extra"]) == {"amount": 5, "currency": "USD"} and row["load_ms"] == 100.5


def test_without_rates_and_without_a_currency_that_has_one_nothing_is_added(steps: Any) -> None:
    for events, given_rates in (([paid("5", "USD")], None), ([paid("5", "CHF"), paid("6", "EUR")], RATES), ([], RATES)):
        plain = run(steps, events).events
        with_rates = run(steps, events, dataclasses.replace(ANY_TIME, rates=given_rates)).events
        assert with_rates.equals(plain)


def test_what_no_longer_fits_is_quarantined_as_it_was_sent(steps: Any) -> None:
    most = "85470085470085.4700"  # times 1.17 is 99999999999999.9999; a ten-thousandth more is 10^14
    lines = [
        paid(most, "GBP", event_id="fits"),
        paid("85470085470085.4701", "GBP", event_id="large"),
        paid("85470085470085.4701", "USD", event_id="other rate"),
        paid("99999999999999.9999", "EUR", event_id="base"),
    ]
    validated = run(steps, lines, dataclasses.replace(ANY_TIME, rates=RATES))
    assert validated.events["event_id"].to_pylist() == ["fits", "other rate", "base"]
    assert validated.events["amount"][0].as_py() == Decimal("99999999999999.9999")
    [row] = validated.quarantine.to_pylist()
    assert (row["raw"], row["event_id"], row["event_type"]) == (lines[1], "large", "purchase")
    assert row["errors"] == [
        {
            "code": "field.range",
            "path": "amount",
            "expected": "an amount that in EUR, by the setting `currency`, has at most 14 digits before the point",
            "observed": "85470085470085.4701",
        }
    ]
    assert tallies_of(validated)["quarantined_events"] == tallies_of(validated)["quarantined field.range"] == 1


def test_an_amount_that_is_wrong_already_is_told_once(steps: Any) -> None:
    validated = run(steps, [paid("-99999999999999", "GBP")], dataclasses.replace(ANY_TIME, rates=RATES))
    assert [(e["code"], e["expected"]) for e in validated.quarantine["errors"][0].as_py()] == [
        ("field.range", "at least 0")
    ]


def test_a_broken_event_is_kept_as_it_was_sent(steps: Any) -> None:
    line = paid("5", "USD", quantity=-1)
    [row] = run(steps, [line], dataclasses.replace(ANY_TIME, rates=RATES)).quarantine.to_pylist()
    assert row["raw"] == line and [e["path"] for e in row["errors"]] == ["quantity"]


def test_exclude_sees_what_was_sent(steps: Any) -> None:
    events = [paid("5", "USD"), paid("5", "EUR"), paid("4", "EUR")]
    assert accepted(steps, events, exclude="currency = 'USD' or amount < 5") == [
        {"amount": "5.0000", "currency": "EUR"}
    ]


def test_money_of_ones_own_in_a_currency_of_its_own(tmp_path: Path, steps: Any) -> None:
    """Two fields of money in one event, and a currency that the contract fills in."""
    money = {"type": "number", "x-arrow": "decimal128(18, 4)", "description": "Ours."}
    text = {"type": "string", "x-arrow": "string", "description": "Ours."}
    properties = {
        "amount": {**money, "x-money": "currency"}, "currency": text,
        "fee": {**money, "x-money": "fee_currency", "minimum": 1}, "fee_currency": {**text, "default": "USD"},
        "kilos": money,
    }  # fmt: skip
    (tmp_path / "parcel").mkdir()
    (tmp_path / "parcel" / "1-0-0.json").write_text(json.dumps({"title": "parcel", "properties": properties}))
    own = dataclasses.replace(ANY_TIME, rates=RATES)
    parcel = visit(event_type="parcel", page_url=None, amount=10, currency="GBP", fee=1, kilos=3)
    parcels = type(steps)(load_contracts(tmp_path), steps.connection)
    [row] = run(parcels, [parcel], own).events.to_pylist()
    told = {name: str(row[name]) for name in row if name in parcels.contracts.originals or name in properties}
    assert told == {
        "amount": "11.7000", "currency": "EUR", "original_amount": "10.0000", "original_currency": "GBP",
        "fee": "0.9200", "fee_currency": "EUR", "original_fee": "1.0000", "original_fee_currency": "USD",
        "kilos": "3.0000",
    }  # fmt: skip
    assert not run(parcels, [{**parcel, "fee": 0.95}], own).events.num_rows, "the contract's rule is of what is sent"
    columns = {column.name: column for column in parcels.tables["touchpoints"].columns}
    assert columns["fee"].minimum == 0, "1, in another currency, may be less"
    assert columns["original_fee"].type == columns["fee"].type
