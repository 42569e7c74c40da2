"""`parcours explain`: whose journey it is, event by event, which rule gave each event its customer, and what was refused.

The lake is made by the real pipeline from the events below, in which every rule of identity applies once.
"""

import contextlib
import json
import os
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pipelines.catalog import connect
from pipelines.cli import status_of
from pipelines.errors import UsageError
from pipelines.explain import Entry, explained
from pipelines.explain_identity import in_words
from pipelines.explain_sql import LIFE
from pipelines.explain_text import as_json, as_text
from pipelines.lake import Lake
from transforms import find_owners
from transforms.identities import RULES

ROOT = Path(__file__).parent.parent.parent
COMMAND = [sys.executable, "-c", "from pipelines.start import main; main()", "explain"]
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
START = datetime(2026, 1, 10, 9, tzinfo=UTC)
HOSTILE = "ev\x1b[31mil\r\nNext: rm\u202e\x9b2J"

Event = dict[str, Any]


def event(event_id: str, minutes: float, event_type: str = "site_visit", **fields: Any) -> Event:
    own = {"page_url": "https://shop.example/home?x=1"} if event_type == "site_visit" else {}
    at = START + timedelta(minutes=minutes)
    return {"event_id": event_id, "event_type": event_type, "occurred_at": at.isoformat()} | own | fields


DAY = 24 * 60
EVENTS = [
    # Ada: each way of finding a customer whom somebody knows.
    event("ada-1", 0, anonymous_id="dev-ada", channel="paid_search", campaign_id="spring"),
    event("ada-2", 5, customer_id="c-ada", anonymous_id="dev-ada", email="Ada@Example.com"),
    event("ada-3", 10, anonymous_id="dev-ada", load_ms=6000, page_kind="product"),
    event("ada-4", 20, "purchase", email="ada@example.com", order_id="o-1", amount=20.5, currency="EUR", source="shop"),
    event("ada-5", 21, "purchase", email="ada@example.com", order_id="o-1", amount=4, currency="EUR", source="shop"),
    event("ada-6", 60, "ticket_opened", customer_id="c-ada", ticket_id="T-1", source="help", topic="delivery"),
    event("ada-7", 100, "ticket_replied", ticket_id="T-1", author="agent", source="help"),
    event("ada-8", 2 * DAY, "refund", customer_id="c-ada", order_id="o-1", amount=1.25, currency="EUR", source="shop"),
    event("ada-9", 100 * DAY, customer_id=" Guest ", anonymous_id="dev-ada"),
    # A family's e-mail, a kiosk, and those whom nobody knows.
    event("fam-1", 0, customer_id="c-bob", email="family@example.com"),
    event("fam-2", 1, customer_id="c-cy", email="family@example.com"),
    event("fam-3", 2, email="family@example.com"),
    event("bob-1", 3, "ticket_opened", customer_id="c-bob", ticket_id="T-1", source="shop"),
    *(event(f"kio-{n}", n, customer_id=f"c-k{n}", anonymous_id="kiosk") for n in range(1, 7)),
    event("kio-7", 9, anonymous_id="kiosk"),
    event("two-1", 1, customer_id="c-one", anonymous_id="sofa"),
    event("two-2", 2, customer_id="c-two", anonymous_id="sofa"),
    event("two-3", 3, anonymous_id="sofa"),
    event("dora-1", 0, email="dora@example.com"),
    event("lone-1", 0, anonymous_id="dev-lone"),
    event("tick-1", 0, "ticket_opened", ticket_id="T-9", source="help"),
    event("sub-1", 0, "subscription_started", customer_id="c-sub", subscription_id="s-1", amount=30, currency="EUR", period_months=1, plan="pro"),
    event("sub-2", 31 * DAY, "renewal", customer_id="c-sub", subscription_id="s-1", amount=30, currency="EUR", period_months=1),
    event("sub-3", 40 * DAY, "cancellation", customer_id="c-sub", subscription_id="s-1", kind="effective", reason="price"),
    event("ent-1", 0, "purchase", customer_id="c-ent", order_id="o-9", amount=1, currency="EUR"),
    event("ent-2", 1, "survey_sent", survey_type="csat", ticket_id="T-8", order_id="o-9"),
    event("ent-3", 2, "survey_sent", survey_type="csat", ticket_id="0000", order_id="o-9"),
    *(event(f"mall-{n}", n, customer_id=f"c-m{n}", anonymous_id="mall") for n in range(21)),
    event("evil-1", 0, customer_id=HOSTILE, page_url="/a\x1b]0;x\x07\n\x9b2J", email="e\u202evil@example.com"),
    *(event(f"many-{n:02}", n * 20, customer_id="c-many", load_ms=5000 if n == 15 else 10) for n in range(1, 31)),
]  # fmt: skip


def make_lake(folder: Path, events: Iterable[Event], *options: str) -> str:
    (folder / "events.jsonl").write_text("\n".join(json.dumps(e, ensure_ascii=False) for e in events), encoding="utf-8")
    lake = str(folder / "lake")
    args = ["--input", str(folder / "events.jsonl"), "--output", lake, "--as-of", "2026-07-01T00:00:00Z", "--quiet"]
    assert status_of(["run", *args, *options]) == 0
    return lake


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_lake(tmp_path_factory.mktemp("explain"), EVENTS)


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> str:
    lake = str(tmp_path_factory.mktemp("company") / "lake")
    args = ["--input", str(ROOT / "fixtures" / "company"), "--output", lake, "--as-of", "2026-03-31T00:00:00Z"]
    assert status_of(["run", *args, "--quiet"]) == 0
    return lake


def text_of(lake: str, name: str, limit: int = 200, width: int = 110) -> str:
    with explained(lake, name, limit) as explanation:
        return "\n".join(as_text(explanation, width))


def json_of(lake: str, name: str, limit: int = 200) -> dict[str, Any]:
    with explained(lake, name, limit) as explanation:
        told: dict[str, Any] = json.loads("\n".join(as_json(explanation)))
    return told


def timeline_of(lake: str, name: str, limit: int = 200) -> list[Entry]:
    with explained(lake, name, limit) as explanation:
        return list(explanation.timeline)


def words_of(lake: str, name: str) -> dict[str, str]:
    told = timeline_of(lake, name, 0)
    return {e.told["event_id"]: e.told["identity"]["words"] for e in told if e.what == "event"}


def refusal(lake: str, name: str) -> UsageError:
    with pytest.raises(UsageError) as caught, explained(lake, name):
        pass
    return caught.value


# ---- which rule gave each event its customer


def test_every_rule_is_told_in_words(lake: str) -> None:
    assert words_of(lake, "c-ada") == {
        "ada-1": "by device dev-ada, whose later event ada-2 tells the customer",
        "ada-2": "by its customer_id",
        "ada-3": "by device dev-ada, whose earlier event ada-2 tells the customer",
        "ada-4": "by e-mail ada@example.com, linked to one customer_id",
        "ada-5": "by e-mail ada@example.com, linked to one customer_id",
        "ada-6": "by its customer_id",
        "ada-7": "by ticket T-1, whose event ada-6 tells the customer",
        "ada-8": "by its customer_id",
        "ada-9": "by device dev-ada, whose earlier event ada-2 tells the customer",
    }
    assert words_of(lake, "email:family@example.com") == {
        "fam-3": "by e-mail family@example.com itself, which 2 customer_ids share"
    }
    assert words_of(lake, "email:dora@example.com") == {
        "dora-1": "by e-mail dora@example.com, which no event links to a customer_id"
    }
    assert words_of(lake, "anon:kiosk") == {"kio-7": "by device kiosk itself, a kiosk with 6 customers"}
    assert words_of(lake, "anon:dev-lone") == {"lone-1": "by device dev-lone itself, on which nobody was identified"}
    assert words_of(lake, "ticket:help:T-9") == {"tick-1": "by ticket T-9 itself, no event of which tells a customer"}


def test_no_rule_is_without_words() -> None:
    for rule in RULES[1:]:
        assert not in_words({"rule": rule, "kind": "email", "identifier": "x"}, None, "none").startswith("by the rule")
    assert in_words({"rule": "new_rule"}, None, "none") == "by the rule new_rule"
    assert len(in_words({"rule": "email", "kind": "email", "identifier": "x" * 999}, None, "none")) < 150


DEVICE = [
    event("d-1", 0, anonymous_id="d"),
    event("d-2", 1, anonymous_id="d", customer_id="ryan"),
    event("d-3", 2, anonymous_id="d"),
    event("d-4", 3, anonymous_id="d", customer_id="cassidy"),
    event("d-5", 4, anonymous_id="d"),
]


@pytest.mark.parametrize(
    ("policy", "customer", "words"),
    [
        ("last_auth", "cassidy", {
            "d-1": "by device d, whose last identified event d-4 tells the customer",
            "d-3": "by device d, whose last identified event d-4 tells the customer",
            "d-4": "by its customer_id",
            "d-5": "by device d, whose last identified event d-4 tells the customer",
        }),
        ("none", "anon:d", dict.fromkeys(("d-1", "d-3", "d-5"), "by device d itself, as the policy links no device")),
    ],
)  # fmt: skip
def test_the_words_follow_the_policy(tmp_path: Path, policy: str, customer: str, words: dict[str, str]) -> None:
    assert words_of(make_lake(tmp_path, DEVICE, "--identity-policy", policy), customer) == words


def test_of_two_entities_the_one_that_tells_is_named(lake: str) -> None:
    """The ticket stands first, but nobody identifies it, or it means nobody; the order is told by its purchase."""
    assert words_of(lake, "c-ent") == {
        "ent-1": "by its customer_id",
        "ent-2": "by order o-9, whose event ent-1 tells the customer",
        "ent-3": "by order o-9, whose event ent-1 tells the customer",
    }


# ---- the text


def test_the_whole_text(lake: str) -> None:
    shown = text_of(lake, "c-ada").splitlines()
    run = Lake(lake).current()
    assert shown[1] == f"Run {run}, as of 2026-07-01T00:00:00Z, identity policy device_split. Times are UTC."
    assert (
        [*shown[:1], *shown[2:]]
        == """\
Customer c-ada (known)

seen           2026-01-10 09:00:00 to 2026-04-20 09:00:00, first through paid_search
has            9 touchpoints, 3 sessions, 3 journeys, 5 friction points
stage          churned
orders         1
revenue        23.25 EUR
tickets        1, of which 1 open
subscriptions  none
churned        2026-04-10 09:20:00: lapsed, no order for 90 days

Known by
  customer_id  c-ada  (3 events, 2026-01-10 to 2026-01-12)
  e-mail       ada@example.com  (3 events, 2026-01-10)
  device       dev-ada  (4 events, 2026-01-10 to 2026-04-20)
  ticket       help:T-1  (2 events, 2026-01-10)
  order        shop:o-1  (3 events, 2026-01-10 to 2026-01-12)

Journey 1: closed by order, 2026-01-10 09:00:00 to 2026-01-10 09:20:00, 6 touchpoints, 2 friction points,
  23.25 EUR
  -- session 1 on device dev-ada: 3 events, to 2026-01-10 09:10:00 -------------------------------------------
  2026-01-10 09:00:00               1  site_visit            s1    ada-1
        -> consideration (1 friction point); page_url /home; channel paid_search, campaign spring; by device
        dev-ada, whose later event ada-2 tells the customer
  2026-01-10 09:05:00               2  site_visit            s1    ada-2
        page_url /home; by its customer_id
  2026-01-10 09:10:00               3  site_visit            s1    ada-3
        page_url /home, page_kind product, load_ms 6000; by device dev-ada, whose earlier event ada-2 tells
        the customer
        ! friction slow_page on /home (web), 0.10 min lost: ada-3; later in the journey: order
  -- session 2: 2 events, to 2026-01-10 09:21:00 -------------------------------------------------------------
  2026-01-10 09:20:00               4  purchase              s2    ada-4
        -> purchase; order_id o-1, amount 20.50 EUR; by e-mail ada@example.com, linked to one customer_id
  2026-01-10 09:21:00               5  purchase              s2    ada-5
        order_id o-1, amount 4.00 EUR; by e-mail ada@example.com, linked to one customer_id

Journey 2: ended, 2026-01-10 10:00:00 to 2026-01-10 10:40:00, 2 touchpoints, 3 friction points
  2026-01-10 10:00:00               6  ticket_opened               ada-6
        -> service (4 friction points); ticket_id T-1, topic delivery; by its customer_id
        ! friction contact_after_purchase on delivery (support): ada-6
        ! friction slow_resolution on delivery (support), 247,080.00 min lost: ada-6
        ! friction stage_stall on service (journey), to 2026-04-10 09:20:00: ada-6
  2026-01-10 10:40:00               7  ticket_replied              ada-7
        ticket_id T-1, author agent, public true; by ticket T-1, whose event ada-6 tells the customer
  2026-01-12 09:00:00               8  refund                      ada-8
        belongs to journey 1; order_id o-1, amount 1.25 EUR; by its customer_id
        ! friction refund (billing): ada-8
  2026-04-10 09:20:00                  (no event)
        -> churned; lapsed, no order for 90 days

Journey 3: open since 2026-04-20 09:00:00, 1 touchpoint
  -- session 3 on device dev-ada: 1 event, to 2026-04-20 09:00:00 --------------------------------------------
  2026-04-20 09:00:00               9  site_visit            s3    ada-9
        page_url /home; by device dev-ada, whose earlier event ada-2 tells the customer; ignored: customer_id
        "Guest"

Refused
  customer_id "Guest" means nobody: ignored on 1 event of this customer, first ada-9

Numbers, and what they are made of
  revenue  23.25 EUR = ada-4 20.50 + ada-5 4.00 + ada-8 -1.25
  orders   1 = o-1 (ada-4 and 1 more line) 24.50 EUR
  ticket   T-1 of help (delivery): opened 2026-01-10 10:00:00 (ada-6), first response after 40.0 min (ada-7),
           open""".splitlines()
    )


def test_what_was_refused_is_told(lake: str) -> None:
    assert "\nRefused\n  e-mail family@example.com links nothing: 2 customer_ids share it (3 events)\n" in text_of(
        lake, "c-bob"
    )
    assert "\nRefused\n  device kiosk links nothing: a kiosk, with 6 customers (7 events)\n" in text_of(lake, "c-k3")
    assert "\nRefused\n  nothing\n" in text_of(lake, "c-sub")


def test_a_subscription_and_its_end(lake: str) -> None:
    shown = " ".join(text_of(lake, "c-sub").split())
    assert "churned 2026-02-19 09:00:00, reason price, by cancellation sub-3" in shown
    assert "subscriptions 1, of which 0 active" in shown
    assert (
        "subscription s-1 (plan pro): started 2026-01-10 09:00:00, cancelled 2026-02-19 09:00:00 (sub-3), reason price, "
        "30.00 EUR a month, 1 renewal; events: subscription_started sub-1, renewal sub-2, cancellation sub-3"
    ) in shown
    assert "revenue 60.00 EUR = sub-1 30.00 + sub-2 30.00 orders none" in shown


@pytest.mark.parametrize("width", [60, 80, 110])
def test_lines_keep_within_the_width(lake: str, company: str, width: int) -> None:
    for shown in (text_of(lake, "c-ada", width=width), text_of(company, "c-ivy", width=width)):
        assert max(len(line) for line in shown.splitlines()) <= width


# ---- whom the name means


@pytest.mark.parametrize(
    ("name", "key", "found"),
    [
        ("ADA@Example.COM", "c-ada", ("email", "ada@example.com")),
        ("  dev-ada ", "c-ada", ("anonymous_id", "dev-ada")),
        ("o-1", "c-ada", ("order_id", "shop:o-1")),
        ("shop:o-1", "c-ada", ("order_id", "shop:o-1")),
        ("help:T-1", "c-ada", ("ticket_id", "help:T-1")),
        ("s-1", "c-sub", ("subscription_id", ":s-1")),
        ("dev-lone", "anon:dev-lone", ("anonymous_id", "dev-lone")),
        ("T-9", "ticket:help:T-9", ("ticket_id", "help:T-9")),
    ],
)
def test_an_identifier_of_one_customer_will_do(lake: str, name: str, key: str, found: tuple[str, str]) -> None:
    with explained(lake, name) as explanation:
        assert explanation.customer["customer_key"] == key
        assert explanation.found_by == dict(zip(("identifier_kind", "identifier"), found, strict=True))
        first = next(as_text(explanation))
    assert first.startswith(f"Customer {key} (") and ", found by " in first and first.endswith(found[1])


def test_a_customer_key_is_not_looked_for_further(lake: str) -> None:
    with explained(lake, "c-ada") as explanation:
        assert explanation.found_by is None


def test_several_customers_are_listed_with_the_refusal(lake: str) -> None:
    error = refusal(lake, "Family@example.com")
    assert error.message.splitlines() == [
        "Family@example.com leads to 3 customers:",
        "  c-bob  as e-mail family@example.com: 1 event, 2026-01-10 to 2026-01-10",
        "  c-cy  as e-mail family@example.com: 1 event, 2026-01-10 to 2026-01-10",
        "  email:family@example.com  as e-mail family@example.com: 1 event, 2026-01-10 to 2026-01-10",
        "  Refused: e-mail family@example.com links nothing: 2 customer_ids share it (3 events).",
    ]
    assert error.mend == f"Name one of the keys: parcours explain --lake {lake} c-bob"
    assert "device kiosk links nothing: a kiosk" in refusal(lake, "kiosk").message
    sofa = refusal(lake, "sofa").message  # shared, but no kiosk: nothing was refused
    assert "c-two  as device sofa: 2 events" in sofa and "Refused" not in sofa


def test_one_ticket_number_in_two_sources(lake: str) -> None:
    message = refusal(lake, "T-1").message
    assert "c-ada  as ticket help:T-1" in message and "c-bob  as ticket shop:T-1" in message


def test_of_very_many_customers_some_are_listed(lake: str) -> None:
    lines = refusal(lake, "mall").message.splitlines()
    assert lines[0] == "mall leads to 21 customers:" and lines[21] == "  and 1 more" and len(lines) == 23


def test_nobody_is_found_but_neighbours(lake: str) -> None:
    error = refusal(lake, "c-adda")
    assert error.message.startswith("No customer of run ") and '"c-adda"' in error.message
    assert error.mend.startswith("Did you mean customer_id c-ada")
    assert "e-mail dora@example.com" in refusal(lake, "dora@exampl.com").mend
    assert "quarantine" not in error.mend  # there is none in this run
    assert "from identity_map limit 100" in refusal(lake, "~~~~").mend
    assert "from identity_map limit 100" in refusal(lake, " ").mend


def test_a_value_that_means_nobody_says_so(lake: str) -> None:
    error = refusal(lake, "GUEST")
    assert "The value means nobody, and was ignored as customer_id of 1 event." in error.message
    assert error.mend.endswith("where ignored_identifiers is not null'")


# ---- tickets and subscriptions of several customers; names that are hard to type


SHARED = [
    event("t-1", 0, "ticket_opened", customer_id="c-a", ticket_id="T9", source="help:desk"),
    event("t-2", 10, "ticket_replied", customer_id="c-b", ticket_id="T9", source="help:desk", author="agent"),
    event("t-3", 20, "ticket_resolved", ticket_id="T9", source="help:desk"),
    event("t-4", 5, "ticket_replied", customer_id="c-b", ticket_id="T9", source="shop", author="agent"),
    event("t-5", 5, "ticket_opened", customer_id="c-t", ticket_id="T7", source="help:desk"),
    event("n-1", 0, "ticket_opened", anonymous_id="dev", ticket_id="T2", source="help"),
    event("n-2", 30, "ticket_replied", ticket_id="T2", source="help", author="agent"),
    event("z-1", 0, "ticket_opened", customer_id="c-a", ticket_id="0000", source="help"),
    event("z-2", 1, "ticket_replied", customer_id="c-b", ticket_id="0000", source="help", author="agent"),
    event("s-1", 0, "subscription_started", customer_id="c-s", subscription_id="S", amount=30, currency="EUR", period_months=1),
    *(event(f"s-2{n:02}", n * 30 * DAY, "renewal", customer_id="c-s", subscription_id="S", amount=30, currency="EUR", period_months=1) for n in range(1, 4)),
    event("s-3", 100 * DAY, "cancellation", customer_id="c-b", subscription_id="S", kind="effective", reason="price"),
    *(event(f"b{n}", n, customer_id=key, anonymous_id="sofa") for n, key in enumerate(("-y", "-z"))),
    *(event(f"c{n}", n, customer_id=f"x\x1b{n}", anonymous_id="till") for n in range(2)),
    *(event(f"d{n}", n, customer_id=key, anonymous_id="desk") for n, key in enumerate(("w\x1b", "w\x1b", "plain"))),
    event("q-1", 0, "purchase", customer_id="it's"),
    event("q-2", 1, "purchase", customer_id="it's \u202e"),
]  # fmt: skip


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_lake(tmp_path_factory.mktemp("shared"), SHARED)


def test_the_events_of_a_life_are_those_of_the_rules() -> None:
    assert LIFE == find_owners.LIFE


def test_a_ticket_names_the_events_of_others(shared: str) -> None:
    told = json_of(shared, "c-a")
    [ticket] = told["tickets"]["shown"]  # 0000 is none
    assert told["tickets"]["total"] == 1 and ticket["n_events"] == 3
    assert [(e["event_id"], e["customer_key"]) for e in ticket["events"]] == [
        ("t-1", "c-a"), ("t-2", "c-b"), ("t-3", "c-a")
    ]  # fmt: skip
    assert (ticket["first_response_by"], ticket["first_response_by_customer"]) == ("t-2", "c-b")
    assert "opened_by_customer" not in ticket and "first_resolved_by_customer" not in ticket
    shown = " ".join(text_of(shared, "c-a").split())
    assert "first response after 10.0 min (t-2 of customer c-b), resolved after 20.0 min (t-3)" in shown
    assert json_of(shared, "c-b")["tickets"] == {"total": 0, "shown": []}
    assert "(n-2 of customer ticket:help:T2)" in " ".join(text_of(shared, "anon:dev").split())


def test_a_subscription_names_the_foreign_event_that_ended_it(shared: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.explain_text._SUMMANDS", 2)  # the list is cut, and the end is told all the same
    told = json_of(shared, "c-s")
    [subscription] = told["subscriptions"]["shown"]
    assert subscription["n_events"] == len(subscription["events"]) == 5
    assert (subscription["ended_by"], subscription["ended_by_customer"]) == ("s-3", "c-b")
    shown = " ".join(text_of(shared, "c-s").split())
    assert "cancelled 2026-04-20 09:00:00 (s-3 of customer c-b), reason price" in shown
    assert "events: subscription_started s-1, renewal s-201, and 3 more" in shown
    monkeypatch.undo()
    assert ", cancellation s-3 of customer c-b" in " ".join(text_of(shared, "c-s").split())
    # The churn has no event of her own.
    assert told["churned_by"]["reason"] == "ended_elsewhere" and told["churned_by"]["ended_by"] == "s-3"
    assert "churned 2026-04-20 09:00:00, reason price: subscription S ended (s-3 of customer c-b)" in shown
    assert "-> churned; subscription S ended (s-3 of customer c-b)" in shown


@pytest.mark.parametrize("name", ["T7", "desk:T7", "help:desk:T7"])
def test_a_source_may_have_a_colon(shared: str, name: str) -> None:
    with explained(shared, name) as explanation:
        assert explanation.found_by == {"identifier_kind": "ticket_id", "identifier": "help:desk:T7"}
    several = refusal(shared, "T9").message
    assert "c-a  as ticket help:desk:T9" in several and "c-b  as ticket shop:T9" in several


def test_a_key_like_an_option_is_suggested_so_that_it_can_be_typed(
    shared: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = refusal(shared, "sofa").mend.removeprefix("Name one of the keys: ")
    assert command.endswith(" -- -y") and status_of(shlex.split(command)[1:]) == 0
    assert capsys.readouterr().out.startswith("Customer -y ")


def test_a_key_that_cannot_be_copied_is_not_suggested(shared: str) -> None:
    error = refusal(shared, "till")
    assert error.message.count("(cleaned, not to be copied)  as device till") == 2 and "x\ufffd1" in error.message
    assert error.mend == "No key can be copied from here: name an identifier that only one of them has."
    error = refusal(shared, "desk")
    assert error.message.count("(cleaned") == 1 and error.mend.endswith(" plain")


def test_quarantine_is_named_where_it_has_the_text(shared: str, capfd: pytest.CaptureFixture[str]) -> None:
    mend = refusal(shared, "it's").mend
    assert "This text is in 2 records of the quarantine: parcours query --lake" in mend
    command = mend.partition("quarantine: ")[2]
    assert status_of(shlex.split(command)[1:]) == 0  # what the mend says can be typed
    assert capfd.readouterr().out.count("events.jsonl") == 2
    assert "quarantine" not in refusal(shared, "c-aa").mend
    assert refusal(shared, "it's \u202e").mend.endswith("This text is in 1 record of the quarantine.")


# ---- long timelines


def events_of(timeline: Iterable[Entry]) -> list[int]:
    return [entry.told["seq"] for entry in timeline if entry.what == "event"]


@pytest.mark.parametrize(
    ("limit", "shown"),
    [(0, [*range(1, 31)]), (30, [*range(1, 31)]), (29, [*range(1, 16), *range(17, 31)]), (4, [1, 2, 29, 30]), (1, [1])],
)
def test_the_limit_leaves_out_the_middle(lake: str, limit: int, shown: list[int]) -> None:
    timeline = timeline_of(lake, "c-many", limit)
    assert events_of(timeline) == shown
    gaps = [entry.told for entry in timeline if entry.what == "gap"]
    assert [gap["events"] for gap in gaps] == ([30 - len(shown)] if len(shown) < 30 else [])


def test_a_gap_says_what_it_hides_and_the_rest_goes_on(lake: str) -> None:
    shown = text_of(lake, "c-many", 4)
    assert "... 26 events between (seq 3 to 28, with 1 friction point); --limit 0 shows all ..." in shown
    rest = shown.partition("shows all ...")[2]
    assert "Journey 1, continued: " in rest and "-- session 1, continued: 30 events" in rest
    assert "-> consideration" in rest  # what it was before the gap, one does not see
    told = [entry.told for entry in timeline_of(lake, "c-many", 4) if entry.what == "event"]
    assert [event["is_new_stage"] for event in told] == [True, False, False, False]


def test_pages_make_no_difference(lake: str, company: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [(lake, "c-ada"), (lake, "c-many"), (company, "c-ann"), (company, "c-gus"), (company, "c-ivy")]
    whole = [timeline_of(*case, 0) for case in cases]
    monkeypatch.setattr("pipelines.explain._PAGE", 2)
    assert [timeline_of(*case, 0) for case in cases] == whole
    monkeypatch.setattr("pipelines.explain._HELD", 0)  # as one with very many events is read
    assert [timeline_of(*case, 0) for case in cases] == whole


# ---- nothing left out, nothing made up


@pytest.mark.parametrize("which", ["lake", "company"])
def test_all_customers_together_are_all_that_the_run_holds(
    which: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = request.getfixturevalue(which)
    con = connect(lake)
    opened = "pipelines.explain.reading"  # to open a run takes longer than to ask
    monkeypatch.setattr(opened, lambda *_: contextlib.closing(con.cursor()))
    told: Counter[str] = Counter()
    entered = "select customer_key, list(stage order by stage_no) from journey_stages group by all"
    stages = dict(con.execute(entered).fetchall())
    for (key,) in con.execute("select customer_key from customers").fetchall():
        explanation = json_of(lake, key, 0)
        timeline = explanation["timeline"]
        told.update(entry["entry"] for entry in timeline)
        told.update(entry["identity"]["rule"] for entry in timeline if entry["entry"] == "event")
        amounts = [(part["currency"], part["amount"]) for part in explanation["revenue"]]
        listed = explanation["customer"]["revenue_by_currency"]
        assert amounts == [(part["currency"], part["amount"]) for part in listed], key
        for part in explanation["revenue"]:
            assert sum(Decimal(event["amount"]) for event in part["events"]) == Decimal(part["amount"])
        assert explanation["orders"]["total"] == len(explanation["orders"]["shown"])
        shown = [entry["stage"] for entry in timeline if entry["entry"] == "stage" or entry.get("is_new_stage")]
        assert shown == stages.get(key, []), key
    for what, table in (("event", "touchpoints"), ("session", "sessions"), ("friction_point", "friction_points")):
        assert con.execute(f"select count(*) from {table}").fetchall() == [(told[what],)], what
    by_rule = con.execute("select identity_rule, count(*) from touchpoints group by all").fetchall()
    assert {rule: told[rule] for rule, _ in by_rule} == dict(by_rule)
    con.close()


def test_a_friction_point_stands_at_the_event_where_it_begins(company: str) -> None:
    points = 0
    for name in ("c-jon", "c-ann", "c-ivy"):
        timeline = timeline_of(company, name)
        for place, entry in enumerate(timeline):
            if entry.what == "friction_point":
                points += 1
                before = [e.told["event_id"] for e in timeline[:place] if e.what == "event"]
                assert before[-1] == entry.told["event_ids"][0], entry
    assert points


def test_journeys_and_stages_count_their_friction_points(lake: str, company: str) -> None:
    """Each point is in one journey, and in one run of a stage where its first event has a stage."""
    shown = 0
    for where, name in ((lake, "c-ada"), (lake, "c-many"), (company, "c-jon"), (company, "c-ann"), (company, "c-ivy")):
        timeline = timeline_of(where, name, 0)
        points = [entry.told for entry in timeline if entry.what == "friction_point"]
        journeys = [entry.told for entry in timeline if entry.what == "journey" and entry.told["begins"]]
        assert sum(told["friction_points"] for told in journeys) == len(points)
        in_stages = sum(entry.told.get("stage_friction_points", 0) for entry in timeline)
        assert in_stages == sum("stage" in told for told in points)
        shown += in_stages
    assert shown >= 2
    text = text_of(lake, "c-many", 0)
    assert "30 touchpoints, 2 friction points" in text, "the slow page, and the stall since"
    assert "-> consideration (2 friction points); " in text
    assert text.count("friction points)") == 1, "told where the stage begins, and not again"


def test_a_friction_point_that_lasts_says_until_when(tmp_path: Path) -> None:
    """A checkout without an order within 24 hours: at its first event, with the last one's time."""
    seen = [
        event("co-1", 0, customer_id="c-co", anonymous_id="d", page_url="/checkout", page_kind="checkout"),
        event("co-2", 5, customer_id="c-co", anonymous_id="d", page_url="/payment", page_kind="payment"),
        event("co-3", 6, customer_id="c-co", anonymous_id="d", page_url="/faq"),
    ]
    lines = text_of(make_lake(tmp_path, seen), "c-co").splitlines()
    [place] = [number for number, line in enumerate(lines) if "! friction checkout_abandoned" in line]
    assert "co-1" in lines[place - 2] and "to 2026-01-10 09:05:00: co-1, co-2" in " ".join(lines[place : place + 2])


# ---- JSON, hostile values, old lakes


def test_json_is_one_object_with_all_of_it(lake: str) -> None:
    told = json_of(lake, "o-1")
    assert told["found_by"] == {"identifier_kind": "order_id", "identifier": "shop:o-1"}
    assert told["customer"]["revenue"] == "23.2500" and told["run"]["identity_policy"] == "device_split"
    assert told["identifiers"]["anonymous_id"]["total"] == 1
    assert told["ignored"]["shown"] == [
        {"kind": "customer_id", "identifier": "Guest", "n_events": 1, "event_id": "ada-9"}
    ]
    [purchase, _] = [entry for entry in told["timeline"] if entry.get("event_type") == "purchase"]
    assert purchase["fields"] == {"order_id": "o-1", "amount": "20.5000", "currency": "EUR"}
    assert purchase["identity"] == {
        "rule": "linked_email",
        "kind": "email",
        "identifier": "ada@example.com",
        "words": "by e-mail ada@example.com, linked to one customer_id",
    }
    assert purchase["occurred_at"] == "2026-01-10T09:20:00Z" and purchase["journey_no"] == 1


@pytest.mark.parametrize("render", [as_text, as_json])
def test_no_control_character_gets_through(lake: str, render: Callable[..., Iterable[str]]) -> None:
    with explained(lake, HOSTILE) as explanation:
        shown = list(render(explanation))
    assert all(line.isprintable() for line in shown)
    if render is as_json:
        assert json.loads("\n".join(shown))["customer"]["customer_key"] == HOSTILE


def test_a_hostile_name_is_told_without_harm(lake: str) -> None:
    for name in ("\x1b[31mx\ny", "'; drop table customers", '"', "%", "x" * 5000):
        error = refusal(lake, name)
        assert f"{error.message}{error.mend}".isprintable()


def test_an_old_run_is_told_to_be_made_again(lake: str, tmp_path: Path) -> None:
    for remove in ("table", "column"):
        old = tmp_path / remove
        run = Lake(lake).run(str(Lake(lake).current()))
        manifest = json.loads(Path(run.manifest).read_text())
        if remove == "table":
            manifest["tables"] = [table for table in manifest["tables"] if table["name"] != "identity_map"]
        for table in manifest["tables"]:
            table["columns"] = [column for column in table["columns"] if column["name"] != "identity_rule"]
        (old / "runs" / run.run_id).mkdir(parents=True)
        (old / "runs" / run.run_id / "manifest.json").write_text(json.dumps(manifest))
        (old / "current.json").write_text(json.dumps({"run_id": run.run_id}))
        error = refusal(str(old), "c-ada")
        assert "did not keep how events found their customers" in error.message
        assert ("has no table identity_map" if remove == "table" else "touchpoints.identity_rule") in error.message
        assert error.mend.startswith("Run parcours run again")


def test_a_file_that_is_gone_is_named_with_a_mend(lake: str, tmp_path: Path) -> None:
    copy = tmp_path / "lake"
    subprocess.run(["cp", "-r", lake, str(copy)], check=True)
    for file in copy.glob("runs/*/touchpoints/*.parquet"):
        file.write_bytes(file.read_bytes()[:-100])
    assert "restore it" in refusal(str(copy), "c-ada").mend


# ---- the real command


def type_in(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *args], capture_output=True, text=True, env=ENVIRONMENT, timeout=60)


def test_the_command(lake: str) -> None:
    done = type_in("--lake", lake, "ada@example.com")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.rstrip("\n") == text_of(lake, "ada@example.com")
    done = type_in("--lake", lake, "c-many", "--limit", "2", "--format", "json")
    assert len([entry for entry in json.loads(done.stdout)["timeline"] if entry["entry"] == "event"]) == 2
    done = type_in("--lake", lake, "kiosk")
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr.startswith("parcours: error: kiosk leads to 7 customers:\n") and "\nmend: Name one" in done.stderr
    )


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--lake", "/nowhere", "c-1"], "There is no published run in /nowhere."),
        (["--lake", "/nowhere"], "Name a customer, or a metric with --metric"),
        (["c-1"], "Missing option '--lake'"),
        (["--lake", "/nowhere", "c-1", "--limit", "-1"], "-1 is not in the range"),
        (["--lake", "/nowhere", "c-1", "--format", "xml"], "'xml' is not one of"),
    ],
)
def test_usage_errors_are_2(args: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["explain", *args]) == 2
    assert says in capsys.readouterr().err


def test_beam_stays_out(lake: str) -> None:
    code = "import sys\nfrom pipelines.cli import status_of\nstatus_of(sys.argv[1:])\n"
    code += "print({'apache_beam', 'transforms'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code, "explain", "--lake", lake, "c-ada"],
        capture_output=True, text=True, env=ENVIRONMENT, timeout=60,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "set()", done.stderr


def test_a_reader_that_has_enough_is_no_error(lake: str) -> None:
    line = [*COMMAND, "--lake", lake, "c-many"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141
