"""Readers beside writers: nobody sees half a run, and nobody's run is pulled from under him."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pytest

from pipelines.housekeeping import keep
from pipelines.lake import Lake
from pipelines.run import run
from pipelines.settings import Settings, parse_time
from tests.lake_tables import assert_same_tables, counts
from tests.real_command import environment

pytestmark = pytest.mark.faults

COMPANY = Path(__file__).parent.parent.parent / "fixtures" / "company" / "events.jsonl"
SETTINGS = Settings(as_of=parse_time("2026-06-01T00:00:00Z"))
_READER = """
import sys, time, pathlib, duckdb
catalog, ready, go = sys.argv[1:]
con = duckdb.connect(catalog, read_only=True)
def ask(): return con.execute("select count(*), count(distinct customer_key) from touchpoints").fetchone()
first = ask()
pathlib.Path(ready).touch()
while not pathlib.Path(go).exists(): time.sleep(0.02)
assert ask() == first, (ask(), first)
"""


@pytest.fixture
def inputs(tmp_path: Path) -> Sequence[str]:
    lines = COMPANY.read_text(encoding="utf-8").splitlines(keepends=True)
    paths = []
    for number in range(3):
        path = tmp_path / f"events-{number}.jsonl"
        path.write_text("".join(lines[: len(lines) - 5 * number]), encoding="utf-8")
        paths.append(str(path))
    return paths


def test_a_reader_during_publications_sees_one_run_or_the_other(tmp_path: Path, inputs: Sequence[str]) -> None:
    lake = str(tmp_path / "lake")
    whole = {}
    for path in inputs:
        run([path], lake, SETTINGS)
        whole[counts(lake)["run_id"]] = _seen(lake)
    seen, stop, wrong = set(), threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            try:
                told = _seen(lake)
            except Exception as error:
                wrong.append(repr(error))
                return
            seen.add(told)
            if told not in whole.values():
                wrong.append(repr(told))

    opened = Lake(lake)
    reader = threading.Thread(target=read)
    reader.start()
    until = time.monotonic() + 60
    with opened.lock("test"):
        while seen != set(whole.values()) and not wrong and time.monotonic() < until:
            for run_id in whole:
                opened.publish(opened.run(run_id))
    stop.set()
    reader.join()
    assert wrong == []
    assert seen == set(whole.values()), "the reader saw each of the runs"


def test_a_reader_that_stays_open_keeps_its_run(tmp_path: Path, inputs: Sequence[str]) -> None:
    """A DuckDB client has the first run open while two others are made, each of which would remove it."""
    lake = str(tmp_path / "lake")
    run([inputs[0]], lake, SETTINGS)
    first = Lake(lake).published().run_id
    ready, go = tmp_path / "ready", tmp_path / "go"
    reader = subprocess.Popen(
        [sys.executable, "-c", _READER, Lake(lake).run(first).catalog, str(ready), str(go)], env=environment()
    )
    try:
        while not ready.exists():
            assert reader.poll() is None
        for path in inputs[1:]:
            result = run([path], lake, SETTINGS.model_copy(update={"keep": 1}))
            assert first not in result.removed
        assert len(Lake(lake).run_ids()) == 2, "the run between was nobody's any more"
        go.touch()
        assert reader.wait(60) == 0
    finally:
        reader.kill()
        reader.wait()
    with Lake(lake).lock("test"):
        assert keep(Lake(lake), 1) == [first], "once it is closed, the next one removes it"


def test_a_query_keeps_its_run_while_it_is_asked(tmp_path: Path, inputs: Sequence[str]) -> None:
    lake = Lake(str(tmp_path / "lake"))
    run([inputs[0]], lake.path, SETTINGS)
    first = lake.published().run_id
    code = (
        "import sys; from pipelines.catalog import reading; from pipelines.lake import Lake\n"
        "with reading(Lake(sys.argv[1])) as con:\n"
        "    print('open', flush=True); sys.stdin.readline()\n"
        "    print(con.execute('select count(*) from touchpoints').fetchone()[0], flush=True)\n"
    )
    asked = subprocess.Popen(
        [sys.executable, "-c", code, lake.path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert asked.stdout is not None and asked.stdin is not None
    assert asked.stdout.readline() == "open\n"
    assert lake.is_being_read(first)
    run([inputs[1]], lake.path, SETTINGS.model_copy(update={"keep": 1}))
    out, _ = asked.communicate("go\n", timeout=60)
    assert int(out) > 0
    assert not lake.is_being_read(first)


def test_a_retried_bundle_leaves_nothing_twice(
    tmp_path: Path, inputs: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each shard's files are written twice, as by a bundle that was repeated after its first attempt had written."""
    from transforms import write_tables

    usual = write_tables.write_table

    def twice(*args: object) -> object:
        usual(*args)  # type: ignore[arg-type]
        return usual(*args)  # type: ignore[arg-type]

    run([inputs[0]], str(tmp_path / "once"), SETTINGS)
    monkeypatch.setattr(write_tables, "write_table", twice)
    run([inputs[0]], str(tmp_path / "twice"), SETTINGS)
    assert_same_tables(tmp_path / "once", tmp_path / "twice")  # and the folder holds what is listed


def test_the_history_is_live_in_a_catalog_that_is_open(tmp_path: Path, inputs: Sequence[str]) -> None:
    lake = str(tmp_path / "lake")
    run([inputs[0]], lake, SETTINGS)
    with duckdb.connect(Lake(lake).run(Lake(lake).published().run_id).catalog, read_only=True) as con:
        assert con.execute("select count(*) from runs").fetchall() == [(1,)]
        run([inputs[1]], lake, SETTINGS)
        assert con.execute("select count(*), count(distinct run_id) from runs").fetchall() == [(2, 2)]
        assert con.execute("select count(distinct run_id) from audit_results").fetchall() == [(2,)]


def _seen(lake: str) -> tuple[int, ...]:
    """What a reader finds, by the means of `parcours query`."""
    from pipelines.catalog import reading

    with reading(Lake(lake)) as con:
        row = con.execute(
            "select (select count(*) from touchpoints), (select sum(touchpoints) from customers), (select count(*) from sessions)"
        ).fetchone()
    assert row is not None
    return tuple(row)
