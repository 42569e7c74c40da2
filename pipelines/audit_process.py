"""The audit's own process: reads requests from standard input, a JSON object a line, and answers each with a line.

Request: {lake, run_id, beam_args}. Answer: {results, measures}, or {error, mend, kind}. Started by audit.py; staged_run.py is
what it asks.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import duckdb

from pipelines.errors import ParcoursError, Refused, UsageError
from pipelines.gx_on_duckdb import GreatExpectations, Outcome, Questions, parsed
from pipelines.gx_quickly import import_kind
from pipelines.lake import Lake
from pipelines.query import plain
from pipelines.staged_run import StagedRun, shipped_suites
from pipelines.without_unused import unused_hidden
from schemas.suites import Suite, SuiteError, measures, shipped_kinds

_LETTERS = 1000
#: The generated rule without which no other can be asked.
_COLUMNS = "columns_are_as_declared"


def main(whole: bool = False) -> None:
    """Serves until standard input ends. `whole`: with all kinds of expectations, not only those of the shipped suites."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no answer
    gc.disable()  # it lives for seconds, and a hundred thousand objects of imports are no garbage
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    if whole:
        importlib.import_module("great_expectations")
    shipped = _prepared()  # while the pipeline is still at work
    with contextlib.suppress(BrokenPipeError):
        for line in sys.stdin:
            request = json.loads(line)
            answers.write(
                json.dumps({"run_id": request["run_id"], **_answer(request, shipped)}, ensure_ascii=False) + "\n"
            )
            answers.flush()
    sys.stderr.flush()
    os._exit(0)  # DuckDB's binding would tell at length which of its objects Great Expectations still holds


def _prepared() -> Questions:
    """Imports Great Expectations and the kinds of the shipped suites, and parses what these ask."""
    with duckdb.connect() as con:
        GreatExpectations(con)
        for kind in sorted(shipped_kinds()):
            import_kind(kind)
        questions: dict[str, duckdb.Statement] = {}
        with contextlib.suppress(SuiteError):  # what is wrong is told when a run is held against them
            for suite in shipped_suites().values():
                questions |= parsed(con, suite.name, suite.expectations)
        return questions


def _answer(request: Mapping[str, Any], shipped: Questions) -> dict[str, Any]:
    try:
        with unused_hidden():  # an object store is read through Beam
            lake = Lake(request["lake"], request["beam_args"])
        return audit(lake, request["run_id"], shipped)
    except ParcoursError as error:
        return {"error": error.message, "mend": error.mend, "kind": type(error).__name__}
    except Exception as error:  # whatever it is, an audit that ends in an error must not let the run pass
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:_LETTERS]}"
        return {
            "error": f"The audit of run {request.get('run_id')} ended in an error: {reason}.",
            "mend": "Nothing is published. Look at the run's tables; if they can be read, this is a fault of Parcours.",
            "kind": Refused.__name__,
        }


def audit(lake: Lake, run_id: str, shipped: Questions | None = None) -> dict[str, Any]:
    """Holds a run's tables against all suites -> {results, measures}, rows of the tables of these names.

    `shipped`: the questions of the shipped suites, parsed.
    """
    manifest = lake.manifest(run_id)
    try:
        if lake.store.is_local:  # an object store keeps sums of its own
            lake.verify(manifest)
        staged = StagedRun(lake, manifest)
    except UsageError as error:  # tables that cannot be read are no reason to look at the command
        raise Refused(f"{error.message} Nothing is published.", "Check the disk, and run the command again.") from None
    with contextlib.closing(staged.con):
        suites = staged.suites
        asked = {name: suite.expectations for name, suite in suites.items()}
        if wrong := staged.other_columns():  # a rule that reads a column would only end in an error
            asked = {name: tuple(e for e in asked[name] if e["meta"]["rule"] == _COLUMNS) for name in wrong}
        else:
            staged.begin_measures()
        expectations = GreatExpectations(staged.con, shipped)
        results = []
        of_measures = frozenset(measures())
        for name, entries in asked.items():  # the tables first, and then the measures, which a user's rule may read
            if name in of_measures or any(entry["meta"]["part"] == "user" for entry in entries):
                staged.end_measures()
            outcomes = expectations.validate(name, entries, staged.limits, staged.key(name))
            if len(outcomes) != len(entries):
                raise Refused(f"Of {len(entries)} expectations of {name}, {len(outcomes)} were looked at.")
            results += [_result(run_id, suites[name], *pair) for pair in zip(entries, outcomes, strict=True)]
        if not results or (wrong and all(result["success"] for result in results)):
            raise Refused("There is no expectation to hold the run against.", "Install Parcours again.")
        staged.end_measures()
        now = [] if wrong else _rows(staged.con, "from run_measures_now")
        return {"results": results, "measures": [{"run_id": run_id, "as_of": manifest.as_of} | plain(r) for r in now]}


def _result(run_id: str, suite: Suite, entry: Mapping[str, Any], outcome: Outcome) -> dict[str, Any]:
    kwargs, meta = entry["kwargs"], entry["meta"]
    columns = kwargs.get("column") or ", ".join(kwargs.get("column_list", ())) or None
    return {
        "run_id": run_id,
        "table_name": suite.name,
        "rule": meta["rule"],
        "expectation": entry["type"],
        "column_name": columns,
        "severity": entry["severity"],
        "success": outcome.success,
        "observed": _text(outcome.observed),
        "unexpected": outcome.unexpected,
        "says": meta.get("says"),
        "expected": _json(kwargs),
        "part": meta["part"],
        "error": outcome.error,
        "sample": json.dumps(plain(list(outcome.sample)), ensure_ascii=False) if outcome.sample else None,
    }


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return (value if isinstance(value, str) else _json(value))[:_LETTERS]


def _json(value: Any) -> str:
    return json.dumps(plain(value), ensure_ascii=False, sort_keys=True)


def _rows(con: duckdb.DuckDBPyConnection, sql: str) -> Iterator[dict[str, Any]]:
    return iter(con.sql(sql).to_arrow_table().to_pylist())
