"""Every corruption of corruptions.py is refused, or quarantined, under its name, and none is published.

Those of input, of suites and of settings are made before a whole run. Those of staged tables stand between the pipeline
and the gate: the pipeline is replaced by a copy of the tables that it made of the healthy input, one of them corrupted and
all listed by a right manifest, so that only the audit can notice; what follows it is the real run. The same copy without a
corruption is published: it is the control, and the past with which the audit compares.

docs/corruptions.md is the list; after a change, `python tests/test_corruptions.py` writes it anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import subprocess
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines import audit, run
from pipelines.catalog import connect
from pipelines.cli import status_of
from pipelines.lake import Lake
from pipelines.manifest import File, Manifest
from schemas.tables import HISTORY_TABLES
from tests.corruptions import CORPUS, GARBAGE, Corruption, StagedTables, Way, copy_installation, write_till
from tests.lake_tables import read_tables
from tests.real_command import COMMAND, environment
from transforms.write_tables import to_parquet

#: Some hundred runs and audits, minutes in all.
heavy = pytest.mark.faults

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "corruptions.md"
AS_OF = "2026-03-31T00:00:00Z"
#: So that the table of funnels has rows.
FUNNEL = '[funnels.order]\nsteps = ["site_visit", "purchase"]\nby = ["channel"]\n'
#: Of the fixture company, what is nearly healthy, so that no table is empty.
COMPANY = ("events.jsonl", "more-events.csv", "more-events.parquet", "broken-bytes.jsonl", "broken.csv")


def of(way: Way) -> list[Any]:
    return [pytest.param(entry, id=entry.name.replace(" ", "_")) for entry in CORPUS if entry.way == way]


@dataclass(frozen=True)
class Base:
    """The run that the pipeline made of the healthy input: where its files are, and its tables."""

    folder: Path
    manifest: Manifest
    tables: dict[str, pa.Table]


@dataclass(frozen=True)
class Healthy:
    """An input, and a lake in which three runs of it are published: that of the pipeline, and two copies."""

    inputs: Path
    lake: Path
    base: Base


@dataclass(frozen=True)
class Ended:
    status: int
    err: str


def command(inputs: Path, lake: Path, *more: str) -> list[str]:
    return ["run", "--input", str(inputs), "--output", str(lake), "--as-of", AS_OF, "--quiet", *more]


def parcours(*args: str) -> Ended:
    """The command in this process."""
    with contextlib.redirect_stderr(io.StringIO()) as err, contextlib.redirect_stdout(io.StringIO()):
        status = status_of(list(args))
    return Ended(status, err.getvalue())


# ---- a run whose pipeline is a copy


def staged_copy(base: Base, corrupt: Callable[[StagedTables], None]) -> Callable[..., Manifest]:
    """In the place of pipelines.run._stage: its tables, corrupted, with a right manifest."""

    def stage(
        lake: Lake, attempt: Any, plan: Any, settings: Any, beam_args: Any, started: Any, progress: Any
    ) -> Manifest:
        folder, files = Path(attempt.folder), list(base.manifest.files)
        for file in files:
            (folder / file.path).parent.mkdir(exist_ok=True)
            shutil.copyfile(base.folder / file.path, folder / file.path)
        staged = StagedTables(base.tables, base.manifest.tallies)
        corrupt(staged)
        for name, pieces in staged.changed():
            for file in [file for file in files if file.table == name]:
                files.remove(file)
                (folder / file.path).unlink()
            for piece in pieces:
                path = f"{name}/part-{uuid.uuid4().hex}.parquet"
                data = to_parquet(piece, piece.schema).to_pybytes()
                (folder / path).write_bytes(data)
                files.append(File(name, path, piece.num_rows, len(data), hashlib.sha256(data).hexdigest()))
        written = lake.write_manifest(
            attempt,
            files,
            tables={name: table for name, table in plan.tables.items() if name not in HISTORY_TABLES},
            started_at=started,
            as_of=plan.stages.as_of,
            settings=settings.model_dump(mode="json"),
            inputs=base.manifest.inputs,
            tallies=staged.tallies,
        )
        if staged.afterwards is not None:
            staged.afterwards(folder)
        return written

    return stage


def nothing(_: StagedTables) -> None:
    """No corruption."""


def stage_a_copy(patch: pytest.MonkeyPatch, base: Base, corrupt: Callable[[StagedTables], None] = nothing) -> None:
    """Without the trial of the SQL of each step, which is of the pipeline that is replaced: half of a run's time here."""
    patch.setattr(run, "_stage", staged_copy(base, corrupt))
    patch.setattr(run, "check_plan", lambda plan, settings: None)


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Healthy:
    folder = tmp_path_factory.mktemp("healthy")
    inputs, lake = folder / "inputs", folder / "lake"
    inputs.mkdir()
    for name in COMPANY:
        shutil.copyfile(ROOT / "fixtures" / "company" / name, inputs / name)
    write_till(inputs)
    funnel = folder / "settings.toml"
    funnel.write_text(FUNNEL, encoding="utf-8")
    assert parcours(*command(inputs, lake, "--settings", str(funnel))) == Ended(0, "")
    made = Lake(str(lake)).published()
    base = Base(lake / "runs" / made.run_id, made, read_tables(lake))
    with pytest.MonkeyPatch.context() as patch:
        stage_a_copy(patch, base)
        for _ in range(2):
            assert parcours(*command(inputs, lake)) == Ended(0, "")
    return Healthy(inputs, lake, base)


# ---- what is published


def published(lake: Path) -> dict[str, bytes]:
    """What a reader sees: current.json, and the files of the run that it names."""
    run_id = json.loads((lake / "current.json").read_bytes())["run_id"]
    paths = [lake / "current.json", *sorted(path for path in (lake / "runs" / run_id).rglob("*") if path.is_file())]
    return {str(path.relative_to(lake)): path.read_bytes() for path in paths}


@contextlib.contextmanager
def nothing_published(lake: Path) -> Iterator[None]:
    before = published(lake)
    assert len(before) > 10
    yield
    assert published(lake) == before


def newest(lake: Path, before: set[str]) -> dict[str, Any]:
    """The row of `runs` of the one run that the lake did not know before."""
    [row] = [row for row in Lake(str(lake)).history.runs() if row["run_id"] not in before]
    return dict(row)


def run_ids(lake: Path) -> set[str]:
    return {row["run_id"] for row in Lake(str(lake)).history.runs()}


def assert_told(entry: Corruption, ended: Ended) -> None:
    """One message that says what is wrong, and one that says how to mend it; no traceback."""
    assert ended.status == entry.status, ended.err
    assert ended.err.startswith("parcours: error: ") and "\nmend: " in ended.err
    assert "Traceback" not in ended.err
    if entry.how == "message":
        for part in entry.caught:
            assert part in ended.err


def assert_refused_by_its_rules(entry: Corruption, ended: Ended, lake: Path, row: dict[str, Any]) -> None:
    """The rules are named, with what was seen; history says so; and the tables are kept for a look."""
    run_id = row["run_id"]
    assert (row["status"], row["audit_failures"] > 0) == ("refused", True)
    assert ended.err.startswith(f"parcours: error: {row['message']}")
    assert f"parcours query --lake {lake} --run {run_id}" in ended.err
    results = Lake(str(lake)).history.read("audit_results", [run_id]).to_pylist()
    failed = {f"{result['table_name']}: {result['rule']}": result for result in results if not result["success"]}
    assert set(entry.caught) <= set(failed), sorted(failed)
    for rule in entry.caught:
        result = failed[rule]
        assert result["severity"] == "critical" or result["error"]
        assert result["error"] or result["sample"] or result["observed"] is not None
    told = {line.strip().partition(",")[0]: seen for line, seen in told_of(ended.err).items()}
    assert set(entry.caught) & set(told), ended.err
    assert all(seen for seen in told.values()), ended.err
    assert_kept(lake, run_id)


def told_of(err: str) -> dict[str, list[str]]:
    """The lines of a refusal that name an expectation, and below each what was observed: a number, rows, an error."""
    found: dict[str, list[str]] = {}
    for line in err.partition("\nmend: ")[0].splitlines():
        if line.startswith("    "):
            if line.startswith(("    observed: ", "    row: ", "    error: ")):
                found[next(reversed(found))].append(line)
        elif line.startswith("  ") and not line.startswith("  and "):
            found[line] = []
    return found


def assert_kept(lake: Path, run_id: str) -> None:
    """The tables of the refused run can be read by its id, as `parcours query --run` does."""
    manifest = Lake(str(lake)).manifest(run_id)
    with contextlib.closing(connect(str(lake), run_id)) as con:
        for name, rows in manifest.rows.items():
            assert con.sql(f"select count(*) from {name}").fetchall() == [(rows,)], name


# ---- the control


def test_the_healthy_copy_is_published(healthy: Healthy) -> None:
    """Without it, a refusal of what was staged by a copy would prove nothing."""
    runs = Lake(str(healthy.lake)).history.runs()
    assert [row["status"] for row in runs[:3]] == ["published"] * 3
    assert [row["audit_failures"] for row in runs[:3]] == [0] * 3
    assert all(healthy.base.manifest.rows.values()), "a table without rows proves little"


# ---- input


@dataclass(frozen=True)
class Records:
    """A lake in which all bad records stood in the input of one run, and what was published without them."""

    ended: Ended
    tables: dict[str, Any]
    touchpoints: int


@pytest.fixture(scope="module")
def bad_records(healthy: Healthy, tmp_path_factory: pytest.TempPathFactory) -> Records:
    folder = tmp_path_factory.mktemp("records")
    inputs, lake = folder / "inputs", folder / "lake"
    shutil.copytree(healthy.inputs, inputs)
    shutil.copytree(healthy.lake, lake)
    for entry in CORPUS:
        if entry.way == "records":
            entry.make(inputs, entry.name)
    ended = parcours(*command(inputs, lake))
    return Records(ended, read_tables(lake), healthy.base.manifest.rows["touchpoints"])


@pytest.mark.parametrize("entry", of("records"))
def test_a_bad_record_is_quarantined_and_all_else_is_published(entry: Corruption, bad_records: Records) -> None:
    assert bad_records.ended == Ended(entry.status, "")
    assert bad_records.tables["touchpoints"].num_rows == bad_records.touchpoints
    assert entry.name not in bad_records.tables["touchpoints"]["event_id"].to_pylist()
    [row] = [row for row in bad_records.tables["quarantine"].to_pylist() if f"{entry.name}" in row["raw"]]
    assert [error["code"] for error in row["errors"]] == list(entry.caught)


@heavy
@pytest.mark.parametrize("entry", of("inputs"))
def test_a_bad_input(entry: Corruption, healthy: Healthy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, lake = tmp_path / "inputs", healthy.lake
    shutil.copytree(healthy.inputs, inputs)
    if meanwhile := entry.make(inputs):
        execute = run._execute

        def and_meanwhile(*given: Any) -> None:
            execute(*given)
            meanwhile()

        monkeypatch.setattr(run, "_execute", and_meanwhile)
    if entry.how == "quarantine":
        lake = tmp_path / "lake"
        shutil.copytree(healthy.lake, lake)
        assert parcours(*command(inputs, lake)) == Ended(entry.status, "")
        tables = read_tables(lake)
        assert tables["touchpoints"].num_rows == healthy.base.manifest.rows["touchpoints"]
        codes = Counter(error["code"] for row in tables["quarantine"].to_pylist() for error in row["errors"])
        assert all(codes[code] == GARBAGE for code in entry.caught)
        [row] = [row for row in Lake(str(lake)).history.runs() if row["run_id"] == Lake(str(lake)).current()]
        assert tables["quarantine"].num_rows * 5 == row["records_in"], "exactly the limit"
        return
    before = run_ids(lake)
    with nothing_published(lake):
        ended = parcours(*command(inputs, lake))
    assert_told(entry, ended)
    if entry.how == "rule":
        assert_refused_by_its_rules(entry, ended, lake, newest(lake, before))
        return
    for run_id in run_ids(lake) - before:  # none, where it was found before the run began
        row = Lake(str(lake)).history.run(run_id)
        assert row is not None and row["status"] == "failed"
        assert not (lake / "runs" / run_id).exists()


# ---- staged tables


@heavy
@pytest.mark.parametrize("entry", of("tables"))
def test_a_bad_table_is_refused(entry: Corruption, healthy: Healthy, monkeypatch: pytest.MonkeyPatch) -> None:
    stage_a_copy(monkeypatch, healthy.base, entry.make)
    before = run_ids(healthy.lake)
    with nothing_published(healthy.lake):
        ended = parcours(*command(healthy.inputs, healthy.lake))
    assert_told(entry, ended)
    row = newest(healthy.lake, before)
    if entry.how == "rule":
        assert_refused_by_its_rules(entry, ended, healthy.lake, row)
    else:
        assert row["status"] in ("failed", "refused"), "there are no whole tables to be kept"


# ---- suites


@heavy
@pytest.mark.parametrize("entry", of("own_suites"))
def test_a_bad_suite_or_setting_blocks(
    entry: Corruption, healthy: Healthy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage_a_copy(monkeypatch, healthy.base)
    entry.make(tmp_path)
    before = run_ids(healthy.lake)
    with nothing_published(healthy.lake):
        ended = parcours(*command(healthy.inputs, healthy.lake, "--settings", str(tmp_path / "settings.toml")))
    assert_told(entry, ended)
    if entry.how == "rule":
        assert_refused_by_its_rules(entry, ended, healthy.lake, newest(healthy.lake, before))
        assert "could not be evaluated" in ended.err and "    error: " in ended.err
    else:
        assert run_ids(healthy.lake) == before, "found before the run began"


@heavy
@pytest.mark.parametrize("entry", of("installed"))
def test_a_bad_installation_blocks(entry: Corruption, healthy: Healthy, tmp_path: Path) -> None:
    """The real command, from a copy of Parcours."""
    copy_installation(tmp_path)
    entry.make(tmp_path / "schemas" / "expectations")
    path = os.pathsep.join((str(tmp_path), environment()["PYTHONPATH"]))
    with nothing_published(healthy.lake):
        done = subprocess.run(
            [*COMMAND, *command(healthy.inputs, healthy.lake)],
            env=environment() | {"PYTHONPATH": path},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert str(tmp_path) in done.stderr or done.returncode == 1, "it was the copy that ran"
    assert_told(entry, Ended(done.returncode, done.stderr))


@heavy
@pytest.mark.parametrize("entry", of("process"))
def test_an_audit_that_does_not_end_blocks(
    entry: Corruption, healthy: Healthy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage_a_copy(monkeypatch, healthy.base)
    auditor = entry.make(tmp_path)
    for module in (audit, run):
        monkeypatch.setattr(module, "Auditor", auditor)
    settings = tmp_path / "settings.toml"
    before = run_ids(healthy.lake)
    with nothing_published(healthy.lake):
        more = ["--settings", str(settings)] if settings.exists() else []
        ended = parcours(*command(healthy.inputs, healthy.lake, *more))
    assert_told(entry, ended)
    row = newest(healthy.lake, before)
    assert row["status"] == "refused"
    assert_kept(healthy.lake, row["run_id"])


# ---- the list


def test_the_corpus_is_whole() -> None:
    assert len(CORPUS) >= 40
    assert {entry.kind for entry in CORPUS} == {"input", "staged", "suite"}
    assert len({entry.name for entry in CORPUS}) == len(CORPUS)
    assert len({entry.does for entry in CORPUS}) == len(CORPUS)
    assert all(entry.does.endswith(".") and entry.caught for entry in CORPUS)


def test_every_corruption_is_exercised() -> None:
    tests = [value for name, value in globals().items() if name.startswith("test_")]
    marks = [mark for test in tests for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
    exercised = [param.values[0] for mark in marks for param in mark.args[1]]
    assert Counter(entry.name for entry in exercised) == Counter(entry.name for entry in CORPUS)


HEAD = """# Corruptions

What has been tried to get wrong numbers published. Written by `python tests/test_corruptions.py` from `tests/corruptions.py`,
which does each of these to a healthy copy; `tests/test_corruptions.py` makes a run with it. None is published: the run is
refused under the name that stands here, and what was published stays as it was, byte for byte; or, where single records
are bad, these are quarantined under their codes, and the rest is published.

| Exit status | What it means |
| --- | --- |
| 0 | published; the bad records are in `quarantine` |
| 1 | refused by the audit; the tables of the run are kept for a look, `parcours query --run` |
| 2 | a suite, a setting, or a file of the run cannot be used |
| 3 | input that cannot be read |
"""
SECTIONS = {
    "input": ("Of input", "Caught by: the code in `quarantine`, the rule of the audit, or a part of the message."),
    "staged": (
        "Of staged tables",
        "Done to the tables between the pipeline and the audit, with a manifest that is right. Caught by: the rules of the\n"
        "audit, `<table or measure>: <rule>`, or a part of the message.",
    ),
    "suite": (
        "Of suites, settings and the audit itself",
        "Caught by: a part of the message, or the rule that could not be evaluated, which blocks whatever its severity.",
    ),
}


def page() -> str:
    """docs/corruptions.md as it must be."""
    parts = [HEAD]
    for kind, (title, says) in SECTIONS.items():
        entries = [entry for entry in CORPUS if entry.kind == kind]
        rows = [
            f"| {entry.name} | {entry.does} | {'; '.join(f'`{name}`' for name in entry.caught)} | {entry.status} |"
            for entry in entries
        ]
        table = ["| Corruption | What is done | Caught by | Exit status |", "| --- | --- | --- | --- |", *rows]
        parts.append(f"## {title}: {len(entries)}\n\n{says}\n\n" + "\n".join(table) + "\n")
    return "\n".join(parts)


def test_the_page_lists_them_all() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)} written")
