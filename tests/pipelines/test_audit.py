"""What the answers of the audit mean, and that no answer means no."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipelines import audit
from pipelines.audit import Audit, Auditor, refusal, told
from pipelines.errors import Refused, UsageError


def result(**news: Any) -> dict[str, Any]:
    return {
        "table_name": "touchpoints", "rule": "stage_is_known", "expectation": "expect_column_values_to_be_in_set",
        "column_name": "stage", "severity": "critical", "success": False, "observed": None, "unexpected": 1,
        "says": "A stage is known.", "expected": "{}", "part": "written", "error": None,
        "sample": '[{"customer_key": "c-1", "seq": 2, "stage": "lost"}]',
    } | news  # fmt: skip


@pytest.mark.parametrize(
    ("news", "fails", "warns"),
    [
        ({}, 1, 0),
        ({"success": True}, 0, 0),
        ({"severity": "warning"}, 0, 1),
        ({"severity": "info"}, 0, 0),
        ({"severity": "warning", "error": "no such column"}, 1, 0),
        ({"severity": "info", "error": "no such column"}, 1, 0),
    ],
)
def test_what_forbids_publication(news: dict[str, Any], fails: int, warns: int) -> None:
    asked = Audit((result(**news),))
    assert (len(asked.failures), len(asked.warnings)) == (fails, warns)


def test_a_refusal_names_rule_value_and_rows() -> None:
    refused = refusal("r1", "/data/my lake", Audit(tuple(result(rule=f"rule_{n}") for n in range(7))))
    assert refused.exit_status == 1
    for part in ("rule_0", "expect_column_values_to_be_in_set(stage)", "A stage is known.", "1 row that must not be there",
                 "customer_key = c-1, seq = 2, stage = lost", "and 2 more"):  # fmt: skip
        assert part in refused.message, part
    assert "rule_5" not in refused.message
    assert (
        "--lake '/data/my lake' --run r1" in refused.mend
        and "parcours publish --lake '/data/my lake' r1" in refused.mend
    )


def test_an_error_is_told_as_one() -> None:
    lines = told(result(error="Binder Error: no such column", sample=None, severity="warning"))
    assert "could not be evaluated" in lines[0] and any("no such column" in line for line in lines)


@pytest.mark.parametrize(
    ("start", "says"),
    [
        ("import no_such_package", "No module named 'no_such_package'"),
        ("import sys; sys.stdin.readline(); sys.exit(3)", "its process ended with status 3"),
        ("import sys; sys.stdin.readline(); print('half', end='')", "its process ended with status 0"),
        ("import os; os.kill(os.getpid(), 35)", "its process was ended by signal 35 (of no name)"),
        ("import os; os.kill(os.getpid(), 9)", "its process was ended by signal 9 (SIGKILL)"),
    ],
)
def test_no_answer_is_a_refusal(monkeypatch: pytest.MonkeyPatch, start: str, says: str) -> None:
    monkeypatch.setattr(audit, "_START", start + " #{path!r}")
    with Auditor() as auditor, pytest.raises(Refused, match="nothing is published") as refused:
        auditor.audit("/lake", "r1")
    assert says in refused.value.message


def test_an_audit_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_START", "import time; time.sleep(600) #{path!r}")
    with Auditor() as auditor, pytest.raises(Refused, match=r"gave no answer in 0\.01 minutes.*nothing is published"):
        auditor.audit("/lake", "r1", minutes=0.01)
    assert auditor.has_ended


def test_without_a_folder_for_temporary_files_the_message_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> None:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(audit.tempfile, "TemporaryFile", nowhere)
    with pytest.raises(UsageError, match="There is no folder for temporary files"), Auditor():
        pass


def test_a_folder_of_the_users_is_not_taken_for_our_package(tmp_path: Path) -> None:
    """The audit's process starts wherever the user is; a folder `schemas` there must not be imported."""
    for name in ("schemas", "pipelines"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('not ours')")
    code = (
        "from pipelines.audit import Auditor\nfrom pipelines.errors import UsageError\n"
        "import os, sys\nos.chdir(sys.argv[1])\n"
        "with Auditor() as auditor:\n"
        "    try: auditor.audit(sys.argv[1] + '/lake', 'r1')\n"
        "    except UsageError as error: print(error.message)\n"
    )
    root = Path(audit.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=root, capture_output=True, text=True, timeout=120
    )
    assert "has no whole run r1" in done.stdout, done.stderr
