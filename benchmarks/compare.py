"""Run Parcours and the hand-written DuckDB SQL in turn over the same events, and compare what they cost.

Each run is a whole child process, from start to exit, so that imports and start-up count. The two take turns
(A B A B), and the ratio is taken pair by pair: what else the machine does then touches both alike. A run
whose tables do not hold the rows that the generator's truth.json promises is an error, not a fast run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb

HERE = Path(__file__).parent
AS_OF = "2026-07-01T00:00:00Z"
MEASURES = ("cpu_seconds", "user_seconds", "system_seconds", "wall_seconds", "peak_rss_mb")


class RunError(Exception):
    """A child failed, or its tables are wrong; the message says which, and where its output is."""


@dataclass(frozen=True)
class Cost:
    """What one whole run of a child process cost, its own children included."""

    user_seconds: float
    system_seconds: float
    wall_seconds: float
    peak_rss_mb: float  # of the largest single process: Linux adds no memory of children up

    @property
    def cpu_seconds(self) -> float:
        """User and system time together."""
        return self.user_seconds + self.system_seconds


@dataclass(frozen=True)
class Contender:
    """One of the two that are compared: how to start it, and where it leaves a table."""

    name: str
    command: Callable[[Path], list[str]]  # output directory -> arguments
    table: Callable[[Path, str], Path]  # output directory, table -> glob pattern of its Parquet files


def parcours(executable: Path, events: Path) -> Contender:
    """Describe Parcours: its installed console script, as a user starts it."""
    fixed = [str(executable), "run", "--input", str(events / "*.jsonl"), "--as-of", AS_OF]
    return Contender(
        "parcours",
        lambda output: [*fixed, "--output", str(output)],
        lambda output, table: output / "runs" / "*" / table / "**" / "*.parquet",
    )


def baseline(events: Path, threads: int) -> Contender:
    """Describe the hand-written SQL of baseline.sql."""
    fixed = [sys.executable, str(HERE / "baseline.py"), "--input", str(events), "--as-of", AS_OF]
    return Contender(
        "baseline",
        lambda output: [*fixed, "--threads", str(threads), "--output", str(output)],
        lambda output, table: output / f"{table}.parquet",
    )


def measure(command: Sequence[str], log: Path) -> Cost:
    """Run a command to its end and say what it cost."""
    with log.open("wb") as out:
        began = time.perf_counter()
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise RunError(f"exit status {child.returncode} from: {' '.join(command)}\n{tail}\n(all of it: {log})")
    scale = 1024 if platform.system() == "Linux" else 1024 * 1024  # kilobytes on Linux, bytes on macOS
    return Cost(usage.ru_utime, usage.ru_stime, wall, usage.ru_maxrss / scale)


def check_rows(contender: Contender, output: Path, truth: dict[str, Any]) -> None:
    """Hold the written tables against the truth: nothing lost, nothing twice, every bad line set aside."""
    for table, expected in (("touchpoints", truth["distinct_events"]), ("quarantine", truth["bad_total"])):
        pattern = str(contender.table(output, table))
        try:
            found = duckdb.execute("select count(*) from read_parquet($1)", [pattern]).fetchall()[0][0]
        except duckdb.Error as error:
            raise RunError(f"{contender.name} left no readable {table}: {error}") from error
        if found != expected:
            raise RunError(f"{contender.name} wrote {found} rows of {table}; {expected} are right")


def run_in_turn(
    contenders: Sequence[Contender], runs: int, workdir: Path, truth: dict[str, Any]
) -> dict[str, list[Cost]]:
    """Run the contenders in turn, each time into an empty directory that is removed afterwards."""
    costs: dict[str, list[Cost]] = {contender.name: [] for contender in contenders}
    for number in range(1, runs + 1):
        for contender in contenders:
            output = workdir / f"output-{contender.name}"
            shutil.rmtree(output, ignore_errors=True)
            cost = measure(contender.command(output), workdir / f"{contender.name}-{number}.log")
            check_rows(contender, output, truth)
            shutil.rmtree(output)
            costs[contender.name].append(cost)
            print(
                f"run {number} of {runs}, {contender.name}: {cost.cpu_seconds:.1f} s of CPU,"
                f" {cost.wall_seconds:.1f} s of wall time, {cost.peak_rss_mb:.0f} MB",
                file=sys.stderr,
                flush=True,
            )
    return costs


def summarise(costs: dict[str, list[Cost]]) -> dict[str, Any]:
    """Minimum and median of each measure, and the ratios pair by pair (below 1: Parcours costs less)."""
    summary: dict[str, Any] = {}
    for name, made in costs.items():
        values = {measure: [getattr(cost, measure) for cost in made] for measure in MEASURES}
        summary[name] = {
            "runs": [asdict(cost) | {"cpu_seconds": cost.cpu_seconds} for cost in made],
            "min": {measure: min(numbers) for measure, numbers in values.items()},
            "median": {measure: statistics.median(numbers) for measure, numbers in values.items()},
        }
    pairs = list(zip(costs["parcours"], costs["baseline"], strict=True))
    summary["ratio"] = {
        measure: {
            "pairs": (ratios := [getattr(a, measure) / getattr(b, measure) for a, b in pairs]),
            "median": statistics.median(ratios),
        }
        for measure in ("cpu_seconds", "wall_seconds", "peak_rss_mb")
    }
    return summary


def markdown(events: int, runs: int, summary: dict[str, Any]) -> str:
    """Render one table row with its header: minimum / median of each, and the median ratio of the pairs."""

    def both(name: str, measure: str, unit: str) -> str:
        low, middle = (summary[name][kind][measure] for kind in ("min", "median"))
        return f"{low:,.1f} / {middle:,.1f} {unit}" if unit == "s" else f"{low:,.0f} / {middle:,.0f} {unit}"

    cells = [f"{events:,}", str(runs)]
    for measure, unit in (("cpu_seconds", "s"), ("wall_seconds", "s"), ("peak_rss_mb", "MB")):
        ratio = summary["ratio"][measure]
        spread = f"{min(ratio['pairs']):.2f} to {max(ratio['pairs']):.2f}"
        cells += [both("parcours", measure, unit), both("baseline", measure, unit)]
        cells.append(f"{ratio['median']:.2f} ({spread})")
    heads = ["events", "runs"]
    for measure in ("CPU", "wall", "peak RSS"):
        heads += [f"Parcours {measure}", f"SQL {measure}", "ratio"]
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, ["--:"] * len(heads), cells))


def prepare(events: int, seed: int, workdir: Path) -> tuple[Path, dict[str, Any]]:
    """Find the events or make them, and read them once: the first run is to find them as warm as the last."""
    directory = workdir / f"events-{events}-seed-{seed}"
    if not (directory / "truth.json").exists():  # written last: there only when the events are whole
        shutil.rmtree(directory, ignore_errors=True)
        command = [sys.executable, str(HERE / "generate_events.py"), "--events", str(events)]
        subprocess.run([*command, "--seed", str(seed), "--output", str(directory)], check=True)
    for path in directory.glob("*.jsonl"):
        with path.open("rb") as lines:
            while lines.read(1 << 24):
                pass
    return directory, json.loads((directory / "truth.json").read_text(encoding="utf-8"))


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line and refuse what cannot work before anything runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=5_000_000, help="lines of input")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=3, help="pairs of runs")
    parser.add_argument("--workdir", type=Path, default=Path("benchmark-work"), help="events, outputs and logs")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of DuckDB in the baseline")
    parser.add_argument("--parcours", type=Path, default=Path(sys.executable).with_name("parcours"),
                        help="the console script (default: the one beside this Python)")  # fmt: skip
    parser.add_argument("--json-output", type=Path, help="write every figure to this file")
    options = parser.parse_args(arguments)
    if options.runs < 1:
        parser.error("--runs must be at least 1")
    if not options.parcours.exists():
        parser.error(f"{options.parcours} does not exist: install Parcours beside this Python (pip install .)")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare, run, and print the comparison."""
    options = read_options(arguments)
    options.workdir.mkdir(parents=True, exist_ok=True)
    events, truth = prepare(options.events, options.seed, options.workdir)
    contenders = [parcours(options.parcours, events), baseline(events, options.threads)]
    try:
        summary = summarise(run_in_turn(contenders, options.runs, options.workdir, truth))
    except RunError as error:
        print(f"compare.py: {error}", file=sys.stderr)
        return 1
    if options.json_output:
        about = {
            "events": options.events,
            "seed": options.seed,
            "bytes": truth["bytes"],
            "cpus": os.cpu_count(),
        }
        versions = {"python": platform.python_version(), "duckdb": duckdb.__version__}
        report = about | versions | {"baseline_threads": options.threads} | summary
        options.json_output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(markdown(options.events, options.runs, summary))
    return 0


if __name__ == "__main__":
    sys.exit(main())
