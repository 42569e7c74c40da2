"""The dictionary of metrics and friction: a user's own entries beside the shipped ones."""

from pathlib import Path

import pytest

from schemas.dictionary import DictionaryError, load_friction

ENTRY = """
area = "web"
description = "Pages."
source = "Ours."
example = "One."

[parameters]
slow_ms = 1000
share = 0.5
"""


def test_a_kind_of_ones_own_replaces_a_shipped_one_and_takes_the_settings(tmp_path: Path) -> None:
    (tmp_path / "slow_page.toml").write_text(ENTRY)
    (tmp_path / "slow_page.sql").write_text("select 1")
    kinds = load_friction(tmp_path, {"slow_page": {"share": 0.25}})
    assert kinds["slow_page"].parameters == {"slow_ms": 1000, "share": 0.25}
    assert set(kinds) == set(load_friction())


def test_a_parameter_that_there_is_not_is_named() -> None:
    with pytest.raises(DictionaryError, match="slow_page has no such parameter; it has slow_ms"):
        load_friction(None, {"slow_page": {"share": 0.25}})
    with pytest.raises(DictionaryError, match="no such kind of friction"):
        load_friction(None, {"slow_pages": {"slow_ms": 1}})
