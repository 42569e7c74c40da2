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
