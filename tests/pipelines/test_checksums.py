"""Input files as the manifest lists them: size, time and checksum; and one that changes on the way."""

import hashlib
from pathlib import Path

import pytest

from pipelines.checksums import Checksums
from pipelines.errors import InputError
from transforms.read_blocks import InputFile


def input_file(path: Path) -> InputFile:
    return InputFile("events", str(path), path.stat().st_size, "jsonl", "")


def test_each_file_has_its_checksum(tmp_path: Path) -> None:
    files = []
    for number in range(3):
        path = tmp_path / f"{number}.jsonl"
        path.write_bytes(b"x" * (number * 5_000_000 + 1))
        files.append(input_file(path))
    with Checksums(files, "r1") as taken:
        inputs = taken.inputs()
    assert [(i.path, i.bytes, i.run_id) for i in inputs] == [(f.path, f.bytes, "r1") for f in files]
    assert [i.checksum for i in inputs] == [
        f"sha256:{hashlib.sha256(Path(f.path).read_bytes()).hexdigest()}" for f in files
    ]
    assert all(i.modified_at and i.modified_at.endswith("Z") for i in inputs)


@pytest.mark.parametrize("change", ["append", "replace", "remove"])
def test_a_file_that_changes_while_it_is_read_is_told(tmp_path: Path, change: str) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text("{}\n")
    with Checksums([input_file(path)], "r1") as taken:
        if change == "append":
            path.write_text("{}\n{}\n")
        elif change == "replace":
            (tmp_path / "other").write_text("[]\n")
            (tmp_path / "other").rename(path)
        else:
            path.unlink()
        with pytest.raises(InputError, match=r"events\.jsonl (changed while it was read|cannot be read)"):
            taken.inputs()
