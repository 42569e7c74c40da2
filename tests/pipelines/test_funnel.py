"""`parcours funnel`, as it is typed: on a small company, equal to the funnels of the settings, and told if it is wrong."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipelines import funnel
from pipelines.catalog import connect
from pipelines.cli import status_of
from pipelines.errors import UsageError
from pipelines.funnel import AD_HOC, Asked, ask_funnel
from pipelines.settings import load_settings
from schemas.contracts import load_contracts
from schemas.tables import tables
from tests.lake_tables import read_tables
from tests.real_command import Done, run_command

COMPANY = Path(__file__).parents[2] / "fixtures" / "company"
AS_OF = "2026-03-31T00:00:00Z"
SETTINGS = """
timezone = "Europe/Paris"

[funnels.checkout]
steps = ["site_visit", "page_kind = 'checkout'", "purchase"]
window = "7d"
by = ["channel", "first_channel", "plan", "upper(device_type)"]

[funnels.support]
steps = ["ticket_opened", "ticket_replied", "ticket_resolved"]
window = "30d"
step_windows = ["2d", "7d"]
count = "journeys"

[funnels.again]
steps = ["stage:consideration", "stage:purchase", "is_known"]
count = "entries"
by = ["is_known"]
"""
Row = dict[str, Any]


@pytest.fixture(scope="module")
def lakes(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The company in a lake, from one shard and from five."""
    folder = tmp_path_factory.mktemp("funnels")
    found = {}
    for shards in (1, 5):
        settings = folder / f"settings-{shards}.toml"
        settings.write_text(f"shards = {shards}\n{SETTINGS}", encoding="utf-8")
        found[shards] = folder / f"lake-{shards}"
        options = ["--output", str(found[shards]), "--as-of", AS_OF, "--settings", str(settings), "--quiet"]
        assert status_of(["run", "--input", str(COMPANY), *options]) == 0
    return found


@pytest.fixture(scope="module")
def lake(lakes: dict[int, Path]) -> Path:
    return lakes[5]


def of_settings(lake: Path, name: str) -> list[Row]:
    rows = read_tables(lake)["funnels"].to_pylist()
    return [row for row in rows if row["funnel"] == name]


def asked(name: str) -> Asked:
    """The funnel of the settings, as it would be typed."""
    given = {
        "checkout": Asked(
            ("site_visit", "page_kind = 'checkout'", "purchase"),
            "7d",
            (),
            ("channel", "first_channel", "plan", "upper(device_type)"),
        ),
        "support": Asked(("ticket_opened", "ticket_replied", "ticket_resolved"), "30d", ("2d", "7d"), (), "journeys"),
        "again": Asked(("stage:consideration", "stage:purchase", "is_known"), "30d", (), ("is_known",), "entries"),
    }
    return given[name]


# --- the same numbers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["checkout", "support", "again"])
def test_the_funnel_of_the_settings_is_the_one_asked_for(
    lakes: dict[int, Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [{**row, "funnel": AD_HOC} for row in of_settings(lakes[1], name)]
    assert expected[0]["entered"] > 0
    assert [{**row, "funnel": AD_HOC} for row in of_settings(lakes[5], name)] == expected
    for lake in lakes.values():
        assert ask_funnel(str(lake), asked(name)).rows.to_pylist() == expected
    # In pieces of a customer or two: as a lake larger than the memory is read.
    monkeypatch.setattr(funnel, "_PIECE_ROWS", 3)
    monkeypatch.setattr(funnel, "_BATCH_ROWS", 2)
    assert ask_funnel(str(lakes[5]), asked(name)).rows.to_pylist() == expected


def test_the_checkout_of_the_company_by_plain_sql(lake: Path) -> None:
    """Without windows between: who has, after a visit, a checkout, and after that a purchase, all within 7 days."""
    sql = """
        select count(distinct a.customer_key)
        from touchpoints as a
        join touchpoints as b on a.customer_key = b.customer_key and a.seq < b.seq and b.page_kind = 'checkout'
        join touchpoints as c on b.customer_key = c.customer_key and b.seq < c.seq and c.event_type = 'purchase'
        where a.event_type = 'site_visit' and c.occurred_at - a.occurred_at <= interval 7 days
    """
    with connect(str(lake)) as con:
        [[converted]] = con.execute(sql).fetchall()
        [[entered]] = con.execute(
            "select count(distinct customer_key) from touchpoints where event_type = 'site_visit'"
        ).fetchall()
    first = ask_funnel(str(lake), asked("checkout")).rows.to_pylist()[0]
    assert (first["entered"], first["converted"]) == (entered, converted) and converted > 0


def test_days_are_those_of_the_runs_time_zone(lake: Path) -> None:
    """Who entered on a day of Paris: from 23:00 UTC of the day before in winter."""
    with connect(str(lake)) as con:
        days = con.execute(
            "select (occurred_at at time zone 'Europe/Paris')::date as day, count(*) from touchpoints "
            "where event_type = 'site_visit' group by all order by 1"
        ).fetchall()
    for day, visits in days[:5]:
        following = day.fromordinal(day.toordinal() + 1)
        one = Asked(("site_visit", "purchase"), counted="entries", since=day, until=following)
        assert ask_funnel(str(lake), one).rows.to_pylist()[0]["entered"] == visits


# --- as it is typed --------------------------------------------------------------------------------------------------

STEPS = ["--step", "site_visit", "--step", "page_kind = 'checkout'", "--step", "purchase"]


def type_in(lake: Path, folder: Path, *args: str) -> Done:
    return run_command(["funnel", "--lake", str(lake), *args], folder)


def test_the_text_shows_the_sum_and_the_steps(lake: Path, tmp_path: Path) -> None:
    done = type_in(lake, tmp_path, *STEPS, "--window", "7d", "--by", "channel")
    assert (done.status, done.err) == (0, "")
    lines = done.out.splitlines()
    first, *_ = rows = of_settings(lake, "checkout")[:3]
    dropped, is_open = (sum(row[name] for row in rows) for name in ("dropped", "open"))
    assert lines[0] == f"Funnel of customers, each by the attempt that gets furthest, as of {AS_OF}; 7d in all"
    assert lines[2] == (
        f"entered  {first['entered']}  = {first['converted']} converted + {dropped} dropped + {is_open} open  ✓"
    )
    assert [line.split()[0] for line in lines[4:7]] == ["1", "2", "3"]
    assert any(line.startswith("  channel ") for line in lines) and any(line.startswith("  (none) ") for line in lines)
    assert lines[-1].startswith("Open attempts may still go on")


def test_the_other_forms_have_every_column(lake: Path, tmp_path: Path) -> None:
    expected = [{**row, "funnel": AD_HOC} for row in of_settings(lake, "checkout")[:3]]
    names = tables(load_contracts())["funnels"].schema.names
    forms = {form: type_in(lake, tmp_path, *STEPS, "--window", "7d", "--format", form).out for form in ("csv", "json")}
    assert json.loads(forms["json"]) == expected
    header, *rows = csv.reader(io.StringIO(forms["csv"]))
    assert header == names and [row[names.index("reached")] for row in rows] == [
        str(row["reached"]) for row in expected
    ]
    target = tmp_path / "answer.parquet"
    done = type_in(lake, tmp_path, *STEPS, "--window", "7d", "--format", "parquet", "--output", str(target))
    assert (done.status, done.out) == (0, "") and pq.read_table(target).to_pylist() == expected


def test_a_run_can_be_named(lake: Path, tmp_path: Path) -> None:
    run_id = json.loads((lake / "current.json").read_text())["run_id"]
    assert type_in(lake, tmp_path, *STEPS, "--run", run_id).out == type_in(lake, tmp_path, *STEPS).out
    assert "no whole run nobody" in type_in(lake, tmp_path, *STEPS, "--run", "nobody").err


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--step", "site_visit"], "needs 2 to 20 steps, and has 1"),
        (
            ["--step", "site_visit", "--step", "purchse"],
            "The step purchse is no event type.*\nmend: Did you mean purchase",
        ),
        (["--step", "site_visit", "--step", "stage:purchas"], "names no stage.*\nmend: Did you mean stage:purchase"),
        (
            ["--step", "site_visit", "--step", "page_knd = 'cart'"],
            "The step page_knd = 'cart' fails: .*\"page_knd\" not found",
        ),
        (["--step", "site_visit", "--step", "page_url"], "The funnel fails on the data: .*BOOL"),
        ([*STEPS, "--window", "7 days"], "--window 7 days is not a span of time"),
        ([*STEPS, "--step-window", "1x"], "--step-window 1x is not a span of time"),
        ([*STEPS, *["--step-window", "1h"] * 3], "has 3 step_windows for 3 steps"),
        ([*STEPS, "--by", "chanel"], "The segment chanel is no column of touchpoints"),
        ([*STEPS, "--from", "2026-02-02", "--to", "2026-02-02"], "No day lies between"),
        ([*STEPS, "--from", "yesterday"], "Invalid value for '--from'"),
    ],
)
def test_what_is_wrong_is_named_with_the_mend(
    lake: Path, args: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(["funnel", "--lake", str(lake), *args]) == 2
    said = capsys.readouterr()
    assert re.search(says, said.err) and not said.out and "Traceback" not in said.err


# --- the settings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ('steps = ["site_visit", "purchse"]', "The setting `funnels.mine`: The step purchse is no event type"),
        (
            'steps = ["site_visit", "stage:nowhere"]',
            "The setting `funnels.mine`: The step stage:nowhere names no stage",
        ),
        ('steps = ["site_visit", "order_no > 1"]', "The setting `funnels.mine`: The step order_no > 1 fails"),
        (
            'steps = ["site_visit", "purchase"]\nby = ["chanel"]',
            "The setting `funnels.mine`: The segment chanel is no column",
        ),
        ('steps = ["site_visit", "purchase"]\nwindow = "7x"', "funnels.mine.window = '7x': is not a span of time"),
        ('steps = ["site_visit", "purchase"]\nwindw = "7d"', "funnels.mine.windw is not a setting"),
        ('steps = ["site_visit"]', "funnels.mine = .*: needs 2 to 20 steps, and has 1"),
        ('window = "7d"', "funnels.mine.steps = .*: field required"),
    ],
)
def test_a_wrong_setting_is_named_before_anything_is_read(
    body: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text(f"[funnels.mine]\n{body}\n", encoding="utf-8")
    options = ["--output", str(tmp_path / "lake"), "--as-of", AS_OF, "--settings", str(settings), "--quiet"]
    assert status_of(["run", "--input", str(COMPANY / "events.jsonl"), *options]) == 2
    assert re.search(says, capsys.readouterr().err)
    assert not (tmp_path / "lake" / "current.json").exists()


def test_settings_that_are_read(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text(SETTINGS, encoding="utf-8")
    given = load_settings(str(tmp_path / "settings.toml")).funnels
    assert given["support"].step_windows == ("2d", "7d") and given["support"].count == "journeys"
    assert (given["again"].window, given["again"].step_windows, given["again"].by) == ("30d", (), ("is_known",))
    (tmp_path / "settings.toml").write_text('[funnels.Mine]\nsteps = ["a", "b"]', encoding="utf-8")
    with pytest.raises(UsageError, match="Mine"):
        load_settings(str(tmp_path / "settings.toml"))
