"""Descriptions of foreign exports: the shipped ones, and slips in one's own, named with the file and the mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.source_descriptions import FORMATS, Lookup, SourceError, load_sources

GOOD = '''
description = "Orders of a shop."
format = "csv"
timezone = "Europe/Berlin"
record_key = "id"
select = """
select record_no, 'purchase' as event_type from records
"""

[lookups.regions]
columns = ["region", "country"]
rows = [[1, "DE"], [2, "CH"]]

[lookups.campaigns]
file = "campaigns.csv"
'''


def write(folder: Path, text: str = GOOD, name: str = "shop/orders.toml") -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_the_shipped_descriptions() -> None:
    sources = load_sources()
    assert {
        "complete_journey.transactions",
        "complete_journey.campaigns",
        "complete_journey.coupon_redemptions",
        "ravenstack.accounts",
        "ravenstack.churn_events",
        "ravenstack.feature_usage",
        "ravenstack.subscriptions",
        "ravenstack.support_tickets",
        "snowplow.events",
    } <= set(sources)
    for name, source in sources.items():
        assert source.name == name
        assert source.format in FORMATS
        assert source.description.endswith(".")
        assert "record_no" in source.select


def test_a_description_of_ones_own(tmp_path: Path) -> None:
    file = write(tmp_path)
    source = load_sources(tmp_path)["shop.orders"]
    assert (source.format, source.timezone, source.record_key, source.file) == ("csv", "Europe/Berlin", "id", str(file))
    assert source.lookups == {
        "regions": Lookup("regions", columns=("region", "country"), rows=((1, "DE"), (2, "CH"))),
        "campaigns": Lookup("campaigns", file="campaigns.csv"),
    }
    assert (source.null_words, source.optional_columns) == ((), ())
    assert set(load_sources()) < set(load_sources(tmp_path))


def test_null_words_and_optional_columns(tmp_path: Path) -> None:
    write(tmp_path, 'null_words = ["NULL", "n/a"]\noptional_columns = ["coupon"]\n' + GOOD)
    source = load_sources(tmp_path)["shop.orders"]
    assert (source.null_words, source.optional_columns) == (("NULL", "n/a"), ("coupon",))


def test_without_a_time_zone_it_is_utc(tmp_path: Path) -> None:
    write(tmp_path, GOOD.replace('timezone = "Europe/Berlin"\n', ""))
    assert load_sources(tmp_path)["shop.orders"].timezone == "UTC"


def test_a_description_of_ones_own_replaces_a_shipped_one(tmp_path: Path) -> None:
    write(tmp_path, name="complete_journey/transactions.toml")
    assert load_sources(tmp_path)["complete_journey.transactions"].format == "csv"


def test_deeper_folders_are_in_the_name(tmp_path: Path) -> None:
    write(tmp_path, name="shop/eu/orders.toml")
    assert "shop.eu.orders" in load_sources(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('format = "csv"', 'format = "xml"', "format is 'xml'; it is one of jsonl, csv, parquet"),
        ('format = "csv"', "", "the key 'format' is missing or not a text"),
        ('record_key = "id"', "record_key = 5", "the key 'record_key' is missing or not a text"),
        ('description = "Orders of a shop."', 'description = " "', "the key 'description' is missing"),
        ("timezone", "time_zone", "unknown key 'time_zone'; a description has description, format"),
        ("Europe/Berlin", "Berlin", "timezone 'Berlin' is not an IANA time zone such as Europe/Berlin"),
        ("Europe/Berlin", "America", "timezone 'America' is not an IANA time zone"),
        ("Europe/Berlin", "../etc/passwd", "is not an IANA time zone"),
        ("Europe/Berlin", "", "is not an IANA time zone"),
        ('"Europe/Berlin"', "5", "timezone 5 is not an IANA time zone"),
        ("[2, ", "[", "lookups.regions: give either `file`, or `columns` and `rows` with one value a column"),
        ('file = "campaigns.csv"', 'file = "a"\nrows = []', "lookups.campaigns: give either"),
        ('file = "campaigns.csv"', 'fill = "a"', "lookups.campaigns: give either"),
        ('file = "campaigns.csv"', "file = 5", "lookups.campaigns: give either"),
        ("[lookups.campaigns]\nfile", "[lookups.block]\nfile", "lookups.block: .* name"),
        ("[lookups.campaigns]\nfile", "[lookups.Records]\nfile", "lookups.Records: .* name"),
        ("rows = [[1,", "rows = [1, [1,", "lookups.regions: give either"),
        ("[lookups.regions]", "[lookups.regions", "not readable as TOML"),
        ('format = "csv"', 'format = "csv"\nnull_words = "NULL"', r'null_words is a list of texts, such as \["NULL", "n/a"\]'),
        ('format = "csv"', 'format = "csv"\nnull_words = [0]', "null_words is a list of texts"),
        ('format = "csv"', 'format = "csv"\nnull_words = [""]', "null_words is a list of texts"),
        ('format = "csv"', 'format = "csv"\noptional_columns = [["tax"]]', "optional_columns is a list of texts"),
        ('format = "csv"', 'format = "jsonl"\nnull_words = ["NULL"]', "null_words goes with the columns of csv and parquet"),
        ('format = "csv"', 'format = "jsonl"\noptional_columns = ["tax"]', "optional_columns goes with the columns of csv"),
        ('format = "csv"', 'format = "csv"\noptional_columns = ["Record_No"]', "optional_columns: record_no is a name of Parcours"),
    ],
)  # fmt: skip
def test_a_slip_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    file = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(SourceError, match=message) as error:
        load_sources(tmp_path)
    assert str(error.value).startswith(str(file))


def test_lookups_that_are_no_tables(tmp_path: Path) -> None:
    write(tmp_path, "lookups = 5\n" + GOOD.split("[lookups")[0])
    with pytest.raises(SourceError, match="lookups are tables"):
        load_sources(tmp_path)


def test_the_name_of_our_own_format_is_taken(tmp_path: Path) -> None:
    write(tmp_path, name="events.toml")
    with pytest.raises(SourceError, match="the name 'events' stands for Parcours' own format"):
        load_sources(tmp_path)


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="the folder of source descriptions does not exist"):
        load_sources(tmp_path / "no")
    with pytest.raises(SourceError, match="no source description in it"):
        load_sources(tmp_path)
