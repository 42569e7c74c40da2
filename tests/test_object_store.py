"""A lake and its input on an object store: the real command, and a server on loopback that speaks S3.

Beam reads S3 wherever boto3 is installed, and imports it at each start; so both are in a folder of their own, which
`make test-portable` fills and only these tests put on a path.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.hostile_events import AS_OF, make_events
from tests.lake_tables import assert_same_tables
from tests.real_command import COMMAND, environment

pytestmark = pytest.mark.portable
STORE = Path(sys.prefix, "object-store")
LAKE = "s3://lakes/one"
RUN = ("run", "--input", "s3://lakes/incoming/*.jsonl", "--as-of", AS_OF.isoformat(), "--output", LAKE, "--quiet")
SECONDS = 120


@dataclass(frozen=True)
class Bucket:
    """An S3 server with the bucket `lakes`, and what a command needs to know of it."""

    address: str
    environment: Mapping[str, str]

    def put(self, name: str, data: bytes = b"") -> None:
        kind = {"Content-Type": "application/octet-stream"}  # urllib would call it a form
        request = urllib.request.Request(f"{self.address}/lakes{name}", data, kind, method="PUT")
        urllib.request.urlopen(request, timeout=10).close()

    def download(self, folder: Path) -> Path:
        """The lake as files."""
        with urllib.request.urlopen(f"{self.address}/lakes?list-type=2&prefix=one/", timeout=10) as answer:
            listed = ET.fromstring(answer.read())
        for found in listed.iterfind("{*}Contents/{*}Key"):
            path = folder / str(found.text)
            path.parent.mkdir(parents=True, exist_ok=True)
            with urllib.request.urlopen(f"{self.address}/lakes/{found.text}", timeout=10) as answer:
                path.write_bytes(answer.read())
        return folder / "one"

    def parcours(self, *args: str, status: int = 0) -> str:
        """What the command says, on both outputs, if it ends with this status."""
        done = subprocess.run(
            [*COMMAND, *args], env=self.environment, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    assert (STORE / "moto").is_dir(), "the server and the client of S3 are missing: make test-portable installs them"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    known = environment()
    known |= {
        "PYTHONPATH": os.pathsep.join((known["PYTHONPATH"], str(STORE))),
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "something",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    said = tmp_path_factory.mktemp("store") / "said"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with said.open("wb") as file, subprocess.Popen(command, env=known, stdout=file, stderr=file) as server:
        try:
            made = Bucket(known["AWS_ENDPOINT_URL"], known)
            _create(made, server, said)
            yield made
        finally:
            server.kill()


def _create(bucket: Bucket, server: subprocess.Popen[bytes], said: Path) -> None:
    """Makes the bucket as soon as the server answers."""
    until = time.monotonic() + 60
    while True:
        try:
            return bucket.put("")
        except (urllib.error.URLError, ConnectionError):
            assert server.poll() is None and time.monotonic() < until, said.read_text()
            time.sleep(0.1)


@pytest.fixture(scope="module")
def local(bucket: Bucket, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake on the disk, of the events that are put into the bucket, too."""
    folder = tmp_path_factory.mktemp("local")
    for number in range(2):
        lines = "".join(json.dumps(event) + "\n" for event in make_events(number))
        (folder / f"{number}.jsonl").write_text(lines)
        bucket.put(f"/incoming/{number}.jsonl", lines.encode())
    bucket.parcours(
        "run", "--input", f"{folder}/*.jsonl", "--as-of", AS_OF.isoformat(), "--output", f"{folder}/lake", "--quiet"
    )
    return folder / "lake"


def test_a_lake_on_an_object_store(bucket: Bucket, local: Path, tmp_path: Path) -> None:
    """One after the other, as an operator would: a second run needs the first, and a removal both."""
    assert "nothing forbids publication" in bucket.parcours(*RUN)
    assert_same_tables(local, bucket.download(tmp_path / "first"))
    asked = "select (select count(*) from touchpoints), (select count(*) from audit_results)"
    there, here = (bucket.parcours("query", "--lake", str(lake), "--format", "csv", asked) for lake in (LAKE, local))
    assert there == here
    assert all(int(count) > 0 for count in there.split()[-1].split(","))

    strict = tmp_path / "strict.toml"
    strict.write_text("[audit]\nquarantine_block_share = 0.0001\nquarantine_least_records = 1\n")
    refused = bucket.parcours(*RUN, "--settings", str(strict), status=1)
    [run_id] = set(re.findall(r"The audit refuses run (\S+):", refused))
    assert_same_tables(local, bucket.download(tmp_path / "after the refusal"))
    assert "refused" in bucket.parcours("runs", "--lake", LAKE)
    assert bucket.parcours("query", "--lake", LAKE, "--run", run_id, "select count(*) from touchpoints")

    bucket.parcours("publish", "--lake", LAKE, run_id)
    assert f"*  {run_id}" in bucket.parcours("runs", "--lake", LAKE)
    assert "Tables of older runs removed" in bucket.parcours(*RUN, "--keep", "1")
    kept = bucket.download(tmp_path / "kept")
    assert_same_tables(local, kept)
    assert len(list((kept / "runs").iterdir())) == 1
    assert "entered" in bucket.parcours("funnel", "--lake", LAKE, "--step", "site_visit", "--step", "purchase")
    assert "Customer c-1 " in bucket.parcours("explain", "--lake", LAKE, "c-1")


def test_a_bucket_that_is_not_there_is_named(bucket: Bucket, local: Path) -> None:
    said = bucket.parcours(*RUN[:-2], "s3://nobody/lake", status=2)
    assert "s3://nobody/lake" in said and "NoSuchBucket" in said and "Check the bucket's name" in said
