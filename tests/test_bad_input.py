"""Whatever a user hands over, the real command says what is wrong and how to mend it, and leaves the lake as it was.

Exit status: 0 where single records are wrong (they are quarantined, the rest is published), 2 for options, settings
and SQL, 3 for input that cannot be read. Each case is a function that writes files and returns what stands behind
`parcours run --output LAKE`; `parcours check` is asked the same. The commands of all cases run side by side.
"""

import fcntl
import gzip
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.cli import status_of
from tests.lake_tables import counts, read_tables
from tests.real_command import Done, fork_command, run_command

AS_OF = "2026-01-01T00:00:00Z"
VISIT: dict[str, object] = {
    "event_id": "v-1",
    "event_type": "site_visit",
    "occurred_at": "2025-06-01T10:00:00Z",
    "customer_id": "c-1",
    "page_url": "/",
}
ORDER = VISIT | {"event_id": "o-1", "event_type": "purchase", "order_id": "o-1", "amount": 12.5, "currency": "EUR"}


@dataclass(frozen=True)
class Case:
    """`says`: what the message must hold, {0} standing for the case's folder. `quarantine`: the codes of a status 0."""

    make: Callable[[Path], list[str]]
    status: int
    says: tuple[str, ...]
    quarantine: Mapping[str, int] = field(default_factory=dict)
    touchpoints: int = 0
    in_check: bool = True  # `parcours check` is asked too
    locked: bool = False  # another run holds the lake
    file_bytes: int | None = None  # at which a file cannot grow
    megabytes: int = 0  # the most memory that it may take; 0: any


CASES: dict[str, Case] = {}
Make = Callable[[Path], list[str]]


def refused(status: int, *says: str, **more: Any) -> Callable[[Make], Make]:
    def register(make: Make) -> Make:
        CASES[make.__name__] = Case(make, status, says, **more)
        return make

    return register


def accepted(touchpoints: int, megabytes: int = 0, **quarantine: int) -> Callable[[Make], Make]:
    """Published, with so many findings by code (a _ for the dot)."""

    def register(make: Make) -> Make:
        codes = {code.replace("_", ".", 1): count for code, count in quarantine.items()}
        CASES[make.__name__] = Case(make, 0, (), codes, touchpoints, in_check=not megabytes, megabytes=megabytes)
        return make

    return register


# ---- files


def lines(*events: Mapping[str, object]) -> bytes:
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


def given(folder: Path, name: str, data: bytes | str) -> list[str]:
    """The file, written, as an input."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return ["--input", str(path)]


def table(folder: Path, name: str, rows: list[dict[str, object]], **columns: pa.Array) -> list[str]:
    written = pa.Table.from_pylist(rows)
    for column, values in columns.items():
        written = written.set_column(written.schema.get_field_index(column), column, values)
    pq.write_table(written, folder / name)
    return ["--input", str(folder / name)]


def settings(folder: Path, text: str) -> list[str]:
    (folder / "settings.toml").write_text(text)
    return ["--settings", str(folder / "settings.toml")]


def many(number: int) -> list[dict[str, object]]:
    return [VISIT | {"event_id": f"v-{n}", "page_url": f"/{n * 7919 % 10007}"} for n in range(number)]


# ---- 3: input that cannot be read


@refused(3, "The folder {0}/in holds no file that can be read", ".jsonl")
def a_folder_without_files(folder: Path) -> list[str]:
    (folder / "in" / "deeper").mkdir(parents=True)
    return ["--input", str(folder / "in")]


@refused(3, "The folder {0}/in holds no file that can be read")
def a_folder_with_other_files_only(folder: Path) -> list[str]:
    given(folder, "in/_started.jsonl", lines(VISIT))
    given(folder, "in/notes.txt", "none")
    return ["--input", str(folder / "in")]


@refused(3, "No file fits {0}/*.jsonl", "quotes")
def no_match(folder: Path) -> list[str]:
    return ["--input", f"{folder}/*.jsonl"]


@refused(3, "notes.txt", "the name does not tell the format")
def a_name_without_a_format(folder: Path) -> list[str]:
    return given(folder, "notes.txt", lines(VISIT))


@refused(3, "{0}/events.jsonl.gz breaks off or is damaged", "Copy")
def a_gzip_cut_in_the_middle(folder: Path) -> list[str]:
    packed = gzip.compress(lines(*many(20_000)))
    return given(folder, "events.jsonl.gz", packed[: len(packed) // 2])


@refused(3, "{0}/events.jsonl.gz breaks off or is damaged", in_check=False)
def a_gzip_without_its_last_bytes(folder: Path) -> list[str]:
    return given(folder, "events.jsonl.gz", gzip.compress(lines(VISIT), mtime=0)[:-4])


@refused(3, "{0}/events.jsonl.gz breaks off or is damaged", in_check=False)
def a_gzip_with_a_flipped_bit(folder: Path) -> list[str]:
    packed = bytearray(gzip.compress(lines(*many(2_000))))
    packed[-6] ^= 1  # of the checksum: every byte before it came out as if all were well
    return given(folder, "events.jsonl.gz", bytes(packed))


@refused(3, "{0}/events.jsonl.gz breaks off or is damaged", in_check=False)
def a_gzip_with_something_behind_it(folder: Path) -> list[str]:
    return given(folder, "events.jsonl.gz", gzip.compress(lines(VISIT), mtime=0) + b"and more")


@refused(3, "{0}/events.csv.gz breaks off or is damaged", in_check=False)
def a_csv_gzip_cut_in_its_header(folder: Path) -> list[str]:
    return given(folder, "events.csv.gz", gzip.compress(b"event_id,event_type,occurred_at\n", mtime=0)[:15])


@refused(3, "{0}/events.csv.zst breaks off or is damaged", in_check=False)
def a_zst_cut_in_the_middle(folder: Path) -> list[str]:
    packed = pa.compress(csv_of(many(20_000)), "zstd", asbytes=True)
    return given(folder, "events.csv.zst", packed[: len(packed) // 2])


@refused(3, "{0}/events.jsonl.gz is named .gz, but is not gz compressed", "Remove .gz")
def a_gz_that_is_no_gzip(folder: Path) -> list[str]:
    return given(folder, "events.jsonl.gz", lines(VISIT))


@refused(3, "{0}/events.jsonl is gz compressed, but not named so", "Add .gz", in_check=False)
def a_gzip_that_is_not_named_so(folder: Path) -> list[str]:
    return given(folder, "events.jsonl", gzip.compress(lines(VISIT), mtime=0))


@refused(3, "{0}/events.jsonl.gz is empty")
def a_gzip_of_nothing(folder: Path) -> list[str]:
    return given(folder, "events.jsonl.gz", gzip.compress(b"", mtime=0))


@refused(3, "{0}/empty.jsonl is empty (0 bytes)", "Remove it")
def a_file_of_no_bytes(folder: Path) -> list[str]:
    return [*given(folder, "events.jsonl", lines(VISIT)), *given(folder, "empty.jsonl", b"")]


@refused(3, "{0}/events.parquet is not a whole Parquet file")
def a_truncated_parquet(folder: Path) -> list[str]:
    table(folder, "events.parquet", many(1000))
    data = (folder / "events.parquet").read_bytes()
    return given(folder, "events.parquet", data[: len(data) // 2])


@refused(3, "{0}/events.parquet is damaged")
def a_parquet_with_damaged_data(folder: Path) -> list[str]:
    pq.write_table(pa.Table.from_pylist(many(5000)), folder / "events.parquet", compression="zstd")
    data = bytearray((folder / "events.parquet").read_bytes())
    data[100:2000] = bytes(1900)
    return given(folder, "events.parquet", bytes(data))


@refused(3, "{0}/events.parquet is not a Parquet file", in_check=False)
def a_text_named_parquet(folder: Path) -> list[str]:
    return given(folder, "events.parquet", lines(VISIT))


@refused(3, "{0}/events.jsonl is a Parquet file", "Name it .parquet", in_check=False)
def a_parquet_named_jsonl(folder: Path) -> list[str]:
    table(folder, "events.parquet", [VISIT])
    return given(folder, "events.jsonl", (folder / "events.parquet").read_bytes())


@refused(3, "{0}/events.jsonl is named by two inputs", "once")
def the_same_file_twice(folder: Path) -> list[str]:
    return [*given(folder, "events.jsonl", lines(VISIT)), "--input", f"{folder}/*.jsonl"]


@refused(3, "events.jsonl is named by two inputs", "once")
def the_same_file_twice_in_other_words(folder: Path) -> list[str]:
    (folder / "deeper").mkdir()
    return [*given(folder, "events.jsonl", lines(VISIT)), "--input", f"{folder}/deeper/../events.jsonl"]


@refused(
    3, "{0}/a.csv.gz has no column event_id, event_type, occurred_at", "{0}/b.parquet", "{0}/c.jsonl.gz is named .gz"
)
def several_unreadable_files_are_all_named(folder: Path) -> list[str]:
    return [
        *given(folder, "a.csv.gz", gzip.compress(b"name,age\nann,4\n", mtime=0)),
        *table(folder, "b.parquet", [{"name": "ann"}]),
        *given(folder, "c.jsonl.gz", lines(VISIT)),
        *given(folder, "d.jsonl", lines(VISIT)),
    ]


def csv_of(rows: list[dict[str, object]]) -> bytes:
    text = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    return "\n".join(text).encode() + b"\n"


@refused(3, "{0}/people.csv has no column event_id, event_type, occurred_at", "its columns are name, age", "describe")
def a_csv_with_other_columns(folder: Path) -> list[str]:
    return given(folder, "people.csv", "name,age\nann,4\n")


@refused(3, "{0}/people.csv the header names 'page_url' more than once", "one name")
def a_csv_whose_header_names_a_column_twice(folder: Path) -> list[str]:
    return given(folder, "people.csv", csv_of([VISIT]).replace(b"customer_id", b"page_url"))


@refused(3, "{0}/events.csv the header line is not readable", "UTF-8", in_check=False)
def a_csv_whose_header_is_no_text(folder: Path) -> list[str]:
    return given(folder, "events.csv", csv_of([VISIT]).replace(b"page_url", b"page\xff"))


@refused(3, "{0}/events.csv has no header line", in_check=False)
def a_csv_of_blank_lines(folder: Path) -> list[str]:
    return given(folder, "events.csv", b"\n \n\n")


@refused(3, "The inputs hold no record", "headers alone")
def a_csv_of_a_header_only(folder: Path) -> list[str]:
    return given(folder, "events.csv", csv_of([VISIT]).splitlines(keepends=True)[0])


@refused(3, "The inputs hold no record", "headers alone", in_check=False)
def a_parquet_without_rows(folder: Path) -> list[str]:
    pq.write_table(pa.Table.from_pylist([VISIT]).slice(0, 0), folder / "events.parquet")
    return ["--input", str(folder / "events.parquet")]


@refused(3, "{0}/events.parquet column amount is string; the contract wants number", "Cast amount")
def a_parquet_with_amounts_as_text(folder: Path) -> list[str]:
    return table(folder, "events.parquet", [ORDER | {"amount": "12.50"}])


@refused(3, "{0}/events.parquet column occurred_at is timestamp[us] (no time zone)", "Cast occurred_at", in_check=False)
def a_parquet_with_naive_times(folder: Path) -> list[str]:
    times = pa.array([1748772000000000], pa.timestamp("us"))
    return table(folder, "events.parquet", [VISIT], occurred_at=times)


@refused(3, "{0}/events.parquet column customer_id is list", in_check=False)
def a_parquet_with_lists_for_identifiers(folder: Path) -> list[str]:
    return table(folder, "events.parquet", [VISIT | {"customer_id": ["c-1"]}])


@refused(3, "{0}/events.parquet names page_url more than once")
def a_parquet_with_a_column_twice(folder: Path) -> list[str]:
    written = pa.Table.from_pylist([VISIT])
    pq.write_table(written.append_column("page_url", written["page_url"]), folder / "events.parquet")
    return ["--input", str(folder / "events.parquet")]


@refused(3, "{0}/calls.csv", "caller", "(the file's columns: number, began)", "calls.toml")
def a_described_csv_with_other_columns(folder: Path) -> list[str]:
    described(folder)
    return given_calls(folder, "number,began\n1,2025-06-01T10:00:00Z\n")


@refused(3, "{0}/calls.csv", "Conversion Error", "calls.toml")
def a_described_csv_with_a_value_that_the_sql_cannot_take(folder: Path) -> list[str]:
    described(folder, occurred_at="began::timestamp")
    return given_calls(folder, "number,began,caller\n1,soon,c-1\n")


@refused(3, "The lookup teams of desk.calls, {0}/teams.csv, cannot be opened", "--lookup teams=FILE")
def a_lookup_that_is_missing(folder: Path) -> list[str]:
    described(folder, more='[lookups]\nteams = { file = "teams.csv" }\n')
    return given_calls(folder)


@refused(3, "{0}/events.jsonl cannot be opened", "may be read")
def a_file_that_may_not_be_read(folder: Path) -> list[str]:
    inputs = given(folder, "events.jsonl", lines(VISIT))
    (folder / "events.jsonl").chmod(0)
    return inputs


# ---- 2: options, settings and SQL


def described(folder: Path, more: str = "", **columns: str) -> None:
    """A description of a help desk's calls, desk.calls, in the folder `sources`."""
    chosen = {"record_no": "record_no", "event_type": "'ticket_opened'", "occurred_at": "began", "ticket_id": "number",
              "customer_id": "caller"} | columns  # fmt: skip
    select = ", ".join(f"{sql} as {name}" for name, sql in chosen.items() if sql)
    (folder / "sources" / "desk").mkdir(parents=True)
    (folder / "sources" / "desk" / "calls.toml").write_text(
        f'description = "Calls."\nformat = "csv"\nrecord_key = "number"\nselect = """select {select} from records"""\n{more}'
    )


def given_calls(folder: Path, text: str = "number,began,caller\n1,2025-06-01T10:00:00Z,c-1\n") -> list[str]:
    given(folder, "calls.csv", text)
    return ["--input", f"desk.calls:{folder}/calls.csv", *settings(folder, 'sources = "sources"\n')]


def given_visit(folder: Path, text: str = "") -> list[str]:
    return [*given(folder, "events.jsonl", lines(VISIT, ORDER)), *(settings(folder, text) if text else [])]


@refused(2, "{0}/sources/desk/calls.toml", "Parser Error", "SQL")
def a_description_with_a_slip_in_its_sql(folder: Path) -> list[str]:
    described(folder, ticket_id="number,, 1")
    return given_calls(folder)


@refused(2, "{0}/sources/desk/calls.toml", "gives no column record_no", in_check=False)
def a_description_without_record_no(folder: Path) -> list[str]:
    described(folder, record_no="")
    return given_calls(folder)


@refused(2, "{0}/sources/desk/calls.toml", "lower_case", "SQL", in_check=False)
def a_description_with_an_unknown_function(folder: Path) -> list[str]:
    described(folder, customer_id="lower_case(caller)")
    return given_calls(folder)


@refused(2, "{0}/sources/desk/calls.toml", "unknown key 'selects'", in_check=False)
def a_description_with_an_unknown_key(folder: Path) -> list[str]:
    described(folder, more='selects = "select 1"\n')
    return given_calls(folder)


@refused(2, "there is no source description 'desk.mails'", "desk.calls", "complete_journey.transactions")
def an_unknown_source(folder: Path) -> list[str]:
    described(folder)
    return [*given_calls(folder), "--input", f"desk.mails:{folder}/calls.csv"]


@refused(2, "{0}/contracts/call/1-0-0.json", "minLength", in_check=False)
def a_contract_with_a_keyword_that_nobody_would_check(folder: Path) -> list[str]:
    contract = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:parcours:event:call:1-0-0",
        "title": "call",
        "description": "A call.",
        "type": "object",
        "allOf": [{"$ref": "urn:parcours:event:envelope:1-0-0"}],
        "properties": {"line": {"description": "The line.", "type": "string", "x-arrow": "string", "minLength": 2}},
    }
    given(folder, "contracts/call/1-0-0.json", json.dumps(contract))
    return given_visit(folder, 'contracts = "contracts"\n')


@refused(2, "{0}/contracts/call/1-0-0.json", "JSON")
def a_contract_that_is_no_json(folder: Path) -> list[str]:
    given(folder, "contracts/call/1-0-0.json", "{")
    return given_visit(folder, 'contracts = "contracts"\n')


@refused(2, "{0}/stages.sql", "Parser Error", in_check=False)
def a_stage_file_with_a_slip_in_its_sql(folder: Path) -> list[str]:
    given(folder, "stages.sql", "select row_no, case when then 'usage' end as stage from touchpoints")
    return given_visit(folder, 'stages = "stages.sql"\n')


@refused(2, "{0}/stages.sql", "page_knd", in_check=False)
def a_stage_file_with_an_unknown_column(folder: Path) -> list[str]:
    given(folder, "stages.sql", "select row_no, page_knd as stage from touchpoints")
    return given_visit(folder, 'stages = "stages.sql"\n')


@refused(2, "`stages`, {0}/stages.sql", "Conversion Error", in_check=False)
def a_stage_file_that_fails_on_a_value(folder: Path) -> list[str]:
    given(folder, "stages.sql", "select row_no, customer_id::int::varchar as stage from touchpoints")
    return given_visit(folder, 'stages = "stages.sql"\n')


@refused(2, "`stages`, {0}/stages.sql", "gives 1 rows", "2 touchpoints", in_check=False)
def a_stage_file_that_leaves_out_rows(folder: Path) -> list[str]:
    given(folder, "stages.sql", "select row_no, 'usage' as stage from touchpoints where event_type <> 'site_visit'")
    return given_visit(folder, 'stages = "stages.sql"\n')


@refused(2, "`exclude`", "Parser Error")
def an_exclude_with_a_slip_in_its_sql(folder: Path) -> list[str]:
    return given_visit(folder, 'exclude = "email like and"\n')


@refused(2, "`exclude`", "emial", in_check=False)
def an_exclude_with_an_unknown_column(folder: Path) -> list[str]:
    return given_visit(folder, "exclude = \"emial = 'x'\"\n")


@refused(2, "`exclude`", "Conversion Error")
def an_exclude_that_fails_on_a_value(folder: Path) -> list[str]:
    return given_visit(folder, 'exclude = "customer_id::int > 7"\n')


@refused(2, "`friction`, {0}/friction", "Conversion Error", in_check=False)
def a_friction_kind_that_fails_on_a_value(folder: Path) -> list[str]:
    shipped = Path(__file__).parent.parent / "schemas" / "friction"
    (folder / "friction").mkdir()
    for ending in ("toml", "sql"):
        text = (shipped / f"slow_page.{ending}").read_text().replace("slow_page", "rage")
        given(folder, f"friction/rage.{ending}", text.replace("and load_ms", "and customer_id::int"))
    return given_visit(folder, 'friction = "friction"\n')


@refused(2, "{0}/friction/rage.sql", "laod_ms", "docs/friction.md")
def a_friction_kind_with_an_unknown_column(folder: Path) -> list[str]:
    shipped = Path(__file__).parent.parent / "schemas" / "friction"
    (folder / "friction").mkdir()
    given(folder, "friction/rage.toml", (shipped / "slow_page.toml").read_text())
    given(folder, "friction/rage.sql", (shipped / "slow_page.sql").read_text().replace("load_ms", "laod_ms"))
    return given_visit(folder, 'friction = "friction"\n')


@refused(2, "{0}/friction/refund.toml", "the table [example] has a text")
def a_friction_kind_without_an_example(folder: Path) -> list[str]:
    shipped = Path(__file__).parent.parent / "schemas" / "friction"
    (folder / "friction").mkdir()
    given(folder, "friction/refund.toml", (shipped / "refund.toml").read_text().partition("[example]")[0])
    given(folder, "friction/refund.sql", (shipped / "refund.sql").read_text())
    return given_visit(folder, 'friction = "friction"\n')


@refused(
    2,
    "friction_parameters.rage_click.ignore_elements is '+'; it is a list of texts, such as [",
    "Correct the settings.",
)
def a_friction_parameter_of_another_form(folder: Path) -> list[str]:
    return given_visit(folder, '[friction_parameters.rage_click]\nignore_elements = "+"\n')


@refused(
    2, "friction_parameters.checkout_abandoned.finished_by names purchse, which is no type", "Did you mean purchase?"
)
def a_friction_parameter_with_a_slip(folder: Path) -> list[str]:
    return given_visit(folder, '[friction_parameters.checkout_abandoned]\nfinished_by = ["purchse"]\n')


@refused(2, "settings.toml: shardz is not a setting", "shards", in_check=False)
def a_setting_that_there_is_not(folder: Path) -> list[str]:
    return given_visit(folder, "shardz = 3\n")


@refused(2, "The settings file {0}/none.toml does not exist", in_check=False)
def a_settings_file_that_is_not_there(folder: Path) -> list[str]:
    return [*given_visit(folder), "--settings", f"{folder}/none.toml"]


@refused(2, "--as-of", "2026-01-01T00:00:00", "offset")
def an_as_of_without_an_offset(folder: Path) -> list[str]:
    return [*given_visit(folder), "--as-of", "2026-01-01T00:00:00"]


@refused(2, "{0}/file is a file, not a folder", in_check=False)
def an_output_that_is_a_file(folder: Path) -> list[str]:
    given(folder, "file", "text")
    return [*given_visit(folder), "--output", f"{folder}/file"]


@refused(2, "The lake {0}/file/lake cannot be written", in_check=False)
def an_output_below_a_file(folder: Path) -> list[str]:
    given(folder, "file", "text")
    return [*given_visit(folder), "--output", f"{folder}/file/lake"]


@refused(2, "The lake /proc/parcours cannot be written", in_check=False)
def an_output_that_nobody_may_write(folder: Path) -> list[str]:
    return [*given_visit(folder), "--output", "/proc/parcours"]


@refused(2, "Another run is writing the lake {0}/lake", "Wait", in_check=False, locked=True)
def a_lake_that_another_run_is_writing(folder: Path) -> list[str]:
    return given_visit(folder)


@refused(2, "File too large", "--output", in_check=False, file_bytes=30_000)
def a_disk_that_is_full(folder: Path) -> list[str]:
    return given(folder, "events.jsonl", lines(*many(3_000)))


# ---- 0: single records are wrong


@accepted(3, record_too_long=1, megabytes=800)
def a_line_of_100_megabytes(folder: Path) -> list[str]:
    path = folder / "events.jsonl"
    with path.open("wb") as file:
        file.write(lines(VISIT) + b'{"event_id": "')
        for _ in range(100):
            file.write(b"x" * 1_000_000)
        file.write(b'"}\n' + lines(ORDER, VISIT | {"event_id": "v-3"}))
    return ["--input", str(path)]


@accepted(1, record_too_long=1, megabytes=800)
def a_csv_with_a_quote_that_opens_100_megabytes(folder: Path) -> list[str]:
    head, row = csv_of([VISIT]).splitlines(keepends=True)
    with (folder / "events.csv").open("wb") as file:
        file.write(head + row + b'v-2,"')
        for _ in range(100):
            file.write(b"site_visit,2025\n" * 62_500)
    return ["--input", str(folder / "events.csv")]


@accepted(2, encoding_invalid=2)
def bytes_that_are_no_utf8(folder: Path) -> list[str]:
    cafe = b'{"event_id": "caf\xe9"}\n\xff\xfe\n'
    return given(folder, "events.jsonl", lines(VISIT) + cafe + lines(ORDER))


@accepted(1, csv_malformed=2)
def csv_rows_with_too_many_and_too_few_fields(folder: Path) -> list[str]:
    return given(
        folder, "events.csv", csv_of([VISIT]) + b"v-2,site_visit,2025-06-01T10:00:00Z,c-1,/,more\nv-3,site_visit\n"
    )


@accepted(3, csv_malformed=1)
def a_csv_with_stray_quotes(folder: Path) -> list[str]:
    """Inside of a field a quote is a letter, behind its closing one it is a slip; neither reaches beyond its record."""
    rows = [VISIT | {"event_id": f"v-{n}", "page_url": url} for n, url in enumerate(('/5" pipe', '"/"x', "/last"))]
    return given(folder, "events.csv", csv_of([VISIT, *rows]))


@accepted(1, csv_malformed=1)
def a_csv_with_a_quote_that_is_never_closed(folder: Path) -> list[str]:
    return given(folder, "events.csv", csv_of([VISIT]) + b'v-2,"site_visit,2025-06-01T10:00:00Z,c-1,/\n')


@accepted(2)
def a_csv_with_line_ends_in_quotes(folder: Path) -> list[str]:
    rows = csv_of([VISIT]) + b'v-2,site_visit,2025-06-01T10:00:00Z,c-1,"/a\r\n\n""b"""\r\n'
    return given(folder, "events.csv", rows)


@accepted(1, json_malformed=3)
def bad_lines_before_a_good_one(folder: Path) -> list[str]:
    return given(folder, "events.jsonl", b"no\njson\nhere\n" + lines(VISIT))


@accepted(1, json_malformed=1)
def zeros_behind_the_data_as_a_crash_leaves_them(folder: Path) -> list[str]:
    return given(folder, "events.jsonl", lines(VISIT) + bytes(500))


# ---- the command, on each of them


def run_case(case: Case, folder: Path, earlier: Path) -> tuple[list[str], Done]:
    """The arguments of a case, and what `parcours run` did with them on a lake in which a run is published."""
    lake = folder / "lake"
    shutil.copytree(earlier, lake)
    args = case.make(folder)
    output = [] if "--output" in args else ["--output", str(lake)]
    as_of = [] if "--as-of" in args else ["--as-of", AS_OF]
    with (lake / ".lock").open() as lock:
        if case.locked:
            fcntl.flock(lock, fcntl.LOCK_EX)
        command = ["run", *args, *output, *as_of, "--quiet"]
        if case.megabytes:
            return args, run_command(command, folder)
        return args, fork_command(command, folder, file_bytes=case.file_bytes)


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake in which a run is published."""
    folder = tmp_path_factory.mktemp("earlier")
    inputs = given(folder, "events.jsonl", lines(VISIT))
    done = run_command(["run", *inputs, "--output", str(folder / "lake"), "--as-of", AS_OF, "--quiet"], folder)
    assert done.status == 0, done.err
    return folder / "lake"


Begun = dict[str, tuple[Path, "Future[tuple[list[str], Done]]"]]


@pytest.fixture(scope="module")
def begun(request: pytest.FixtureRequest, earlier: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Begun]:
    """The folder and the command of every case that is asked for, side by side."""
    asked = {item.callspec.params.get("name") for item in request.session.items if hasattr(item, "callspec")}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        folders = {name: tmp_path_factory.mktemp("case") for name in CASES if name in asked}
        yield {name: (folder, pool.submit(run_case, CASES[name], folder, earlier)) for name, folder in folders.items()}


def assert_told(case: Case, folder: Path, err: str) -> None:
    """One sentence that says what is wrong, and one that says how to mend it; no traceback, no warning."""
    for part in case.says:
        assert part.format(folder) in err
    assert err.startswith("parcours: error: ") and "\nmend: " in err
    assert "Traceback" not in err and "WARNING" not in err


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.status])
def test_it_is_refused_and_the_lake_stays_as_it_was(name: str, begun: Begun, earlier: Path) -> None:
    folder, future = begun[name]
    _, done = future.result()
    if name == "a_file_that_may_not_be_read" and os.access(folder / "events.jsonl", os.R_OK):
        pytest.skip("root may read every file")
    assert (done.status, done.out) == (CASES[name].status, ""), done.err
    assert_told(CASES[name], folder, done.err)
    assert (folder / "lake" / "current.json").read_bytes() == (earlier / "current.json").read_bytes()
    assert os.listdir(folder / "lake" / "runs") == os.listdir(earlier / "runs")
    assert read_tables(folder / "lake")["touchpoints"].num_rows == 1


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.status])
def test_bad_records_are_quarantined_and_the_rest_is_published(name: str, begun: Begun) -> None:
    folder, future = begun[name]
    _, done = future.result()
    assert (done.status, done.err) == (0, ""), done.err
    assert ": published" in done.out
    case, tables = CASES[name], read_tables(folder / "lake")
    codes = Counter(error["code"] for row in tables["quarantine"].to_pylist() for error in row["errors"])
    assert (tables["touchpoints"].num_rows, codes) == (case.touchpoints, case.quarantine)
    assert counts(folder / "lake")["records_in"] == case.touchpoints + tables["quarantine"].num_rows
    if case.megabytes:
        assert done.megabytes < case.megabytes


@pytest.mark.parametrize(
    ("data", "as_of"),
    [(b"no\njson\nhere\n", AS_OF), (None, "2016-01-01T00:00:00Z")],
    ids=["only bad lines", "as-of too early"],
)
def test_a_run_without_a_touchpoint_is_refused_and_kept_for_a_look(
    tmp_path: Path, earlier: Path, data: bytes | None, as_of: str
) -> None:
    lake = shutil.copytree(earlier, tmp_path / "lake")
    args = given(tmp_path, "events.jsonl", lines(VISIT) if data is None else data)
    done = fork_command(["run", *args, "--output", str(lake), "--as-of", as_of, "--quiet"], tmp_path)
    assert done.status == 1 and "touchpoints: there_is_a_touchpoint" in done.err and ": NOT published" in done.out
    assert (lake / "current.json").read_bytes() == (earlier / "current.json").read_bytes()
    assert len(os.listdir(lake / "runs")) == len(os.listdir(earlier / "runs")) + 1


@pytest.mark.parametrize("host", ["", "localhost"])
def test_a_uri_of_the_disk_is_its_path(tmp_path: Path, host: str) -> None:
    given(tmp_path, "events.jsonl", lines(VISIT))
    folder = tmp_path / "a lake"
    args = ["--input", f"file://{host}{tmp_path}/events.jsonl", "--output", f"file://{host}{tmp_path}/a%20lake"]
    done = fork_command(["run", *args, "--as-of", AS_OF, "--quiet"], tmp_path)
    assert done.status == 0, done.err
    assert read_tables(folder)["touchpoints"].num_rows == 1


def test_a_uri_of_another_machine_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lake = str(tmp_path / "lake")
    for args in (["file://elsewhere/e.jsonl", "--output", lake], ["e.jsonl", "--output", "file://elsewhere/lake"]):
        assert status_of(["run", "--input", *args, "--as-of", AS_OF, "--quiet"]) == 2
        assert "names no file of this machine" in capsys.readouterr().err


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.in_check])
def test_check_says_the_same(name: str, begun: Begun, capsys: pytest.CaptureFixture[str]) -> None:
    folder, future = begun[name]
    args, done = future.result()
    if name == "a_file_that_may_not_be_read" and os.access(folder / "events.jsonl", os.R_OK):
        pytest.skip("root may read every file")
    as_of = [] if "--as-of" in args else ["--as-of", AS_OF]
    assert status_of(["check", *args, *as_of, "--quiet"]) == CASES[name].status
    shown = capsys.readouterr()
    if CASES[name].status:
        assert_told(CASES[name], folder, shown.err)
        assert shown.err == done.err
    else:
        assert all(f"For example, {code}: " in shown.out for code in CASES[name].quarantine)


@pytest.mark.parametrize("make", [a_gzip_cut_in_the_middle, a_csv_with_other_columns, an_exclude_that_fails_on_a_value])
def test_a_refused_first_run_publishes_nothing(make: Make, tmp_path: Path) -> None:
    args = ["run", *make(tmp_path), "--output", str(tmp_path / "lake"), "--as-of", AS_OF, "--quiet"]
    assert status_of(args) == CASES[make.__name__].status
    assert not (tmp_path / "lake" / "current.json").exists()
    assert not list((tmp_path / "lake").glob("runs/*"))
