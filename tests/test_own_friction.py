"""Kinds of friction of one's own, through the real command: beside the shipped ones, and in the place of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.lake_tables import read_tables
from tests.real_command import run_command

EXAMPLE = """
[example]
text = "One event, one point."
events = '''
event_type | occurred_at          | customer_id
site_visit | 2026-01-05T10:00:00Z | ann
'''
results = []
"""
POINT = """
select
    customer_no, seq, {subject} as subject, occurred_at as started_at, occurred_at as ended_at, 1 as n_events,
    [event_id] as event_ids, null::decimal(18, 4) as minutes_lost
from touchpoints
where {where}
"""


def entry(folder: Path, kind: str, subject: str, where: str, parameters: str = "") -> None:
    folder.mkdir(exist_ok=True)
    texts = 'area = "web"\ndescription = "Ours."\nsource = "Us."\n'
    (folder / f"{kind}.toml").write_text(texts + parameters + EXAMPLE, encoding="utf-8")
    (folder / f"{kind}.sql").write_text(POINT.format(subject=subject, where=where), encoding="utf-8")


def visit(number: int, **fields: Any) -> str:
    event = {"event_id": f"v{number}", "event_type": "site_visit", "occurred_at": f"2026-01-05T10:0{number}:00Z",
             "customer_id": "ann", "page_url": "/", "load_ms": 9000}  # fmt: skip
    return json.dumps(event | fields)


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Of a run with a kind that takes the place of slow_page, and one that there was not before."""
    folder = tmp_path_factory.mktemp("own")
    entry(folder / "kinds", "slow_page", "'ours'", "load_ms > $much", "[parameters]\nmuch = 100000\n")
    words = (
        '[parameters]\nwords = ["free", "gratis"]\nlike_words = ["%coupon%"]\nword = "promo"\nnumbers = { home = 1 }\n'
    )
    where = """event_type = 'site_visit' and (list_contains($words, element) or matches_any(element, $like_words)
        or element = $word) and $numbers[page_kind] = 2"""
    entry(folder / "kinds", "bargain", "element", where, words)
    (folder / "settings.toml").write_text(
        'friction = "kinds"\n[friction_parameters.slow_page]\nmuch = 9500\n'
        '[friction_parameters.bargain]\nword = "sale"\nnumbers = { home = 2 }\n',
        encoding="utf-8",
    )
    elements = ("free", "COUPON 5", "sale", "promo", "other", None)
    lines = [visit(n, element=element, page_kind="home") for n, element in enumerate(elements)]
    lines += [visit(7, element="free", page_kind="other"), visit(8, load_ms=9501)]
    (folder / "events.jsonl").write_text("\n".join(lines), encoding="utf-8")
    done = run_command(
        ["run", "--input", f"{folder}/events.jsonl", "--output", f"{folder}/lake", "--settings", f"{folder}/settings.toml",
         "--as-of", "2026-02-01T00:00:00Z"],
        folder,
    )  # fmt: skip
    assert done.status == 0, done.err
    rows: list[dict[str, Any]] = read_tables(folder / "lake")["friction_points"].to_pylist()
    return rows


def test_a_kind_takes_the_place_of_a_shipped_one_of_its_name(points: list[dict[str, Any]]) -> None:
    assert [(p["subject"], p["event_ids"]) for p in points if p["kind"] == "slow_page"] == [("ours", ["v8"])]


def test_a_kind_with_texts_lists_and_tables_of_parameters(points: list[dict[str, Any]]) -> None:
    found = [
        (p["friction_id"], p["subject"], p["known_at"] == p["started_at"]) for p in points if p["kind"] == "bargain"
    ]
    assert found == [("bargain:v0", "free", True), ("bargain:v1", "COUPON 5", True), ("bargain:v2", "sale", True)]


def test_the_other_shipped_kinds_are_still_there(points: list[dict[str, Any]]) -> None:
    assert {p["kind"] for p in points} == {"slow_page", "bargain"}, "nothing else happened"


def test_stall_days_are_fitted_and_kept_with_the_run(tmp_path: Path) -> None:
    """40 customers look around, n % 10 + 1 days each, and buy; 36 have by the 9th day, so the four of ten days stalled. One
    who came 12 months and more before is not asked, and stalled too."""

    def event(kind: str, who: str, at: str, **fields: Any) -> str:
        return json.dumps(
            {"event_id": f"{kind}-{who}", "event_type": kind, "customer_id": who, "occurred_at": at} | fields
        )

    lines = [event("site_visit", "old", "2025-01-31T00:00:00Z", page_url="/")]
    for n in range(40):
        lines.append(event("site_visit", f"c{n}", "2026-01-01T00:00:00Z", page_url="/"))
        at = f"2026-01-{n % 10 + 2:02}T00:00:00Z"
        lines.append(event("purchase", f"c{n}", at, order_id=f"o{n}", amount=5, currency="EUR"))
    (tmp_path / "events.jsonl").write_text("\n".join(lines), encoding="utf-8")
    settings = '[friction_parameters.stage_stall]\nstall_days = "fit"\n'
    (tmp_path / "settings.toml").write_text(f"inactivity_days = 90\nshards = 3\n{settings}", encoding="utf-8")
    done = run_command(
        ["run", "--input", f"{tmp_path}/events.jsonl", "--output", f"{tmp_path}/lake", "--settings",
         f"{tmp_path}/settings.toml", "--as-of", "2026-02-01T00:00:00Z"],
        tmp_path,
    )  # fmt: skip
    assert done.status == 0, done.err
    tables = read_tables(tmp_path / "lake")
    fitted = {row["parameter"]: row for row in tables["model_parameters"].to_pylist() if row["model"] == "stage_stall"}
    assert set(fitted) == {"consideration", "purchase"}
    assert (fitted["consideration"]["value"], fitted["consideration"]["n"], fitted["consideration"]["converged"]) == (
        9.0,
        40,
        True,
    )
    assert (fitted["purchase"]["value"], fitted["purchase"]["reason"]) == (
        None,
        "fewer than 90% of the stays have ended",
    )
    stalled = sorted(
        row["customer_key"] for row in tables["friction_points"].to_pylist() if row["kind"] == "stage_stall"
    )
    assert stalled == ["c19", "c29", "c39", "c9", "old"]


@pytest.mark.parametrize("ends", ["", ";", " -- each visit"])
def test_a_kind_changes_nothing_that_the_others_see(tmp_path: Path, ends: str) -> None:
    """The tables that it sees are DuckDB's own, and a SELECT may delete, in a WITH."""
    entry(tmp_path / "kinds", "ours", "'ours'", "true")
    sql = tmp_path / "kinds" / "ours.sql"
    (tmp_path / "settings.toml").write_text('friction = "kinds"\n', encoding="utf-8")
    (tmp_path / "events.jsonl").write_text(visit(1) + "\n", encoding="utf-8")
    command = ("run", "--input", str(tmp_path / "events.jsonl"), "--output", str(tmp_path / "lake"), "--as-of",
               "2026-02-01T00:00:00Z", "--settings", str(tmp_path / "settings.toml"), "--quiet")  # fmt: skip
    select = sql.read_text(encoding="utf-8").strip()
    sql.write_text(f"with gone as (delete from touchpoints returning *) {select.replace('touchpoints', 'gone')}{ends}")
    done = run_command(command, tmp_path)
    assert done.status == 2 and str(sql) in done.err, done.err
    assert not (tmp_path / "lake" / "current.json").exists()
    sql.write_text(select + ends)
    assert run_command(command, tmp_path).status == 0


def test_a_point_may_list_an_event_of_another_customer(tmp_path: Path) -> None:
    """As an agent's reply to the ticket that it is about; the audit asks for one event of the customer's."""
    (tmp_path / "kinds").mkdir()
    texts = 'area = "support"\ndescription = "Ours."\nsource = "Us."\n'
    (tmp_path / "kinds" / "late_reply.toml").write_text(texts + EXAMPLE, encoding="utf-8")
    (tmp_path / "kinds" / "late_reply.sql").write_text(
        """
        select
            p.customer_no, p.seq, t.ticket_id as subject, t.opened_at as started_at, t.first_response_at as ended_at,
            2 as n_events, [t.opened_event_id, t.first_response_event_id] as event_ids,
            null::decimal(18, 4) as minutes_lost
        from tickets as t
        join touchpoints as p on t.opened_event_id = p.event_id
        """,
        encoding="utf-8",
    )
    opened = {"event_id": "t1", "event_type": "ticket_opened", "occurred_at": "2026-01-01T10:00:00Z", "ticket_id": "T"}
    replied = {
        "event_id": "t2",
        "event_type": "ticket_replied",
        "occurred_at": "2026-01-03T10:00:00Z",
        "ticket_id": "T",
    }
    events = [opened | {"customer_id": "ann"}, replied | {"customer_id": "agent-7", "author": "agent"}]
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    (tmp_path / "settings.toml").write_text('friction = "kinds"\n')
    args = ["run", "--input", f"{tmp_path}/events.jsonl", "--output", f"{tmp_path}/lake", "--quiet"]
    args += ["--as-of", "2026-02-01T00:00:00Z", "--settings", f"{tmp_path}/settings.toml"]
    done = run_command(args, tmp_path)
    assert done.status == 0, done.out + done.err
    [point] = [p for p in read_tables(tmp_path / "lake")["friction_points"].to_pylist() if p["kind"] == "late_reply"]
    assert (point["customer_key"], point["event_ids"]) == ("ann", ["t1", "t2"])
