"""`parcours explain --metric`: the rows and the very events behind a number of lifecycle_metrics.

`explain_metric` reads; `explain_metric_text.py` writes it down.

A metric is explained by the query that measured it: its SQL runs on the published tables, prepared by the SQL that the run
itself used (transforms/metric_inputs.py), and says of each row which events it stands for. What it adds up to is held
against the published number, and the explanation says whether they agree. Nothing here imports Beam.
"""

import contextlib
import datetime
import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import duckdb

from pipelines.catalog import quote, reading, text
from pipelines.errors import UsageError
from pipelines.explain import inactivity_days
from pipelines.explain_identity import Row, clean, find_customer, rows
from pipelines.explain_metric_value import lifespan, why_null, worked_out
from pipelines.lake import Lake
from pipelines.manifest import Manifest
from schemas.dictionary import Metric, load_metrics
from schemas.entries import DictionaryError
from transforms.duck import read_sql, used
from transforms.metric_inputs import MADE, MADE_OF_MONTHS, MONTH_COLUMNS, Calendar, made, metric_parameters
from transforms.time_zones import Kind, Periods

_SHARED = ("currency", "n", "pending", "is_open", "value", "numerator", "denominator")
_NO_VALUE = "(none)"


@dataclass(frozen=True)
class Asked:
    """Which number: a metric by a published name, a period (`2026-02`, `2026-Q1`, `2026-W07`, `2026-02-14` or `all`), one
    customer, a segment's value."""

    metric: str
    period: str = "all"
    customer: str | None = None
    segment: str | None = None
    segment_value: str | None = None


@dataclass(frozen=True)
class MetricExplanation:
    """`published` are the rows of lifecycle_metrics, one a currency; `sums` what the contributions add up to, by currency
    (None: without one), `values` what comes of them, one a published row; `agree` whether they are the same, None where one
    customer was asked for.
    `lifespan` is the churn and the years that a lifetime value takes; `why_null` the reason that the run knows for a number
    without a value.

    A contribution has customer_key, month, and what it adds: numerator and denominator, or value; and its events.
    """

    run: Row
    asked: Asked
    metric: Metric
    published: tuple[Row, ...]
    sums: tuple[Row, ...]
    agree: bool | None
    contributions: tuple[Row, ...]
    customers: int
    values: tuple[float | None, ...] = ()
    lifespan: Row | None = None
    why_null: str | None = None


def explain_metric(lake: Lake | str, asked: Asked) -> MetricExplanation:
    """What the published run says of one number. UsageError names what is not there, and what is."""
    with explaining(lake, asked.customer, _period(asked.period)[0]) as explain:
        return explain(asked)


@contextlib.contextmanager
def explaining(
    lake: Lake | str, customer: str | None = None, kind: Kind = "month"
) -> Iterator[Callable[[Asked], MetricExplanation]]:
    """A function that explains numbers of the published run, for as long as it lasts; of one customer, or of all; of
    periods of one kind, or over all."""
    lake = Lake(lake) if isinstance(lake, str) else lake
    manifest = lake.published()
    with reading(lake, manifest.run_id) as con:
        try:
            key = find_customer(con, manifest, lake.path, customer)[0] if customer else None
            with _inputs(con, manifest, key, kind) as calendar:
                known = _known_metrics(manifest)
                yield lambda asked: _explanation(con, manifest, _named(asked.metric, known), asked, key, calendar)
        except duckdb.Error as error:
            reason = " ".join(str(error).partition("\n")[0].split())
            raise UsageError(
                f"Run {manifest.run_id} cannot be read: {clean(reason)}",
                "If it was made by an earlier version, run parcours run again with this one; if a file was moved or "
                "changed, restore it.",
            ) from None


def _known_metrics(manifest: Manifest) -> dict[str, Metric]:
    """The metrics of the run, the user's own among them."""
    try:
        return load_metrics(manifest.settings.get("metrics"))
    except (DictionaryError, OSError) as error:
        raise UsageError(
            f"{error}.", "The run's own metrics lie there: correct the file that the message names."
        ) from None


def _named(name: str, known: Mapping[str, Metric]) -> Metric:
    named = {**known, **{published: metric for metric in known.values() for published in metric.published_names}}
    if name not in named:
        near = difflib.get_close_matches(name, named, n=3)
        raise UsageError(
            f"There is no metric {clean(name)}.",
            f"Did you mean {' or '.join(near)}?" if near else "parcours metrics lists them.",
        )
    return named[name]


def _period(text: str) -> tuple[Kind, datetime.date | None]:
    """What kind of period is meant, and its first day; over all: months, and None."""
    if text == "all":
        return "month", None
    with contextlib.suppress(ValueError):
        if re.fullmatch(r"\d{4}-\d\d", text):
            return "month", datetime.date.fromisoformat(f"{text}-01")
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            return "day", datetime.date.fromisoformat(text)
        if re.fullmatch(r"\d{4}-W\d\d", text):
            return "week", datetime.date.fromisocalendar(int(text[:4]), int(text[6:]), 1)
        if re.fullmatch(r"\d{4}-Q\d", text):
            return "quarter", datetime.date(int(text[:4]), 3 * int(text[6:]) - 2, 1)
    raise UsageError(
        f"{clean(text)} is no period.",
        "Write a month as 2026-02, or all; a quarter as 2026-Q1, a week as 2026-W07, a day as 2026-02-14.",
    )


# ---- what the metric's SQL sees -------------------------------------------------------------------------------------


@contextlib.contextmanager
def _inputs(con: duckdb.DuckDBPyConnection, manifest: Manifest, key: str | None, kind: Kind) -> Iterator[Calendar]:
    """The tables of the metrics' SQL, of all customers or of one, as the run had them."""
    settings = manifest.settings
    calendar = Calendar(Periods(settings.get("timezone", "UTC"), kind), _as_of(manifest))
    [[first]] = con.execute("select min(occurred_at) from touchpoints").fetchall()
    first = calendar.months.first_day(calendar.months.local_day(first)) if first is not None else datetime.date.max
    con.register("months", calendar.table(first))
    con.execute("set variable explained = $key", {"key": key})
    whose = "where customer_key = getvariable('explained')" if key is not None else ""
    zone = text(calendar.months.timezone)
    of_months = {"customer_months"} if kind != "month" else set()  # made below, of the periods that are asked for
    for table in manifest.tables:
        if table.name not in of_months and any(column["name"] == "customer_key" for column in table.columns):
            extra = {"customer_no": "customer_key"}
            if table.name in ("touchpoints", "sessions"):
                extra["session_no"] = "session_id"
            moments = {"month": "occurred_at"} if table.name == "touchpoints" else MONTH_COLUMNS.get(table.name, {})
            extra |= {
                name: f"date_trunc('{kind}', timezone({zone}, {column}))::date" for name, column in moments.items()
            }
            added = "".join(f", {expression} as {name}" for name, expression in extra.items())
            # A table of one customer is small, and asked many times; the tables of all stay views.
            form = "view" if key is None else "table"
            con.execute(f"create temp {form} {table.name} as select *{added} from memory.main.{table.name} {whose}")
    con.execute(
        f"create temp table lapses as select *, date_trunc('{kind}', timezone({zone}, happened_at))::date as month "
        f"from ({read_sql('lapses')})",
        {"as_of": calendar.as_of, "inactivity_days": inactivity_days(con, manifest)},
    )
    with made(con, MADE, calendar.as_of, with_events=True):
        if of_months:
            con.execute(
                "create temp table inactivity as select $days::bigint as days", {"days": inactivity_days(con, manifest)}
            )
            con.execute(f"create temp table customer_months as\n{read_sql('customer_months')}")
            con.execute("drop table inactivity")  # no metric may see it
        with made(con, MADE_OF_MONTHS, calendar.as_of, with_events=True):
            yield calendar


def _as_of(manifest: Manifest) -> datetime.datetime:
    as_of = manifest.as_of
    return datetime.datetime.fromisoformat(as_of) if isinstance(as_of, str) else as_of


# ---- the number ---------------------------------------------------------------------------------------------------


def _explanation(
    con: duckdb.DuckDBPyConnection,
    manifest: Manifest,
    metric: Metric,
    asked: Asked,
    key: str | None,
    calendar: Calendar,
) -> MetricExplanation:
    month = _period(asked.period)[1]
    name = asked.metric if asked.metric in metric.published_names else metric.published_names[0]
    cut = _cut(con, metric, asked, name)
    kind = "all" if month is None else calendar.months.kind
    published = _published(con, name, kind, month, cut)
    if not published:
        raise UsageError(*_not_there(con, name, asked.period, kind, cut))
    contributions = _contributions(con, manifest, metric, month, cut, calendar)
    sums = _sums(metric, contributions, [row.get("currency") for row in published])
    taken = lifespan(con, manifest, cut) if metric.shape == "lifetime" else None
    values = tuple(worked_out(metric, row, _total_of(row, sums), contributions, taken) for row in published)
    return MetricExplanation(
        run={"run_id": manifest.run_id, "as_of": calendar.as_of, "timezone": calendar.months.timezone},
        asked=asked,
        metric=metric,
        published=tuple(published),
        sums=sums,
        agree=None if key is not None else _agree(metric, published, sums, values),
        contributions=tuple(_with_events(con, contributions)),
        customers=len({row["customer_key"] for row in contributions}),
        values=values,
        lifespan=taken.as_row() if taken else None,
        why_null=why_null(con, metric, published),
    )


def _cut(con: duckdb.DuckDBPyConnection, metric: Metric, asked: Asked, name: str) -> tuple[str, str | None]:
    if asked.segment is not None:
        return asked.segment, asked.segment_value
    if metric.by_dimension_only:
        raise UsageError(
            f"{name} is told by {' and '.join(metric.dimensions)} only.",
            f"Name one, such as --segment {(_segments(con, name) or [f'{metric.dimensions[0]}=...'])[0]}.",
        )
    return "all", None


def _published(
    con: duckdb.DuckDBPyConnection, name: str, kind: str, month: datetime.date | None, cut: tuple[str, str | None]
) -> list[Row]:
    return rows(con, """
        select * from lifecycle_metrics
        where metric = $name and period_kind = $kind and period_start is not distinct from $month::date and segment = $segment
            and segment_value is not distinct from $value
        order by currency nulls first
    """, name=name, kind=kind, month=month, segment=cut[0], value=cut[1])  # fmt: skip


def _segments(con: duckdb.DuckDBPyConnection, name: str) -> list[str]:
    """NAME=VALUE of each segment that a metric is told of."""
    told = con.execute("""
        select distinct segment || '=' || segment_value from lifecycle_metrics
        where metric = $name and segment <> 'all' order by 1
    """, {"name": name}).fetchall()  # fmt: skip
    return [value for (value,) in told if value is not None]


def _not_there(
    con: duckdb.DuckDBPyConnection, name: str, period: str, kind: str, cut: tuple[str, str | None]
) -> tuple[str, str]:
    """A sentence that says what is not there, and one that says what is."""
    spans = {
        told: (first, last)
        for told, first, last in con.execute(
            "select period_kind, min(period_start), max(period_start) from lifecycle_metrics "
            "where metric = $name and period_start is not null group by period_kind",
            {"name": name},
        ).fetchall()
    }
    where = "" if cut[0] == "all" else f" and {cut[0]} = {clean(str(cut[1]))}"
    said = f"The run has no {name} {'over all' if kind == 'all' else f'of {period}'}{where}."
    if kind not in ("all", "month") and kind not in spans:
        return said, f'Metrics by {kind} are made on request: run again with the setting periods = ["{kind}"].'
    if cut[0] != "all":
        return said, f"Its segments are {', '.join(map(clean, _segments(con, name)[:20])) or 'none'}."
    if not spans:
        return said, "Ask for --period all."
    if kind in ("all", "month"):
        kind, form = "month", "%Y-%m"
    else:
        form = "%Y-%m-%d"
    first, last = spans[kind]
    return said, f"Its {kind}s are {first:{form}} to {last:{form}}; or ask for --period all."


def _contributions(
    con: duckdb.DuckDBPyConnection, manifest: Manifest, metric: Metric, month: datetime.date | None,
    cut: tuple[str, str | None], calendar: Calendar,
) -> list[Row]:  # fmt: skip
    parameters = metric_parameters(calendar, manifest.settings.get("conversion_days", 30))
    if metric.is_forecast:  # told of the month of as-of
        con.execute("create or replace temp view customers as select *, customer_key as customer_no, "
                    f"date '{parameters['as_of_month']}' as month from memory.main.customers")  # fmt: skip
    con.execute(f"create or replace temp table contributed as\n{metric.sql}", used(metric.sql, parameters))
    there = {row[0] for row in con.execute("describe contributed").fetchall()}
    condition, given = _of_period(metric, month, parameters["as_of_month"])
    if cut[0] != "all":
        condition += f" and ({_of_cut(con, manifest, metric, cut, there)})"
    wanted = [name for name in (*_SHARED, *metric.dimensions) if name in there]
    events = [name for name in ("numerator_events", "denominator_events") if name in there]
    adds = " or ".join(f"coalesce({name}, 0) <> 0" for name in ("numerator", "denominator") if name in wanted)
    return rows(con, f"""
        select customer_no as customer_key, month, {', '.join((*wanted, *events))}
        from contributed as r
        where {condition} and ({adds if metric.shape != 'distribution' else 'value is not null'})
        order by customer_key, month, {', '.join(wanted)}, {', '.join(events) or '1'}
    """, **given)  # fmt: skip


def _of_period(metric: Metric, month: datetime.date | None, last: datetime.date) -> tuple[str, dict[str, Any]]:
    """Which rows of the metric's SQL make the number of a period."""
    if metric.accumulates:
        return ("month <= $month", {"month": month}) if month else ("month is not null", {})
    if month is not None:
        return "month = $month", {"month": month}
    return {
        "own": ("month is null", {}),
        "last": ("month = $month", {"month": last}),
        "sum": ("month is not null", {}),
    }[metric.over_all]


def _of_cut(
    con: duckdb.DuckDBPyConnection, manifest: Manifest, metric: Metric, cut: tuple[str, str | None], there: set[str]
) -> str:
    segment, value = cut
    wanted = text(str(value))
    if segment in metric.dimensions:  # a row without one counts in each value
        return f"{quote(segment)} = {wanted} or {quote(segment)} is null"
    if segment in there:
        return f"coalesce({quote(segment)}::varchar, {text(_NO_VALUE)}) = {wanted}"
    own = manifest.settings.get("segments", {})
    if segment in own:
        # The last value that there is: arg_max passes by nulls.
        expression = f"(select arg_max(({own[segment]})::varchar, seq) from touchpoints as t where t.customer_no = r.customer_no)"
    else:
        expression = f"(select any_value({quote(segment)}) from customers as c where c.customer_no = r.customer_no)"
    return f"coalesce({expression}, {text(_NO_VALUE)}) = {wanted}"


def _sums(metric: Metric, contributions: Sequence[Row], currencies: Sequence[str | None]) -> tuple[Row, ...]:
    """What the contributions add up to, in each currency that is published; a row without one is added to each."""
    found: dict[str | None, Row] = {
        currency: {"currency": currency, "numerator": Decimal(0), "denominator": Decimal(0), "n": 0}
        for currency in currencies
        if currency is not None
    }
    for row in contributions:
        currency = row.get("currency")
        total = found.setdefault(
            currency, {"currency": currency, "numerator": Decimal(0), "denominator": Decimal(0), "n": 0}
        )
        if metric.shape == "distribution":
            total["n_with_open"] = total.get("n_with_open", 0) + 1
            if not row.get("is_open"):
                total["numerator"] += row["value"]
                total["denominator"] += 1
                total["n"] += 1
            continue
        for name in ("numerator", "denominator"):
            total[name] += row.get(name) or 0
        total["n"] += row.get("n", 1)
    shared = found.pop(None, None)
    if shared is not None and found:
        for total in found.values():
            for name in ("numerator", "denominator", "n"):
                total[name] += shared[name]
    elif shared is not None:
        found[None] = shared
    return tuple(found[currency] for currency in sorted(found, key=lambda c: c or ""))


def _total_of(published: Row, sums: Sequence[Row]) -> Row:
    """The sum in the currency of a published row, or that without one, which counts in each."""
    by_currency = {row["currency"]: row for row in sums}
    nothing: Row = {"numerator": Decimal(0), "denominator": Decimal(0), "n": 0}
    return by_currency.get(published.get("currency"), by_currency.get(None, nothing))


def _agree(metric: Metric, published: Sequence[Row], sums: Sequence[Row], values: Sequence[float | None]) -> bool:
    for row, value in zip(published, values, strict=True):
        found = _total_of(row, sums)
        if row.get("value") != value:
            return False
        for name in ("numerator", "denominator"):
            if row.get(name) is not None and Decimal(row[name]) != Decimal(found[name]):
                return False
        counted = "n_with_open" if row["metric"].endswith("_km_p50") else "n"
        if row.get("numerator") is None and row["n"] != found.get(counted, 0):
            return False
    return True


def _with_events(con: duckdb.DuckDBPyConnection, contributions: Sequence[Row]) -> Iterator[Row]:
    """Each contribution with its events, as touchpoints has them."""
    sides = ("numerator_events", "denominator_events")
    wanted = sorted({event for row in contributions for name in sides for event in row.get(name) or () if event})
    con.execute("create or replace temp table wanted_events (event_id varchar)")
    if wanted:
        con.execute("insert into wanted_events select unnest($ids::varchar[])", {"ids": wanted})
    found = {
        row["event_id"]: row
        for row in rows(
            con,
            """
            select t.event_id, t.occurred_at, t.event_type, t.customer_key, t.source, t.amount, t.currency
            from memory.main.touchpoints as t join wanted_events using (event_id)
        """,
        )
    }
    for row in contributions:
        events = {
            name: [found.get(event, {"event_id": event}) for event in row.get(name) or () if event] for name in sides
        }
        yield {**row, **events}
