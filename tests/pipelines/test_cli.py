"""The command line as it is typed: exit statuses, messages with a mend, help, and no Beam where none is needed."""

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest

from pipelines.audit import Audit
from pipelines.cli import _beam_args, parcours, status_of
from pipelines.errors import InputError, Refused, UsageError
from pipelines.interrupts import stoppable, was_interrupted
from pipelines.lake import Lake
from pipelines.progress import Progress
from pipelines.summary import render, render_check
from schemas.dictionary import load_friction

COMMAND = [sys.executable, "-c", "from pipelines.start import main; main()"]
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


def type_in(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *args], capture_output=True, text=True, env=ENVIRONMENT, timeout=120)


# ---- help


@pytest.mark.parametrize("command", [None, *parcours.commands])
def test_every_help_has_an_example_and_whole_sentences(command: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of([*([command] if command else []), "--help"]) == 0
    shown = capsys.readouterr().out
    assert "\n  parcours " in shown
    assert "..." not in shown.partition("Commands:")[2]  # click cuts a summary that is too long


def test_every_option_is_explained() -> None:
    for command in parcours.commands.values():
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help and parameter.help[0].isupper() and parameter.help.endswith("."), parameter.name


def test_the_version() -> None:
    done = type_in("--version")
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("parcours ")


@pytest.mark.parametrize(
    "args",
    [
        ["--help"],
        ["run", "--help"],
        ["metrics"],
        ["friction"],
        ["tables"],
        ["sources"],
        ["query", "--lake", "/none", "select 1"],
    ],
)
def test_beam_stays_out_of_what_needs_no_pipeline(args: list[str]) -> None:
    code = (
        "import sys\nfrom pipelines.cli import status_of\nstatus_of(sys.argv[1:])\nprint('apache_beam' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, env=ENVIRONMENT, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "False", done.stderr


# ---- what is shipped: tables, metrics, sources


def test_tables_are_listed_one_a_line(all_tables: Any) -> None:
    done = type_in("tables")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()[: len(all_tables)]] == list(all_tables)


def test_a_table_lists_its_columns(all_tables: Any) -> None:
    shown = type_in("tables", "touchpoints").stdout
    for column in all_tables["touchpoints"].columns:
        assert f"\n{column.name} " in shown and column.description in shown
    assert "DECIMAL(18,4)" in shown and "One row is one accepted event. Key: customer_key, seq." in shown


def test_an_unknown_table_or_metric_is_told_its_neighbours() -> None:
    done = type_in("tables", "touchpoint")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "parcours: error: There is no table touchpoint.\nmend: Did you mean touchpoints?\n"
    assert type_in("metrics", "zzz").returncode == 2


def test_metrics_are_explained() -> None:
    listed = type_in("metrics").stdout
    assert "\nrevenue " in listed and "parcours friction" in listed
    told = type_in("metrics", "revenue").stdout
    for label in ("formula", "unit", "anchor", "exclusions"):
        assert f"\n{label} " in told
    assert "\nExample\n" in told and "\n  event_type  " in told and "\n  all, EUR: " in told
    assert type_in("metrics", "first_response_minutes_p50").stdout.startswith("name         first_response_minutes\n")
    done = type_in("metrics", "slow_page")
    assert done.returncode == 2 and done.stderr.endswith(
        "mend: It is a kind of friction: parcours friction slow_page.\n"
    )


def test_kinds_of_friction_are_explained(tmp_path: Path) -> None:
    kinds = load_friction()
    listed = type_in("friction").stdout
    for kind in kinds.values():
        assert f"\n{kind.kind} " in listed and kind.description in listed
    assert re.findall(r"^(\w+)\n\n", listed, flags=re.M) == ["web", "product", "billing", "support", "journey"]
    told = type_in("friction", "rage_click").stdout
    assert (
        told.startswith("kind         rage_click\n")
        and '\nparameters   clicks = 3, seconds = 1, ignore_elements = ["+", ' in told
    )
    assert "\nExample\n" in told and "\n  event_type  " in told
    assert "\n  2026-01-05T10:00:00Z, ann: add to cart (consideration), 3 events, " in told
    done = type_in("friction", "rage_clicks")
    assert (done.returncode, done.stderr) == (
        2, "parcours: error: There is no kind of friction rage_clicks.\nmend: Did you mean rage_click?\n",
    )  # fmt: skip
    settings = tmp_path / "settings.toml"
    settings.write_text("[friction_parameters.slow_page]\nslow_ms = 2500\n", encoding="utf-8")
    assert "slow_ms = 2500, ignore_pages = []" in type_in("friction", "slow_page", "--settings", str(settings)).stdout


def test_the_users_own_come_with_the_settings(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.toml").write_text("x", encoding="utf-8")
    settings = tmp_path / "settings.toml"
    settings.write_text('sources = "broken"\n', encoding="utf-8")
    done = type_in("sources", "--settings", str(settings))
    assert done.returncode == 2 and "a.toml" in done.stderr and "Traceback" not in done.stderr
    assert "complete_journey.transactions" in type_in("sources").stdout


# ---- errors


@pytest.mark.parametrize(
    ("error", "status"), [(Refused("no.", "do."), 1), (UsageError("no.", "do."), 2), (InputError("no.", "do."), 3)]
)
def test_an_error_is_two_lines_and_its_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, status: int
) -> None:
    def fails(*args: Any) -> None:
        raise error

    monkeypatch.setattr("pipelines.query.query", fails)
    assert status_of(["query", "--lake", "x", "select 1"]) == status
    assert capsys.readouterr() == ("", "parcours: error: no.\nmend: do.\n")


def test_an_interrupt_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipelines.query.query", interrupted)
    assert status_of(["query", "--lake", "x", "select 1"]) == 130
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_is_interrupted_whatever_beam_makes_of_it(number: int) -> None:
    usual = signal.signal(number, signal.default_int_handler)  # the background of a shell ignores an interrupt
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), stoppable():
        try:
            os.kill(os.getpid(), number)
        except KeyboardInterrupt as error:
            assert was_interrupted()
            raise RuntimeError("KeyboardInterrupt [while running 'Validate']") from error
    assert not was_interrupted()
    assert signal.getsignal(number) == before
    with pytest.raises(RuntimeError), stoppable():
        raise RuntimeError("a fault of ours stays one")
    signal.signal(number, usual)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "Usage: parcours"),
        (["nope"], "No such command 'nope'"),
        (["run", "--input", "x"], "Missing option '--output'"),
        (["run", "--output", "x"], "Missing option '--input'"),
        (["query", "select 1"], "Missing option '--lake'"),
        (["run", "--input", "x", "--output", "y", "--lookup", "products"], "is not NAME=FILE"),
        (["run", "--input", "x", "--output", "y", "--lookup", "products=none.csv"], "there is no file none.csv"),
        (["run", "--input", "x", "--output", "y", "--as-of", "yesterday"], "--as-of = 'yesterday'"),
        (["run", "--input", "x", "--output", "y", "--settings", "none.toml"], "none.toml does not exist"),
        (["run", "--input", "x", "--output", "y", "--identity-policy", "all"], "'all' is not one of"),
    ],
)
def test_usage_errors_are_2_and_say_what_is_wrong(args: list[str], says: str) -> None:
    done = type_in(*args)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("streams", "status", "says"),
    [
        ("| true; exit ${PIPESTATUS[0]}", 141, ""),
        ("> /dev/full", 2, "no space left where standard output"),
        ("> /dev/full 2> /dev/full", 2, ""),
        (">&-", 0, ""),
        ("2>&-", 0, ""),
        ("<&- >&- 2>&-", 0, ""),
    ],
)
def test_a_run_is_published_whatever_becomes_of_its_streams(
    tmp_path: Path, streams: str, status: int, says: str
) -> None:
    """1 would say that the audit refused it."""
    event = {
        "event_id": "e", "event_type": "site_visit", "occurred_at": "2026-03-01T00:00:00Z", "customer_id": "c",
        "page_url": "https://shop.example/",
    }  # fmt: skip
    (tmp_path / "events.jsonl").write_text(json.dumps(event) + "\n")
    args = ["run", "--input", "events.jsonl", "--output", "lake", "--as-of", "2026-04-01T00:00:00Z", "--quiet"]
    line = f"{shlex.join([*COMMAND, *args])} {streams}"
    done = subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == status, done.stderr
    assert says in done.stderr and "Traceback" not in done.stderr
    assert Lake(str(tmp_path / "lake")).current()


@pytest.mark.parametrize(
    "streams", ["> /dev/full 2> /dev/full", "2> /dev/full", "2>&1 | true; exit ${PIPESTATUS[0]}", "2>&-"]
)
@pytest.mark.parametrize(
    ("args", "status"),
    [
        (["run", "--input", "nothing.jsonl", "--output", "lake", "--quiet"], 3),
        (["query", "--lake", "nowhere", "select 1"], 2),
        (["query", "--lake", "nowhere"], 2),
    ],
)
def test_the_status_is_that_of_the_error_though_nobody_can_be_told(
    tmp_path: Path, args: list[str], status: int, streams: str
) -> None:
    line = f"{shlex.join([*COMMAND, *args])} {streams}"
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, timeout=60)
    assert done.returncode == status


def test_sql_from_a_standard_input_that_is_closed_is_no_sql(lake: Lake) -> None:
    line = f"{shlex.join([*COMMAND, 'query', '--lake', lake.path, '-'])} <&-"
    done = subprocess.run(["bash", "-c", line], env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "Traceback" not in done.stderr


def test_help_that_nobody_reads_is_no_refusal() -> None:
    line = f"{shlex.join([*COMMAND, '--help'])} | true; exit ${{PIPESTATUS[0]}}"
    assert subprocess.run(["bash", "-c", line], env=ENVIRONMENT, timeout=60).returncode == 141


def test_a_terminal_without_utf_8_is_no_crash() -> None:
    done = subprocess.run(
        [*COMMAND, "metrics", "é"], capture_output=True, env=ENVIRONMENT | {"PYTHONIOENCODING": "ascii"}, timeout=60
    )
    assert done.returncode == 2 and b"There is no metric " in done.stderr and b"Traceback" not in done.stderr


# ---- Beam's own options


def test_beams_options_are_passed_on() -> None:
    given = ["--direct_num_workers", "2", "--job_name=x", "--streaming"]
    assert _beam_args("FnApiRunner", given) == ["--runner=FnApiRunner", *given]


def test_options_of_a_runner_elsewhere_are_passed_on() -> None:
    given = ["--job_endpoint=localhost:1", "--a_thing_of_this_runner", "2"]
    assert _beam_args("PortableRunner", given)[1:] == given


@pytest.mark.parametrize(
    ("runner", "given", "says"),
    [
        ("FnApiRunner", ["--as-off", "2026-01-01T00:00:00Z"], "There is no option --as-off. Did you mean --as-of?"),
        ("PortableRunner", ["--inputs=x"], "There is no option --inputs. Did you mean --input?"),
        ("FnApiRunner", ["--zzzz"], "Neither Parcours nor Beam has an option --zzzz."),
        ("FnApiRunner", ["b.jsonl", "c.jsonl"], "'b.jsonl' belongs to no option. If the shell"),
        ("FnApiRunner", ["--streaming", "b.jsonl"], "'b.jsonl' belongs to no option."),
        ("FnApiRunner", ["--direct_num_workers=many"], "invalid int value: 'many'"),
        ("Nope", [], "The runner Nope cannot be used: Unexpected pipeline runner"),
        ("DataflowRunner", [], "Missing required option: project."),
    ],
)
def test_what_nobody_knows_is_refused(runner: str, given: list[str], says: str) -> None:
    with pytest.raises(UsageError) as refused:
        _beam_args(runner, given)
    assert says in str(refused.value)


# ---- the summary


TALLIES = (
    ("records_in", "web", None, 1000),
    ("records_in", "shop", None, 200),
    ("records_mapped", "web", None, 990),
    ("records_mapped", "shop", None, 150),
    ("records_skipped", "shop", None, 50),
    ("records_unreadable", "web", None, 10),
    ("events_in", "web", None, 990),
    ("events_in", "shop", None, 150),
    ("touchpoints", "web", None, 900),
    ("touchpoints", "shop", None, 100),
    ("duplicates", "web", None, 40),
    ("quarantined_events", "web", None, 30),
    ("quarantined_events", "shop", None, 50),
    ("after_as_of", "web", None, 15),
    ("excluded", "web", None, 5),
    ("quarantined", "web", "json.malformed", 10),
    ("quarantined", "web", "field.missing", 30),
    ("quarantined", "shop", "field.range", 50),
    *(("unknown_field", "web", f"field_{i:02}", 100 - i) for i in range(12)),
)


def result_of(*more: tuple[str, str, str | None, int], published: bool = True) -> Any:
    return SimpleNamespace(
        run_id="20261121T235900Z-00000000",
        lake="/data/my lake",
        as_of=datetime(2026, 11, 1, tzinfo=UTC),
        identity_policy="last_auth",
        unlikely_share=0.3,
        audit=Audit(),
        removed=(),
        published=published,
        tallies=[dict(zip(("name", "source", "code", "count"), tally, strict=True)) for tally in (*TALLIES, *more)],
        tables={"touchpoints": 1000, "customers": 77},
        customers=77,
        seconds=75.4,
        examples=[
            {
                "code": "field.range",
                "file": "shop.csv",
                "offset": 12,
                "raw": "a,\x1b[31mb\n" + "x" * 5000,
                "path": "amount",
                "expected": ">= 0",
                "observed": "-1",
            }
        ],
    )


def test_the_summary_shows_both_sums_and_that_they_hold() -> None:
    shown = render(result_of())
    assert "records in  1,200  = 1,140 mapped + 50 skipped + 10 unreadable  ✓" in shown
    assert (
        "events in   1,140  = 1,000 touchpoints + 40 duplicates + 80 quarantined + 15 after as-of + 5 excluded  ✓"
        in shown
    )
    assert "ALARM" not in shown


def test_a_sum_that_fails_is_an_alarm() -> None:
    result = result_of(("events_in", "web", None, 3))
    assert "✗ ALARM: 3 missing" in render(result)
    assert "✗ ALARM: 2 too many" in render(result_of(("duplicates", "web", None, 2)))


def test_the_summary_says_what_was_refused_and_where_the_rest_is() -> None:
    shown = render(result_of())
    assert shown.startswith("Run 20261121T235900Z-00000000, as of 2026-11-01T00:00:00Z: published\n")
    assert (
        "  shop  field.range     50  33.3 %\n  web   field.missing   30   3.0 %\n  web   json.malformed  10   1.0 %"
        in shown
    )
    assert "  web  field_00  100\n" in shown and "field_10" not in shown and "and 2 more" in shown
    assert "77 customers in 1 min 15 s, in /data/my lake" in shown
    assert shown.splitlines()[-1].startswith("Next: parcours query --lake '/data/my lake' \"select ")


def test_the_summary_says_how_events_found_their_customer() -> None:
    shown = render(result_of(
        ("identity_rule", "web", "customer_id", 700), ("identity_rule", "shop", "customer_id", 100),
        ("identity_rule", "web", "device", 200), ("identity_decisions", "", "kiosk", 2),
        ("identity_decisions", "", "shared_email", 1), ("identity_decisions", "", "kiosk", 3),
    ))  # fmt: skip
    assert (
        "How events found their customer (policy last_auth)\n"
        "  1 customer_id  800  80.0 %  its own customer_id\n"
        "  5 device       200  20.0 %  others on the same device\n"
        "  refused: 5 devices of too many customers, 1 e-mail of several customers; see identity_decisions\n"
    ) in shown
    assert "How events found" not in render(result_of())


def test_the_summary_warns_of_one_that_has_an_unlikely_share_of_the_events() -> None:
    """More than 300 of 1,000 events, by the setting, and more than 20 times the mean of 77 customers, 260."""
    tallies = [("busiest_customer", "", f"c\x1b{n}", n) for n in (300, 301, 500)]
    warned = [
        line for line in render(result_of(*tallies, ("busiest_device", "", "d", 302))).splitlines() if "Warning" in line
    ]
    assert [line.split(". ")[0] for line in warned] == [
        "Warning: the customer c�500 has 500 of the events (50.0 %)",
        "Warning: the customer c�301 has 301 of the events (30.1 %)",
        "Warning: the device d has 302 of the events (30.2 %)",
    ]


@pytest.mark.parametrize(
    ("customers", "events", "warns"),
    [
        (200, 101, True),  # 20 times the mean is 100
        (200, 100, False),
        (125, 101, False),  # it is 160
        (125, 161, True),
        (2, 200, False),  # it is ten times all: above a fifth it warns however few there are
        (2, 201, True),
        (1, 1_000, True),
    ],
)
def test_a_share_is_unlikely_beside_the_mean_and_above_a_fifth_always(customers: int, events: int, warns: bool) -> None:
    result = result_of(("busiest_device", "", "default", events))
    result.customers, result.unlikely_share = customers, 0.01
    assert ("Warning: the device default" in render(result)) == warns


def test_a_run_that_is_not_published_says_so_and_offers_no_query() -> None:
    result = result_of(published=False)
    shown = render(result)
    assert "NOT published" in shown and "Next:" not in shown
    result.audit = Audit(({"success": True, "severity": "critical", "error": None},))
    assert f"Next: parcours publish --lake '/data/my lake' {result.run_id}" in render(result)
    failed = {
        "success": False,
        "severity": "critical",
        "error": None,
        "table_name": "customers",
        "rule": "key_is_unique",
    }
    result.audit = Audit((failed,))
    shown = render(result)
    assert "1 forbid publication\n  refused by customers: key_is_unique" in shown and "Next:" not in shown


def test_a_check_shows_each_code_with_an_example_that_cannot_harm_the_terminal() -> None:
    shown = render_check(result_of())
    assert "= 1,040 fine + 80 quarantined + 15 after as-of + 5 excluded" in shown and "ALARM" not in shown
    assert "For example, field.range: shop.csv, at 12\n  a,�[31mb xxx" in shown and "\x1b" not in shown
    assert "  path      amount\n  expected  >= 0\n  observed  -1\n" in shown
    assert max(len(line) for line in shown.splitlines()) < 310


# ---- progress


def test_progress_is_read_from_what_is_staged(tmp_path: Path) -> None:
    progress = Progress(1_000, str(tmp_path), 4)
    assert progress.look().text == "read 0 bytes of 1.0 kB"
    blocks = tmp_path / "_staged" / "blocks"
    blocks.mkdir(parents=True)
    (blocks / "300-a.arrow").touch()
    (blocks / "200-b.arrow").touch()
    (blocks / "junk.tmp").touch()
    assert (progress.look().text, progress.look().share) == ("read 500 bytes of 1.0 kB", 0.5)
    (blocks / "900-c.arrow").touch()  # a retried block counts twice: never more than all
    assert progress.look().text == "read 1.0 kB, matching customers"
    (tmp_path / "touchpoints").mkdir()
    for i in range(3):
        (tmp_path / "touchpoints" / f"part-{i}.parquet").touch()
    assert (progress.look().text, progress.look().share) == ("wrote 3 of 4 shards", 0.75)


def test_progress_in_a_log_is_lines_and_on_an_object_store_no_looking(tmp_path: Path) -> None:
    log = io.StringIO()
    with Progress(None, "s3://lake/runs/r", stream=log, line_every_s=0.05):
        time.sleep(0.5)
    lines = log.getvalue().splitlines()
    assert lines and set(lines) == {"parcours: 00:00 running"}
    with Progress(100, str(tmp_path), stream=log, quiet=True, line_every_s=0.01):
        time.sleep(0.1)
    assert len(log.getvalue().splitlines()) == len(lines)


# ---- the whole way: run, query, check


EVENTS = """\
{"event_id":"a","event_type":"site_visit","occurred_at":"2026-01-01T00:00:00Z","anonymous_id":"d1","page_url":"/x","plam":"b"}
{"event_id":"a","event_type":"site_visit","occurred_at":"2026-01-01T00:00:00Z","anonymous_id":"d1","page_url":"/x"}
not json
{"event_id":"c","event_type":"site_visit","occurred_at":"2026-01-01T00:00:00","anonymous_id":"d1","page_url":"/x"}
{"event_id":"d","event_type":"purchase","occurred_at":"2026-01-02T00:05:00Z","customer_id":"c1","order_id":"o1","amount":12,"currency":"EUR"}
"""


@pytest.fixture
def events(tmp_path: Path) -> str:
    path = tmp_path / "events.jsonl"
    path.write_text(EVENTS, encoding="utf-8")
    return str(path)


def test_run_and_query(events: str, tmp_path: Path) -> None:
    lake = str(tmp_path / "lake")
    done = type_in("run", "--input", events, "--output", lake, "--as-of", "2026-02-01T00:00:00Z", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    assert "as of 2026-02-01T00:00:00Z: published" in done.stdout
    assert "= 2 touchpoints + 1 duplicates + 1 quarantined + 0 after as-of + 0 excluded  ✓" in done.stdout
    asked = type_in("query", "--lake", lake, "select sum(amount) as s from touchpoints", "--format", "json")
    assert json.loads(asked.stdout) == [{"s": "12.0000"}]


def test_check_writes_nothing_and_is_0_with_records_to_quarantine(events: str, tmp_path: Path) -> None:
    done = type_in("check", "--input", events)
    assert (done.returncode, done.stderr) == (0, "")
    assert "For example, json.malformed: " in done.stdout and "  not json" in done.stdout
    assert "  observed  2026-01-01T00:00:00\n" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["events.jsonl"]


@pytest.mark.parametrize("command", ["run", "check"])
def test_input_that_is_not_there_is_3(command: str, tmp_path: Path) -> None:
    lake = ["--output", str(tmp_path / "lake")] if command == "run" else []
    done = type_in(command, "--input", str(tmp_path / "none*.jsonl"), *lake)
    assert (done.returncode, done.stdout) == (3, "")
    assert "none*.jsonl" in done.stderr and "\nmend: " in done.stderr and "Traceback" not in done.stderr
