"""Settings are right or refused, and a refusal names the file, the field, the value and the mend."""

import json
import pickle
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.errors import UsageError
from pipelines.settings import SECTIONS, LifetimeValue, Settings, load_settings, parse_time
from schemas.dictionary import load_metrics
from transforms.partial_metrics import SUMS, VALUES
from transforms.rates import Rates


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
    assert load_settings(path).model_dump_json()
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


def test_the_defaults_of_the_numbers() -> None:
    settings = load_settings()
    assert (settings.segments, settings.business_hours, settings.schedule()) == ({}, None, None)
    assert settings.lifetime_value == LifetimeValue(
        model="bg_nbd", monthly_discount=0.01, margin=1, max_lifespan_years=5
    )


def test_every_setting_of_a_section_says_what_it_is() -> None:
    for section, model in SECTIONS.items():
        assert section in Settings.model_fields
        assert [name for name, field in model.model_fields.items() if not (field.description or "").endswith(".")] == []


NUMBERS = """
inactivity_days = "fit"

[segments]
country = "upper(country)"
size_2 = "extra ->> 'size'"

[lifetime_value]
model = "mbg_nbd"
monthly_discount = 0
margin = 0.25
max_lifespan_years = 3

[business_hours]
timezone = "Europe/Paris"
holidays = [2026-12-25, "2027-01-01"]

[business_hours.week]
monday = "09:00-17:00"
friday = ["09:00-12:00", "13:00-17:30"]

[[business_hours.changes]]
valid_from = 2026-07-01
[business_hours.changes.week]
monday = "08:00-24:00"

[[business_hours.changes]]
valid_from = "2026-09-01"
week = {}
"""


def test_the_settings_of_the_numbers_are_read_and_travel(write) -> None:
    settings = load_settings(write(NUMBERS))
    assert settings.inactivity_days == "fit"
    assert settings.segments == {"country": "upper(country)", "size_2": "extra ->> 'size'"}
    assert settings.lifetime_value == LifetimeValue(
        model="mbg_nbd", monthly_discount=0, margin=0.25, max_lifespan_years=3
    )
    assert pickle.loads(pickle.dumps(settings)) == settings
    again = Settings.model_validate_json(settings.model_dump_json())
    assert again == settings and again.schedule() == settings.schedule()


def test_business_hours_are_a_schedule(write) -> None:
    schedule = load_settings(write(NUMBERS)).schedule()
    assert schedule is not None and schedule.timezone == "Europe/Paris"
    assert schedule.holidays == {date(2026, 12, 25), date(2027, 1, 1)}
    assert [hours.valid_from for hours in schedule.hours] == [None, date(2026, 7, 1), date(2026, 9, 1)]
    assert [(hours.week[0], hours.week[4]) for hours in schedule.hours] == [
        (((540, 1020),), ((540, 720), (780, 1050))), (((480, 1440),), ()), ((), ()),
    ]  # fmt: skip


def test_rates_are_exact_as_text_and_as_numbers(write) -> None:
    text = (
        '[currency]\nbase = "EUR"\nrates = { EUR = "1.00", USD = 0.92, JPY = 5.8e-3, KWD = 3, GBP = "1.1700000000000" }'
    )
    settings = load_settings(write(text))
    rates = {"USD": "0.92", "JPY": "0.0058", "KWD": "3", "GBP": "1.17"}
    assert settings.currency is not None
    assert settings.currency.fixed() == Rates("EUR", tuple((code, Decimal(rate)) for code, rate in rates.items()))
    assert settings.currency.fixed().of(pa.array(["GBP", "EUR"])).to_pylist() == [Decimal("1.17"), None]
    assert json.loads(settings.model_dump_json())["currency"]["rates"]["USD"] == "0.92", "exact in the manifest"
    assert load_settings().currency is None


def test_inactivity_days_are_a_number_or_fitted(write) -> None:
    for text, days in (("1", 1), ("3650", 3650), ('"fit"', "fit")):
        assert load_settings(write(f"inactivity_days = {text}")).inactivity_days == days


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
        (
            "friction_parameters = { slow_page = { slow_ms = 2026-01-01 } }",
            "friction_parameters.slow_page.slow_ms = 2026-01-01: is not a number, a text, a list of texts or a table of numbers",
            "parcours friction KIND",
        ),
        ("friction_parameters = { a = { b = [1] } }", "friction_parameters.a.b = [1]: is not a number", ""),
        (
            "friction_parameters = { a = { b = { c = 'd' } } }",
            "friction_parameters.a.b = {'c': 'd'}: is not a number",
            "",
        ),
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


_HOURS = '[business_hours]\nweek = { monday = "09:00-17:00" }\n'


@pytest.mark.parametrize(
    ("text", "says", "mend"),
    [
        ('inactivity_days = "fitted"', "inactivity_days = 'fitted': ", '"fit"'),
        ("inactivity_days = 0", "inactivity_days = 0: input should be greater than or equal to 1", '"fit"'),
        ("inactivity_days = 3651", "inactivity_days = 3651: input should be less than or equal to 3650", ""),
        ("inactivity_days = true", "inactivity_days = True: ", ""),
        ("inactivity_days = 30.5", "inactivity_days = 30.5: ", ""),
        ('segments = "country"', "segments = 'country': input should be a valid dictionary", "SQL on a touchpoint by name"),
        ('[segments]\ncountry = ""', "segments.country = ''", ""),
        ("[segments]\ncountry = 1", "segments.country = 1: input should be a valid string", ""),
        ('[segments]\nCountry = "country"', "segments.Country = 'Country': string should match pattern", ""),
        ('[segments]\n"my country" = "country"', "segments.my country = ", ""),
        ("[segments]\n" + "a" * 42 + ' = "country"', "string should match pattern", ""),
        *(
            (f'[segments]\n{name} = "country"', f"segments.{name} = '{name}': is a segment that is always there; give yours", "")
            for name in ("all", "first_channel", "plan")
        ),
        *(
            (f'[segments]\n{name} = "country"', f"'{name}': is a column of the metrics' own; give the segment another name", "")
            for name in ("currency", "customer_no", "month", "numerator", "n", "value", "count", "metric", "segment_value")
        ),
        ('[lifetime_value]\nmodel = "pareto_nbd"', "lifetime_value.model = 'pareto_nbd': input should be 'bg_nbd' or 'mbg_nbd'", "model: "),
        ("[lifetime_value]\nmonthly_discount = 1", "lifetime_value.monthly_discount = 1: input should be less than 1", "Discount a month"),
        ("[lifetime_value]\nmonthly_discount = -0.1", "lifetime_value.monthly_discount = -0.1", ""),
        ("[lifetime_value]\nmonthly_discount = nan", "lifetime_value.monthly_discount = nan: input should be a finite number", ""),
        ("[lifetime_value]\nmargin = 0", "lifetime_value.margin = 0: input should be greater than 0", "Share of revenue"),
        ("[lifetime_value]\nmargin = 1.5", "lifetime_value.margin = 1.5: input should be less than or equal to 1", ""),
        ('[lifetime_value]\nmargin = "half"', "lifetime_value.margin = 'half': input should be a valid number", ""),
        ("[lifetime_value]\nmax_lifespan_years = 0", "lifetime_value.max_lifespan_years = 0", "Longest lifespan"),
        ("[lifetime_value]\nmax_lifespan_years = 101", "lifetime_value.max_lifespan_years = 101", ""),
        ("[lifetime_value]\nmargins = 1", "lifetime_value.margins is not a setting", "Did you mean margin?"),
        ("[lifetime_value]\nzzz = 1", "lifetime_value.zzz is not a setting", "The settings in [lifetime_value] are: model,"),
        ("lifetime_value = 5", "lifetime_value = 5: input should be a valid dictionary", "a table [lifetime_value]"),
        ("currency = 'EUR'", "currency = 'EUR': input should be a valid dictionary", "a table [currency] with base and rates"),
        ("[currency]\nbase = 'EUR'", "currency.rates = {'base': 'EUR'}: field required", 'rates = { USD = "0.92"'),
        ("[currency]\nrates = { USD = 1 }", "currency.base = {'rates': {'USD': 1}}: field required", "base: The currency"),
        ("[currency]\nbase = 'EUR'\nrate = 1", "currency.rates = ", ""),
        ("[currency]\nbase = 'EUR'\nrates = { USD = 1 }\nrate = 1", "currency.rate is not a setting", "Did you mean rates?"),
        ("[currency]\nbase = 'euro'\nrates = { USD = 1 }", "currency.base = 'euro': is not a currency; write its three capital", ""),
        ("[currency]\nbase = \"EUR\\n\"\nrates = { USD = 1 }", "currency.base = 'EUR\\n': is not a currency", ""),
        ("[currency]\nbase = 978\nrates = { USD = 1 }", "currency.base = 978: input should be a valid string", ""),
        ("[currency]\nbase = 'EUR'\nrates = ['USD']", "currency.rates = ['USD']: input should be a valid dictionary", ""),
        ("[currency]\nbase = 'EUR'\nrates = {}", "rates has no other currency than the base; give each its rate, or leave", ""),
        ("[currency]\nbase = 'EUR'\nrates = { EUR = 1 }", "rates has no other currency than the base", "[currency]"),
        ("[currency]\nbase = 'EUR'\nrates = { EUR = 2, USD = 1 }", "one EUR, the base, is worth 1 EUR and not 2; leave it out", ""),
        *(
            (f"[currency]\nbase = 'EUR'\nrates = {{ USD = {rate} }}", f"currency.rates.USD = {shown}: {says}", "worth in the base")
            for rate, shown, says in (
                ("'0,92'", "'0,92'", 'is not a number; write what one unit is worth in the base, such as "0.92"'),
                ("'-1'", "'-1'", "is not a number"), ("'1e3'", "'1e3'", "is not a number"), ("''", "''", "is not a number"),
                ("true", "True", "is not a number"), ("nan", "nan", "is not a number"), ("inf", "inf", "is not a number"),
                ("[1]", "[1]", "is not a number"), ("0", "0", "is not above 0"), ("-0.5", "-0.5", "is not above 0"),
                ("'0.0000'", "'0.0000'", "is not above 0"),
                ("0.12345678901234567", "0.12345678901234566", 'has more digits than a number keeps; write it as text, "0.1'),
                ("'0.12345678901'", "'0.12345678901'", "has more than 9 digits before the point, or more than 10 behind it"),
                ("1000000000", "1000000000", "has more than 9 digits before the point"),
                ("1" + "0" * 400, "1" + "0" * 400, "has more than 9 digits before the point"),
            )
        ),
        ("[currency]\nbase = 'EUR'\nrates = { usd = 1 }", "currency.rates.usd = 'usd': is not a currency; write its three", ""),
        ("business_hours = true", "business_hours = True: input should be a valid dictionary", "a table [business_hours]"),
        ('[business_hours]\ntimezone = "UTC"', "business_hours.week = {'timezone': 'UTC'}: field required", 'monday = "09:00-17:00"'),
        (f'{_HOURS}timezone = "Mars/Olympus"', "business_hours.timezone = 'Mars/Olympus': is not a time zone", ""),
        (f"{_HOURS}weeks = 1", "business_hours.weeks is not a setting", "Did you mean week?"),
        ("[business_hours]\nweek = 40", "business_hours.week = 40: is not a table of days; write monday = ", ""),
        ("[business_hours]\nweek = {}", "business_hours.week = {}: has no hours", 'monday = "09:00-17:00"'),
        ("[business_hours.week]\nmonday = []", "business_hours.week = {'monday': []}: has no hours", 'monday = "09:00-17:00"'),
        ("conversion_days = 0", "conversion_days = 0: input should be greater than or equal to 1", "window of conversion_rate"),
        ("[business_hours.week]\nmonday = 8", "is not a table of days; write monday = ", ""),
        ("[business_hours.week]\nmonday = [8]", "is not a table of days; write monday = ", ""),
        ('[business_hours.week]\nmonday = "9-17"', "monday: '9-17' is not a span of hours; write it as", ""),
        ('[business_hours.week]\nmontag = "09:00-17:00"', "'montag' is no weekday; write one of monday, tuesday,", ""),
        ('[business_hours.week]\nfriday = "17:00-09:00"', "friday: '17:00-09:00' does not end after its start", ""),
        ('[business_hours.week]\nfriday = ["09:00-13:00", "12:00-17:00"]', "friday: '09:00-13:00' and '12:00-17:00' overlap", ""),
        (f'{_HOURS}holidays = "2026-12-25"', "business_hours.holidays = '2026-12-25': is not a list of days", "Days on which"),
        (f'{_HOURS}holidays = ["25.12.2026"]', "business_hours.holidays.0 = '25.12.2026': is not a day; write it as 2026-12-25", ""),
        (f"{_HOURS}holidays = [2026-12-25T00:00:00]", "is not a day; write it as 2026-12-25", ""),
        (f'{_HOURS}holidays = ["2026-12-25", "2026-02-30"]', "business_hours.holidays.1 = '2026-02-30': day", ""),
        (f"{_HOURS}changes = 1", "business_hours.changes = 1: is not a list of tables; write each as [[business_hours.changes]]", ""),
        (f"{_HOURS}[[business_hours.changes]]\nweek = {{}}", "business_hours.changes.0.valid_from", "valid_from and week"),
        (f"{_HOURS}[[business_hours.changes]]\nvalid_from = 1\nweek = {{}}", "business_hours.changes.0.valid_from = 1: is not a day", ""),
        (
            f"{_HOURS}[[business_hours.changes]]\nvalid_from = 2026-07-01\nweek = {{ monday = '9' }}",
            "business_hours.changes.0.week = {'monday': '9'}: monday: '9' is not a span of hours", "",
        ),
        (
            _HOURS + "".join(f"[[business_hours.changes]]\nvalid_from = {day}\nweek = {{}}\n" for day in ("2026-09-01", "2026-07-01")),
            "working hours valid from 2026-07-01 follow those from 2026-09-01; give each a day of its own, in rising order",
            "[business_hours]",
        ),
    ],
)  # fmt: skip
def test_a_wrong_setting_of_the_numbers_is_named_too(write, text: str, says: str, mend: str) -> None:
    test_a_wrong_setting_names_file_field_value_and_mend(write, text, says, mend)


def test_no_segment_may_have_the_name_of_a_dimension(write) -> None:
    """A metric is told by both, and its rows of the two would be added up."""
    for name in {dimension for metric in load_metrics().values() for dimension in metric.dimensions}:
        with pytest.raises(UsageError, match=f"segments.{name} = '{name}': is a segment that is always there"):
            load_settings(write(f'[segments]\n{name} = "country"'))


def test_no_segment_may_have_the_name_of_a_column_of_the_cells(write) -> None:
    names = {name for schema in (SUMS, VALUES) for name in schema.names}
    for name in names:
        with pytest.raises(UsageError, match=f"segments.{name} = '{name}': is a column of the metrics' own"):
            load_settings(write(f'[segments]\n{name} = "country"'))


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
