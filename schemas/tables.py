"""Every table that a run publishes: its grain, its key, and one Arrow schema with a description a column.

The writer, the catalog's comments, docs/tables.md and the generated part of the expectations (schemas/suites.py) are all
made from here. Touchpoints carry the fields of the event contracts under their own names, so that table follows the
contracts, a user's own included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from schemas.contracts import Contracts

TEXT, WHOLE, FLAG, REAL = pa.string(), pa.int64(), pa.bool_(), pa.float64()
TIME = pa.timestamp("us", "UTC")
DATE = pa.date32()
MONEY = pa.decimal128(18, 4)
#: A sum of money; wide enough that no sum of MONEY overflows it.
MONEY_SUM = pa.decimal128(38, 4)
MONEY_LIST = pa.list_(pa.struct([("currency", TEXT), ("amount", MONEY_SUM)]))
OPEN_PERIODS = pa.list_(pa.struct([("started_at", TIME), ("ended_at", TIME)]))
QUARANTINE_ERRORS = pa.list_(pa.struct([("code", TEXT), ("path", TEXT), ("expected", TEXT), ("observed", TEXT)]))


_SQL_TYPES = {
    "string": "VARCHAR",
    "large_string": "VARCHAR",
    "string_view": "VARCHAR",
    "binary": "BLOB",
    "large_binary": "BLOB",
    "bool": "BOOLEAN",
    "int8": "TINYINT",
    "int16": "SMALLINT",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "uint8": "UTINYINT",
    "uint16": "USMALLINT",
    "uint32": "UINTEGER",
    "uint64": "UBIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "date32[day]": "DATE",
}


def sql_type(kind: pa.DataType) -> str:
    """The SQL name of an Arrow type, as DuckDB reads it from Parquet.

    >>> sql_type(pa.list_(pa.struct([("currency", pa.string()), ("amount", pa.decimal128(18, 4))])))
    'STRUCT("currency" VARCHAR, "amount" DECIMAL(18,4))[]'
    """
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return sql_type(kind.value_type) + "[]"
    if pa.types.is_map(kind):
        return f"MAP({sql_type(kind.key_type)}, {sql_type(kind.item_type)})"
    if pa.types.is_struct(kind):
        return "STRUCT(" + ", ".join(f'"{part.name}" {sql_type(part.type)}' for part in kind) + ")"
    if pa.types.is_dictionary(kind):
        return sql_type(kind.value_type)
    if pa.types.is_decimal(kind):
        return f"DECIMAL({kind.precision},{kind.scale})"
    if pa.types.is_timestamp(kind):
        return "TIMESTAMP WITH TIME ZONE" if kind.tz else "TIMESTAMP"
    return _SQL_TYPES[str(kind)]


@dataclass(frozen=True)
class Column:
    """One column: name, Arrow type, and a sentence an analyst can work with.

    What the steps guarantee, whatever the settings say: `required`, it is never null; `values`, where there are any, are
    all that it can hold beside null; `minimum` is the least number.
    """

    name: str
    type: pa.DataType
    description: str
    required: bool = False
    values: tuple[str, ...] = ()
    minimum: float | None = None


@dataclass(frozen=True)
class Table:
    """One table: one row is one `grain`; `key` is unique and is the order of the rows in the files of a shard."""

    name: str
    description: str
    grain: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]

    @cached_property
    def schema(self) -> pa.Schema:
        """The Arrow schema; each field's metadata holds its description."""
        return pa.schema([pa.field(c.name, c.type, metadata={"description": c.description}) for c in self.columns])


_CUSTOMER = Column(
    "customer_key", TEXT, "The customer whose journey this is; the key of the table customers.", required=True
)
_REVENUE = (
    Column(
        "revenue",
        MONEY_SUM,
        "Purchases, subscription starts and renewals less refunds; 0 if there are none, null if they are in several currencies.",
    ),
    Column("currency", TEXT, "ISO 4217 code of revenue; null if there is none or several."),
    Column("revenue_by_currency", MONEY_LIST, "Revenue in each currency, ordered by code.", required=True),
)

_IDENTIFIER_KINDS = ("customer_id", "email", "anonymous_id", "ticket_id", "subscription_id", "order_id")
_IDENTITY_RULES = (
    "customer_id", "linked_email", "entity", "email", "device", "shared_email", "anonymous_id", "entity_id",
)  # fmt: skip

_SESSIONS = Table(
    "sessions",
    "Runs of a customer's session events on one device without a long gap.",
    "one session",
    ("session_id",),
    (
        Column("session_id", TEXT, "`s:` and the event_id of the session's first event.", required=True),
        _CUSTOMER,
        Column("anonymous_id", TEXT, "The device or cookie; null for the customer's events without a device."),
        Column("source_session_id", TEXT, "The session's identifier in the source: the first one that it carries."),
        Column("started_at", TIME, "Time of the first event, UTC.", required=True),
        Column("ended_at", TIME, "Time of the last event, UTC.", required=True),
        Column("touchpoints", WHOLE, "Number of events in the session.", required=True, minimum=1),
        Column("entry_channel", TEXT, "The first channel that an event of the session carries."),
        Column("has_purchase", FLAG, "True if an event of the session is a purchase.", required=True),
        Column("is_truncated", FLAG, "True if the session was cut at 24 hours or 10,000 events.", required=True),
    ),
)
_JOURNEYS = Table(
    "journeys",
    "From a customer's first touchpoint, or the first after the last journey closed, to an outcome or a long silence.",
    "one journey of a customer",
    ("customer_key", "journey_no"),
    (
        _CUSTOMER,
        Column("journey_no", WHOLE, "1, 2, ... in the customer.", required=True, minimum=1),
        Column("started_at", TIME, "Time of the first touchpoint, UTC.", required=True),
        Column("ended_at", TIME, "Time of the outcome, or of the last touchpoint before the silence; null while open."),
        Column(
            "status",
            TEXT,
            "closed (an outcome), abandoned (silence after consideration), ended (silence, nothing sought) or open (the "
            "data ends first).",
            required=True,
            values=("closed", "abandoned", "ended", "open"),
        ),
        Column(
            "outcome",
            TEXT,
            "order, subscription_started, renewal, renewal_declined, cancellation, account_closed; or null.",
            values=("order", "subscription_started", "renewal", "renewal_declined", "cancellation", "account_closed"),
        ),
        Column("stage_path", TEXT, "The stages in order, a run of one stage written once, joined with ` > `."),
        Column("channel_path", TEXT, "The channels in order, a run of one channel written once, joined with ` > `."),
        Column(
            "touchpoints",
            WHOLE,
            "Number of touchpoints, later lines and refunds of its order included.",
            required=True,
            minimum=1,
        ),
        Column(
            "sessions", WHOLE, "Number of sessions that have a touchpoint in the journey.", required=True, minimum=0
        ),
        Column(
            "friction_points",
            WHOLE,
            "Number of friction points whose first event lies in the journey.",
            required=True,
            minimum=0,
        ),
        *_REVENUE,
    ),
)
_JOURNEY_STAGES = Table(
    "journey_stages",
    "Maximal runs of one stage of a customer.",
    "one run of one stage of a customer",
    ("customer_key", "stage_no"),
    (
        _CUSTOMER,
        Column("stage_no", WHOLE, "1, 2, ... in the customer.", required=True, minimum=1),
        Column(
            "stage",
            TEXT,
            "awareness, consideration, purchase, onboarding, usage, loyalty, advocacy, service or churned.",
            required=True,
        ),
        Column(
            "entered_at",
            TIME,
            "When the customer entered the stage, UTC; a lapse or an unrenewed term has its own date.",
            required=True,
        ),
        Column("left_at", TIME, "When the next stage was entered; null while the customer is in it."),
        Column("next_stage", TEXT, "The stage entered next; null while the customer is in it."),
        Column(
            "duration_s", WHOLE, "Seconds from entered_at to left_at, cut to whole seconds; null while open.", minimum=0
        ),
        Column(
            "touchpoints",
            WHOLE,
            "Number of touchpoints in the run; 0 where a lapse stands alone.",
            required=True,
            minimum=0,
        ),
        Column("sessions", WHOLE, "Number of sessions that have a touchpoint in the run.", required=True, minimum=0),
        Column("is_open", FLAG, "True for the stage that the customer is in when the data ends.", required=True),
    ),
)
_CUSTOMERS = Table(
    "customers",
    "Everyone who left a touchpoint, known or not.",
    "one customer_key",
    ("customer_key",),
    (
        _CUSTOMER,
        Column("is_known", FLAG, "True if the key comes from a customer_id or an e-mail.", required=True),
        Column("first_seen_at", TIME, "Time of the first touchpoint, UTC.", required=True),
        Column("last_seen_at", TIME, "Time of the last touchpoint, UTC.", required=True),
        Column("first_channel", TEXT, "The first channel that a touchpoint carries: how the customer was won."),
        Column("plan", TEXT, "The last plan that a subscription of the customer was on; null without one."),
        Column("current_stage", TEXT, "The stage at as-of; null if no touchpoint ever gave one."),
        Column("stage_entered_at", TIME, "Since when the customer is in it, UTC; null as current_stage is."),
        Column("touchpoints", WHOLE, "Number of touchpoints.", required=True, minimum=1),
        Column("sessions", WHOLE, "Number of sessions.", required=True, minimum=0),
        Column("journeys", WHOLE, "Number of journeys.", required=True, minimum=1),
        Column("friction_points", WHOLE, "Number of friction points.", required=True, minimum=0),
        Column("tickets", WHOLE, "Number of support tickets opened.", required=True, minimum=0),
        Column("orders", WHOLE, "Number of distinct orders (order_id within its source).", required=True, minimum=0),
        Column("first_order_at", TIME, "Time of the first line of the first order, UTC."),
        Column("last_order_at", TIME, "Time of the first line of the last order, UTC."),
        *_REVENUE,
        Column("is_subscriber", FLAG, "True if a subscription is active at as-of.", required=True),
        Column("churned_at", TIME, "When the customer churned or lapsed, if that is the state at as-of; else null."),
        Column("churn_reason", TEXT, "The reason given with the churn; `lapsed` or `term_ended` where time gave it."),
        Column(
            "p_alive",
            REAL,
            "Of a known buyer, how likely more orders will come, by the model in model_parameters; null where it did not "
            "fit. BG/NBD gives 1 to who bought once, by construction.",
            minimum=0,
        ),
        Column("expected_purchases_12m", REAL, "Purchases expected of a known buyer in the next 12 months.", minimum=0),
        Column(
            "clv_predicted",
            MONEY,
            "What they are expected to be worth today, in the one currency that the customer has bought in; null where a "
            "model did not fit.",
            minimum=0,
        ),
    ),
)
_TICKETS = Table(
    "tickets",
    "Support tickets from opening to resolution.",
    "one ticket in its source",
    ("source", "ticket_id"),
    (
        Column("ticket_id", TEXT, "Identifier of the ticket in its source.", required=True),
        Column("source", TEXT, "The source that names the ticket; null where events name none."),
        _CUSTOMER,
        Column("opened_at", TIME, "Time of the first ticket_opened, UTC.", required=True),
        Column("first_response_at", TIME, "First public reply by an agent after the opening; a bot's reply is none."),
        Column("first_resolved_at", TIME, "First resolution after the opening."),
        Column("last_resolved_at", TIME, "Last resolution."),
        Column("reopens", WHOLE, "Number of reopenings, from the opening on.", required=True, minimum=0),
        Column(
            "agent_replies", WHOLE, "Number of public replies by agents, from the opening on.", required=True, minimum=0
        ),
        Column(
            "first_response_s", WHOLE, "Seconds from opened_at to first_response_at, cut to whole seconds.", minimum=0
        ),
        Column("resolution_s", WHOLE, "Seconds from opened_at to first_resolved_at, cut to whole seconds.", minimum=0),
        Column(
            "full_resolution_s", WHOLE, "Seconds from opened_at to last_resolved_at, cut to whole seconds.", minimum=0
        ),
        Column("topic", TEXT, "Topic given at the opening."),
        Column("priority", TEXT, "Priority given at the opening."),
        Column("team", TEXT, "Team given at the opening."),
        Column("is_self_service", FLAG, "True for a chatbot or FAQ.", required=True),
        Column(
            "is_open", FLAG, "True if the last of opening, resolution and reopening is not a resolution.", required=True
        ),
        Column(
            "first_response_business_s",
            WHOLE,
            "first_response_s, of the time of the setting `business_hours` only; null without it.",
            minimum=0,
        ),
        Column(
            "resolution_business_s",
            WHOLE,
            "resolution_s, of the time of the setting `business_hours` only; null without it.",
            minimum=0,
        ),
        Column(
            "open_periods",
            OPEN_PERIODS,
            "From the opening or a reopening to the resolution that followed; ended_at is null while open.",
            required=True,
        ),
        Column("opened_event_id", TEXT, "The event behind opened_at.", required=True),
        Column("first_response_event_id", TEXT, "The event behind first_response_at."),
        Column("first_resolved_event_id", TEXT, "The event behind first_resolved_at."),
        Column("last_resolved_event_id", TEXT, "The event behind last_resolved_at."),
        Column("first_reopened_event_id", TEXT, "The first reopening."),
    ),
)
_SUBSCRIPTIONS = Table(
    "subscriptions",
    "Subscriptions from start to end.",
    "one subscription in its source",
    ("source", "subscription_id"),
    (
        Column("subscription_id", TEXT, "Identifier of the subscription in its source.", required=True),
        Column("source", TEXT, "The source that names the subscription; null where events name none."),
        _CUSTOMER,
        Column(
            "started_at",
            TIME,
            "Time of the first subscription_started (or, without one, the first event), UTC.",
            required=True,
        ),
        Column(
            "ended_at",
            TIME,
            "Cancellation effective, renewal declined, account closed, or the end of a term that does not renew by itself "
            "and stayed unrenewed for 7 days; null while active.",
        ),
        Column(
            "status",
            TEXT,
            "active, cancelled, declined, account_closed or expired.",
            required=True,
            values=("active", "cancelled", "declined", "account_closed", "expired"),
        ),
        Column("plan", TEXT, "The last plan named before it ended."),
        Column(
            "mrr", MONEY, "The last amount divided by its period in months, rounded half up to 4 digits.", minimum=0
        ),
        Column("currency", TEXT, "ISO 4217 code of mrr."),
        Column("renewals", WHOLE, "Number of renewals with the outcome renewed.", required=True, minimum=0),
        Column("term_ends_at", TIME, "End of the last paid term: its start and period_months calendar months."),
        Column("auto_renews", FLAG, "True if a term renews by itself.", required=True),
        Column("cancelled_reason", TEXT, "The reason given with the end."),
        Column("is_voluntary", FLAG, "Whether the customer wanted the end, as the cancellation says."),
        Column(
            "is_ended_elsewhere",
            FLAG,
            "True if an event that belongs to another customer ended it: no touchpoint of its own customer says so.",
            required=True,
        ),
    ),
)
_SUBSCRIPTION_PERIODS = Table(
    "subscription_periods",
    "Subscriptions over time: when each was active, on which plan and for how much.",
    "one period of a subscription in its source",
    ("source", "subscription_id", "period_no"),
    (
        Column("subscription_id", TEXT, "Identifier of the subscription in its source.", required=True),
        Column("source", TEXT, "The source that names the subscription; null where events name none."),
        _CUSTOMER,
        Column("period_no", WHOLE, "1, 2, ... in the subscription.", required=True, minimum=1),
        Column("started_at", TIME, "When the period began, UTC.", required=True),
        Column("ended_at", TIME, "When the next one began, or the subscription ended; null while active."),
        Column(
            "opened_by",
            TEXT,
            "started, renewed, changed (price or plan) or first_seen (no event starts it).",
            required=True,
            values=("started", "renewed", "changed", "first_seen"),
        ),
        Column(
            "ended_by",
            TEXT,
            "renewed, restarted (a second start, without an end before it) or changed: another period follows at once; "
            "cancelled, declined, account_closed or expired: it ended; null while active.",
            values=("renewed", "restarted", "changed", "cancelled", "declined", "account_closed", "expired"),
        ),
        Column("plan", TEXT, "The last plan named by then."),
        Column("mrr", MONEY, "The amount divided by its period in months, rounded half up to 4 digits.", minimum=0),
        Column("currency", TEXT, "ISO 4217 code of mrr."),
        Column("term_ends_at", TIME, "End of the paid term that the period is in; null before any."),
        Column("opens_term", FLAG, "True if a term begins with the period: a start or a renewal.", required=True),
        Column("auto_renews", FLAG, "True if the term renews by itself.", required=True),
        Column("reason", TEXT, "The reason given with the end."),
        Column("is_voluntary", FLAG, "Whether the customer wanted the end, as the cancellation says."),
        Column(
            "is_ended_elsewhere",
            FLAG,
            "True if an event that belongs to another customer ended it: no touchpoint of its own customer says so.",
            required=True,
        ),
        Column("start_event_id", TEXT, "The event that began the period.", required=True),
        Column("end_event_id", TEXT, "The event that ended it; null while active, and where the term ran out."),
    ),
)
_CUSTOMER_MONTHS = Table(
    "customer_months",
    "The state of every known customer at each month's end, or at as-of: what churn, retention and NRR are sums of.",
    "one known customer and calendar month, from the one first seen in to that of as-of",
    ("customer_key", "month"),
    (
        _CUSTOMER,
        Column("month", DATE, "First day of the month, in the setting `timezone`.", required=True),
        Column("is_new", FLAG, "True in the month of the first touchpoint.", required=True),
        Column("is_active", FLAG, "True if the customer did something in the month.", required=True),
        Column("is_subscriber", FLAG, "True if a subscription is active at the month's end.", required=True),
        Column("subscriptions", WHOLE, "Number of those.", required=True, minimum=0),
        Column("plan", TEXT, "The plan of the dearest of them."),
        Column(
            "mrr", MONEY_SUM, "Monthly recurring revenue at the month's end; null if in several currencies.", minimum=0
        ),
        Column("mrr_by_currency", MONEY_LIST, "mrr in each currency, ordered by code.", required=True),
        Column("is_buyer", FLAG, "True if there was an order by the month's end.", required=True),
        Column(
            "has_lapsed",
            FLAG,
            "True if the buyer lapsed after the last order. Null in a run that was to fit the days of inactivity and could "
            "not: `model_parameters` says why.",
        ),
        Column("orders", WHOLE, "Number of orders begun in the month.", required=True, minimum=0),
        Column("revenue", MONEY_SUM, "Revenue of the month, refunds taken off; null if in several currencies."),
        Column("revenue_by_currency", MONEY_LIST, "revenue in each currency, ordered by code.", required=True),
        Column("currency", TEXT, "ISO 4217 code of mrr and revenue; null if there is none or several."),
        Column("stage", TEXT, "The stage at the month's end."),
        Column("open_tickets", WHOLE, "Number of tickets open at the month's end.", required=True, minimum=0),
        Column("friction_points", WHOLE, "Number of friction points begun in the month.", required=True, minimum=0),
    ),
)
_COHORTS = Table(
    "cohorts",
    "Of the known customers who came in a month, how many were there in each later one.",
    "one kind, cohort and count of months since",
    ("kind", "cohort_month", "months_since"),
    (
        Column(
            "kind",
            TEXT,
            "activity (they did something) or order (they began one).",
            required=True,
            values=("activity", "order"),
        ),
        Column(
            "cohort_month",
            DATE,
            "Month of the first activity or order; null for all cohorts together, of those whose month was over.",
        ),
        Column("months_since", WHOLE, "0 in the cohort's own month.", required=True, minimum=0),
        Column("month", DATE, "The calendar month that is so many months later; null for all cohorts together."),
        Column("cohort_size", WHOLE, "Customers in the cohort.", required=True, minimum=1),
        Column("active", WHOLE, "Those active in exactly that month.", required=True, minimum=0),
        Column("retention", REAL, "active / cohort_size.", required=True, minimum=0),
        Column(
            "survival",
            REAL,
            "Share that had not churned for good so many months later (Kaplan-Meier: who is still there counts as "
            "staying, and not as lost).",
            required=True,
            minimum=0,
        ),
        Column(
            "status",
            TEXT,
            "final, or provisional for the month of as-of: an open cell, not a loss.",
            required=True,
            values=("final", "provisional"),
        ),
    ),
)
_SERVICE_LOYALTY = Table(
    "service_loyalty",
    "Whether customers who were served better stay, buy again and recommend more: an association, not a proof.",
    "one exposure and outcome",
    ("exposure", "outcome"),
    (
        Column(
            "exposure",
            TEXT,
            "What was measured of the customer's first ticket: first_response_minutes, resolution_hours, reopened (within "
            "7 days of the resolution) or csat.",
            required=True,
            values=("first_response_minutes", "resolution_hours", "reopened", "csat"),
        ),
        Column(
            "outcome",
            TEXT,
            "What came strictly after it: renewal (the next decision), repurchase_90d, or nps_change.",
            required=True,
            values=("renewal", "repurchase_90d", "nps_change"),
        ),
        Column("n", WHOLE, "Customers compared, each once.", required=True, minimum=0),
        Column("n_better", WHOLE, "Those who were served better.", required=True, minimum=0),
        Column("n_worse", WHOLE, "The others.", required=True, minimum=0),
        Column("n_pending", WHOLE, "Customers whose outcome may still come; not compared.", required=True, minimum=0),
        Column(
            "exposure_split", REAL, "Where better and worse part: the median, 0 reopenings, or 0.75 of the csat scale."
        ),
        Column("outcome_better", REAL, "Mean outcome of those served better: a share, or points of NPS."),
        Column("outcome_worse", REAL, "Mean outcome of the others."),
        Column("difference", REAL, "outcome_better - outcome_worse; null, as all that follows, below 30 customers."),
        Column("difference_low", REAL, "Lower end of its 95 % interval (bootstrap over customers)."),
        Column("difference_high", REAL, "Upper end."),
        Column("spearman", REAL, "Rank correlation of service and outcome; positive: better service, more loyalty."),
        Column("spearman_low", REAL, "Lower end of its 95 % interval."),
        Column("spearman_high", REAL, "Upper end."),
        Column("p_value", REAL, "How often so strong a correlation comes by chance, two-sided.", minimum=0),
        Column("q_value", REAL, "p_value corrected for all rows of the table (Benjamini-Hochberg).", minimum=0),
        Column(
            "claim",
            TEXT,
            "better service, more loyalty; better service, less loyalty; no difference shown; null where too few.",
        ),
        Column("reason", TEXT, "Why nothing is said; null where something is."),
        Column("method", TEXT, "exact, or buckets (half a per cent wide) of more than 100,000 customers' times."),
        Column("bootstrap_replicates", WHOLE, "Times that the customers were resampled.", minimum=0),
    ),
)
_FUNNELS = Table(
    "funnels",
    "The funnels of the settings: how many took each step after the one before, where they stopped, how long it took.",
    "one step of a funnel, of everyone or of a value of a segment",
    ("funnel", "segment", "segment_value", "step_no"),
    (
        Column("funnel", TEXT, "Its name in the settings.", required=True),
        Column(
            "counted",
            TEXT,
            "What is counted: customers or journeys (each by its furthest attempt), or entries (each first step).",
            required=True,
            values=("customers", "journeys", "entries"),
        ),
        Column(
            "segment", TEXT, "all, or what the attempts are told apart by, as the settings write it.", required=True
        ),
        Column(
            "segment_value",
            TEXT,
            "Its value at the entry of the attempt; (none) without one, (other) for all beyond the hundred most frequent; "
            "null for all.",
        ),
        Column("step_no", WHOLE, "1, 2, ... in the funnel.", required=True, minimum=1),
        Column("steps", WHOLE, "How many steps the funnel has.", required=True, minimum=2),
        Column("step", TEXT, "The step, as the settings write it.", required=True),
        Column(
            "window_s", WHOLE, "The whole funnel must be gone through within so many seconds.", required=True, minimum=1
        ),
        Column(
            "step_window_s", WHOLE, "The step must follow the one before within so many; null for the first.", minimum=1
        ),
        Column("entered", WHOLE, "Those who took the first step.", required=True, minimum=0),
        Column("reached", WHOLE, "Of them, those who took this step.", required=True, minimum=0),
        Column("went_on", WHOLE, "Of these, those who took the next one too; null for the last.", minimum=0),
        Column("dropped", WHOLE, "Those who stopped at this step and can convert no more.", required=True, minimum=0),
        Column("open", WHOLE, "Those who stopped at this step and can still convert.", required=True, minimum=0),
        Column("converted", WHOLE, "Of those who entered, those who took the last step.", required=True, minimum=0),
        Column("conversion", REAL, "reached / entered; null where nobody entered.", minimum=0),
        Column(
            "step_conversion",
            REAL,
            "reached / reached of the step before; null for the first, and where nobody reached that.",
            minimum=0,
        ),
        Column("step_median_s", REAL, "Median seconds from the step before, of those who took this one.", minimum=0),
        Column("step_p90_s", REAL, "Nine of ten took it within so many seconds of the step before.", minimum=0),
        Column("entry_median_s", REAL, "Median seconds from the entry.", minimum=0),
        Column("entry_p90_s", REAL, "Nine of ten took it within so many seconds of their entry.", minimum=0),
        Column(
            "method",
            TEXT,
            "Of the seconds: exact, or buckets (half a per cent wide) of more than 100,000 of them; null without any.",
            values=("exact", "buckets"),
        ),
        Column(
            "status",
            TEXT,
            "provisional while attempts that are open at an earlier step may still reach this one, else final.",
            required=True,
            values=("final", "provisional"),
        ),
    ),
)
_MODEL_PARAMETERS = Table(
    "model_parameters",
    "What the models of the run were fitted to: of purchases (weeks), of what one is worth, and of days to wait.",
    "one parameter of a model, or one model that was not fitted",
    ("model", "currency", "parameter"),
    (
        Column(
            "model",
            TEXT,
            "bg_nbd or mbg_nbd (purchases), gamma_gamma (value of one), inactivity (days after which a buyer lapses), "
            "stage_stall (days after which a customer stalls in a stage).",
            required=True,
        ),
        Column("currency", TEXT, "ISO 4217 code of a model of money; else null."),
        Column(
            "parameter",
            TEXT,
            "Name in the literature, of stage_stall the stage; null where a model was not fitted, but for stage_stall.",
        ),
        Column("value", REAL, "The estimate, to 9 digits."),
        Column("standard_error", REAL, "Its standard error; null where it cannot be told."),
        Column(
            "n", WHOLE, "Customers that the model was fitted on, of stage_stall their stays.", required=True, minimum=0
        ),
        Column("log_likelihood", REAL, "Log-likelihood at the estimate."),
        Column("converged", FLAG, "False where the model was not fitted.", required=True),
        Column("reason", TEXT, "Why it was not fitted; null where it was."),
    ),
)
_STAGE_TRANSITIONS = Table(
    "stage_transitions",
    "How often customers go from one stage to the next, and how long they were in it.",
    "one pair of stages",
    ("from_stage", "to_stage"),
    (
        Column("from_stage", TEXT, "The stage that was left; `(start)` for a customer's first stage.", required=True),
        Column(
            "to_stage",
            TEXT,
            "The stage that was entered; `(open)` where the customer still is in from_stage.",
            required=True,
        ),
        Column("transitions", WHOLE, "Number of such transitions.", required=True, minimum=1),
        Column("customers", WHOLE, "Number of customers with such a transition.", required=True, minimum=1),
        Column(
            "total_duration_s", WHOLE, "Seconds spent in from_stage, summed; open stages are not counted.", minimum=0
        ),
        Column("mean_duration_s", REAL, "total_duration_s / transitions; null for open stages and starts.", minimum=0),
        Column("median_duration_s", REAL, "Median of the seconds spent in from_stage; null as the mean is.", minimum=0),
        Column("p90_duration_s", REAL, "Their 90th percentile.", minimum=0),
        Column(
            "share_of_leaving",
            REAL,
            "transitions / all that leave from_stage (of a start: all starts); null for `(open)`.",
            minimum=0,
        ),
        Column(
            "converted",
            WHOLE,
            "Transitions whose journey closed with an order or a subscription's start, at them or later.",
            required=True,
            minimum=0,
        ),
        Column(
            "not_converted",
            WHOLE,
            "Transitions whose journey ended otherwise; those in an open journey, or in none, count neither way.",
            required=True,
            minimum=0,
        ),
        Column("conversion_share", REAL, "converted / (converted + not_converted).", minimum=0),
        Column(
            "method",
            TEXT,
            "exact, or buckets (half a per cent wide) for quantiles of more than 100,000 values; null without any.",
            values=("exact", "buckets"),
        ),
    ),
)
_STAGE_DURATIONS = Table(
    "stage_durations",
    "How long customers stay in each stage, where the most time goes, and who still waits.",
    "one stage of everyone, or of those who came through one channel",
    ("stage", "segment", "segment_value"),
    (
        Column("stage", TEXT, "The stage.", required=True),
        Column("segment", TEXT, "`all` or first_channel.", required=True, values=("all", "first_channel")),
        Column("segment_value", TEXT, "The first channel, `(none)` without one; null for everyone."),
        Column(
            "entries", WHOLE, "Times that a customer entered the stage: exits + open_now.", required=True, minimum=1
        ),
        Column("exits", WHOLE, "Of these, the times that the customer has left it again.", required=True, minimum=0),
        Column(
            "open_now",
            WHOLE,
            "Customers who are in it at as-of; `customers` names them (current_stage, stage_entered_at).",
            required=True,
            minimum=0,
        ),
        Column(
            "median_s",
            WHOLE,
            "Seconds by which half of those who entered have left (Kaplan-Meier: who is still in it counts as staying at "
            "least so long); null while fewer have.",
            minimum=0,
        ),
        Column("p90_s", WHOLE, "Seconds by which nine of ten have left (Kaplan-Meier).", minimum=0),
        Column("mean_left_s", REAL, "Mean seconds of those who have left: the slow are not in it yet.", minimum=0),
        Column("customer_days", REAL, "Days that customers spent in the stage, up to as-of.", required=True, minimum=0),
        Column(
            "share_of_time",
            REAL,
            "customer_days / those of all stages of the segment but churned, which is no waiting; null for churned.",
            minimum=0,
        ),
        Column(
            "open_beyond_p90",
            WHOLE,
            "Of open_now, those who have been in it longer than p90_s; null where that is null.",
            minimum=0,
        ),
        Column(
            "method",
            TEXT,
            "exact, or buckets (half a per cent wide) for times of a stage that was entered more than 100,000 times.",
            required=True,
            values=("exact", "buckets"),
        ),
    ),
)
_JOURNEY_PATHS = Table(
    "journey_paths",
    "The most frequent paths of stages, of pages and of channels, and how many of them convert.",
    "one path of a kind, or all others of the kind",
    ("path_kind", "rank"),
    (
        Column(
            "path_kind",
            TEXT,
            "stage or page (of journeys), or channel (of touches that led to a conversion, or to none).",
            required=True,
            values=("stage", "page", "channel"),
        ),
        Column(
            "rank", WHOLE, "1 for the most frequent path of the kind; `(other)` stands last.", required=True, minimum=1
        ),
        Column(
            "path",
            TEXT,
            "The items in order, a run of one written once, joined with ` > `; `(other)` for all further paths, `(no stage)`, "
            "`(no page)` and `(no touch)` for none.",
            required=True,
        ),
        Column(
            "paths",
            WHOLE,
            "How many: of journeys; of channels, of conversions and of customers who never converted.",
            required=True,
            minimum=1,
        ),
        Column("customers", WHOLE, "Customers with such a path; null for `(other)`.", minimum=1),
        Column(
            "converted",
            WHOLE,
            "Those that ended with an order or a subscription's start.",
            required=True,
            minimum=0,
        ),
        Column("not_converted", WHOLE, "paths - converted.", required=True, minimum=0),
        Column(
            "still_open",
            WHOLE,
            "Of not_converted, those that still may: open journeys; touches within the look back of as-of.",
            required=True,
            minimum=0,
        ),
        Column("conversion_share", REAL, "converted / (paths - still_open).", minimum=0),
        Column(
            "median_touchpoints",
            REAL,
            "Median number of touchpoints (of channels: touches) up to the outcome, of the converted; null for `(other)`.",
            minimum=0,
        ),
        Column("median_s", REAL, "Median seconds from the first of them to the outcome, of the converted.", minimum=0),
        Column(
            "method",
            TEXT,
            "exact, or buckets (half a per cent wide) for medians of more than 100,000 values; null without any.",
            values=("exact", "buckets"),
        ),
        Column(
            "revenue",
            MONEY_SUM,
            "Revenue of the journeys that converted; 0 if there is none, null if it is in several currencies.",
        ),
        Column("currency", TEXT, "ISO 4217 code of revenue; null if there is none or several."),
        Column("revenue_by_currency", MONEY_LIST, "Revenue in each currency, ordered by code.", required=True),
    ),
)
_CHANNEL_CREDIT = Table(
    "channel_credit",
    "Which channels are credited with the conversions, by four models.",
    "one model, channel and currency",
    ("model", "channel", "currency"),
    (
        Column(
            "model",
            TEXT,
            "first_touch, last_touch, linear (all touches alike) or position (40 % the first, 40 % the last, 20 % between).",
            required=True,
            values=("first_touch", "last_touch", "linear", "position"),
        ),
        Column(
            "channel",
            TEXT,
            "The channel of the touches; `(no touch)` for conversions without one in the look back.",
            required=True,
        ),
        Column("currency", TEXT, "ISO 4217 code.", required=True),
        Column(
            "conversions",
            pa.decimal128(18, 6),
            "Orders and subscription starts credited, each in the currency of its own event; over all channels they add up "
            "to how many there are.",
            required=True,
            minimum=0,
        ),
        Column(
            "revenue",
            MONEY_SUM,
            "Revenue of their journeys in this currency; over all channels it adds up to the last digit.",
            required=True,
        ),
    ),
)
_FRICTION_POINTS = Table(
    "friction_points",
    "Moments at which a customer struggled.",
    "one friction point",
    ("friction_id",),
    (
        Column(
            "friction_id", TEXT, "Made from the kind and what it happened on: the same in every run.", required=True
        ),
        _CUSTOMER,
        Column("area", TEXT, "web, product, billing, support or journey.", required=True),
        Column("kind", TEXT, "The friction kind; `parcours friction` explains each.", required=True),
        Column(
            "subject",
            TEXT,
            "What it happened on: a page path, an element, a feature, provider, team, topic, product or stage.",
        ),
        Column("stage", TEXT, "The customer's stage at the first event."),
        Column("journey_no", WHOLE, "The journey of the first event.", required=True, minimum=1),
        Column("started_at", TIME, "Time of the first event, UTC.", required=True),
        Column("ended_at", TIME, "Time of the last event, UTC."),
        Column(
            "known_at",
            TIME,
            "When the point was established, UTC: of a wait or a grace period the moment at which the limit passed.",
            required=True,
        ),
        Column("n_events", WHOLE, "Number of events that make the point.", required=True, minimum=1),
        Column("event_ids", pa.list_(TEXT), "The first ten of them, in order.", required=True),
        Column("minutes_lost", MONEY, "Minutes that the customer lost, where the kind can tell; 4 digits.", minimum=0),
        Column("next_outcome", TEXT, "The outcome of the journey, if it came after the point."),
    ),
)
_FRICTION_SUMMARY = Table(
    "friction_summary",
    "Where customers struggle and what goes with it, ranked by money: an association, not a proof.",
    "one kind of friction, subject and stage",
    ("kind", "subject", "stage"),
    (
        Column(
            "rank", WHOLE, "1, 2, ...: by revenue_at_risk, then excess_losses, then n_points.", required=True, minimum=1
        ),
        Column("kind", TEXT, "The friction kind; `parcours metrics` explains each.", required=True),
        Column("area", TEXT, "web, product, billing, support or journey.", required=True),
        Column("subject", TEXT, "What it happened on: a page path, feature, provider or team."),
        Column("stage", TEXT, "The customer's stage at the first event, as in friction_points."),
        Column("n_points", WHOLE, "Rows of friction_points.", required=True, minimum=1),
        Column("n_customers", WHOLE, "Customers with such a point.", required=True, minimum=1),
        Column("n_stage_runs", WHOLE, "Rows of journey_stages with such a point.", required=True, minimum=1),
        Column("entrants", WHOLE, "Rows of journey_stages of the stage.", required=True, minimum=0),
        Column("share", REAL, "n_stage_runs / entrants.", minimum=0),
        Column("minutes_lost", MONEY_SUM, "Minutes that customers lost, summed, where the kind can tell.", minimum=0),
        Column(
            "n_entered",
            WHOLE,
            "Spells (runs of one stage of the path within a journey) with such a point: each enters once, at its first.",
            required=True,
            minimum=1,
        ),
        Column("n_exposed", WHOLE, "Those whose outcome is known.", required=True, minimum=0),
        Column("n_pending", WHOLE, "Those whose outcome may still come; not compared.", required=True, minimum=0),
        Column(
            "n_matched",
            WHOLE,
            "Exposed spells that have controls in their stratum; the losses are of these.",
            minimum=0,
        ),
        Column("n_controls", WHOLE, "Moments like theirs in the same strata, without the friction.", minimum=0),
        Column(
            "outcome_exposed", REAL, "Share of the exposed with an order, subscription or renewal after it.", minimum=0
        ),
        Column(
            "outcome_controls", REAL, "Share of the controls, weighted over the strata like the exposed.", minimum=0
        ),
        Column(
            "risk_difference", REAL, "outcome_controls - outcome_exposed: conversions lost a spell (Mantel-Haenszel)."
        ),
        Column("risk_difference_low", REAL, "Lower end of its 95 % interval."),
        Column("risk_difference_high", REAL, "Upper end."),
        Column("p_value", REAL, "How often so large a difference comes by chance, two-sided.", minimum=0),
        Column("p_holm", REAL, "p_value corrected for all rows that were compared (Holm).", minimum=0),
        Column(
            "excess_losses",
            REAL,
            "risk_difference * n_matched; null, as all money, where nothing is claimed.",
            minimum=0,
        ),
        Column("excess_losses_low", REAL, "Lower end of its 95 % interval."),
        Column("excess_losses_high", REAL, "Upper end."),
        Column("mean_value", MONEY, "Mean revenue of a control's outcome; null if in several currencies."),
        Column("revenue_at_risk", MONEY_SUM, "excess_losses * mean_value."),
        Column(
            "revenue_at_risk_low",
            MONEY_SUM,
            "Lower end of its 95 % interval, which also knows how outcomes differ in value.",
        ),
        Column("revenue_at_risk_high", MONEY_SUM, "Upper end."),
        Column("currency", TEXT, "ISO 4217 code of the money; null if there is none or several."),
        Column("revenue_at_risk_by_currency", MONEY_LIST, "revenue_at_risk in each currency, ordered by code."),
        Column("claim", TEXT, "fewer conversions, where that is shown; else null.", values=("fewer conversions",)),
        Column("reason", TEXT, "Why nothing is claimed; null where something is."),
        Column("method", TEXT, "mantel-haenszel where it was compared; else null.", values=("mantel-haenszel",)),
    ),
)
_LIFECYCLE_METRICS = Table(
    "lifecycle_metrics",
    "The metrics of the dictionary, by month and over all, of everyone and by segment.",
    "one metric, period, segment and currency",
    ("metric", "period_kind", "period_start", "segment", "segment_value", "currency"),
    (
        Column("metric", TEXT, "Name in the metric dictionary: `parcours metrics NAME` explains it.", required=True),
        Column(
            "period_kind",
            TEXT,
            "all or month; quarter, week or day where the setting `periods` asks for them.",
            required=True,
            values=("all", "month", "quarter", "week", "day"),
        ),
        Column("period_start", DATE, "First day of the period in the setting `timezone`; null for `all`."),
        Column("period_end", DATE, "The day after the period's last one; null for `all`."),
        Column(
            "segment",
            TEXT,
            "`all`; first_channel, plan or an attribute of the setting `segments`; or what the metric is told by.",
            required=True,
        ),
        Column("segment_value", TEXT, "The segment's value; null for everyone."),
        Column("currency", TEXT, "ISO 4217 code where the metric is money; else null."),
        Column("numerator", MONEY_SUM, "The count or sum above the line (of times: seconds); null for quantiles."),
        Column("denominator", MONEY_SUM, "The count below the line; null for counts, sums and quantiles."),
        Column("value", REAL, "numerator / denominator in the unit, divided once; null where the denominator is 0."),
        Column("unit", TEXT, "ratio, points, currency, minutes, hours, ..., or what is counted.", required=True),
        Column("n", WHOLE, "Number of observations behind the value.", required=True, minimum=0),
        Column(
            "method",
            TEXT,
            "exact, or buckets (half a per cent wide) for quantiles of more than 100,000 values.",
            required=True,
            values=("exact", "buckets"),
        ),
        Column(
            "status",
            TEXT,
            "final, or provisional while the period is not over or late outcomes can still arrive.",
            required=True,
            values=("final", "provisional"),
        ),
    ),
)
_IDENTITY_MAP = Table(
    "identity_map",
    "Which identifiers each customer was seen with, and when.",
    "one identifier of a customer",
    ("customer_key", "identifier_kind", "identifier"),
    (
        Column(
            "identifier_kind",
            TEXT,
            "customer_id, email, anonymous_id, ticket_id, subscription_id or order_id.",
            required=True,
            values=_IDENTIFIER_KINDS,
        ),
        Column(
            "identifier", TEXT, "The identifier; of a ticket, subscription or order `<source>:<id>`.", required=True
        ),
        _CUSTOMER,
        Column("valid_from", TIME, "Time of the customer's first event that carries it, UTC.", required=True),
        Column("valid_to", TIME, "Time of the customer's last event that carries it, UTC.", required=True),
        Column("n_events", WHOLE, "Number of the customer's events that carry it.", required=True, minimum=1),
    ),
)
IDENTITY_DECISIONS = Table(
    "identity_decisions",
    "Identifiers that were refused as a link between events: shared e-mails, kiosks, values that mean nobody.",
    "one identifier",
    ("kind", "identifier"),
    (
        Column(
            "kind",
            TEXT,
            "customer_id, email, anonymous_id, ticket_id, subscription_id or order_id.",
            required=True,
            values=_IDENTIFIER_KINDS,
        ),
        Column("identifier", TEXT, "The identifier; the value itself where it means nobody.", required=True),
        Column(
            "decision",
            TEXT,
            "refused (it links nothing) or ignored (taken as absent).",
            required=True,
            values=("refused", "ignored"),
        ),
        Column(
            "reason",
            TEXT,
            "shared_email (several customer_ids), kiosk (more customers than `max_customers_per_device`) or means_nobody.",
            required=True,
            values=("shared_email", "kiosk", "means_nobody"),
        ),
        Column(
            "n_customers",
            WHOLE,
            "Customers that the e-mail or device was seen with; null where it was ignored.",
            minimum=2,
        ),
        Column("n_events", WHOLE, "Number of accepted events that carry it.", required=True, minimum=1),
    ),
)
_QUARANTINE = Table(
    "quarantine",
    "Records and events that broke a rule, with every rule they broke.",
    "one event, or one unreadable record",
    ("source", "file", "position", "event_id"),
    (
        Column("run_id", TEXT, "The run that quarantined it.", required=True),
        Column(
            "source", TEXT, "The source description it was read with; `events` for Parcours' own format.", required=True
        ),
        Column("file", TEXT, "The input file.", required=True),
        Column(
            "position",
            WHOLE,
            "Byte offset of the record in the uncompressed file, or its row number in Parquet.",
            required=True,
            minimum=0,
        ),
        Column("raw", TEXT, "The record's text, at most `quarantine_raw_cap` bytes (default 4096) of it."),
        Column("raw_bytes", WHOLE, "Length of the whole record in bytes.", minimum=0),
        Column("event_id", TEXT, "The event's identifier, if it could be read."),
        Column("event_type", TEXT, "The event's type, if it could be read."),
        Column(
            "errors",
            QUARANTINE_ERRORS,
            "Every broken rule: code, path, what was expected, what was observed.",
            required=True,
        ),
    ),
)
_RUNS = Table(
    "runs",
    "All runs of the lake, with the sums that prove that nothing was lost.",
    "one run",
    ("run_id",),
    (
        Column("run_id", TEXT, "Unique for each attempt.", required=True),
        Column("started_at", TIME, "When the run started, UTC.", required=True),
        Column(
            "finished_at",
            TIME,
            "When its tables were whole, UTC; null while it is running, and of one that failed before.",
        ),
        Column("as_of", TIME, "The run's `now`: events after it are left to a later run."),
        Column(
            "status",
            TEXT,
            "running; failed (it could not go on) or died (it ended without a word); refused (by the audit); accepted "
            "(audited, not published) or published.",
            required=True,
            values=("running", "failed", "died", "refused", "accepted", "published"),
        ),
        Column("message", TEXT, "Why the run failed or was refused; null else."),
        Column("published_at", TIME, "When it was published, UTC; null if it never was."),
        Column(
            "published_by",
            TEXT,
            "run (its audit let it pass) or person; null if it never was published.",
            values=("run", "person"),
        ),
        Column("publisher", TEXT, "The person who published it, by the operating system's name; null if none did."),
        Column("reason", TEXT, "The reason that the person who published it gave."),
        Column("removed_at", TIME, "When its tables were removed to make room, UTC; null while they are there."),
        Column("customers", WHOLE, "Number of customers.", minimum=0),
        Column("seconds", REAL, "Wall time from the start until its tables were whole.", minimum=0),
        Column("audit_failures", WHOLE, "Number of critical expectations that were not met.", minimum=0),
        Column("audit_warnings", WHOLE, "Number of other expectations that were not met.", minimum=0),
        Column("inputs", WHOLE, "Number of input files.", minimum=0),
        Column("input_bytes", WHOLE, "Bytes of the input files, as they lie there.", minimum=0),
        Column("records_in", WHOLE, "records_mapped + records_skipped + records_unreadable.", minimum=0),
        Column("records_mapped", WHOLE, "Records that gave one event or more.", minimum=0),
        Column("records_skipped", WHOLE, "Records that a source description's SELECT left out.", minimum=0),
        Column("records_unreadable", WHOLE, "Records that could not be read; they are in quarantine.", minimum=0),
        Column("events_in", WHOLE, "touchpoints + duplicates + quarantined + after_as_of + excluded.", minimum=0),
        Column("touchpoints", WHOLE, "Accepted events.", minimum=0),
        Column("duplicates", WHOLE, "Further copies of an event_id.", minimum=0),
        Column("quarantined", WHOLE, "Events that broke a rule.", minimum=0),
        Column("after_as_of", WHOLE, "Events after as_of.", minimum=0),
        Column("excluded", WHOLE, "Events that the setting `exclude` left out.", minimum=0),
        Column("version", TEXT, "The version of Parcours."),
        Column("settings", TEXT, "The settings of the run, as JSON."),
    ),
)
_AUDIT_RESULTS = Table(
    "audit_results",
    "What the audit of each run found, expectation by expectation.",
    "one expectation of a run",
    ("run_id", "table_name", "rule"),
    (
        Column("run_id", TEXT, "The run that was audited.", required=True),
        Column("table_name", TEXT, "The table, or the measure made for the audit, that was looked at.", required=True),
        Column("rule", TEXT, "Name of the rule, unique in its table.", required=True),
        Column("expectation", TEXT, "Great Expectations' name of the kind of expectation.", required=True),
        Column("column_name", TEXT, "The column that the rule is about; null where it is about rows."),
        Column(
            "severity",
            TEXT,
            "critical (not met, the run is not published), warning (it is, and the operator is told) or info.",
            required=True,
            values=("critical", "warning", "info"),
        ),
        Column("success", FLAG, "True if the expectation was met.", required=True),
        Column("observed", TEXT, "What was observed, such as the number of wrong rows or the greatest value."),
        Column("unexpected", WHOLE, "Number of wrong rows or values; null where nothing is counted.", minimum=0),
        Column("says", TEXT, "What must hold, in a sentence.", required=True),
        Column("expected", TEXT, "The expectation's arguments, as JSON, the limits filled in."),
        Column(
            "part",
            TEXT,
            "generated (from the schemas), written (by hand) or user (a suite of the user's own).",
            required=True,
            values=("generated", "written", "user"),
        ),
        Column("error", TEXT, "Why the expectation could not be evaluated; null if it was."),
        Column("sample", TEXT, "Up to five of the wrong rows, as JSON; null if the expectation was met."),
    ),
)
_RUN_MEASURES = Table(
    "run_measures",
    "What the audit of later runs compares them with: rows, newest events and shares of each run.",
    "one measure of a run",
    ("run_id", "measure", "table_name", "column_name", "source"),
    (
        Column("run_id", TEXT, "The run that was measured.", required=True),
        Column("as_of", TIME, "The run's as_of.", required=True),
        Column(
            "measure",
            TEXT,
            "rows (of a table), events and newest_event (of a source, seconds since 1970 UTC), null_share (of a column) or "
            "quarantine_share (of a source).",
            required=True,
            values=("rows", "events", "newest_event", "null_share", "quarantine_share"),
        ),
        Column("table_name", TEXT, "The table measured.", required=True),
        Column("column_name", TEXT, "The column measured; null where the measure is of rows."),
        Column(
            "source",
            TEXT,
            "Of events and newest_event the events' source, empty where they name none; of quarantine_share the source "
            "description they were read with; else null.",
        ),
        Column("value", REAL, "The measure.", required=True),
    ),
)
#: Tables that are kept beside the runs, over all of them; the others belong to one run each.
HISTORY_TABLES: Mapping[str, Table] = {table.name: table for table in (_RUNS, _AUDIT_RESULTS, _RUN_MEASURES)}


def tables(contracts: Contracts) -> Mapping[str, Table]:
    """All tables by name, in the order in which docs and listings show them."""
    everything = (
        _touchpoints(contracts), _SESSIONS, _JOURNEYS, _JOURNEY_STAGES, _CUSTOMERS, _CUSTOMER_MONTHS, _TICKETS,
        _SUBSCRIPTIONS, _SUBSCRIPTION_PERIODS, _FRICTION_POINTS, _FRICTION_SUMMARY, _STAGE_TRANSITIONS, _STAGE_DURATIONS,
        _JOURNEY_PATHS, _CHANNEL_CREDIT, _FUNNELS, _LIFECYCLE_METRICS, _COHORTS,
        _SERVICE_LOYALTY, _MODEL_PARAMETERS, _IDENTITY_MAP, IDENTITY_DECISIONS, _QUARANTINE,
        _RUNS, _AUDIT_RESULTS, _RUN_MEASURES,
    )  # fmt: skip
    return {table.name: table for table in everything}


def _touchpoints(contracts: Contracts) -> Table:
    """The envelope, what stitching adds, the types' own fields, and `extra`."""

    def column(name: str) -> Column:
        field = contracts.fields[name]
        return Column(name, field.arrow, field.description, **_guaranteed(contracts, name))

    return Table(
        "touchpoints",
        "Every accepted event on its customer's timeline.",
        "one accepted event",
        ("customer_key", "seq"),
        (
            _CUSTOMER,
            Column("seq", WHOLE, "1, 2, ... in the customer, by (occurred_at, event_id).", required=True, minimum=1),
            *(column(name) for name in contracts.envelope),
            Column("is_known", FLAG, "True if customer_key comes from a customer_id or an e-mail.", required=True),
            Column(
                "identity_rule",
                TEXT,
                "How the event found its customer: customer_id, linked_email, entity, email, device, shared_email, "
                "anonymous_id or entity_id.",
                required=True,
                values=_IDENTITY_RULES,
            ),
            Column(
                "ignored_identifiers",
                TEXT,
                "Identifiers that were sent with a value that means nobody, as JSON; else null.",
            ),
            Column("session_id", TEXT, "The session of the event; null for types that are no session events."),
            Column("journey_no", WHOLE, "The journey of the event in the customer.", required=True, minimum=1),
            Column(
                "opens_order",
                FLAG,
                "True on the first line of an order, and where a subscription starts.",
                required=True,
            ),
            Column("stage", TEXT, "The customer's stage with this event; null before any event that gives one."),
            *(column(name) for name in contracts.own_fields),
            *(
                Column(
                    name,
                    contracts.fields[of].arrow,
                    f"What was sent as {of}, where the setting `currency` converted it; else null.",
                )
                for name, of in contracts.originals.items()
            ),
            Column("extra", TEXT, "Fields that the event's contract does not know, as JSON."),
        ),
    )


def _guaranteed(contracts: Contracts, name: str) -> dict[str, Any]:
    """What holds of a field whatever the event's type and version: those that do not know it leave it null."""
    rules = [rule for c in contracts.contracts if (rule := contracts.property_of(c, name)) is not None]
    always = len(rules) == len(contracts.contracts) and all(r.required or r.default is not None for r in rules)
    bounds = [r.exclusive_minimum if r.minimum is None else r.minimum for r in rules]
    values = [value for r in rules for value in r.enum or ()] if all(r.enum for r in rules) else []
    if name == "event_type":
        values = list(contracts.event_types)
    elif name == "schema_version":
        values = sorted({c.version for c in contracts.contracts})
    minimum = min((b for b in bounds if b is not None), default=None) if None not in bounds else None
    if name in contracts.originals.values():  # the rules hold of what was sent; fixed rates leave only its sign
        values, minimum = [], 0 if minimum is not None and minimum >= 0 else None
    return {"required": always, "values": tuple(dict.fromkeys(values)), "minimum": minimum}
