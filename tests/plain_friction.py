"""What friction costs, read a second time: docs/friction-cost.md in plain loops over rows, without an array.

`plain_costs(shard, as_of)` takes the tables that the step takes and gives the counts and estimates of each cell. It shares
no line with transforms/friction_*.py. What is drawn at random there (the resamplings) is not here.
"""

from __future__ import annotations

import datetime
import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

Row = dict[str, Any]
Cell = tuple[str, str | None, str | None]
DAYS = datetime.timedelta(days=1)
PAID = ("purchase", "subscription_started", "renewal")
LAGS = [0, 1, 10, 60, 600, 3600, *(int(d * 86_400) for d in (0.25, 1, 3, 7, 14, 30, 60, 90, 180, 365))]


def plain_costs(
    shard: Mapping[str, pa.Table], as_of: datetime.datetime, outcome_days: int = 30, silence_days: int = 90
) -> dict[Cell, Row]:
    moments = _moments(shard, silence_days)
    by_place = {(m["customer"], m["seq"]): m for m in moments}
    window = outcome_days * DAYS
    costs: dict[Cell, Row] = {}
    points: dict[Cell, list[Row]] = defaultdict(list)
    met: dict[tuple[str, str | None], dict[int, tuple[int, int, str | None]]] = defaultdict(dict)
    for point in shard["friction_points"].to_pylist():
        points[point["kind"], point["subject"], point["stage"]].append(point)
        # spell: (seq, lag, stage) of the first point of this kind on this subject, whatever its stage
        spell = by_place[point["customer_no"], point["seq"]]["spell"]
        place = point["seq"], _lag(point["known_at"] - point["started_at"]), point["stage"]
        first = met[point["kind"], point["subject"]]
        first[spell] = min(place, first.get(spell, place), key=lambda p: p[:2])
    customer_of = {m["spell"]: m["customer"] for m in moments}
    for cell, of_cell in points.items():
        met_it = met[cell[:2]]
        entered = {spell: (seq, lag) for spell, (seq, lag, stage) in met_it.items() if stage == cell[2]}
        exposed, pending = [], 0
        for spell, (seq, lag) in entered.items():
            moment = by_place[customer_of[spell], seq]
            state = _state(moment, lag, as_of, window)
            pending += state == "pending"
            if isinstance(state, tuple) and moment["stratum"]:
                exposed.append((moment["stratum"], lag, state[0]))
        row = {"n_points": len(of_cell), "n_entered": len(entered), "n_exposed": len(exposed), "n_pending": pending}
        strata: dict[tuple[Any, int], list[list[Any]]] = defaultdict(lambda: [[], []])
        for stratum, lag, outcome in exposed:
            strata[stratum, lag][0].append(outcome)
        for moment in moments:
            for lag in {lag for stratum, lag in list(strata) if stratum == moment["stratum"]}:
                if moment["spell"] in met_it and moment["seq"] >= met_it[moment["spell"]][0]:
                    continue
                state = _state(moment, lag, as_of, window)
                if isinstance(state, tuple):
                    strata[moment["stratum"], lag][1].append(state[0])
        costs[cell] = row | _estimate([sides for sides in strata.values() if sides[0] and sides[1]])
    return costs


def _estimate(strata: list[list[list[Any]]]) -> Row:
    n_matched, n_controls = (sum(len(sides[i]) for sides in strata) for i in (0, 1))
    if not strata:
        return {"n_matched": 0, "n_controls": 0}
    weight = lost = 0.0
    value = valued = 0.0
    for exposed, controls in strata:
        n1, n0 = len(exposed), len(controls)
        a, c = (sum(outcome is not None for outcome in side) for side in (exposed, controls))
        weight += n1 * n0 / (n1 + n0)
        lost += (c / n0 - a / n1) * n1 * n0 / (n1 + n0)
        valued += n1 / (n1 + n0) * c
        value += n1 / (n1 + n0) * sum(float(outcome) for outcome in controls if outcome is not None)
    return {
        "n_matched": n_matched, "n_controls": n_controls, "difference": lost / weight,
        "mean_value": value / valued if valued else None,
    }  # fmt: skip


def _state(moment: Row, lag: int, as_of: datetime.datetime, window: datetime.timedelta) -> Any:
    """`pending`, `settled`, or a tuple of the revenue of the outcome that came, or of None."""
    landmark = moment["time"] + datetime.timedelta(seconds=lag)
    coming = [o for o in moment["outcomes"] if o["seq"] > moment["seq"] or (o["seq"] == moment["seq"] and not lag)]
    first = coming[0] if coming else None
    if lag and first and first["time"] <= landmark:
        return "settled"
    if landmark + window > as_of:
        return "pending"
    won = first and first["revenue"] is not None and first["time"] <= landmark + window
    return (first["revenue"] if first and won else None,)


def _moments(shard: Mapping[str, pa.Table], silence_days: int) -> list[Row]:
    channel = dict(
        zip(shard["customers"]["customer_no"].to_pylist(), shard["customers"]["first_channel"].to_pylist(), strict=True)
    )
    revenue = {
        (j["customer_no"], j["journey_no"]): sum(m["amount"] for m in j["revenue_by_currency"])
        for j in shard["journeys"].to_pylist()
    }
    customers: dict[int, list[Row]] = defaultdict(list)
    for place, row in enumerate(shard["touchpoints"].to_pylist()):
        customers[row["customer_no"]].append({**row, "place": place})
    moments: list[Row] = []
    spell = 0
    for customer, rows in customers.items():
        on_path = [None if r["stage"] in (None, "service") else r["stage"] for r in rows]
        outcomes = [
            {
                "seq": r["seq"],
                "time": r["occurred_at"],
                "revenue": revenue[customer, r["journey_no"]] if kind == "wanted" else None,
            }
            for r in rows
            if (kind := _outcome(r))
        ]
        spent, paid_anything, touch = 0, False, 0
        last_base: Row | None = None
        previous_path: str | None = None
        for i, r in enumerate(rows):
            steps_back = r["event_type"] in (*PAID, "payment_failed") or on_path[i] is None
            before = [s for s in on_path[: i if steps_back else i + 1] if s]
            path = before[-1] if before else None
            follows = r["order_row"] is not None and r["order_row"] >= 0 and r["order_row"] != r["place"]
            silent = (
                not follows and last_base is not None and not _outcome(last_base)
                and r["occurred_at"] - last_base["occurred_at"] > silence_days * DAYS
            )  # fmt: skip
            if i == 0 or path != previous_path or silent or _outcome(rows[i - 1]):
                spell, touch = spell + 1, 0
            previous_path = path
            is_touch = not (follows and r["event_type"] == "purchase")
            touch += is_touch
            decade = 0
            if paid_anything and spent >= 0:
                decade = 1 if spent < 1 else 2 + math.floor(math.log10(spent) + 1e-12)
            doing = (
                "payment" if r["event_type"] in (*PAID, "payment_failed")
                else "resolution" if r["event_type"] in ("ticket_resolved", "ticket_reopened")
                else (r["event_type"], r["page_kind"] if r["event_type"] == "site_visit" else None)
            )  # fmt: skip
            stratum = (
                path, sum(touch >= edge for edge in (1, 2, 3, 6, 11)),
                sum(r["occurred_at"] - rows[0]["occurred_at"] >= days * DAYS for days in (0, 1, 30, 365)),
                decade, channel[customer], doing,
            )  # fmt: skip
            moments.append(
                {"customer": customer, "seq": r["seq"], "time": r["occurred_at"], "spell": spell, "outcomes": outcomes,
                 "stratum": stratum if is_touch else None}
            )  # fmt: skip
            if not follows:
                last_base = r
            if r["amount"] is not None and (
                (r["event_type"] in PAID and r["outcome"] != "declined") or r["event_type"] == "refund"
            ):
                paid_anything = True
                spent += int(r["amount"]) * (-1 if r["event_type"] == "refund" else 1)
    return moments


def _outcome(row: Row) -> str | None:
    kind = row["event_type"]
    if (kind == "purchase" and row["opens_order"]) or kind == "subscription_started":
        return "wanted"
    if kind == "renewal":
        return "other" if row["outcome"] == "declined" else "wanted"
    if kind == "account_closed" or (kind == "cancellation" and row["kind"] == "effective"):
        return "other"
    return None


def _lag(waited: datetime.timedelta) -> int:
    seconds = math.ceil(max(waited.total_seconds(), 0))
    return next((lag for lag in LAGS if lag >= seconds), math.ceil(seconds / LAGS[-1]) * LAGS[-1])
