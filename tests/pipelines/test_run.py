"""What a run that comes to nothing is told as, and what becomes of the lake then."""

from pathlib import Path
from typing import Any

import pytest

from pipelines import run as run_module
from pipelines.errors import InputError
from pipelines.lake import Lake
from pipelines.run import run
from pipelines.settings import load_settings

EVENTS = Path(__file__).parent.parent.parent / "fixtures" / "company" / "events.jsonl"


def test_a_failure_before_the_publication_is_one_though_current_json_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it names the run is then not known, but the run had not come so far."""

    def breaks_off(*_: Any) -> None:
        raise InputError("events.jsonl is cut off.", "Export it again.")

    monkeypatch.setattr(run_module, "_stage", breaks_off)
    monkeypatch.setattr(Lake, "names", lambda *_: True)
    lake = tmp_path / "lake"
    with pytest.raises(InputError, match="is cut off"):
        run([str(EVENTS)], str(lake), load_settings(as_of="2026-03-31T00:00:00Z"))
    [row] = Lake(str(lake)).history.runs()
    assert (row["status"], row["message"]) == ("failed", "events.jsonl is cut off.")
