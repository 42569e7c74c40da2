"""Fixtures of the shipped sources' tests: runs in this process, their tables to query, and exports by others.

`published`  inputs -> a DuckDB connection on the tables that a run of them published
`exports`    the folder of real exports, which is no part of the project; a test that asks for it is skipped without it
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipelines.lake import Lake
from pipelines.run import run
from pipelines.settings import Settings
from tests.lake_tables import read_tables
from transforms import duck

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "fixtures"
EXPORTS = Path(os.environ.get("PARCOURS_EXPORTS", ROOT.parent / "shared" / "data"))

Published = Callable[..., duckdb.DuckDBPyConnection]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    def publish(*inputs: str, as_of: str, **settings: Any) -> duckdb.DuckDBPyConnection:
        lake = tmp_path_factory.mktemp("published") / "lake"
        run(inputs, str(lake), Settings(as_of=as_of, **settings))  # type: ignore[arg-type]  # as a settings file says it
        connection = duck.connect()
        for name, table in read_tables(lake).items():
            connection.register(name, table)
        opened = Lake(str(lake))
        connection.register("runs", opened.history.read("runs", [opened.published().run_id]))
        return connection

    return publish


@pytest.fixture(scope="session")
def exports() -> Path:
    if not EXPORTS.is_dir():
        pytest.skip(f"the real exports are not here: {EXPORTS} (PARCOURS_EXPORTS names another folder)")
    return EXPORTS
