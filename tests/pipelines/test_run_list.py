"""`parcours runs`: a line a run, and one run with what its audit found."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipelines import run_list, run_states
from pipelines.audit import Audit
from pipelines.cli import status_of
from pipelines.errors import InputError, Refused, UsageError
from pipelines.lake import Lake

RESULT = {
    "table_name": "touchpoints", "rule": "stage_is_known", "expectation": "expect_column_values_to_be_in_set",
    "column_name": "stage", "severity": "critical", "success": False, "observed": None, "unexpected": 1,
    "says": "A stage is known.", "expected": "{}", "part": "written", "error": None,
    "sample": '[{"customer_key": "c-1", "seq": 2, "stage": "lost"}]',
}  # fmt: skip


@pytest.fixture
def told(lake_maker: Any) -> Lake:
    """A lake in which a run came to each end that there is."""
    lake: Lake = lake_maker.lake

    def begun(number: int) -> Any:
        run = lake.start_run(f"2026010{number}T000000Z-{number}")
        run_states.begin(
            lake, run.run_id, started_at=datetime(2026, 1, number, tzinfo=UTC), as_of=datetime(2026, 1, 1, tzinfo=UTC)
        )
        return run

    facts = {"touchpoints": 1234, "quarantined": 5, "seconds": 75.0}
    audit = Audit((RESULT,))
    run_states.fail(lake, begun(1), InputError("events.jsonl is cut off.\nAnd more.", "Export it again."))
    refused, accepted, published = begun(2), begun(3), begun(4)
    run_states.refuse(lake, refused.run_id, Refused("No.", "Look."), audit, facts)
    lake.history.write("audit_results", refused.run_id, [RESULT | {"run_id": refused.run_id}])
    run_states.accept(lake, accepted.run_id, Audit((RESULT | {"success": True},)), facts, waits=True)
    lake_maker.write_manifest(published, lake_maker.write_parts(published))
    run_states.accept(lake, published.run_id, Audit((RESULT | {"severity": "warning"},)), facts, waits=False)
    run_states.publish(lake, published.run_id)
    begun(5)
    run_states.refuse(lake, begun(6).run_id, Refused("The audit died.", ""), Audit(), facts)
    return lake


def test_a_line_a_run_the_newest_first(told: Lake) -> None:
    _, *lines, last = run_list.as_text(run_list.runs(told))
    words = [" ".join(line.split()) for line in lines]
    assert [line.split("Z-")[1][0] for line in words] == list("654321")
    assert words[0].endswith("refused 1,234 5 not audited 1 min 15 s")
    assert words[1].endswith("2026-01-01T00:00:00Z running -")
    assert words[2].startswith("* 2026") and words[2].endswith("published 1,234 5 passed, 1 warned 1 min 15 s")
    assert words[3].endswith("accepted 1,234 5 passed 1 min 15 s")
    assert words[4].endswith("refused 1,234 5 1 failed 1 min 15 s")
    assert words[5].endswith("failed - events.jsonl is cut off.")
    assert last == "* is the run that readers see."


def test_one_run_is_told_with_what_did_not_hold(told: Lake) -> None:
    shown = "\n".join(run_list.one(told, "20260102T000000Z-2"))
    for part in (
        "status",
        "refused",
        "1,234",
        "is current",
        "stage_is_known",
        "customer_key = c-1, seq = 2, stage = lost",
    ):
        assert part in shown, part
    as_json = json.loads(run_list.one_as_json(told, "20260102T000000Z-2"))
    assert as_json["status"] == "refused" and as_json["audit_results"][0]["rule"] == "stage_is_known"
    with pytest.raises(UsageError, match="knows no run 20260101T000000Z-9"):
        list(run_list.one(told, "20260101T000000Z-9"))


def test_what_readers_see_is_published_even_if_its_record_is_behind(told: Lake) -> None:
    told.history.record("20260104T000000Z-4", status="running")
    [current] = [row for row in run_list.runs(told) if row["is_current"]]
    assert current["status"] == "published"


def test_without_a_run_there_is_nothing_to_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["runs", "--lake", str(tmp_path / "nowhere")]) == 2
    assert "There is no run in" in capsys.readouterr().err


def test_a_lake_without_a_published_run_says_so(lake_maker: Any) -> None:
    run_states.begin(lake_maker.lake, "20260101T000000Z-1")
    assert list(run_list.as_text(run_list.runs(lake_maker.lake)))[-1] == "No run is published."
    with pytest.raises(UsageError, match=r"no published run.* parcours runs --lake .* says why"):
        lake_maker.lake.published()


def test_a_reason_of_several_lines_stays_on_its_own(told: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    """And moves no terminal's cursor."""
    run_states.publish(told, "20260104T000000Z-4", "person", "ann", "seen\nand \x1b[31mread")
    assert status_of(["runs", "--lake", told.path]) == 0
    assert r"published by ann; seen\nand \x1b[31mread" in capsys.readouterr().out
    assert status_of(["runs", "--lake", told.path, "20260104T000000Z-4"]) == 0
    assert "\x1b" not in capsys.readouterr().out
