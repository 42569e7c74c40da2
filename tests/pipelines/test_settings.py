"""Settings are right or refused, and a refusal names the file, the field, the value and the mend."""

import pickle
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.errors import UsageError
from pipelines.settings import Settings, load_settings, parse_time


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str) -> str:
        path = tmp_path / "settings.toml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


# ---- what is given is taken


def test_the_defaults_are_those_of_the_design() -> None:
    settings = load_settings()
    assert settings == Settings()
    assert (settings.session_gap_minutes, settings.journey_silence_days, settings.inactivity_days) == (30, 90, 90)
    assert (settings.identity_policy, settings.timezone, settings.as_of) == ("device_split", "UTC", None)
    assert settings.earliest == datetime(1990, 1, 1, tzinfo=UTC)
    assert (settings.max_record_bytes, settings.quarantine_raw_cap) == (16 * 1024**2, 4096)


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, field in Settings.model_fields.items() if not (field.description or "").endswith(".")] == []


def test_a_file_is_read_and_the_command_line_goes_before_it(write) -> None:
    path = write(
        """
        as_of = 2026-11-01T00:00:00+01:00
        identity_policy = "none"
        timezone = "Europe/Paris"
        exclude = "email like '%@example.com'"
        shards = 4
        [friction_parameters.slow_page]
        slow_ms = 3000
        share = 0.5
        """
    )
    settings = load_settings(path, identity_policy="last_auth", as_of=None)
    assert settings.as_of == datetime(2026, 10, 31, 23, tzinfo=UTC)
    assert settings.identity_policy == "last_auth"
    assert settings.friction_parameters == {"slow_page": {"slow_ms": 3000, "share": 0.5}}
    assert isinstance(settings.friction_parameters["slow_page"]["slow_ms"], int)
    assert settings.shards == 4


def test_paths_in_a_file_are_relative_to_it(write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own" / "events").mkdir(parents=True)
    (tmp_path / "own" / "stages.sql").write_text("select 1", encoding="utf-8")
    path = write('contracts = "own/events"\nstages = "own/stages.sql"')
    monkeypatch.chdir("/")
    settings = load_settings(path)
    assert settings.contracts == str(tmp_path / "own" / "events")
    assert settings.stages == str(tmp_path / "own" / "stages.sql")


def test_settings_never_change_and_travel(write) -> None:
    settings = load_settings(write('timezone = "Asia/Kathmandu"'))
    with pytest.raises(ValidationError):
        settings.timezone = "UTC"  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert Settings.model_validate_json(settings.model_dump_json()) == settings


# ---- what is wrong is refused, with the mend


@pytest.mark.parametrize(
    ("text", "says", "mend"),
    [
        ("session_gap = 3", "session_gap is not a setting", " or session_gap_minutes?"),
        ("zzz = 3", "zzz is not a setting", "The settings are: as_of, identity_policy,"),
        ("session_gap_minutes = 0", "session_gap_minutes = 0: input should be greater than or equal to 1", "a session"),
        ('session_gap_minutes = "30"', "session_gap_minutes = '30': input should be a valid integer", "minutes"),
        ("session_gap_minutes = true", "session_gap_minutes = True", ""),
        ('timezone = "Mars/Olympus"', "'Mars/Olympus': is not a time zone", "timezone: "),
        ('timezone = "America"', "is not a time zone", ""),
        ('timezone = "../../etc/passwd"', "is not a time zone", ""),
        ('sessions = "sometimes"', "sessions = 'sometimes': input should be 'gap' or 'source'", ""),
        ('identity_policy = "merge"', "'device_split', 'last_auth' or 'none'", "unidentified events"),
        ("as_of = 2026-11-01T00:00:00", "as_of = 2026-11-01T00:00:00: has no offset", ""),
        ("as_of = 2026-11-01", "as_of = 2026-11-01: is not a time with an offset", ""),
        ('as_of = "2026-11-01"', "as_of = '2026-11-01': is not a time with an offset", ""),
        ("as_of = 20261101", "as_of = 20261101: is not a time with an offset", ""),
        ('earliest = "2026-02-30T00:00:00Z"', "earliest = '2026-02-30T00:00:00Z': day", ""),
        ('contracts = "nowhere"', "nowhere': is not a folder that exists", "your own event types"),
        ('stages = "nowhere.sql"', "nowhere.sql': is not a file that exists", ""),
        ("shards = 65537", "shards = 65537: input should be less than or equal to 65536", ""),
        ('exclude = ""', "exclude = ''", ""),
        ("friction_parameters = { slow_page = { slow_ms = 'fast' } }", "friction_parameters.slow_page.slow_ms", ""),
        ("friction_parameters = { slow_page = { slow_ms = inf } }", "friction_parameters.slow_page.slow_ms = inf", ""),
        (
            "friction_parameters = { slow_page = { slow_ms = true } }",
            "friction_parameters.slow_page.slow_ms = True",
            "",
        ),
    ],
)
def test_a_wrong_setting_names_file_field_value_and_mend(write, text: str, says: str, mend: str) -> None:
    path = write(text)
    with pytest.raises(UsageError) as refused:
        load_settings(path)
    assert refused.value.message.startswith(f"{path}: ") and says in refused.value.message
    assert mend in refused.value.mend and refused.value.mend
    assert "pydantic" not in str(refused.value) and "\n" not in str(refused.value)


def test_a_wrong_option_is_named_as_it_was_typed() -> None:
    with pytest.raises(UsageError, match=r"^--as-of = 'today': is not a time"):
        load_settings(as_of="today")


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"timezone = Paris", "is not TOML"), (b"timezone = '\xff'", "is not UTF-8"), (None, "does not exist")],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "settings.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=says) as refused:
        load_settings(str(path))
    assert str(path) in refused.value.message and refused.value.mend


def test_a_folder_is_no_settings_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        load_settings(str(tmp_path))


# ---- times


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-21T23:59:00Z", datetime(2026, 11, 21, 23, 59, tzinfo=UTC)),
        ("2026-11-21t23:59:00.1234569z", datetime(2026, 11, 21, 23, 59, 0, 123456, tzinfo=UTC)),
        (" 2026-11-21T23:59:00-05:30 ", datetime(2026, 11, 22, 5, 29, tzinfo=UTC)),
    ],
)
def test_times_are_rfc_3339(text: str, moment: datetime) -> None:
    assert parse_time(text) == moment


@pytest.mark.parametrize(
    "text",
    ["", "now", "2026-11-21 23:59:00Z", "2026-11-21T23:59Z", "2026-11-21T23:59:60Z", "0001-01-01T00:00:00+05:00"],
)
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_time(text)


@given(st.datetimes(timezones=st.timezones()).filter(lambda moment: 1 < moment.year < 9999))
def test_every_moment_reads_back_in_utc(moment: datetime) -> None:
    offset_in_minutes = (moment.utcoffset() or datetime.resolution).total_seconds() % 60 == 0
    if offset_in_minutes:  # RFC 3339 cannot write the seconds of old local mean times
        assert parse_time(moment.isoformat(timespec="microseconds")) == moment.astimezone(UTC)
