"""The settings of a run: one frozen model, made once, written into the manifest of every run.

A settings file is TOML; its keys are the fields of `Settings`, and paths in it are relative to the file.
"""

import difflib
import math
import re
import tomllib
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    model_validator,
)

from pipelines.durations import parse_duration
from pipelines.errors import UsageError
from transforms.business_time import Schedule, WorkingHours, parse_week
from transforms.funnels import check_funnel
from transforms.rates import RATE_DIGITS, Rates

IdentityPolicy = Literal["device_split", "last_auth", "none"]

# RFC 3339 and nothing wider: pydantic alone would read 20260101 as seconds since 1970.
_RFC_3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


def parse_time(value: object) -> datetime:
    """A moment in UTC from RFC 3339 text with an offset or an aware datetime; digits past the sixth are cut.

    >>> parse_time("2026-11-21T23:59:00+01:00")
    datetime.datetime(2026, 11, 21, 22, 59, tzinfo=datetime.timezone.utc)
    """
    if isinstance(value, str):
        match = _RFC_3339.fullmatch(value.strip())
        if match is None:
            raise ValueError("is not a time with an offset; write it as 2026-11-21T23:59:00Z")
        day, clock, fraction, offset = match.groups()
        text = f"{day}T{clock}{(fraction or '')[:7]}{'+00:00' if offset in 'Zz' else offset}"
        value = datetime.fromisoformat(text)  # a day or an hour that does not exist: its ValueError says which
    if not isinstance(value, datetime):
        raise ValueError("is not a time with an offset; write it as 2026-11-21T23:59:00Z")
    if value.tzinfo is None:
        raise ValueError("has no offset, so it is no moment; write it as 2026-11-21T23:59:00Z")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("lies outside the years 1 to 9999") from None


def _folder(path: str) -> str:
    if not Path(path).is_dir():
        raise ValueError("is not a folder that exists")
    return path


def _file(path: str) -> str:
    if not Path(path).is_file():
        raise ValueError("is not a file that exists")
    return path


def _words(value: object) -> object:
    """TOML has lists, a frozen model holds tuples."""
    if not isinstance(value, list | tuple):
        raise ValueError('is not a list; write it as ["n.a.", "nobody"]')
    return tuple(value)


def _parameter(value: object) -> object:
    """A number, a text, a list of texts, or a table of numbers; which of them, the kind of friction says."""
    if isinstance(value, dict) and all(_is_number(number) for number in value.values()):
        return value
    if isinstance(value, list | tuple) and all(isinstance(text, str) for text in value):
        return tuple(value)
    if isinstance(value, str) or _is_number(value):
        return value
    raise ValueError("is not a number, a text, a list of texts or a table of numbers")


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown; a path; the name of a folder of zones, such as America
        raise ValueError("is not a time zone of the IANA database, such as Europe/Paris or UTC") from None
    return name


def _day(value: object) -> date:
    """A day, as TOML has it or as text."""
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value):
        return date.fromisoformat(value)
    if isinstance(value, datetime) or not isinstance(value, date):
        raise ValueError("is not a day; write it as 2026-12-25")
    return value


def _days(value: object) -> object:
    if not isinstance(value, list | tuple):
        raise ValueError('is not a list of days; write it as ["2026-12-25", "2026-12-26"]')
    return tuple(value)


def _week(value: object) -> object:
    if not isinstance(value, dict) or not all(
        isinstance(hours, str) or (isinstance(hours, list) and all(isinstance(span, str) for span in hours))
        for hours in value.values()
    ):
        raise ValueError('is not a table of days; write monday = "09:00-17:00", or a list of such spans')
    parse_week(value)
    return value


def _hours(week: dict[str, str | list[str]]) -> dict[str, str | list[str]]:
    if not any(parse_week(week)):
        raise ValueError("has no hours, and a team that never works never answers; give at least one day its hours")
    return week


def _changes(value: object) -> object:
    if not isinstance(value, list | tuple):
        raise ValueError("is not a list of tables; write each as [[business_hours.changes]]")
    return tuple(value)


#: Segments of every run, and the dimensions of the shipped metrics; and what the SQL of a metric gives beside them, or the
#: cells that are made of it have (transforms/partial_metrics.py).
_OWN_SEGMENTS = ("all", "first_channel", "plan", "feature", "reason", "stage", "voluntary")
_OWN_COLUMNS = (
    "count", "currency", "customer_no", "denominator", "denominator_events", "dimension_0", "dimension_1", "is_bucket",
    "is_open", "metric", "month", "n", "numerator", "numerator_events", "pending", "segment", "segment_value", "total", "value",
)  # fmt: skip


def _segment_name(name: str) -> str:
    if name in _OWN_SEGMENTS:
        raise ValueError(f"is a segment that is always there; give yours another name, such as customer_{name}")
    if name in _OWN_COLUMNS:
        raise ValueError(f"is a column of the metrics' own; give the segment another name, such as customer_{name}")
    return name


def _texts(value: object) -> object:
    if not isinstance(value, list | tuple) or not all(isinstance(text, str) and text.strip() for text in value):
        raise ValueError('is not a list of texts; write it as ["site_visit", "purchase"]')
    return tuple(value)


def _span(text: str) -> str:
    parse_duration(text)
    return text


def _spans(value: object) -> object:
    """One for all, or a list."""
    spans = (value,) if isinstance(value, str) else _texts(value)
    assert isinstance(spans, tuple)
    for span in spans:
        parse_duration(span)
    return spans


def _currency(code: str) -> str:
    if not re.fullmatch("[A-Z]{3}", code):
        raise ValueError("is not a currency; write its three capital letters, such as EUR")
    return code


def _rate(value: object) -> Decimal:
    """An exact decimal: as text, or a number of few enough digits to be one."""
    if isinstance(value, Decimal):
        rate = value
    elif isinstance(value, str) and re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):
        rate = Decimal(value)
    elif type(value) is int or _is_number(value):
        rate = Decimal(repr(value))
        if isinstance(value, float) and len(rate.as_tuple().digits) > 15:
            raise ValueError(f'has more digits than a number keeps; write it as text, "{rate:f}"')
    else:
        raise ValueError('is not a number; write what one unit is worth in the base, such as "0.92"')
    if rate <= 0:
        raise ValueError("is not above 0")
    before, after = RATE_DIGITS
    if rate >= 10**before or rate != round(rate, after):
        raise ValueError(f"has more than {before} digits before the point, or more than {after} behind it")
    return rate


Moment = Annotated[datetime, BeforeValidator(parse_time)]
Folder = Annotated[str, AfterValidator(_folder)]
File = Annotated[str, AfterValidator(_file)]
Zone = Annotated[str, AfterValidator(_zone)]
Words = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_words)]
MorePeriods = Annotated[tuple[Literal["quarter", "week", "day"], ...], BeforeValidator(_words)]
Day = Annotated[date, BeforeValidator(_day)]
Days = Annotated[tuple[Day, ...], BeforeValidator(_days)]
Week = Annotated[dict[str, str | list[str]], BeforeValidator(_week)]
SegmentName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,40}$"), AfterValidator(_segment_name)]
CurrencyCode = Annotated[str, AfterValidator(_currency)]
Rate = Annotated[Decimal, BeforeValidator(_rate)]
KindParameter = Annotated[Any, PlainValidator(_parameter)]

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]

_PATHS = ("contracts", "sources", "metrics", "friction", "expectations", "stages")


class AuditLimits(BaseModel):
    """What the audit warns of, and what it refuses to publish: the parameters of the suites, under their names."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    quarantine_warn_share: Share = Field(
        default=0.02,
        description="A larger share of a source in quarantine, in all or for one broken rule, is warned of.",
    )
    quarantine_block_share: Share = Field(default=0.2, description="A larger share than this is not published.")
    quarantine_least_records: int = Field(
        default=5,
        ge=1,
        description="Fewer records in quarantine forbid nothing, whatever their share: so few tell nothing.",
    )
    volume_warn_ratio: Share = Field(
        default=0.5, description="Fewer events of a source than this part of the last runs' median are warned of."
    )
    volume_block_ratio: Share = Field(
        default=0.1,
        description="Fewer than this part are not published, nor fewer values of a column; 0 lets all pass.",
    )
    compared_least_events: int = Field(
        default=100, ge=1, description="What usually has fewer events is not compared with the last runs."
    )
    volume_growth_warn_ratio: Annotated[float, Field(ge=1, allow_inf_nan=False)] = Field(
        default=10.0, description="More events of a source than so many times the last runs' median are warned of."
    )
    null_share_warn: Share = Field(
        default=0.1,
        description="A column whose share of nulls rose by more than this since the last runs is warned of.",
    )
    null_share_block: Share = Field(
        default=0.5,
        description="A run in which the share of nulls of a column rose by more than this is not published.",
    )
    freshness_warn_days: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=3.0, description="A source whose newest event is so many days older than usual is warned of."
    )
    time_limit_minutes: Annotated[float, Field(gt=0, le=10_000, allow_inf_nan=False)] = Field(
        default=60.0, description="An audit that takes longer is given up, and nothing is published."
    )


class ChangedHours(BaseModel):
    """Working hours that replace the earlier ones from a day on."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    valid_from: Day = Field(
        description="The local day from which these hours hold, also for tickets that are open then."
    )
    week: Week = Field(description="The hours of each weekday.")


class BusinessHours(BaseModel):
    """When the support team works."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    timezone: Zone = Field(default="UTC", description="IANA time zone of the team.")
    week: Annotated[Week, AfterValidator(_hours)] = Field(
        description='The hours of each weekday: monday = "09:00-17:00", or a list of spans; a day left out is free.'
    )
    holidays: Days = Field(default=(), description="Days on which nobody works.")
    changes: Annotated[tuple[ChangedHours, ...], BeforeValidator(_changes)] = Field(
        default=(), description="Later hours, each a table [[business_hours.changes]] with valid_from and week."
    )

    def schedule(self) -> Schedule:
        """Raises ValueError where the changes are not in the order of their days."""
        hours = [WorkingHours(None, parse_week(self.week))]
        hours += [WorkingHours(change.valid_from, parse_week(change.week)) for change in self.changes]
        return Schedule(self.timezone, tuple(hours), frozenset(self.holidays))

    @model_validator(mode="after")
    def _is_a_schedule(self) -> "BusinessHours":
        self.schedule()
        return self


class FixedRates(BaseModel):
    """Into which currency money is converted, and at which rates."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    base: CurrencyCode = Field(description='The currency that money is converted into, such as "EUR".')
    rates: dict[CurrencyCode, Rate] = Field(
        description='What one unit of each other currency is worth in the base: rates = { USD = "0.92", GBP = "1.17" }.'
    )

    def fixed(self) -> Rates:
        """The rates of all currencies but the base."""
        return Rates(self.base, tuple((code, rate) for code, rate in self.rates.items() if code != self.base))

    @model_validator(mode="after")
    def _are_rates(self) -> Self:
        if (own := self.rates.get(self.base, 1)) != 1:
            raise ValueError(f"one {self.base}, the base, is worth 1 {self.base} and not {own}; leave it out of rates")
        if not self.fixed().worth:
            raise ValueError("rates has no other currency than the base; give each its rate, or leave [currency] out")
        return self


FunnelName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,40}$")]
Texts = Annotated[tuple[str, ...], BeforeValidator(_texts)]


class FunnelSettings(BaseModel):
    """One funnel: a table [funnels.NAME]. docs/funnels.md has the rules."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    steps: Texts = Field(description="Each an event type, stage:NAME, or a SQL condition on a touchpoint.")
    window: Annotated[str, AfterValidator(_span)] = Field(
        default="30d", description="From the first step to the last, at most."
    )
    step_windows: Annotated[tuple[str, ...], BeforeValidator(_spans)] = Field(
        default=(),
        description="From each step to the next, at most: one for all, or one for each step after the first.",
    )
    by: Texts = Field(
        default=(), description="Segments at the entry: columns of touchpoints or SQL, plan, or first_channel."
    )
    count: Literal["customers", "journeys", "entries"] = Field(default="customers", description="What is counted.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        check_funnel(self.steps, self.step_windows, self.by)
        return self


class LifetimeValue(BaseModel):
    """How lifetime value is worked out."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    model: Literal["bg_nbd", "mbg_nbd"] = Field(
        default="bg_nbd",
        description="Model of purchases; mbg_nbd lets a customer leave after the very first one, bg_nbd does not.",
    )
    monthly_discount: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] = Field(
        default=0.01, description="Discount a month of money that is still to come."
    )
    margin: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = Field(
        default=1.0, description="Share of revenue that is margin; with 1, values are revenue."
    )
    max_lifespan_years: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] = Field(
        default=5.0, description="Longest lifespan that clv_simple counts with."
    )


class Paths(BaseModel):
    """How paths and channel credit are told."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    top: int = Field(
        default=100, ge=1, le=10_000, description="Paths told of each kind; all others are the row `(other)`."
    )
    look_back_days: int = Field(
        default=30, ge=0, le=3650, description="A touch counts for a conversion up to so many calendar days after it."
    )
    longest_page_path: int = Field(default=20, ge=1, le=1000, description="Pages told of one path; then comes `(cut)`.")
    repeats: Literal["collapse", "first"] = Field(
        default="collapse",
        description="What is made of A > A > B > A: a run of one item once, A > B > A; or each item once, at its first "
        "place, A > B.",
    )


class Settings(BaseModel):
    """Everything that changes what a run computes; the same settings and input give the same tables.

    >>> Settings(session_gap_minutes=20).session_gap_minutes
    20
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    as_of: Moment | None = Field(
        default=None,
        description="The moment taken as now; later events wait for a later run. None: the clock.",
    )
    identity_policy: IdentityPolicy = Field(
        default="device_split", description="How a device's unidentified events find their customer."
    )
    max_customers_per_device: int = Field(
        default=5, ge=1, le=1_000_000, description="A device of more customers is a kiosk and tells nobody's customer."
    )
    ignored_identifiers: Words = Field(
        default=(), description="Further values of identifiers that mean nobody, beside null, unknown, 0000 and others."
    )
    unlikely_share: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = Field(
        default=0.01, description="A customer or device with more than this share of the events is warned of."
    )
    contracts: Folder | None = Field(default=None, description="Folder of your own event types.")
    sources: Folder | None = Field(default=None, description="Folder of your own source descriptions.")
    metrics: Folder | None = Field(default=None, description="Folder of your own metrics.")
    friction: Folder | None = Field(default=None, description="Folder of your own kinds of friction.")
    expectations: Folder | None = Field(
        default=None, description="Folder of your own suites of expectations, audited beside those of Parcours."
    )
    audit: AuditLimits = Field(
        default_factory=AuditLimits, description="Limits of the audit: a table [audit] of the names in docs/audit.md."
    )
    keep: int | None = Field(
        default=None,
        ge=1,
        description="Keep the tables of so many runs, the newest, and remove older ones after a publication. None: all.",
    )
    stages: File | None = Field(default=None, description="SQL file that maps a touchpoint to its stage.")
    timezone: Zone = Field(default="UTC", description="IANA time zone in which days and months begin.")
    currency: FixedRates | None = Field(
        default=None,
        description="Fixed rates into one currency: a table [currency] with base and rates, see docs/metrics.md. None: money "
        "stays in its currency.",
    )
    sessions: Literal["gap", "source"] = Field(
        default="gap", description="What ends a session: a gap in time, or only the source's own session id."
    )
    session_gap_minutes: int = Field(
        default=30, ge=1, le=1440, description="A longer pause than this many minutes ends a session."
    )
    journey_silence_days: int = Field(default=90, ge=1, le=3650, description="This many days of silence end a journey.")
    inactivity_days: Annotated[int, Field(ge=1, le=3650)] | Literal["fit"] = Field(
        default=90,
        description='A buyer lapses this many days after the last order; "fit": the days within which 95 % of orders are '
        "followed by another (Kaplan-Meier).",
    )
    conversion_days: int = Field(
        default=30,
        ge=1,
        le=3650,
        description="A customer who enters a later stage within this many days goes on: the window of conversion_rate.",
    )
    segments: dict[SegmentName, Annotated[str, Field(min_length=1)]] = Field(
        default_factory=dict,
        description="Attributes of customers by which every metric is told too: SQL on a touchpoint by name, such as "
        'country = "country"; the last value that a customer has counts.',
    )
    periods: MorePeriods = Field(
        default=(),
        description="Periods by which every metric is told beside months and all time. Weeks begin on Monday. Each takes "
        "about as long again as the months, and days give many rows.",
    )
    funnels: dict[FunnelName, FunnelSettings] = Field(
        default_factory=dict,
        description="Funnels that every run counts, each a table [funnels.NAME] with steps, window, step_windows, by and "
        "count, see docs/funnels.md.",
    )
    business_hours: BusinessHours | None = Field(
        default=None, description="When the support team works: a table [business_hours], see docs/metrics.md."
    )
    lifetime_value: LifetimeValue = Field(
        default_factory=LifetimeValue, description="How lifetime value is worked out: a table [lifetime_value]."
    )
    paths: Paths = Field(
        default_factory=Paths, description="How paths and channel credit are told: a table [paths], see docs/paths.md."
    )
    earliest: Moment = Field(
        default=datetime(1990, 1, 1, tzinfo=UTC), description="Events before this moment are quarantined."
    )
    exclude: str | None = Field(
        default=None,
        min_length=1,
        description="SQL condition on an event; events that meet it are left out and counted.",
    )
    friction_parameters: dict[str, dict[str, KindParameter]] = Field(
        default_factory=dict,
        description="Parameters of the kinds of friction, by kind and name: a table [friction_parameters.KIND] of those that "
        "`parcours friction KIND` tells.",
    )
    outcome_days: int = Field(
        default=30, ge=1, le=365, description="What friction costs is looked for within this many days after it."
    )
    quarantine_raw_cap: int = Field(
        default=4096, ge=0, le=16 << 20, description="Bytes of a bad record's own text kept in quarantine."
    )
    max_record_bytes: int = Field(
        default=16 << 20, ge=1, le=1 << 30, description="A longer record, in bytes, is quarantined."
    )
    block_bytes: int = Field(default=32 << 20, ge=1, le=1 << 30, description="Bytes of input read at a time.")
    events_per_shard: int = Field(
        default=1_000_000, ge=1, le=2_000_000, description="Events aimed at for one shard of customers."
    )
    shards: int | None = Field(
        default=None,
        ge=1,
        le=65_536,
        description="Number of shards; None: from the input's bytes. Changes no result.",
    )

    def schedule(self) -> Schedule | None:
        """The support team's hours; None where nobody told."""
        return self.business_hours.schedule() if self.business_hours is not None else None


#: The tables of a settings file, with settings of their own.
SECTIONS: Mapping[str, type[BaseModel]] = {
    "audit": AuditLimits, "business_hours": BusinessHours, "currency": FixedRates, "lifetime_value": LifetimeValue,
    "paths": Paths,
}  # fmt: skip


def load_settings(path: str | None = None, **overrides: Any) -> Settings:
    """The settings of a TOML file (or the defaults), with `overrides` on top; None overrides nothing.

    Raises UsageError with the file, the field, its value and the mend.
    """
    given: dict[str, Any] = {}
    if path is not None:
        given = _relative_to(Path(path).resolve().parent, _read_toml(path))
    on_command_line = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**(given | on_command_line))
    except ValidationError as error:
        raise _usage_error(error, path, on_command_line) from None


def _read_toml(path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(path).read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        raise UsageError(f"The settings file {path} does not exist.", "Check the path given to --settings.") from None
    except OSError as error:
        raise UsageError(f"The settings file {path} cannot be read: {error.strerror}.", "Give a TOML file.") from None
    except UnicodeDecodeError:
        raise UsageError(f"The settings file {path} is not UTF-8 text.", "Save it as UTF-8.") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(
            f"The settings file {path} is not TOML: {error}.",
            'Write one setting a line, such as timezone = "Europe/Paris": text in quotes, numbers without.',
        ) from None


def _relative_to(folder: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """Paths in a settings file are relative to that file, wherever the command is typed."""
    return {
        name: str(folder / value) if name in _PATHS and isinstance(value, str) else value
        for name, value in given.items()
    }


#: What pydantic puts into the place of an error and the file does not have.
_PARTS_OF_TYPES = ("int", "float", "constrained-int", "constrained-float", "literal['fit']", "[key]")


def _usage_error(error: ValidationError, path: str | None, on_command_line: Mapping[str, Any]) -> UsageError:
    first = error.errors()[0]
    field = str(first["loc"][0]) if first["loc"] else ""
    where = "--" + field.replace("_", "-") if field in on_command_line else f"{path}: {field}" if path else field
    section = field if field in SECTIONS and len(first["loc"]) > 1 else None
    if (
        field == "funnels" and len(first["loc"]) > 2 and first["loc"][2] != "[key]"
    ):  # of any name, and each with settings of its own
        section = f"funnels.{first['loc'][1]}"
        first["loc"] = (section, *first["loc"][2:])
        where = f"{path}: {section}" if path else section
    within = FunnelSettings if section and section not in SECTIONS else SECTIONS[section] if section else Settings
    if first["type"] == "extra_forbidden":
        name = str(first["loc"][-1])
        near = difflib.get_close_matches(name, within.model_fields, n=2)
        known = f"The settings{f' in [{section}]' if section else ''} are: {', '.join(within.model_fields)}."
        where = f"{where}.{name}" if section else where
        return UsageError(f"{where} is not a setting.", f"Did you mean {' or '.join(near)}?" if near else known)
    inner = "".join(f".{part}" for part in first["loc"][1:] if part not in _PARTS_OF_TYPES)
    reason = first["msg"].removeprefix("Value error, ")
    if first["type"] != "value_error":
        reason = reason[0].lower() + reason[1:]
    value = first["input"]
    shown = value.isoformat() if hasattr(value, "isoformat") else repr(value)
    setting = str(first["loc"][1]) if section else field
    field_of = within.model_fields.get(setting)
    described = (field_of.description if field_of else None) or ""
    return UsageError(f"{where}{inner} = {shown}: {reason.rstrip('.')}.", f"{setting}: {described}")
