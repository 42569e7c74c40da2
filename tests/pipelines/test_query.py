"""`parcours query`, as it is typed: what it writes keeps its meaning, and what is wrong is said in two lines."""

import csv
import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.lake import Lake

COMMAND = [sys.executable, "-c", "from pipelines.start import main; main()", "query"]
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


def ask(lake: Lake | str, *args: str, text: str | None = None) -> subprocess.CompletedProcess[bytes]:
    path = lake if isinstance(lake, str) else lake.path
    given = None if text is None else text.encode()
    return subprocess.run(
        [*COMMAND, "--lake", path, *args], input=given, capture_output=True, env=ENVIRONMENT, timeout=60
    )


def answer(lake: Lake, *args: str, text: str | None = None) -> bytes:
    done = ask(lake, *args, text=text)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def refusal(lake: Lake | str, *args: str) -> str:
    """What standard error says; the status is 2, nothing is answered, and there is no traceback."""
    done = ask(lake, *args)
    said = done.stderr.decode()
    assert (done.returncode, done.stdout) == (2, b""), said
    assert "Traceback" not in said
    return said


# ---- the four forms


def test_a_table_on_a_pipe_shows_every_column_and_every_letter(lake: Lake) -> None:
    shown = answer(lake, "select *, repeat('x', 300) as long from touchpoints").decode()
    assert shown.startswith("┌") and "x" * 300 in shown
    assert all(name in shown for name in ("customer_key", "utm_source", "score", "extra"))
    assert "19.9000" in shown and "2026-01-01 12:02:00+00" in shown


def test_a_table_says_if_it_is_not_all(lake: Lake) -> None:
    done = ask(lake, "from range(10001)")
    assert b"first 10,000 rows; --format csv gives all" in done.stderr
    assert ask(lake, "from range(10000)").stderr == b""


def test_csv_keeps_money_times_nulls_and_quotes(lake: Lake) -> None:
    sql = "select event_id, amount, occurred_at, channel, email from touchpoints order by 1"
    out = answer(lake, sql, "--format", "csv")
    assert list(csv.reader(io.StringIO(out.decode()))) == [
        ["event_id", "amount", "occurred_at", "channel", "email"],
        ["c-1-1", "", "2026-01-01T12:01:00.000000Z", "", ""],
        ["c-1-2", "19.9000", "2026-01-01T12:02:00.000000Z", "", ""],
        ["c-2-1", "0.0001", "2026-01-01T12:01:00.000000Z", 'e-mail, "spring"', ""],
    ]
    assert b"19.9000," in out  # not a text


def test_csv_of_no_rows_has_its_header(lake: Lake) -> None:
    assert answer(lake, "select ticket_id, source from tickets", "--format", "csv") == b'"ticket_id","source"\n'


EVERY_TYPE = """
    select 0.0000001::decimal(20, 10) as tiny, sum(7) as whole, 'nan'::double as nan, interval 90 minutes as pause,
        [{'currency': 'EUR', 'amount': 1.50::decimal(18, 4)}] as money, '\\x00\\xff'::blob as bytes,
        date '2026-01-02' as day, time '10:00' as clock, timestamp '2026-01-02 03:04:05.5' as local, true as flag,
        null as nothing, map {'k': 1} as pairs, 'é'::enum('é') as choice, 0.1 + 0.2::double as sum
"""


def test_json_loses_nothing(lake: Lake) -> None:
    assert json.loads(answer(lake, EVERY_TYPE, "--format", "json")) == [
        {
            "tiny": "0.0000001000",
            "whole": 7,
            "nan": None,
            "pause": "P0M0DT5400S",
            "money": [{"currency": "EUR", "amount": "1.5000"}],
            "bytes": "AP8=",
            "day": "2026-01-02",
            "clock": "10:00:00",
            "local": "2026-01-02T03:04:05.500000",
            "flag": True,
            "nothing": None,
            "pairs": [["k", 1]],
            "choice": "é",
            "sum": 0.30000000000000004,
        }
    ]


def test_csv_takes_every_type(lake: Lake) -> None:
    header, row = csv.reader(io.StringIO(answer(lake, EVERY_TYPE, "--format", "csv").decode()))
    told = dict(zip(header, row, strict=True))
    assert told["tiny"] == "0.0000001000" and told["whole"] == "7" and told["flag"] == "true"
    assert json.loads(told["money"]) == [{"currency": "EUR", "amount": "1.5000"}]
    assert told["local"] == "2026-01-02T03:04:05.500000" and told["nothing"] == "" and told["choice"] == "é"


def test_json_is_an_array_with_a_row_a_line(lake: Lake) -> None:
    out = answer(lake, "select seq from touchpoints order by customer_key, seq", "--format", "json")
    assert out == b'[{"seq": 1},\n{"seq": 2},\n{"seq": 1}]\n'
    assert answer(lake, "from tickets", "--format", "json") == b"[]\n"


@pytest.mark.parametrize("to_a_file", [True, False])
def test_parquet_has_the_types_of_the_lake(lake: Lake, tmp_path: Path, to_a_file: bool) -> None:
    sql = "select event_id, amount, occurred_at from touchpoints order by 1"
    path = tmp_path / "answer.parquet"
    if to_a_file:
        assert answer(lake, sql, "--format", "parquet", "--output", str(path)) == b""
    else:
        path.write_bytes(answer(lake, sql, "--format", "parquet"))
    table = pq.read_table(path)
    assert table.num_rows == 3
    assert table.schema.field("amount").type == pa.decimal128(18, 4)


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_output_writes_what_a_pipe_would_get(lake: Lake, tmp_path: Path, form: str) -> None:
    path = tmp_path / "answer"
    assert answer(lake, "from touchpoints", "--format", form, "--output", str(path)) == b""
    assert path.read_bytes() == answer(lake, "from touchpoints", "--format", form)


def test_sql_comes_from_standard_input_too(lake: Lake) -> None:
    assert b"42" in answer(lake, "-", "--format", "csv", text="select 42 as answer;\n")


def test_a_statement_without_an_answer_is_fine(lake: Lake) -> None:
    answer(lake, "set threads = 1")
    assert b"3" in answer(lake, "create table t as from touchpoints; select count(*) as n from t", "--format", "csv")


# ---- what is wrong


def test_a_lake_without_a_published_run(tmp_path: Path) -> None:
    said = refusal(str(tmp_path / "none"), "select 1")
    assert (
        said.startswith("parcours: error: There is no published run in ") and "\nmend: Make one: parcours run " in said
    )


def test_an_unknown_table_names_those_there_are(lake: Lake) -> None:
    said = refusal(lake, "select * from touchpoint")
    assert "Table with name touchpoint does not exist" in said
    assert (
        "mend: The tables are: audit_results, channel_credit, cohorts, " in said
        and ", touchpoints.\n" in said
        and "duckdb_" not in said
    )


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("selec 1", 'Parser Error: syntax error at or near "selec".'),
        ("select nosuch from touchpoints", 'Referenced column "nosuch" not found'),
        ("select 'a'::int", "Could not convert string 'a' to INT32."),
        ("select 1 where", "Parser Error"),
        (" ;\n", "There is no SQL."),
        ("from 'nope.csv'", "No files found"),
    ],
)
def test_wrong_sql_is_told_in_one_clean_line(lake: Lake, sql: str, says: str) -> None:
    said = refusal(lake, sql)
    first, second = said.splitlines()
    assert first.startswith("parcours: error: ") and says in first and "LINE" not in first
    assert second.startswith("mend: ")


HALFWAY = "select (case when i = 300000 then 'a' else '1' end)::int as x from range(400000) as t(i)"


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_an_error_halfway_leaves_no_half_a_file(lake: Lake, tmp_path: Path, form: str) -> None:
    path = tmp_path / "answer"
    said = refusal(lake, HALFWAY, "--format", form, "--output", str(path))
    assert "Could not convert string 'a'" in said.splitlines()[0]
    assert not path.exists()


@pytest.mark.parametrize("form", ["json", "parquet"])
def test_two_columns_of_one_name_are_refused_where_one_would_be_lost(lake: Lake, form: str) -> None:
    assert "Two columns of the answer are named a" in refusal(lake, "select 1 as a, 2 as a", "--format", form)


def test_a_type_that_parquet_has_not(lake: Lake) -> None:
    assert "cannot be written as parquet" in refusal(lake, "select interval 1 day as a", "--format", "parquet")


def test_an_output_that_cannot_be_written(lake: Lake, tmp_path: Path) -> None:
    said = refusal(lake, "select 1", "--output", str(tmp_path / "no" / "file"))
    assert "cannot be written: No such file or directory" in said


def test_an_unknown_format_is_refused(lake: Lake) -> None:
    assert "'xlsx'" in refusal(lake, "select 1", "--format", "xlsx")


# ---- terminals, pipes, interrupts


def on_a_terminal(*args: str) -> tuple[int, str]:
    process, terminal = pty.fork()
    if process == 0:
        os.execvpe(COMMAND[0], [*COMMAND, *args], ENVIRONMENT | {"COLUMNS": "80", "TERM": "xterm"})
    said = b""
    while True:
        try:
            read = os.read(terminal, 65536)
        except OSError:  # how Linux says that the other end is closed
            break
        if not read:
            break
        said += read
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), said.decode()


def test_a_terminal_gets_what_fits_and_is_told_what_is_left_out(lake: Lake) -> None:
    status, shown = on_a_terminal("--lake", lake.path, "from touchpoints")
    assert status == 0 and "columns" in shown and "shown" in shown
    assert max(len(line) for line in shown.splitlines()) <= 80


def test_parquet_is_not_for_a_terminal(lake: Lake) -> None:
    status, said = on_a_terminal("--lake", lake.path, "from touchpoints", "--format", "parquet")
    assert status == 2 and "PAR1" not in said and "--output FILE" in said


def test_a_reader_that_has_enough_is_no_error(lake: Lake) -> None:
    line = [*COMMAND, "--lake", lake.path, "from range(5000000)", "--format", "csv"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == b'"range"\n'
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.parametrize("form", ["table", "csv"])
def test_an_interrupt_ends_a_long_query(lake: Lake, form: str) -> None:
    sql = "select count(*) from range(100000000) a(i), range(1000000) b(j) where (i * j) % 7 = 3"
    line = [*COMMAND, "--lake", lake.path, sql, "--format", form]
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": ENVIRONMENT}
    with subprocess.Popen(line, preexec_fn=_listens_to_interrupts, **options) as process:
        time.sleep(2)
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=20)
    assert (process.returncode, out, said.strip()) == (130, b"", b"parcours: interrupted")


def _listens_to_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background may have it ignored
