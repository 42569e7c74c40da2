"""Every table that a run publishes: its grain, its key, and one Arrow schema with a description a column.

The writer, the catalog's comments and docs/data-model.md are all made from here. Touchpoints carry the fields of the
event contracts under their own names, so that table follows the contracts, a user's own included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

from schemas.contracts import Contracts

TEXT, WHOLE, FLAG, REAL = pa.string(), pa.int64(), pa.bool_(), pa.float64()
TIME = pa.timestamp("us", "UTC")
DATE = pa.date32()
MONEY = pa.decimal128(18, 4)
#: A sum of money; wide enough that no sum of MONEY overflows it.
MONEY_SUM = pa.decimal128(38, 4)
MONEY_LIST = pa.list_(pa.struct([("currency", TEXT), ("amount", MONEY_SUM)]))
QUARANTINE_ERRORS = pa.list_(pa.struct([("code", TEXT), ("path", TEXT), ("expected", TEXT), ("observed", TEXT)]))


@dataclass(frozen=True)
class Column:
    """One column: name, Arrow type, and a sentence an analyst can work with."""

    name: str
    type: pa.DataType
    description: str


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


_CUSTOMER = Column("customer_key", TEXT, "The customer whose journey this is; the key of the table customers.")
_REVENUE = (
    Column(
        "revenue",
        MONEY_SUM,
        "Purchases, subscription starts and renewals less refunds; 0 if there are none, null if they are in several currencies.",
    ),
    Column("currency", TEXT, "ISO 4217 code of revenue; null if there is none or several."),
    Column("revenue_by_currency", MONEY_LIST, "Revenue in each currency, ordered by code."),
)

_SESSIONS = Table(
    "sessions",
    "Runs of a customer's session events on one device without a long gap.",
    "one session",
    ("session_id",),
    (
        Column("session_id", TEXT, "`s:` and the event_id of the session's first event."),
        _CUSTOMER,
        Column("anonymous_id", TEXT, "The device or cookie; null for the customer's events without a device."),
        Column("source_session_id", TEXT, "The session's identifier in the source: the first one that it carries."),
        Column("started_at", TIME, "Time of the first event, UTC."),
        Column("ended_at", TIME, "Time of the last event, UTC."),
        Column("touchpoints", WHOLE, "Number of events in the session."),
        Column("entry_channel", TEXT, "The first channel that an event of the session carries."),
        Column("has_purchase", FLAG, "True if an event of the session is a purchase."),
        Column("is_truncated", FLAG, "True if the session was cut at 24 hours or 10,000 events."),
    ),
)
_JOURNEYS = Table(
    "journeys",
    "From a customer's first touchpoint, or the first after the last journey closed, to an outcome or a long silence.",
    "one journey of a customer",
    ("customer_key", "journey_no"),
    (
        _CUSTOMER,
        Column("journey_no", WHOLE, "1, 2, ... in the customer."),
        Column("started_at", TIME, "Time of the first touchpoint, UTC."),
        Column("ended_at", TIME, "Time of the outcome, or of the last touchpoint before the silence; null while open."),
        Column(
            "status",
            TEXT,
            "closed (an outcome), abandoned (silence after consideration), ended (silence, nothing sought) or open (the "
            "data ends first).",
        ),
        Column("outcome", TEXT, "order, subscription_started, renewal, renewal_declined, cancellation, account_closed; or null."),
        Column("stage_path", TEXT, "The stages in order, a run of one stage written once, joined with ` > `."),
        Column("channel_path", TEXT, "The channels in order, a run of one channel written once, joined with ` > `."),
        Column("touchpoints", WHOLE, "Number of touchpoints, later lines and refunds of its order included."),
        Column("sessions", WHOLE, "Number of sessions that have a touchpoint in the journey."),
        Column("friction_points", WHOLE, "Number of friction points whose first event lies in the journey."),
        *_REVENUE,
    ),
)  # fmt: skip
_JOURNEY_STAGES = Table(
    "journey_stages",
    "Maximal runs of one stage of a customer.",
    "one run of one stage of a customer",
    ("customer_key", "stage_no"),
    (
        _CUSTOMER,
        Column("stage_no", WHOLE, "1, 2, ... in the customer."),
        Column("stage", TEXT, "awareness, consideration, purchase, onboarding, usage, loyalty, advocacy, service or churned."),
        Column("entered_at", TIME, "When the customer entered the stage, UTC; a lapse or an unrenewed term has its own date."),
        Column("left_at", TIME, "When the next stage was entered; null while the customer is in it."),
        Column("next_stage", TEXT, "The stage entered next; null while the customer is in it."),
        Column("duration_s", WHOLE, "Seconds from entered_at to left_at, cut to whole seconds; null while open."),
        Column("touchpoints", WHOLE, "Number of touchpoints in the run; 0 where a lapse stands alone."),
        Column("sessions", WHOLE, "Number of sessions that have a touchpoint in the run."),
        Column("is_open", FLAG, "True for the stage that the customer is in when the data ends."),
    ),
)  # fmt: skip
_CUSTOMERS = Table(
    "customers",
    "Everyone who left a touchpoint, known or not.",
    "one customer_key",
    ("customer_key",),
    (
        _CUSTOMER,
        Column("is_known", FLAG, "True if the key comes from a customer_id or an e-mail."),
        Column("first_seen_at", TIME, "Time of the first touchpoint, UTC."),
        Column("last_seen_at", TIME, "Time of the last touchpoint, UTC."),
        Column("first_channel", TEXT, "The first channel that a touchpoint carries."),
        Column("current_stage", TEXT, "The stage at as-of; null if no touchpoint ever gave one."),
        Column("touchpoints", WHOLE, "Number of touchpoints."),
        Column("sessions", WHOLE, "Number of sessions."),
        Column("journeys", WHOLE, "Number of journeys."),
        Column("friction_points", WHOLE, "Number of friction points."),
        Column("tickets", WHOLE, "Number of support tickets opened."),
        Column("orders", WHOLE, "Number of distinct orders (order_id within its source)."),
        Column("first_order_at", TIME, "Time of the first line of the first order, UTC."),
        Column("last_order_at", TIME, "Time of the first line of the last order, UTC."),
        *_REVENUE,
        Column("is_subscriber", FLAG, "True if a subscription is active at as-of."),
        Column("churned_at", TIME, "When the customer churned or lapsed, if that is the state at as-of; else null."),
        Column("churn_reason", TEXT, "The reason given with the churn; `lapsed` or `term_ended` where time gave it."),
    ),
)
_TICKETS = Table(
    "tickets",
    "Support tickets from opening to resolution.",
    "one ticket in its source",
    ("source", "ticket_id"),
    (
        Column("ticket_id", TEXT, "Identifier of the ticket in its source."),
        Column("source", TEXT, "The source that names the ticket; null where events name none."),
        _CUSTOMER,
        Column("opened_at", TIME, "Time of the first ticket_opened, UTC."),
        Column("first_response_at", TIME, "First public reply by an agent after the opening; a bot's reply is none."),
        Column("first_resolved_at", TIME, "First resolution after the opening."),
        Column("last_resolved_at", TIME, "Last resolution."),
        Column("reopens", WHOLE, "Number of reopenings."),
        Column("agent_replies", WHOLE, "Number of public replies by agents."),
        Column("first_response_s", WHOLE, "Seconds from opened_at to first_response_at, cut to whole seconds."),
        Column("resolution_s", WHOLE, "Seconds from opened_at to first_resolved_at, cut to whole seconds."),
        Column("full_resolution_s", WHOLE, "Seconds from opened_at to last_resolved_at, cut to whole seconds."),
        Column("topic", TEXT, "Topic given at the opening."),
        Column("priority", TEXT, "Priority given at the opening."),
        Column("team", TEXT, "Team given at the opening."),
        Column("is_self_service", FLAG, "True for a chatbot or FAQ."),
        Column("is_open", FLAG, "True if the last of opening, resolution and reopening is not a resolution."),
    ),
)
_SUBSCRIPTIONS = Table(
    "subscriptions",
    "Subscriptions from start to end.",
    "one subscription in its source",
    ("source", "subscription_id"),
    (
        Column("subscription_id", TEXT, "Identifier of the subscription in its source."),
        Column("source", TEXT, "The source that names the subscription; null where events name none."),
        _CUSTOMER,
        Column("started_at", TIME, "Time of the first subscription_started (or, without one, the first event), UTC."),
        Column(
            "ended_at",
            TIME,
            "Cancellation effective, renewal declined, account closed, or the end of a term that does not renew by itself "
            "and stayed unrenewed for 7 days; null while active.",
        ),
        Column("status", TEXT, "active, cancelled, declined, account_closed or expired."),
        Column("plan", TEXT, "The last plan named."),
        Column("mrr", MONEY, "The last amount divided by its period in months, rounded half up to 4 digits."),
        Column("currency", TEXT, "ISO 4217 code of mrr."),
        Column("renewals", WHOLE, "Number of renewals with the outcome renewed."),
        Column("term_ends_at", TIME, "End of the last paid term: its start and period_months calendar months."),
        Column("auto_renews", FLAG, "True if a term renews by itself."),
        Column("cancelled_reason", TEXT, "The reason given with the end."),
        Column("is_voluntary", FLAG, "Whether the customer wanted the end, as the cancellation says."),
    ),
)  # fmt: skip
_STAGE_TRANSITIONS = Table(
    "stage_transitions",
    "How often customers go from one stage to the next, and how long they were in it.",
    "one pair of stages",
    ("from_stage", "to_stage"),
    (
        Column("from_stage", TEXT, "The stage that was left; `(start)` for a customer's first stage."),
        Column("to_stage", TEXT, "The stage that was entered; `(open)` where the customer still is in from_stage."),
        Column("transitions", WHOLE, "Number of such transitions."),
        Column("customers", WHOLE, "Number of customers with such a transition."),
        Column("total_duration_s", WHOLE, "Seconds spent in from_stage, summed; open stages are not counted."),
        Column("mean_duration_s", REAL, "total_duration_s / transitions; null for open stages and starts."),
    ),
)
_FRICTION_POINTS = Table(
    "friction_points",
    "Moments at which a customer struggled.",
    "one friction point",
    ("friction_id",),
    (
        Column("friction_id", TEXT, "Made from the kind and what it happened on: the same in every run."),
        _CUSTOMER,
        Column("area", TEXT, "web, product, billing, support or journey."),
        Column("kind", TEXT, "The friction kind; `parcours metrics` explains each."),
        Column("subject", TEXT, "What it happened on: a page path, feature, provider or team."),
        Column("stage", TEXT, "The customer's stage at the first event."),
        Column("journey_no", WHOLE, "The journey of the first event."),
        Column("started_at", TIME, "Time of the first event, UTC."),
        Column("ended_at", TIME, "Time of the last event, UTC."),
        Column("n_events", WHOLE, "Number of events that make the point."),
        Column("event_ids", pa.list_(TEXT), "The first ten of them, in order."),
        Column("minutes_lost", MONEY, "Minutes that the customer lost, where the kind can tell; 4 digits."),
        Column("next_outcome", TEXT, "The outcome of the journey, if it came after the point."),
    ),
)
_LIFECYCLE_METRICS = Table(
    "lifecycle_metrics",
    "The metrics of the dictionary, by month and over all.",
    "one metric, period, segment and currency",
    ("metric", "period_kind", "period_start", "segment", "segment_value", "currency"),
    (
        Column("metric", TEXT, "Name in the metric dictionary: `parcours metrics NAME` explains it."),
        Column("period_kind", TEXT, "all or month."),
        Column("period_start", DATE, "First day of the period in the setting `timezone`; null for `all`."),
        Column("period_end", DATE, "The day after the period's last one; null for `all`."),
        Column("segment", TEXT, "The segment's name; `all` for everyone."),
        Column("segment_value", TEXT, "The segment's value; null for everyone."),
        Column("currency", TEXT, "ISO 4217 code where the metric is money; else null."),
        Column("numerator", MONEY_SUM, "The count or sum above the line (of times: seconds); null for quantiles."),
        Column("denominator", MONEY_SUM, "The count below the line; null for counts, sums and quantiles."),
        Column("value", REAL, "numerator / denominator in the unit, divided once; null where the denominator is 0."),
        Column("unit", TEXT, "ratio, points, customers, visitors, orders, currency, minutes or hours."),
        Column("n", WHOLE, "Number of observations behind the value."),
        Column("method", TEXT, "exact, or buckets (half a per cent wide) for quantiles of more than 100,000 values."),
        Column("status", TEXT, "final, or provisional while the period is not over or late outcomes can still arrive."),
    ),
)
_IDENTITY_MAP = Table(
    "identity_map",
    "Which identifiers each customer was seen with, and when.",
    "one identifier of a customer",
    ("customer_key", "identifier_kind", "identifier"),
    (
        Column("identifier_kind", TEXT, "customer_id, email, anonymous_id, ticket_id, subscription_id or order_id."),
        Column("identifier", TEXT, "The identifier; of a ticket, subscription or order `<source>:<id>`."),
        _CUSTOMER,
        Column("valid_from", TIME, "Time of the customer's first event that carries it, UTC."),
        Column("valid_to", TIME, "Time of the customer's last event that carries it, UTC."),
        Column("n_events", WHOLE, "Number of the customer's events that carry it."),
    ),
)
IDENTITY_DECISIONS = Table(
    "identity_decisions",
    "Identifiers that were refused as a link between events: shared e-mails, kiosks, values that mean nobody.",
    "one identifier",
    ("kind", "identifier"),
    (
        Column("kind", TEXT, "customer_id, email, anonymous_id, ticket_id, subscription_id or order_id."),
        Column("identifier", TEXT, "The identifier; the value itself where it means nobody."),
        Column("decision", TEXT, "refused (it links nothing) or ignored (taken as absent)."),
        Column(
            "reason",
            TEXT,
            "shared_email (several customer_ids), kiosk (more customers than `max_customers_per_device`) or means_nobody.",
        ),
        Column("n_customers", WHOLE, "Customers that the e-mail or device was seen with; null where it was ignored."),
        Column("n_events", WHOLE, "Number of accepted events that carry it."),
    ),
)  # fmt: skip
_QUARANTINE = Table(
    "quarantine",
    "Records and events that broke a rule, with every rule they broke.",
    "one event, or one unreadable record",
    ("source", "file", "position", "event_id"),
    (
        Column("run_id", TEXT, "The run that quarantined it."),
        Column("source", TEXT, "The source description it was read with; `events` for Parcours' own format."),
        Column("file", TEXT, "The input file."),
        Column("position", WHOLE, "Byte offset of the record in the uncompressed file, or its row number in Parquet."),
        Column("raw", TEXT, "The record's text, at most `quarantine_raw_cap` bytes (default 4096) of it."),
        Column("raw_bytes", WHOLE, "Length of the whole record in bytes."),
        Column("event_id", TEXT, "The event's identifier, if it could be read."),
        Column("event_type", TEXT, "The event's type, if it could be read."),
        Column("errors", QUARANTINE_ERRORS, "Every broken rule: code, path, what was expected, what was observed."),
    ),
)
_RUNS = Table(
    "runs",
    "The run that is published, with the sums that prove that nothing is lost.",
    "one run",
    ("run_id",),
    (
        Column("run_id", TEXT, "Unique for each attempt."),
        Column("started_at", TIME, "When the run started, UTC."),
        Column("finished_at", TIME, "When its tables were whole, UTC."),
        Column("as_of", TIME, "The run's `now`: events after it are left to a later run."),
        Column("status", TEXT, "published."),
        Column("records_in", WHOLE, "records_mapped + records_skipped + records_unreadable."),
        Column("records_mapped", WHOLE, "Records that gave one event or more."),
        Column("records_skipped", WHOLE, "Records that a source description's SELECT left out."),
        Column("records_unreadable", WHOLE, "Records that could not be read; they are in quarantine."),
        Column("events_in", WHOLE, "touchpoints + duplicates + quarantined + after_as_of + excluded."),
        Column("touchpoints", WHOLE, "Accepted events."),
        Column("duplicates", WHOLE, "Further copies of an event_id."),
        Column("quarantined", WHOLE, "Events that broke a rule."),
        Column("after_as_of", WHOLE, "Events after as_of."),
        Column("excluded", WHOLE, "Events that the setting `exclude` left out."),
        Column("version", TEXT, "The version of Parcours."),
        Column("settings", TEXT, "The settings of the run, as JSON."),
    ),
)


def tables(contracts: Contracts) -> Mapping[str, Table]:
    """All tables by name, in the order in which docs and listings show them."""
    everything = (
        _touchpoints(contracts), _SESSIONS, _JOURNEYS, _JOURNEY_STAGES, _CUSTOMERS, _TICKETS, _SUBSCRIPTIONS,
        _FRICTION_POINTS, _STAGE_TRANSITIONS, _LIFECYCLE_METRICS, _IDENTITY_MAP, IDENTITY_DECISIONS, _QUARANTINE, _RUNS,
    )  # fmt: skip
    return {table.name: table for table in everything}


def _touchpoints(contracts: Contracts) -> Table:
    """The envelope, what stitching adds, the types' own fields, and `extra`."""

    def column(name: str) -> Column:
        field = contracts.fields[name]
        return Column(name, field.arrow, field.description)

    return Table(
        "touchpoints",
        "Every accepted event on its customer's timeline.",
        "one accepted event",
        ("customer_key", "seq"),
        (
            _CUSTOMER,
            Column("seq", WHOLE, "1, 2, ... in the customer, by (occurred_at, event_id)."),
            *(column(name) for name in contracts.envelope),
            Column("is_known", FLAG, "True if customer_key comes from a customer_id or an e-mail."),
            Column(
                "identity_rule",
                TEXT,
                "How the event found its customer: customer_id, linked_email, entity, email, device, shared_email, "
                "anonymous_id or entity_id.",
            ),
            Column(
                "ignored_identifiers",
                TEXT,
                "Identifiers that were sent with a value that means nobody, as JSON; else null.",
            ),
            Column("session_id", TEXT, "The session of the event; null for types that are no session events."),
            Column("journey_no", WHOLE, "The journey of the event in the customer."),
            Column("stage", TEXT, "The customer's stage with this event; null before any event that gives one."),
            *(column(name) for name in contracts.own_fields),
            Column("extra", TEXT, "Fields that the event's contract does not know, as JSON."),
        ),
    )
