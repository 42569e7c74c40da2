"""Every table has a grain, a key, and a sentence for each column."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from schemas.contracts import load_contracts
from schemas.tables import HISTORY_TABLES, MONEY, MONEY_LIST, MONEY_SUM, TIME, Column, Table, sql_type, tables

TABLES = tables(load_contracts())
each_table = pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)

#: The design's columns that others rely on; those of later issues are not there yet.
RELIED_ON = {
    "touchpoints": "event_id event_type occurred_at received_at source customer_key is_known anonymous_id customer_id "
    "email account_id channel campaign_id session_id seq journey_no stage extra",
    "sessions": "session_id customer_key anonymous_id started_at ended_at touchpoints entry_channel has_purchase is_truncated",
    "journeys": "customer_key journey_no started_at ended_at status outcome stage_path channel_path touchpoints sessions "
    "friction_points revenue currency",
    "journey_stages": "customer_key stage_no stage entered_at left_at next_stage duration_s touchpoints sessions is_open",
    "customers": "customer_key is_known first_seen_at last_seen_at first_channel current_stage orders revenue currency "
    "is_subscriber churned_at churn_reason p_alive expected_purchases_12m clv_predicted",
    "customer_months": "customer_key month is_active mrr orders revenue stage open_tickets friction_points",
    "tickets": "ticket_id source customer_key opened_at first_response_at first_resolved_at last_resolved_at reopens "
    "agent_replies first_response_s resolution_s",
    "subscriptions": "subscription_id source customer_key started_at ended_at status mrr currency renewals "
    "cancelled_reason is_voluntary",
    "subscription_periods": "subscription_id source customer_key period_no started_at ended_at plan mrr currency",
    "cohorts": "kind cohort_month months_since cohort_size active retention survival status",
    "service_loyalty": "exposure outcome n difference spearman p_value q_value claim",
    "funnels": "funnel counted segment segment_value step_no step entered reached went_on dropped open converted conversion "
    "step_conversion step_median_s step_p90_s entry_median_s entry_p90_s status",
    "model_parameters": "model parameter value standard_error log_likelihood reason",
    "friction_points": "friction_id customer_key area kind subject stage started_at ended_at known_at n_events event_ids "
    "minutes_lost next_outcome",
    "friction_summary": "rank kind area subject stage n_points n_customers entrants share n_exposed n_matched n_controls "
    "n_pending outcome_exposed outcome_controls risk_difference p_value p_holm excess_losses mean_value revenue_at_risk "
    "currency minutes_lost claim reason method",
    "lifecycle_metrics": "metric period_kind period_start period_end segment segment_value currency numerator "
    "denominator value unit n status",
    "identity_map": "identifier_kind identifier customer_key valid_from valid_to n_events",
    "identity_decisions": "kind identifier decision reason n_customers",
    "quarantine": "run_id source file raw event_id event_type errors",
    "stage_transitions": "from_stage to_stage",
    "stage_durations": "stage segment segment_value entries exits open_now median_s p90_s share_of_time",
    "journey_paths": "path_kind rank path paths customers converted not_converted conversion_share revenue",
    "channel_credit": "model channel currency conversions revenue",
    "runs": "run_id started_at as_of records_in events_in touchpoints duplicates quarantined after_as_of status",
    "audit_results": "run_id expectation table_name column_name severity success observed",
    "run_measures": "run_id measure value",
}


def test_the_tables_of_the_design_with_the_columns_that_others_rely_on() -> None:
    assert set(TABLES) == set(RELIED_ON)
    for name, columns in RELIED_ON.items():
        assert set(columns.split()) <= set(TABLES[name].schema.names), name
    assert set(load_contracts().fields) <= set(TABLES["touchpoints"].schema.names)


@each_table
def test_names_are_names_and_stand_once(table: Table) -> None:
    names = table.schema.names
    assert len(names) == len(set(names))
    assert all(name.isidentifier() and name == name.lower() for name in [table.name, *names])
    assert table.key
    assert set(table.key) <= set(names)


@each_table
def test_everything_is_described_in_sentences(table: Table) -> None:
    assert table.description.endswith(".")
    assert table.grain.startswith("one ")
    for column in table.columns:
        assert column.description.rstrip("`").endswith((".", "...")), column
        assert table.schema.field(column.name).metadata == {b"description": column.description.encode()}
        assert table.schema.field(column.name).type == column.type


@each_table
def test_columns_carry_their_role_in_their_names(table: Table) -> None:
    for column in table.columns:
        if column.name.endswith("_at") or column.name == "as_of":
            assert column.type == TIME, column
        if column.name.endswith("_s"):
            assert str(column.type) in ("int64", "double"), column
        if column.name.startswith(("is_", "has_")):
            assert str(column.type) == "bool", column
        if column.name in ("amount", "cost"):
            assert column.type == MONEY, column
        if column.name in ("revenue", "mrr"):  # mrr of one subscription is an amount, of a customer a sum
            assert column.type == (
                MONEY if table.name.startswith("subscription") and column.name == "mrr" else MONEY_SUM
            ), column


def test_a_sum_of_money_cannot_overflow() -> None:
    assert MONEY_SUM.scale == MONEY.scale == MONEY_LIST.value_type.field("amount").type.scale
    assert MONEY_SUM.precision - MONEY.precision >= 19, "2^63 amounts and more"


def test_what_is_kept_over_all_runs_stands_last() -> None:
    assert tuple(TABLES)[-len(HISTORY_TABLES) :] == tuple(HISTORY_TABLES)
    assert all("run_id" in TABLES[name].key for name in HISTORY_TABLES)


@each_table
def test_guarantees_go_with_the_types_of_their_columns(table: Table) -> None:
    for column in table.columns:
        if column.values:
            assert pa.types.is_string(column.type), column
            assert len(column.values) == len(set(column.values)), column
        if column.minimum is not None:
            assert (
                pa.types.is_integer(column.type)
                or pa.types.is_floating(column.type)
                or pa.types.is_decimal(column.type)
            )
            assert column.minimum >= 0, column


@each_table
def test_closed_sets_are_described(table: Table) -> None:
    """A set's values stand in the column's description, so that the two cannot part; contracts' fields have enums."""
    for column in table.columns:
        if column.values and column.name not in load_contracts().fields:
            assert all(value in column.description for value in column.values), column


def touchpoints_with(folder: Path, *contracts: tuple[str, dict[str, object], list[str]]) -> dict[str, Column]:
    """The columns of touchpoints with further contracts: (path, properties, required)."""
    for path, properties, required in contracts:
        file = folder / path
        file.parent.mkdir(exist_ok=True)
        described = {name: {"description": "Ours.", **rule} for name, rule in properties.items()}  # type: ignore[dict-item]
        file.write_text(
            json.dumps({"title": file.parent.name, "type": "object", "required": required, "properties": described})
        )
    return {column.name: column for column in tables(load_contracts(folder))["touchpoints"].columns}


NUMBER = {"type": "number", "x-arrow": "double"}
TEXT = {"type": "string", "x-arrow": "string"}


def test_touchpoints_guarantee_what_all_contracts_say(tmp_path: Path) -> None:
    columns = touchpoints_with(
        tmp_path,
        ("call/1-0-0.json", {"length": NUMBER | {"minimum": 2}, "mood": TEXT | {"enum": ["good", "bad"]}}, ["length"]),
        (
            "call/2-0-0.json",
            {"length": NUMBER | {"exclusiveMinimum": 1}, "mood": TEXT | {"enum": ["bad", "mixed"]}},
            [],
        ),
    )
    assert columns["length"].minimum == 1
    assert columns["mood"].values == ("good", "bad", "mixed")
    assert not columns["length"].required, "events of other types have none"
    assert "call" in columns["event_type"].values
    assert columns["schema_version"].values == ("1-0-0", "1-1-0", "2-0-0")
    shipped = {name for name, column in columns.items() if column.required and name in load_contracts().fields}
    assert shipped == {"event_id", "event_type", "schema_version", "occurred_at"}


def test_touchpoints_guarantee_nothing_that_one_contract_leaves_open(tmp_path: Path) -> None:
    columns = touchpoints_with(
        tmp_path,
        ("call/1-0-0.json", {"load_ms": NUMBER, "kind": TEXT}, []),
    )
    assert columns["load_ms"].minimum is None
    assert columns["kind"].values == ()


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (pa.string(), "VARCHAR"),
        (TIME, "TIMESTAMP WITH TIME ZONE"),
        (pa.timestamp("us"), "TIMESTAMP"),
        (MONEY, "DECIMAL(18,4)"),
        (pa.dictionary(pa.int32(), pa.string()), "VARCHAR"),
        (pa.map_(pa.string(), pa.int64()), "MAP(VARCHAR, BIGINT)"),
        (MONEY_LIST, 'STRUCT("currency" VARCHAR, "amount" DECIMAL(38,4))[]'),
    ],
)
def test_sql_types(kind: pa.DataType, name: str) -> None:
    assert sql_type(kind) == name
