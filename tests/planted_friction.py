"""A company whose friction is planted, and whose losses are known: each customer's outcomes with and without it.

What is planted (`Company.truth` has a row for each): a bug that makes one product page slow for ten days, a payment provider
that fails for a week, and a support team that mostly answers after more than a day. With `has_effect` False the same
points are there and nobody minds.

It is not an easy company. Eager customers see more pages, pay more, come by other channels and to other teams; buying has
its seasons and better days; all pages are slow at times, cards are declined, and other teams are late now and then,
without any loss. Who leaves at a slow page also sees no further page.

    python -m tests.planted_friction FOLDER [SEED]     events.jsonl and truth.json
"""

from __future__ import annotations

import datetime
import json
import math
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HOUR, DAY = 3600.0, 86_400.0
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
AS_OF = "2026-09-30T00:00:00Z"
CUSTOMERS, ARRIVE_DAYS = 4_000, 150
WINDOW_DAYS = 30

BUG_PAGE, BUG_DAYS, BUG_LEAVES = "/product/2", (60.0, 70.0), 0.6
PROVIDER, PROVIDER_DAYS, PROVIDER_SHARE, GIVES_UP = "payfast", (100.0, 107.0), 0.75, 0.6
SLOW_TEAM, SLOW_SHARE, SLOW_STAYS = "returns", 0.6, 0.35
BUG = ("slow_page", BUG_PAGE, "consideration")
PROVIDER_FAILS = ("payment_failed", PROVIDER, "service")
TEAM_IS_SLOW = ("slow_first_response", SLOW_TEAM, "service")
PLANTED = (BUG, PROVIDER_FAILS, TEAM_IS_SLOW)


@dataclass
class Truth:
    """What one planted friction did: spells exposed, and the outcomes within the window that it cost."""

    exposed: int = 0
    lost: int = 0
    revenue: float = 0.0


@dataclass
class Company:
    events: list[dict[str, Any]]
    truth: dict[tuple[str, str, str], Truth] = field(default_factory=dict)


def company(seed: int, has_effect: bool = True, customers: int = CUSTOMERS) -> Company:
    """The events of one company and what its friction cost. The same seed gives the same customers with and without."""
    made = Company([], {cell: Truth() for cell in PLANTED})
    for number in range(customers):
        _Life(made, number, random.Random(f"{seed}:{number}"), has_effect).live()
    return made


class _Life:
    """One customer. All that chance decides is drawn whatever happens, so that both worlds draw the same."""

    def __init__(self, made: Company, number: int, chance: random.Random, has_effect: bool) -> None:
        self.made, self.who, self.chance, self.has_effect = made, f"c{number:05}", chance, has_effect
        self.eager = chance.gauss(0, 1)
        self.channel = "email" if self.eager + chance.gauss(0, 1) > 0.5 else chance.choice(("ads", "search"))
        self.n = 0

    def event(self, at: float, event_type: str, **fields: Any) -> None:
        self.made.events.append(
            {"event_id": f"{self.who}-{self.n:03}", "event_type": event_type, "customer_id": self.who, "at": at,
             "channel": self.channel, **fields}
        )  # fmt: skip
        self.n += 1

    def live(self) -> None:
        chance = self.chance
        time = chance.uniform(0, ARRIVE_DAYS) * DAY
        season = 0.25 * math.sin(time / DAY / 365 * 2 * math.pi * 3) + (0.2 if int(time / DAY) % 7 in (5, 6) else 0)
        wants = chance.random() < 1 / (1 + math.exp(0.7 - 0.9 * self.eager - season - 0.4 * (self.channel == "email")))
        visits = 1 + min(11, int(chance.expovariate(1 / (1.5 + math.exp(0.5 * self.eager)))))
        amount = round(math.exp(chance.gauss(3.5, 0.5) + 0.4 * self.eager), 2)
        exposed_at, leaves = None, chance.random() < BUG_LEAVES and self.has_effect
        for _ in range(visits):
            page = f"/product/{chance.randint(1, 4)}"
            is_bug = page == BUG_PAGE and BUG_DAYS[0] * DAY <= time < BUG_DAYS[1] * DAY
            load_ms = chance.uniform(4500, 12_000) if is_bug or chance.random() < 0.02 else chance.uniform(100, 2500)
            if exposed_at is None or not leaves:
                self.event(time, "site_visit", page_url=f"https://shop.example{page}", page_kind="product", load_ms=round(load_ms))  # fmt: skip
            if is_bug and exposed_at is None:
                exposed_at = time
            time += chance.expovariate(1 / (0.9 * DAY)) + 60
        tried = self._try_to_pay(time, amount)
        pays_at, failed_at, given_up = tried
        if exposed_at is not None:
            truth = self.made.truth[BUG]
            truth.exposed += 1
            if wants and leaves and not given_up and pays_at - exposed_at <= WINDOW_DAYS * DAY:
                truth.lost += 1
                truth.revenue += amount
        stays = wants and not (exposed_at is not None and leaves)
        if stays:
            self._payment(failed_at, pays_at, given_up, amount)
        self._after_the_order(pays_at, amount, happens=stays and not given_up)

    def _try_to_pay(self, at: float, amount: float) -> tuple[float, tuple[float, str] | None, bool]:
        """When it is paid; when it failed before, if it did, and at which provider; whether the customer then gave up."""
        chance = self.chance
        provider = PROVIDER if chance.random() < PROVIDER_SHARE else "cardhouse"
        breaks = provider == PROVIDER and PROVIDER_DAYS[0] * DAY <= at < PROVIDER_DAYS[1] * DAY
        declined, gives_up, again = chance.random() < 0.04, chance.random() < GIVES_UP, chance.uniform(0.1, 30) * HOUR
        if breaks:
            return at + again, (at, provider), gives_up and self.has_effect
        # A declined card is no friction of the company's making: another card is tried, and works.
        return (at + again, (at, "bank"), False) if declined else (at, None, False)

    def _payment(self, failed: tuple[float, str] | None, pays_at: float, given_up: bool, amount: float) -> None:
        if failed is not None:
            self.event(failed[0], "payment_failed", provider=failed[1], amount=amount, currency="EUR")
            if failed[1] == PROVIDER:
                truth = self.made.truth[PROVIDER_FAILS]
                truth.exposed += 1
                if given_up:
                    truth.lost += 1
                    truth.revenue += amount
        if not given_up:
            self.event(pays_at, "purchase", order_id=f"o-{self.who}-{self.n}", amount=amount, currency="EUR")

    def _after_the_order(self, ordered_at: float, amount: float, happens: bool) -> None:
        """A ticket, perhaps, and perhaps another order: then whether the answer came late matters."""
        chance = self.chance
        has_ticket = chance.random() < 0.5
        opened_at = ordered_at + chance.uniform(0.5, 6) * DAY
        team = SLOW_TEAM if chance.random() < (0.35 if self.channel == "email" else 0.5) else chance.choice(("orders", "help"))  # fmt: skip
        is_slow = chance.random() < (SLOW_SHARE if team == SLOW_TEAM else 0.05)
        answer_after = (chance.uniform(25, 90) if is_slow else chance.uniform(0.1, 20)) * HOUR
        again = chance.random() < 1 / (1 + math.exp(-0.3 - 0.6 * self.eager))
        again_at = (opened_at if has_ticket else ordered_at) + chance.uniform(0.4, 25) * DAY
        minds, second = chance.random() >= SLOW_STAYS, round(amount * chance.uniform(0.5, 1.5), 2)
        # Nobody minds what has not happened yet: who is back within a day has not waited so long.
        minds = minds and has_ticket and is_slow and team == SLOW_TEAM and again_at - opened_at > DAY
        if not happens:
            return
        if has_ticket:
            ticket = f"t-{self.who}"
            self.event(opened_at, "ticket_opened", ticket_id=ticket, team=team)
            self.event(opened_at + answer_after, "ticket_replied", ticket_id=ticket, author="agent")
            if is_slow and team == SLOW_TEAM and not (again and again_at - opened_at <= DAY):
                truth = self.made.truth[TEAM_IS_SLOW]
                truth.exposed += 1
                if again and minds and self.has_effect:
                    truth.lost += 1
                    truth.revenue += second
        if again and not (minds and self.has_effect):
            self.event(again_at, "purchase", order_id=f"o-{self.who}-{self.n}", amount=second, currency="EUR")


# --- for a run ------------------------------------------------------------------------------------------------------


def as_of() -> datetime.datetime:
    return datetime.datetime.fromisoformat(AS_OF)


def moment(at: float) -> datetime.datetime:
    return START + datetime.timedelta(seconds=round(at, 3))


def write(folder: Path, made: Company) -> None:
    """The events as a run reads them, and the truth."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "events.jsonl").open("w", encoding="utf-8") as file:
        for event in made.events:
            row = {key: value for key, value in event.items() if key != "at"}
            file.write(json.dumps({**row, "occurred_at": moment(event["at"]).isoformat()}) + "\n")
    (folder / "truth.json").write_text(
        json.dumps(
            [
                dict(zip(("kind", "subject", "stage"), cell, strict=True)) | vars(truth)
                for cell, truth in made.truth.items()
            ],
            indent=1,
        )
    )


def main(arguments: Sequence[str]) -> None:
    write(Path(arguments[0]), company(int(arguments[1]) if arguments[1:] else 0))


if __name__ == "__main__":
    main(sys.argv[1:])
