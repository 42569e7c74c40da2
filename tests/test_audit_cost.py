"""What the audit may cost, on any machine: as a share of the run that it is beside. docs/performance.md has the seconds."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
#: Medians of 0.5 to 0.6 were measured, and 1.15 where the whole of Great Expectations is imported.
LIMIT = 0.95


@pytest.mark.slow
def test_the_audit_of_a_small_run_takes_less_cpu_than_the_run(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks/audit_cost.py"), "--runs", "3", "--workdir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    found = re.search(r"^median of 3 on \d+ cores: (\d+\.\d+) of the run's CPU$", done.stdout, re.MULTILINE)
    assert found, done.stdout + done.stderr
    assert float(found[1]) < LIMIT, done.stdout
