"""The same tables on other runners than the in-memory one, and no table ever pickled on the way.

Two worker processes share the work (`multi_processing`); then Beam's own job server and worker pool, each a process of
its own as on a cluster (marked `portable`). All three runs read the same files.
"""

import contextlib
import copyreg
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam import coders
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines import journeys
from pipelines.lake import Lake
from pipelines.run import make_plan, run
from pipelines.settings import load_settings
from tests.hostile_events import AS_OF, make_events
from tests.lake_tables import assert_same_tables
from tests.real_command import environment, run_command
from transforms.batches import HolderCoder, ShardTables, TableCoder, keyed_tables

SETTINGS: dict[str, Any] = {"shards": 3, "block_bytes": 4_000}
SECONDS = 120


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files of events, of several blocks each, and a settings file."""
    folder = tmp_path_factory.mktemp("inputs")
    for number in range(2):
        lines = [json.dumps(event) + "\n" for event in make_events(number)]
        (folder / f"{number}.jsonl").write_text("".join(lines))
    (folder / "settings.toml").write_text("".join(f"{name} = {value}\n" for name, value in SETTINGS.items()))
    return folder


@pytest.fixture(scope="module")
def lake_in_memory(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    lake = tmp_path_factory.mktemp("memory") / "lake"
    run([f"{inputs}/*.jsonl"], str(lake), load_settings(as_of=AS_OF))  # one shard, one block a file
    return lake


def run_on(runner_options: list[str], inputs: Path, folder: Path) -> None:
    """The real command, under a time limit: a runner that hangs is a failure, and leaves no process."""
    args = ["run", "--input", f"{inputs}/*.jsonl", "--output", f"{folder}/lake", "--as-of", AS_OF.isoformat()]
    done = run_command([*args, "--settings", f"{inputs}/settings.toml", "--quiet", *runner_options], folder, SECONDS)
    assert done.status == 0, f"status {done.status}\n{done.out}\n{done.err[-5000:]}"


def test_two_worker_processes_give_the_same_tables(inputs: Path, lake_in_memory: Path, tmp_path: Path) -> None:
    run_on(["--direct_running_mode=multi_processing", "--direct_num_workers=2"], inputs, tmp_path)
    assert_same_tables(lake_in_memory, tmp_path / "lake")


@pytest.mark.portable
def test_a_job_server_and_a_worker_pool_give_the_same_tables(
    inputs: Path, lake_in_memory: Path, tmp_path: Path
) -> None:
    with contextlib.ExitStack() as servers:
        job, pool = free_ports(2)
        servers.enter_context(
            serving("apache_beam.runners.portability.local_job_service_main", f"--port={job}", job, tmp_path)
        )
        servers.enter_context(
            serving("apache_beam.runners.worker.worker_pool_main", f"--service_port={pool}", pool, tmp_path)
        )
        run_on(
            [
                "--runner=PortableRunner",
                f"--job_endpoint=localhost:{job}",
                "--environment_type=EXTERNAL",
                f"--environment_config=localhost:{pool}",
            ],
            inputs,
            tmp_path,
        )
    assert_same_tables(lake_in_memory, tmp_path / "lake")


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that were free a moment ago, all different."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("localhost", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def serving(module: str, option: str, port: int, folder: Path) -> Iterator[None]:
    """A server of Beam's in a group of processes of its own, which ends with the test."""
    with (folder / f"{module}.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", module, option], stdout=log, stderr=log, env=environment(), start_new_session=True
        )
        try:
            wait_for(port, server)
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, 9)
            server.wait(10)


def wait_for(port: int, server: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until and server.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("localhost", port), 1):
            return
        time.sleep(0.1)
    raise AssertionError(f"{server.args!r} does not listen on {port}")


# ---- tables travel by their own coder: a pickled slice carries its whole parent (facts: 14 GB where 2.3 GB do)


@pytest.fixture
def pickling_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever pickles an Arrow table, array or batch fails. Beam falls back on pickling where no type says better."""

    def refuse(value: Any) -> Any:
        raise AssertionError(f"a {type(value).__name__} was pickled")

    for kind in (pa.Table, pa.RecordBatch, pa.ChunkedArray, pa.StringArray, pa.Int64Array):
        monkeypatch.setitem(copyreg.dispatch_table, kind, refuse)


@pytest.mark.usefixtures("pickling_is_refused")
def test_no_table_is_pickled_on_its_way(inputs: Path, lake_in_memory: Path, tmp_path: Path) -> None:
    run([f"{inputs}/*.jsonl"], str(tmp_path / "lake"), load_settings(as_of=AS_OF, **SETTINGS))
    assert_same_tables(lake_in_memory, tmp_path / "lake")


def test_a_pipeline_that_pickles_tables_would_be_noticed(request: pytest.FixtureRequest) -> None:
    group_tables(typed=False)
    request.getfixturevalue("pickling_is_refused")
    group_tables(typed=True)
    with pytest.raises(Exception, match="a Table was pickled"):
        group_tables(typed=False)


def group_tables(typed: bool) -> None:
    with beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])) as pipeline:
        pairs = pipeline | beam.Create([0]) | beam.Map(lambda number: (number, pa.table({"n": [number]})))
        (keyed_tables(pairs, int) if typed else pairs) | beam.GroupByKey()


def test_a_slice_is_encoded_without_its_parent() -> None:
    whole = pa.table({"n": range(100_000)})
    shard = ShardTables(touchpoints=whole.slice(10, 5), sessions=whole.slice(0, 0))
    data = HolderCoder().encode(shard)
    decoded = HolderCoder().decode(data)
    assert (type(decoded), decoded) == (ShardTables, shard)
    assert len(data) < 5_000 < HolderCoder().estimate_size(ShardTables(whole=whole)) == whole.nbytes


def test_every_shuffle_of_tables_has_their_coder(inputs: Path, tmp_path: Path) -> None:
    """What a GroupByKey of the graph takes in, by the runner's own description of the pipeline."""
    pipeline = beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"]))
    settings = load_settings(as_of=AS_OF)
    attempt = Lake(str(tmp_path)).run("graph")
    journeys.journeys(pipeline, make_plan([f"{inputs}/*.jsonl"], settings, "graph", attempt, {}, AS_OF))
    graph, context = pipeline.to_runner_api(return_context=True)
    found = {}
    for transform in graph.components.transforms.values():
        if transform.spec.urn == "beam:transform:group_by_key:v1":
            [source] = transform.inputs.values()
            coder = context.coders.get_by_id(graph.components.pcollections[source].coder_id)
            found[transform.unique_name] = coder.value_coder() if coder.is_kv_coder() else coder
    tables = {name: value for name, value in found.items() if TableCoder() in leaves(value)}
    assert {name.split("/")[0] for name in tables} == {
        "FindDuplicates", "ResolveIdentity", "LoadByCustomer", "FrictionSummary", "Measure", "GatherQuarantine"}  # fmt: skip
    for name in found:
        assert name in tables or name.split("/")[0] in ("ReadBlocks", "WriteListing", "Inputs"), name


def leaves(coder: Any) -> list[coders.Coder]:
    parts = [part for part in (getattr(coder, "_coders", None) or ()) for part in leaves(part)]
    return parts or [coder]
