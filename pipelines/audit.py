"""The gate between the staged tables of a run and their publication: what is asked, and what the answers mean.

Great Expectations answers in a process of its own (audit_process.py), started beside the pipeline: it takes long to
import, and neither the launcher nor a worker should pay for that.
"""

from __future__ import annotations

import importlib.util
import json
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

from pipelines.errors import ParcoursError, Refused, UsageError

_START = "import sys; sys.path.append({path!r}); from pipelines.audit_process import main; main({whole})"
_TOLD = 5  # expectations in a message; all are in audit_results
_LETTERS = 300


@dataclass(frozen=True)
class Audit:
    """What came of the audit of a run: a row of `audit_results` for each expectation, and the run's measures."""

    results: tuple[Mapping[str, Any], ...] = ()
    measures: tuple[Mapping[str, Any], ...] = ()

    @property
    def failures(self) -> tuple[Mapping[str, Any], ...]:
        """What forbids publication: a critical expectation that does not hold, any that could not be looked at."""
        return tuple(r for r in self.results if not r["success"] and (r["severity"] == "critical" or r["error"]))

    @property
    def warnings(self) -> tuple[Mapping[str, Any], ...]:
        """What an operator should look at, and does not forbid publication."""
        return tuple(r for r in self.results if not r["success"] and r["severity"] == "warning" and not r["error"])


class Auditor:
    """The audit's process, from `with` to its end. `audit` may be asked for several runs, one after the other.

    `whole`: a suite asks kinds of expectations that the shipped ones do not, so nothing of the package is left out.
    """

    def __init__(self, whole: bool = False) -> None:
        self.whole = whole
        self._process: subprocess.Popen[str] | None = None
        self._words: IO[bytes] | None = None

    def __enter__(self) -> Self:
        if importlib.util.find_spec("great_expectations") is None:  # better known now than after the pipeline
            raise UsageError(
                "Great Expectations, which audits every run, is not installed.", "pip install great-expectations"
            )
        try:
            self._words = tempfile.TemporaryFile()  # closed in __exit__
        except OSError as error:
            raise UsageError(
                f"There is no folder for temporary files: {error.strerror or error}.",
                "Set TMPDIR to a folder that you may write to, on a disk with room.",
            ) from None
        path = str(Path(__file__).resolve().parent.parent)
        self._process = subprocess.Popen(
            # -P: a folder of the user's that is named as one of our packages is not ours.
            [sys.executable, "-P", "-c", _START.format(path=path, whole=self.whole)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            text=True,
            encoding="utf-8",
            start_new_session=True,  # an interrupt of the run is for the run: it ends this process itself
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
        if self._words is not None:
            self._words.close()

    @property
    def has_ended(self) -> bool:
        """True if the process is there no more."""
        return self._process is None or self._process.poll() is not None

    def audit(self, lake: str, run_id: str, beam_args: Sequence[str] = (), minutes: float = 60) -> Audit:
        """Holds the staged tables of a run, whose manifest is written, against all suites, in `minutes` at most.

        Raises UsageError where a suite of the user's cannot be read, and Refused where the audit did not come to its
        end: what was not audited is not published.
        """
        if self._process is None or self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("The audit has not begun: use `with Auditor() as auditor`.")
        request = {"lake": lake, "run_id": run_id, "beam_args": list(beam_args)}
        over_time = threading.Event()
        watch = threading.Timer(minutes * 60, self._give_up, (over_time,))
        watch.start()
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        finally:
            watch.cancel()
        if over_time.is_set():
            raise Refused(
                f"The audit of run {run_id} gave no answer in {minutes:g} minutes, so nothing is published.",
                "If the lake is that large, give it longer: time_limit_minutes in the settings' [audit]. Else look for a "
                "rule of your own that compares all rows with all.",
            )
        if not answer.endswith("\n"):
            raise Refused(
                f"The audit of run {run_id} ended without a result, so nothing is published: {self._last_words()}.",
                "See what ends processes here: most often there is too little memory. Then run the command again."
                if self._was_killed()
                else "Great Expectations belongs to the installation: pip install great-expectations. If it is there, run "
                "the command again.",
            )
        given = json.loads(answer)
        if given.get("run_id") != run_id:
            self._process.kill()  # it is one answer behind
            raise Refused(
                f"The audit answered of run {given.get('run_id')}, and not of {run_id}.", "Run the command again."
            )
        if "error" in given:
            kind = {"UsageError": UsageError}.get(given["kind"], Refused)
            raise cast(ParcoursError, kind(given["error"], given["mend"]))
        measures = (row | {"as_of": datetime.fromisoformat(row["as_of"])} for row in given["measures"])
        return Audit(tuple(given["results"]), tuple(measures))

    def _give_up(self, over_time: threading.Event) -> None:
        over_time.set()
        if self._process is not None:
            self._process.kill()

    def _was_killed(self) -> bool:
        return self._process is not None and (self._process.poll() or 0) < 0

    def _last_words(self) -> str:
        if self._process is None or self._words is None:
            return "it was not started"
        try:
            status = self._process.wait(5)
        except subprocess.TimeoutExpired:
            return "it does not answer any more"
        if self._was_killed():
            known = {int(number): number.name for number in signal.Signals}
            return f"its process was ended by signal {-status} ({known.get(-status, 'of no name')})"
        self._words.seek(0)
        lines = [line.strip() for line in self._words.read().decode(errors="replace").splitlines() if line.strip()]
        return lines[-1].rstrip(".") if lines else f"its process ended with status {status}"


def refusal(run_id: str, lake: str, audit: Audit) -> Refused:
    """What an operator is told of a run that may not be published: each expectation, what was observed, and rows."""
    failures = audit.failures
    lines = [f"The audit refuses run {run_id}: nothing is published, and what was published stays as it was."]
    for result in failures[:_TOLD]:
        lines += told(result)
    if len(failures) > _TOLD:
        lines.append(f"  and {len(failures) - _TOLD} more, in the table audit_results")
    return Refused(
        "\n".join(lines),
        f"Look at the run: parcours runs --lake {shlex.quote(lake)} {run_id}; its tables: parcours query --lake "
        f"{shlex.quote(lake)} --run {run_id} SQL. If they are right all the same: parcours publish --lake "
        f"{shlex.quote(lake)} {run_id}",
    )


def told(result: Mapping[str, Any]) -> list[str]:
    """One expectation that does not hold, as lines: its name and what it says, what was observed, sample rows."""
    column = f"({result['column_name']})" if result["column_name"] else ""
    grade = "could not be evaluated" if result["error"] else result["severity"]
    lines = [f"  {result['table_name']}: {result['rule']}, {result['expectation']}{column}, {grade}"]
    if result["says"]:
        lines.append(f"    must hold: {result['says']}")
    lines.append(f"    error: {result['error']}" if result["error"] else f"    observed: {observed(result)}")
    if result["sample"]:
        lines += [f"    row: {_one_row(row)}" for row in json.loads(result["sample"])]
    return lines


def observed(result: Mapping[str, Any]) -> str:
    """What was seen instead of what must hold, in a few words."""
    unexpected, seen = result["unexpected"], result["observed"]
    if unexpected is None:
        return str(seen)
    rows = f"{unexpected:,} {'row' if unexpected == 1 else 'rows'} that must not be there"
    return rows if result["sample"] or seen is None else f"{rows}, {seen}"


def _one_row(row: Any) -> str:
    """
    >>> _one_row({"customer_key": "c-1", "seq": None, "share": 1 / 3})
    'customer_key = c-1, seq = null, share = 0.333333'
    """
    if not isinstance(row, Mapping):
        return json.dumps(row, ensure_ascii=False)
    parts = (f"{name} = {_one_value(value)}" for name, value in row.items())
    return " ".join(", ".join(parts).split())[:_LETTERS]


def _one_value(value: Any) -> str:
    if value is None:
        return "null"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
