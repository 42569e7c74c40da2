"""Imports run one way, and only what needs Beam brings it: `schemas` <- `transforms` <- `pipelines`."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
#: What each package may import of our own.
MAY_IMPORT = {
    "schemas": {"schemas"},
    "transforms": {"schemas", "transforms"},
    "pipelines": {"schemas", "transforms", "pipelines"},
}
MODULES = sorted(path.relative_to(ROOT) for package in MAY_IMPORT for path in (ROOT / package).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, package) of every import in a module, those inside of functions and of `if TYPE_CHECKING` too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import; name the package"
            yield node.lineno, (node.module or "").split(".")[0]


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_imports_run_one_way(module: Path) -> None:
    allowed = MAY_IMPORT[module.parts[0]]
    wrong = [
        f"{module}:{line} imports {name}"
        for line, name in imports(ROOT / module)
        if name in MAY_IMPORT and name not in allowed
    ]
    assert not wrong
    assert not [line for line, name in imports(ROOT / module) if name == "tests"]


@pytest.mark.parametrize("module", [m for m in MODULES if m.parts[0] == "schemas"], ids=str)
def test_schemas_know_nothing_of_beam_and_duckdb(module: Path) -> None:
    assert not {name for _, name in imports(ROOT / module)} & {"apache_beam", "duckdb"}


def test_there_is_something_to_hold() -> None:
    packages = [module.parts[0] for module in MODULES]
    assert all(packages.count(package) > 3 for package in MAY_IMPORT)
    assert ("transforms", "schemas") in {(m.parts[0], n) for m in MODULES for _, n in imports(ROOT / m)}


def loaded_by(code: str) -> set[str]:
    """The top packages that a fresh Python has loaded after some code."""
    command = [sys.executable, "-c", f"{code}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import schemas.contracts, schemas.tables, schemas.dictionary, schemas.source_descriptions, schemas.suites",
        "import pipelines.cli",
        "import pipelines.query",
        "from pipelines.cli import status_of; assert status_of(['--help']) == 0",
        "from pipelines.cli import status_of; assert status_of(['metrics']) == 0",
        "from pipelines.cli import status_of; assert status_of(['metrics', 'aov']) == 0",
        "from pipelines.cli import status_of; assert status_of(['query', '--lake', 'no-such-lake', 'select 1']) == 2",
        "from pipelines.cli import status_of; assert status_of(['runs', '--lake', 'no-such-lake']) == 2",
        "from pipelines.cli import status_of; assert status_of(['publish', '--lake', 'no-such-lake', 'r']) == 2",
    ],
)
def test_beam_is_only_loaded_where_it_is_needed(code: str) -> None:
    loaded = loaded_by(code)
    assert not loaded & {"apache_beam", "transforms"}, "Beam takes seconds to load"


def test_beam_is_seen_where_it_is_loaded() -> None:
    assert {"apache_beam", "transforms"} <= loaded_by("import transforms.batches")


GREAT_EXPECTATIONS = {"great_expectations", "sqlalchemy", "duckdb_engine"}
#: Brings no more than a second, but not to a run that fits nothing.
STATISTICS = {"scipy"}


@pytest.mark.parametrize("module", [m for m in MODULES if m.parts[0] != "schemas"], ids=str)
def test_great_expectations_is_named_in_two_modules(module: Path) -> None:
    assert (
        module.name in ("gx_on_duckdb.py", "gx_quickly.py")
        or not {n for _, n in imports(ROOT / module)} & GREAT_EXPECTATIONS
    )


def test_a_run_loads_nothing_that_it_does_not_use(tmp_path: Path) -> None:
    """All of it, worker included, in one process; the audit passes in its own."""
    code = (
        "from pipelines.without_unused import hide_unused; hide_unused()\n"
        "from pipelines.run import run; from pipelines.settings import load_settings\n"
        "done = run(['fixtures/company/events.jsonl'], %r, load_settings(as_of='2026-03-31T00:00:00Z'))\n"
        "assert done.published and len(done.audit.results) > 100"
    )
    loaded = loaded_by(code % str(tmp_path / "lake"))
    assert "apache_beam" in loaded and not loaded & {
        *GREAT_EXPECTATIONS,
        *STATISTICS,
        "pandas",
        "pymongo",
        "apache_beam.io.gcp.bigquery",
    }


@pytest.mark.parametrize("module", ["audit_process", "settings", "query", "explain", "explain_metric", "funnel", "cli"])
def test_what_only_reads_a_lake_starts_without_beam(module: str) -> None:
    """It takes a second; the audit's process pays it in each run."""
    assert "apache_beam" not in loaded_by(f"import pipelines.{module}")


def test_the_audits_process_can_import_beam_beside_its_stand_in_for_pandas() -> None:
    """Which a lake on an object store asks of it."""
    code = (
        "from pipelines.gx_quickly import import_quickly; import_quickly()\n"
        "from pipelines.without_unused import unused_hidden\n"
        "import pandas\n"
        "with unused_hidden():\n"
        "    import apache_beam.io.filesystems\n"
        "    try:\n"
        "        import pandas as hidden\n"
        "    except ModuleNotFoundError:\n"
        "        import sys; assert 'pandas' not in sys.modules\n"
        "import pandas as again\n"
        "assert again is pandas"
    )
    assert {"apache_beam", "pandas"} <= loaded_by(code)


def test_what_workers_import_brings_no_great_expectations() -> None:
    steps = ", ".join(f"transforms.{m.stem}" for m in MODULES if m.parts[0] == "transforms" and m.stem != "__init__")
    assert not loaded_by(f"import {steps}") & (GREAT_EXPECTATIONS | STATISTICS)
