"""What a run that comes to nothing is told as, and what becomes of the lake then; a user's own suite in a run."""

import errno
import json
import os
import signal
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipelines import run as run_module
from pipelines import run_states
from pipelines.audit import Audit, Auditor
from pipelines.errors import InputError, Refused
from pipelines.interrupts import stoppable
from pipelines.lake import Lake
from pipelines.run import run
from pipelines.settings import load_settings
from transforms import identities

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


def own_suite(folder: Path, **entry: Any) -> Path:
    """A settings file that names a suite with one critical rule, own_rule, on customers."""
    rule = {**entry, "severity": "critical", "meta": {"rule": "own_rule", "says": "It holds."}}
    (folder / "suites").mkdir()
    (folder / "suites" / "own.json").write_text(json.dumps({"name": "customers", "expectations": [rule]}))
    (folder / "settings.toml").write_text(f'as_of = "2026-03-31T00:00:00Z"\nexpectations = "{folder}/suites"\n')
    return folder / "settings.toml"


@pytest.mark.parametrize("holds", [True, False])
def test_a_users_suite_may_ask_what_the_shipped_ones_do_not(tmp_path: Path, holds: bool) -> None:
    """A kind that needs pandas, which is left out where only kinds of the shipped suites are asked."""
    kind = "expect_column_most_common_value_to_be_in_set"
    values = ["consideration", "purchase", "churned", "loyalty", "service"] if holds else ["nowhere"]
    settings = load_settings(
        str(own_suite(tmp_path, type=kind, kwargs={"column": "current_stage", "value_set": values}))
    )
    if holds:
        assert run([str(EVENTS)], str(tmp_path / "lake"), settings).published
    else:
        with pytest.raises(Refused, match=r"own_rule(.|\n)*observed"):
            run([str(EVENTS)], str(tmp_path / "lake"), settings)


def test_a_refused_run_is_kept_though_its_catalog_finds_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    query = "select customer_key from {batch}"
    settings = own_suite(tmp_path, type="unexpected_rows_expectation", kwargs={"unexpected_rows_query": query})
    monkeypatch.setattr(tempfile, "TemporaryDirectory", no_room)
    with pytest.raises(Refused, match="own_rule"):
        run([str(EVENTS)], str(tmp_path / "lake"), load_settings(str(settings)))
    [row] = Lake(str(tmp_path / "lake")).history.runs()
    assert row["status"] == "refused"
    assert list((tmp_path / "lake" / "runs" / row["run_id"] / "customers").glob("*.parquet")), "kept for a look"


def test_a_users_rule_on_a_table_may_read_the_measures(tmp_path: Path) -> None:
    """They are made while the tables are asked: by the last of them."""
    query = "select customer_key from {batch} where exists (from touchpoint_order) and exists (from metric_breaks)"
    settings = own_suite(tmp_path, type="unexpected_rows_expectation", kwargs={"unexpected_rows_query": query})
    assert run([str(EVENTS)], str(tmp_path / "lake"), load_settings(str(settings))).published


def test_customers_that_a_fault_in_identity_merges_are_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All tables agree with each other on the merged customers; only what identity means says that they are several."""
    right = identities.customer_key

    def two_letters(customer_ids: pa.Array) -> pa.Array:
        return right(pc.utf8_slice_codeunits(customer_ids, 0, 2))

    monkeypatch.setattr(identities, "customer_key", two_letters)
    with pytest.raises(Refused) as refused:
        run([COMPANY], str(tmp_path / "lake"), load_settings(as_of="2026-03-31T00:00:00Z"))
    assert "identity_breaks: keys_follow_their_rules" in refused.value.message
    assert Lake(str(tmp_path / "lake")).current() is None


COMPANY = str(Path(__file__).parents[2] / "fixtures" / "company" / "events.jsonl")


def test_an_interrupt_that_was_passed_over_is_heeded_before_the_publication(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.interrupts.was_interrupted", lambda: True)
    with pytest.raises(KeyboardInterrupt):
        run([COMPANY], str(tmp_path / "lake"), load_settings(as_of="2026-03-31T00:00:00Z"))
    lake = Lake(str(tmp_path / "lake"))
    [row] = lake.history.runs()
    assert (lake.current(), row["status"], row["message"]) == (None, "failed", "It was interrupted.")


def test_what_beam_makes_of_an_interrupt_is_recorded_as_one(lake_maker: Any) -> None:
    attempt = lake_maker.start()
    with pytest.raises(KeyboardInterrupt), stoppable():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except KeyboardInterrupt:
            run_states.fail(lake_maker.lake, attempt, RuntimeError("KeyboardInterrupt [while running 'Validate']"))
            raise
    assert lake_maker.lake.history.run(attempt.run_id)["message"] == "It was interrupted."


def test_the_audit_has_the_time_that_the_settings_give_it(tmp_path: Path) -> None:
    given = []

    class Watched(Auditor):
        def __enter__(self) -> Auditor:  # type: ignore[override]
            return self

        def audit(self, lake: str, run_id: str, beam_args: Any = (), minutes: float = 60) -> Audit:
            given.append(minutes)
            return Audit()

    (tmp_path / "settings.toml").write_text("[audit]\ntime_limit_minutes = 7\n")
    settings = load_settings(str(tmp_path / "settings.toml"), as_of="2026-03-31T00:00:00Z")
    run([COMPANY], str(tmp_path / "lake"), settings, auditor=Watched())
    assert given == [7]
