"""Records to candidate events: Parcours' own format in CSV and Parquet, and exports that a description maps."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from schemas.source_descriptions import NATIVE, Source
from transforms.candidates import FINGERPRINT, Block, Candidates
from transforms.map_source import SourceMapping, map_source
from transforms.read_blocks import UnreadableFile
from transforms.stage_blocks import identifier_rows
from transforms.validate import Limits, validate

Row = dict[str, Any]
UTC = datetime.UTC


def run(
    steps: Any,
    records: pa.Table,
    source: Source | None = None,
    kind: str = "parquet",
    lookups: Mapping[str, pa.Table] = {},
) -> Candidates:
    block = Block(source.name if source else NATIVE, f"file.{kind}", kind, records, np.arange(len(records)))
    return map_source(block, SourceMapping(source, lookups), steps.contracts, steps.connection)


def csv(header: str, *lines: str) -> pa.Table:
    return pa.table({"record": [f"{line}\n" for line in lines]}, metadata={b"header": header.encode()})


def rows_of(candidates: Candidates) -> list[Row]:
    """What each event says, without what it does not."""
    return [
        {k: v for k, v in row.items() if v is not None and k != FINGERPRINT} for row in candidates.events.to_pylist()
    ]


def described(select: str, record_key: str = "id", kind: str = "parquet", timezone: str = "UTC") -> Source:
    return Source("shop.orders", "Orders of a shop.", kind, timezone, record_key, select, "shop/orders.toml")


# --- Parcours' own format --------------------------------------------------------------------------------------------


def test_csv_of_parcours_own_format(steps: Any) -> None:
    candidates = run(
        steps,
        csv("event_id,event_type,occurred_at,amount,quantity,colour,clicked",
            "1,purchase,2026-01-01T00:00:00Z,19.90,2,red,", "2,purchase,x,ten,2.5,,maybe", "3,purchase"),
        kind="csv",
    )  # fmt: skip
    assert rows_of(candidates) == [
        {"event_id": "1", "event_type": "purchase", "occurred_at": "2026-01-01T00:00:00Z", "amount": Decimal("19.9000"),
         "quantity": 2, "extra": '{"colour":"red"}'},
        {"event_id": "2", "event_type": "purchase", "occurred_at": "x"},
    ]  # fmt: skip
    assert {(f.code, f.path, tuple(f.rows)) for f in candidates.findings} == {
        ("field.type", "amount", (1,)), ("field.type", "quantity", (1,)), ("field.type", "clicked", (1,)),
    }  # fmt: skip
    assert [(f.code, f.rows.tolist(), f.observed.to_pylist()) for f in candidates.unreadable] == [
        ("csv.malformed", [2], ["3,purchase"])
    ]
    assert (candidates.records_in, candidates.skipped, candidates.record_of.tolist()) == (3, 0, [0, 1])
    assert candidates.raw(np.array([1, 2])).to_pylist() == ["2,purchase,x,ten,2.5,,maybe", "3,purchase"]


def test_a_bad_record_in_the_middle_shifts_no_event(steps: Any) -> None:
    table = csv("event_id,event_type,occurred_at", "1,a,b", "2", "3,c,d", "4,e,f,g", "5,h,i")
    candidates = run(steps, table, kind="csv")
    assert candidates.events["event_id"].to_pylist() == ["1", "3", "5"]
    assert candidates.record_of.tolist() == [0, 2, 4]


def test_parquet_of_parcours_own_format(steps: Any) -> None:
    at = datetime.datetime(2026, 1, 1, tzinfo=UTC)
    table = pa.table({
        "event_id": [1, 2], "event_type": ["ad_view", "ad_view"], "occurred_at": pa.array([at, at], pa.timestamp("ms", "UTC")),
        "customer_id": [1001, None], "cost": [0.1, None], "colour": ["red", None], "tags": [["a", "b"], None],
        "nothing": pa.nulls(2),
    })  # fmt: skip
    candidates = run(steps, table)
    assert rows_of(candidates) == [
        {"event_id": "1", "event_type": "ad_view", "occurred_at": at, "customer_id": "1001", "cost": Decimal("0.1000"),
         "extra": '{"colour":"red","tags":["a","b"]}'},
        {"event_id": "2", "event_type": "ad_view", "occurred_at": at},
    ]  # fmt: skip
    assert json.loads(candidates.raw(np.array([0]))[0].as_py())["customer_id"] == 1001


def test_what_json_cannot_say_is_left_out_of_extra(steps: Any) -> None:
    table = pa.table({
        "event_id": list("abc"), "event_type": ["x"] * 3, "occurred_at": ["x"] * 3,
        "weight": [float("nan"), float("inf"), 1.5], "it's": ["a", None, 'say "b"'],
    })  # fmt: skip
    found = [row.get("extra") for row in rows_of(run(steps, table))]
    assert found == ['{"it\'s":"a"}', None, '{"weight":1.5,"it\'s":"say \\"b\\""}']


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_columns_with_the_names_of_our_own_are_unknown_fields(steps: Any, kind: str) -> None:
    names = ["event_id", "event_type", "occurred_at", "fingerprint", "contract", "extra", "record_no", "customer_key"]
    values = ["a", "site_visit", "2026-01-01T00:00:00Z", "f", "c", "e", "r", "k"]
    table = (
        csv(",".join(names), ",".join(values))
        if kind == "csv"
        else pa.table({n: [v] for n, v in zip(names, values, strict=True)})
    )
    candidates = run(steps, table, kind=kind)
    assert json.loads(rows_of(candidates)[0]["extra"]) == {
        "fingerprint": "f", "contract": "c", "extra": "e", "record_no": "r", "customer_key": "k",
    }  # fmt: skip
    validated = validate(candidates, steps.contracts, Limits(2**62, -(2**62)), steps.connection)
    identifier_rows(candidates.events.drop_columns(["occurred_at"]).append_column(
        "occurred_at", pa.array([0], pa.timestamp("us", "UTC"))), "path")  # fmt: skip
    assert validated.quarantine.num_rows == 1  # no identifier


@pytest.mark.parametrize(
    ("table", "kind", "message"),
    [
        (pa.table({"id": [1], "at": ["x"]}), "parquet", "has no column event_id, event_type, occurred_at; its columns are id, at"),
        (csv("event_id,event_type,time", "1,2,3"), "csv", "has no column occurred_at"),
        (csv("a,b,a", "1,2,3"), "csv", "the header names 'a' more than once"),
        (pa.table({"event_id": ["a"], "event_type": ["x"], "occurred_at": [datetime.datetime(2026, 1, 1)]}), "parquet",
         r"column occurred_at is timestamp\[us\] \(no time zone\)"),
        (pa.table([["a"], ["x"], ["y"], ["z"]], names=["event_id", "event_type", "occurred_at", "event_id"]), "parquet",
         "names the column event_id more than once"),
    ],
)  # fmt: skip
def test_a_file_that_is_some_other_export(steps: Any, table: pa.Table, kind: str, message: str) -> None:
    with pytest.raises(UnreadableFile, match=message) as error:
        run(steps, table, kind=kind)
    assert error.value.problem.mend


def test_equal_lines_have_equal_fingerprints(steps: Any) -> None:
    table = csv("event_id,event_type,occurred_at", "1,a,b", "broken", "2,a,b", "1,a,b")
    first, second, third = run(steps, table, kind="csv").events[FINGERPRINT].to_pylist()
    assert first == third != second


# --- described sources -----------------------------------------------------------------------------------------------

ORDERS = pa.table({
    "id": [1, 2, 3, 4], "who": ["a", "b", "c", "d"], "total": [10.5, 20.0, 30.0, 0.1], "coupon": ["x", None, "y", None],
    "state": ["paid", "paid", "cancelled", "paid"], "region": [1, 2, 1, 9],
    "happened": [datetime.datetime(2026, 1, 5, 12, n) for n in range(4)],
})  # fmt: skip
SEVERAL = """
    select record_no, 'purchase' as event_type, happened as occurred_at, who as customer_id, total as amount, 'EUR' as currency,
        id as order_id, region as shop_region
    from records where state = 'paid'
    union all
    select record_no, 'offer_redeemed', happened, who, null, null, id, null from records where coupon is not null and state = 'paid';
"""


def test_one_record_gives_none_one_or_several_events(steps: Any) -> None:
    candidates = run(steps, ORDERS, described(SEVERAL, "'o-' || id"))
    assert (candidates.records_in, candidates.skipped) == (4, 1)
    found = sorted(rows_of(candidates), key=lambda row: row["event_id"])
    assert [row["event_id"] for row in found] == ["o-1:offer_redeemed", "o-1:purchase", "o-2:purchase", "o-4:purchase"]
    assert found[1] == {
        "event_id": "o-1:purchase", "event_type": "purchase", "occurred_at": datetime.datetime(2026, 1, 5, 12, tzinfo=UTC),
        "customer_id": "a", "amount": Decimal("10.5000"), "currency": "EUR", "order_id": "1", "extra": '{"shop_region":1}',
    }  # fmt: skip
    by_id = dict(zip(candidates.events["event_id"].to_pylist(), candidates.record_of.tolist(), strict=True))
    assert by_id == {"o-1:offer_redeemed": 0, "o-1:purchase": 0, "o-2:purchase": 1, "o-4:purchase": 3}
    assert json.loads(candidates.raw(np.array([2]))[0].as_py())["state"] == "cancelled"


def test_the_sums_hold_behind_the_checks(steps: Any) -> None:
    spoiled = ORDERS.set_column(2, "total", pa.array([-1.0, 20.0, 30.0, 0.1]))
    validated = validate(run(steps, spoiled, described(SEVERAL)), steps.contracts, Limits(2**62, 0), steps.connection)
    assert {(name, code): count for name, _, code, count in validated.tallies} == {
        ("records_in", ""): 4, ("records_skipped", ""): 1, ("records_mapped", ""): 3, ("events_in", ""): 4,
        ("quarantined_events", ""): 1, ("quarantined", "field.range"): 1, ("unknown_field", "shop_region"): 2,
    }  # fmt: skip
    (row,) = validated.quarantine.to_pylist()
    assert (row["source"], row["position"], row["event_id"]) == ("shop.orders", 0, "1:purchase")
    assert json.loads(row["raw"])["total"] == -1.0


def test_the_selects_own_event_id_comes_first(steps: Any) -> None:
    select = "select record_no, if(id = 1, 'mine', null) as event_id, 'ad_view' as event_type, happened as occurred_at from records"
    assert run(steps, ORDERS, described(select)).events["event_id"].to_pylist() == [
        "mine",
        *(f"{n}:ad_view" for n in (2, 3, 4)),
    ]


def test_lookups_join(steps: Any) -> None:
    regions = pa.table({"region": [1, 2], "country": ["DE", "CH"]})
    select = """
        select record_no, 'ad_view' as event_type, happened as occurred_at, regions.country
        from records left join regions using (region)
    """
    found = run(steps, ORDERS, described(select), lookups={"regions": regions})
    by_id = dict(zip(found.events["event_id"].to_pylist(), found.events["country"].to_pylist(), strict=True))
    assert by_id == {"1:ad_view": "DE", "2:ad_view": "CH", "3:ad_view": "DE", "4:ad_view": None}


@pytest.mark.parametrize(
    ("local", "utc"),
    [
        ("2026-01-05 12:00", "2026-01-05 11:00"), ("2026-07-05 12:00", "2026-07-05 10:00"),
        ("2026-03-29 01:59:59.999999", "2026-03-29 00:59:59.999999"),  # the last moment of winter time
        ("2026-03-29 03:00", "2026-03-29 01:00"),
        ("2026-03-29 02:30", "2026-03-29 01:30"),  # no such time that night: an hour later
        ("2026-10-25 01:59", "2026-10-24 23:59"), ("2026-10-25 03:00", "2026-10-25 02:00"),
        ("2026-10-25 02:30", "2026-10-25 01:30"),  # twice that night: the second one
    ],
)  # fmt: skip
def test_naive_times_are_of_the_descriptions_zone(steps: Any, local: str, utc: str) -> None:
    expected = datetime.datetime.fromisoformat(utc).replace(tzinfo=UTC)
    for kind in ("us", "ns", "ms") if "." not in local else ("us", "ns"):
        at = pa.array([datetime.datetime.fromisoformat(local)], pa.timestamp(kind))
        select = (
            "select record_no, 'ad_view' as event_type, happened as occurred_at, happened as received_at from records"
        )
        row = rows_of(run(steps, pa.table({"id": [1], "happened": at}), described(select, timezone="Europe/Berlin")))[0]
        assert row["occurred_at"] == row["received_at"] == expected


def test_dates_begin_at_local_midnight_and_instants_stay(steps: Any) -> None:
    table = pa.table({
        "id": [1], "day": [datetime.date(2026, 7, 1)],
        "instant": pa.array([datetime.datetime(2026, 7, 1, 12)], pa.timestamp("us", "Asia/Tokyo")),
    })  # fmt: skip
    select = "select record_no, 'ad_view' as event_type, day as occurred_at, instant as received_at from records"
    row = rows_of(run(steps, table, described(select, timezone="America/New_York")))[0]
    assert row["occurred_at"] == datetime.datetime(2026, 7, 1, 4, tzinfo=UTC)
    assert row["received_at"] == datetime.datetime(2026, 7, 1, 12, tzinfo=UTC)


def test_times_as_text_must_have_an_offset(steps: Any) -> None:
    select = "select record_no, 'ad_view' as event_type, '2026-01-05T12:00:00' as occurred_at, who as customer_id, 'c' as campaign_id from records"
    found = run(steps, ORDERS, described(select))
    validated = validate(found, steps.contracts, Limits(2**62, 0), steps.connection)
    assert {e["code"] for row in validated.quarantine.to_pylist() for e in row["errors"]} == {"time.no_offset"}


def test_csv_of_a_described_source(steps: Any) -> None:
    select = """
        select record_no, 'purchase' as event_type, strptime(day, '%d.%m.%Y') as occurred_at, who as customer_id,
            replace(total, ',', '.') as amount, quantity, record_key as order_id
        from records
    """
    table = csv("day,who,total,quantity", '05.01.2026,a,"10,50",2', "06.01.2026,b,x,1.5", "broken")
    candidates = run(steps, table, described(select, "day || who", "csv"), "csv")
    assert rows_of(candidates)[0] == {
        "event_id": "05.01.2026a:purchase", "event_type": "purchase", "customer_id": "a", "amount": Decimal("10.5000"),
        "occurred_at": datetime.datetime(2026, 1, 5, tzinfo=UTC), "quantity": 2, "order_id": "05.01.2026a",
    }  # fmt: skip
    assert {(f.path, f.code, tuple(f.rows)) for f in candidates.findings} == {
        ("amount", "field.type", (1,)), ("quantity", "field.type", (1,)),
    }  # fmt: skip
    assert (candidates.records_in, candidates.skipped, len(candidates.unreadable)) == (3, 0, 1)


def test_json_of_a_described_source(steps: Any) -> None:
    select = """
        select record_no, 'site_visit' as event_type, record->>'$.at' as occurred_at, record->>'$.user.id' as customer_id,
            record->>'$.url' as page_url, (record->>'$.ms')::double as load_ms
        from records
    """
    lines = ['{"id":1,"at":"2026-01-05T12:00:00Z","user":{"id":"a"},"url":"/x","ms":12.5}', '{"id":2,}', "[]"]
    candidates = run(steps, pa.table({"record": lines}), described(select, "record->>'$.id'", "jsonl"), "jsonl")
    assert rows_of(candidates) == [
        {"event_id": "1:site_visit", "event_type": "site_visit", "occurred_at": "2026-01-05T12:00:00Z", "customer_id": "a",
         "page_url": "/x", "load_ms": 12.5},
    ]  # fmt: skip
    assert [(f.code, f.rows.tolist()) for f in candidates.unreadable] == [("json.malformed", [1, 2])]


PAGES = """
    select record_no, 'site_visit' as event_type, day::timestamp as occurred_at, who as customer_id, page as page_url,
        referrer, coupon, tax
    from records
"""


def pages(**more: Any) -> Source:
    return replace(described(PAGES, "page || '-' || day", "csv"), **more)


def test_null_words_are_absent_values(steps: Any) -> None:
    """The whole field, as it is written: NULL in a longer text, and null where the list says NULL, are texts."""
    table = csv("day,who,page,referrer,coupon,tax",
                "2026-01-05,NULL,/a?x=NULL,NULL ,null,n/a", '2026-01-06,a,/b,"NULL",it\'s,"n/a"')  # fmt: skip
    source = pages(null_words=("NULL", "n/a", "it's"))
    assert rows_of(run(steps, table, source, "csv")) == [
        {"event_id": "/a?x=NULL-2026-01-05:site_visit", "event_type": "site_visit", "page_url": "/a?x=NULL",
         "occurred_at": datetime.datetime(2026, 1, 5, tzinfo=UTC), "extra": '{"referrer":"NULL ","coupon":"null"}'},
        {"event_id": "/b-2026-01-06:site_visit", "event_type": "site_visit", "customer_id": "a", "page_url": "/b",
         "occurred_at": datetime.datetime(2026, 1, 6, tzinfo=UTC)},
    ]  # fmt: skip


def test_null_words_in_the_key_of_a_record(steps: Any) -> None:
    table = csv("day,who,page,referrer,coupon,tax", "2026-01-05,a,NULL,,,")
    assert "event_id" not in rows_of(run(steps, table, pages(null_words=("NULL",)), "csv"))[0]


def test_null_words_in_parquet_are_looked_for_in_texts_only(steps: Any) -> None:
    table = pa.table({
        "id": [1, 2], "who": pa.array(["a", "-"], pa.large_string()), "place": pa.array(["-", "web"]).dictionary_encode(),
        "score": [-1.0, 2.0], "tags": [["-"], None], 'a "b"': ["-", "c"], "day": [datetime.datetime(2026, 1, 5)] * 2,
    })  # fmt: skip
    select = '''
        select record_no, 'site_visit' as event_type, day as occurred_at, who as customer_id, place, score as points, tags,
            "a ""b""" as colour
        from records
    '''
    found = rows_of(run(steps, table, replace(described(select), null_words=("-", "-1.0"))))
    assert [row.get("customer_id") for row in found] == ["a", None]
    assert [json.loads(row["extra"]) for row in found] == [
        {"points": -1.0, "tags": ["-"]}, {"place": "web", "points": 2.0, "colour": "c"},
    ]  # fmt: skip


def test_optional_columns_that_a_file_lacks_are_empty(steps: Any) -> None:
    source = pages(optional_columns=("coupon", "tax", "referrer"))
    short, whole = "2026-01-05,a,/a", "2026-01-05,a,/a,/r,c,7"
    lacking = rows_of(run(steps, csv("day,who,page", short), source, "csv"))
    assert "extra" not in lacking[0]
    there = rows_of(run(steps, csv("day,who,page,referrer,coupon,tax", whole), source, "csv"))
    assert there[0]["extra"] == '{"referrer":"/r","coupon":"c","tax":"7"}'
    in_capitals = rows_of(run(steps, csv("DAY,WHO,PAGE,REFERRER,COUPON,TAX", whole), source, "csv"))
    assert in_capitals == [{**there[0], "extra": '{"REFERRER":"/r","COUPON":"c","TAX":"7"}'}]
    both = replace(source, null_words=("c",))
    assert rows_of(run(steps, csv("day,who,page,Coupon", "2026-01-05,a,/a,c"), both, "csv")) == lacking
    with pytest.raises(UnreadableFile, match='"who" not found'):
        run(steps, csv("day,page", "2026-01-05,/a"), source, "csv")


def test_names_in_capitals_are_those_of_the_contracts(steps: Any) -> None:
    """DuckDB takes names in any case, and gives back a column in the case that the file has."""
    table = csv("Event_ID,EVENT_TYPE,OCCURRED_AT,CUSTOMER_ID,PAGE_URL,Tax", "a,site_visit,2026-01-05T00:00:00Z,c,/a,7")
    source = described(
        "select record_no, event_id, event_type, occurred_at, customer_id, page_url, tax from records",
        "event_id",
        "csv",
    )
    assert rows_of(run(steps, table, source, "csv")) == [
        {"event_id": "a", "event_type": "site_visit", "occurred_at": "2026-01-05T00:00:00Z", "customer_id": "c",
         "page_url": "/a", "extra": '{"Tax":"7"}'},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("select", "key", "message"),
    [
        ("select nonsense from records", "id", "nonsense.*the file's columns: id, who, total"),
        ("select record_no from records", "id", "the SELECT gives no column event_type"),
        ("select 'a' as event_type, happened as occurred_at from records", "id", "gives no column record_no"),
        ("selec", "id", "shop.orders fails: Parser Error"),
        ("select record_no, 'a' as event_type, who::int as occurred_at from records", "id", "Conversion Error"),
        ("select record_no, 'a' as event_type, happened as occurred_at from records", "nothing", "nothing"),
        ("select record_no, 'a' as event_type, happened as occurred_at, [1] as amount from records", "id", "column amount is"),
    ],
)  # fmt: skip
def test_an_error_in_a_description_names_the_file_and_the_mend(steps: Any, select: str, key: str, message: str) -> None:
    with pytest.raises(UnreadableFile, match=message) as error:
        run(steps, ORDERS, described(select, key))
    assert error.value.problem.file == "file.parquet"
    assert error.value.problem.mend
    run(steps, ORDERS, described(SEVERAL))  # the connection is as it was


@pytest.mark.parametrize("name", ["record_no", "record_key"])
def test_an_export_with_a_column_of_our_names_is_refused(steps: Any, name: str) -> None:
    with pytest.raises(UnreadableFile, match=f"has a column {name}"):
        run(steps, ORDERS.append_column(name, pa.array([9, 9, 9, 9])), described(SEVERAL))


def test_a_select_that_gives_no_event(steps: Any) -> None:
    found = run(
        steps,
        ORDERS,
        described("select record_no, 'a' as event_type, happened as occurred_at from records where false"),
    )
    assert (found.events.num_rows, found.skipped, found.records_in) == (0, 4, 4)
    validated = validate(found, steps.contracts, Limits(2**62, 0), steps.connection)
    assert (validated.events.num_rows, validated.quarantine.num_rows) == (0, 0)
