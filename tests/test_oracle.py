"""The promise: who did what, and in which session, is what the design says, event by event.

More than two hundred small hostile worlds (tests/hostile_identities.py) go through whole runs under each policy, many in
one, each run in another order and cut; what is published is held against a plain reading of the design's text (tests/oracle.py). That
the reading itself is right, and that the worlds hold what they claim, stands in tests/test_the_oracle_itself.py.
"""

import gzip
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pipelines.run import run
from pipelines.settings import load_settings
from tests.hostile_identities import ADDED, AS_OF, AT_ONE, AT_THE_DEFAULT, AT_TWO, Event, Worlds, namespace
from tests.lake_tables import counts, read_tables
from tests.oracle import Event as Accepted
from tests.oracle import Reading, Rules, Touchpoint, read


@dataclass(frozen=True)
class Run:
    """One run of the pipeline: what goes in, the rules, and a way to cut it. A block and a shard cost some 0.1 and 0.5 s."""

    worlds: Worlds
    identity_policy: str
    sessions: str
    block_bytes: int
    shards: int
    files: tuple[str, ...]


RUNS = (
    Run(AT_THE_DEFAULT, "device_split", "gap", 600_000, 3, ("jsonl", "jsonl.gz")),
    Run(AT_THE_DEFAULT, "last_auth", "source", 32 << 20, 1, ("jsonl",)),
    Run(AT_THE_DEFAULT, "none", "gap", 32 << 20, 2, ("jsonl.gz", "jsonl", "jsonl.gz", "jsonl")),
    Run(AT_TWO, "device_split", "source", 400_000, 2, ("jsonl.gz",)),
    Run(AT_TWO, "last_auth", "gap", 32 << 20, 4, ("jsonl", "jsonl")),
    Run(AT_TWO, "none", "source", 1_000_000, 1, ("jsonl", "jsonl.gz")),
    Run(AT_ONE, "device_split", "gap", 8_000, 7, ("jsonl", "jsonl.gz")),
)
COLUMNS = ("customer_key", "is_known", "identity_rule", "seq", "session_id")


@pytest.mark.parametrize("given", RUNS, ids=lambda run: f"{run.worlds.seeds}-{run.identity_policy}-{run.sessions}")
def test_a_run_says_what_the_design_says(given: Run, tmp_path: Path) -> None:
    events = given.worlds.all_events()
    limit = given.worlds.max_customers_per_device
    settings = load_settings(
        as_of=AS_OF,
        identity_policy=given.identity_policy,
        max_customers_per_device=limit,
        ignored_identifiers=list(ADDED),
        sessions=given.sessions,
        block_bytes=given.block_bytes,
        shards=given.shards,
    )
    run(write_files(tmp_path, events, given.files, seed=RUNS.index(given)), str(tmp_path / "lake"), settings)

    published = Published.of(tmp_path / "lake")
    rules = Rules(AS_OF, given.identity_policy, limit, ADDED, given.sessions)
    reading = read(events, rules, published.pick)
    found = list(differences(reading, published))
    assert not found, report(found, given.worlds, rules, reading, published)


def write_files(folder: Path, events: Sequence[Event], endings: Sequence[str], seed: int) -> list[str]:
    """The events in some order, dealt out to files. Their patterns, the last file first."""
    rng = random.Random(seed)
    dealt: list[list[str]] = [[] for _ in endings]
    for event in rng.sample(events, len(events)):
        rng.choice(dealt).append(json.dumps(event, ensure_ascii=rng.random() < 0.3) + "\n")
    patterns = []
    for number, (ending, lines) in enumerate(zip(endings, dealt, strict=True)):
        path = folder / f"{number}.{ending}"
        data = "".join(lines).encode()
        path.write_bytes(gzip.compress(data, 1, mtime=0) if ending.endswith(".gz") else data)
        patterns.append(str(path))
    return patterns[::-1]


# ---- what was published, in the words of the oracle


@dataclass(frozen=True)
class Published:
    """The tables of a run that the oracle speaks of."""

    touchpoints: Mapping[str, Mapping[str, Any]]  # whole rows, by event_id
    counts: Mapping[str, int]
    quarantined: Counter[tuple[str | None, tuple[str, ...]]]
    identity_map: frozenset[tuple[Any, ...]]
    identity_decisions: frozenset[tuple[Any, ...]]
    sessions: Mapping[str, bool]  # is_truncated by session_id

    @classmethod
    def of(cls, lake: Path) -> "Published":
        tables = read_tables(lake)
        rows = tables["touchpoints"].to_pylist()
        touchpoints = {row["event_id"]: row for row in rows}
        assert len(touchpoints) == len(rows), "an event_id stands at most once"
        table_of = {
            name: Counter(tuple(row[column] for column in columns) for row in tables[name].to_pylist())
            for name, columns in TABLES_OF_IDENTITY.items()
        }
        for name, found in table_of.items():
            assert not [row for row, times in found.items() if times > 1], f"{name} holds a row twice"
        return cls(
            touchpoints,
            counts(lake),
            Counter(
                (row["event_id"], tuple(sorted(error["code"] for error in row["errors"])))
                for row in tables["quarantine"].to_pylist()
            ),
            frozenset(table_of["identity_map"]),
            frozenset(table_of["identity_decisions"]),
            {row["session_id"]: row["is_truncated"] for row in tables["sessions"].to_pylist()},
        )

    def pick(self, tied: Sequence[Accepted]) -> Accepted:
        """The one of several copies at the same times that was kept: a hash decides, and the design says no more of it."""
        row = self.touchpoints.get(tied[0].id)
        if row is None:
            return tied[0]  # the event is missing, and that is a difference of its own
        kept = [copy for copy in tied if holds(row, copy, tied)]
        assert len(kept) == 1, f"of {tied} the row {row} holds {len(kept)}"
        return kept[0]

    def answer(self, event_id: str) -> tuple[Any, ...] | None:
        row = self.touchpoints.get(event_id)
        return None if row is None else tuple(row[column] for column in COLUMNS)


TABLES_OF_IDENTITY = {
    "identity_map": ("identifier_kind", "identifier", "customer_key", "valid_from", "valid_to", "n_events"),
    "identity_decisions": ("kind", "identifier", "decision", "reason", "n_customers", "n_events"),
}


def holds(row: Mapping[str, Any], copy: Accepted, tied: Sequence[Accepted]) -> bool:
    """Whether the row is of this copy, by the fields in which the copies differ."""
    names = {name for other in tied for name in other.fields if other.fields.get(name) != tied[0].fields.get(name)}
    names |= {name for name in tied[0].fields if any(name not in other.fields for other in tied)}
    return json.loads(row["extra"] or "{}") == copy.extra and all(
        (Decimal(row[name]) if isinstance(copy.fields.get(name), Decimal) else row[name]) == copy.fields.get(name)
        for name in names
    )


# ---- the comparison


@dataclass(frozen=True)
class Difference:
    """One thing that is not as the oracle says. What a reader has to look at: an event, or who carries an identifier."""

    what: str
    told: str
    event_ids: tuple[str, ...] = ()
    identifier: tuple[str, str] | None = None


def differences(reading: Reading, published: Published) -> Iterator[Difference]:
    """What the design says and what was published, wherever these two are not the same."""
    for count, number in (
        ("duplicates", reading.duplicates),
        ("after_as_of", reading.after_as_of),
        ("touchpoints", len(reading.touchpoints)),
        ("quarantined", reading.quarantined.total()),
    ):
        if published.counts[count] != number:
            yield Difference(count, f"by the design {number}, published {published.counts[count]}")
    for sign, rows in (
        ("by the design", reading.quarantined - published.quarantined),
        ("published", published.quarantined - reading.quarantined),
    ):
        for (event_id, codes), times in rows.items():
            yield Difference(
                "quarantine", f"{sign} {event_id!r} is in quarantine for {', '.join(codes)}, times {times}"
            )
    for event_id in sorted(reading.touchpoints.keys() | published.touchpoints.keys()):
        ours, theirs = answer(reading.touchpoints.get(event_id)), published.answer(event_id)
        if ours is None or theirs is None:
            where = "published and not accepted" if ours is None else "accepted and not published"
            yield Difference("touchpoints", f"{event_id!r} is {where} by the design", (event_id,))
        elif ours != theirs:
            parts = [
                f"{c} {mine!r}, published {other!r}"
                for c, mine, other in zip(COLUMNS, ours, theirs, strict=True)
                if mine != other
            ]
            what = ", ".join(c for c, mine, other in zip(COLUMNS, ours, theirs, strict=True) if mine != other)
            yield Difference(what, f"{event_id!r}: by the design {'; '.join(parts)}", (event_id,))
    for name in TABLES_OF_IDENTITY:
        ours_of, theirs_of = getattr(reading, name), getattr(published, name)
        for sign, rows in (("by the design", ours_of - theirs_of), ("published", theirs_of - ours_of)):
            for row in sorted(rows, key=repr):
                yield Difference(name, f"only {sign}: {told(row)}", identifier=(row[0], row[1]))
    truncated = {session_id for session_id, is_truncated in published.sessions.items() if is_truncated}
    for session_id in sorted(truncated ^ reading.truncated_sessions):
        where = "published" if session_id in truncated else "by the design"
        yield Difference("is_truncated", f"only {where}: {session_id!r}", (session_id.removeprefix("s:"),))
    of_events = {touchpoint.session_id for touchpoint in reading.touchpoints.values() if touchpoint.session_id}
    for session_id in sorted(of_events ^ published.sessions.keys()):
        where = "published" if session_id in published.sessions else "by the design"
        yield Difference("sessions", f"only {where}: {session_id!r}", (session_id.removeprefix("s:"),))


def answer(touchpoint: Touchpoint | None) -> tuple[Any, ...] | None:
    return None if touchpoint is None else tuple(getattr(touchpoint, column) for column in COLUMNS)


def told(row: Sequence[Any]) -> str:
    return ", ".join(value.isoformat() if hasattr(value, "isoformat") else repr(value) for value in row)


def identifiers(event: Accepted) -> set[tuple[str, str]]:
    named = {(kind, event.fields[kind]) for kind in ("customer_id", "email", "anonymous_id") if kind in event.fields}
    return (
        named | {(f"{kind}_id", f"{source}:{number}") for kind, source, number in event.entities} | set(event.ignored)
    )


# ---- a difference, so that a person can work with it


def report(found: Sequence[Difference], worlds: Worlds, rules: Rules, reading: Reading, published: Published) -> str:
    """How often each thing differs; then the first of each, with the events of its world that have to do with it."""
    by_what = Counter(difference.what for difference in found)
    lines = [
        f"{len(found)} differences under {rules}",
        *(f"  {times:>5} in {what}" for what, times in by_what.most_common()),
    ]
    for what in list(by_what)[:6]:
        difference = next(difference for difference in found if difference.what == what)
        lines += ["", f"{what}: {difference.told}"]
        event_ids = difference.event_ids or tuple(
            event_id for event_id, event in reading.events.items() if difference.identifier in identifiers(event)
        )
        if event_ids:
            seed = next((s for s in worlds.seeds if event_ids[0].startswith(namespace(s))), None)
            lines.append(
                f"  Seed {seed}. The events that have to do with it, in order; and what becomes of their raw lines:"
            )
            lines += context(event_ids[:5], worlds, seed, reading, published)
    return "\n".join(lines)


def context(
    event_ids: Sequence[str], worlds: Worlds, seed: int | None, reading: Reading, published: Published
) -> Iterator[str]:
    """The accepted events that share an identifier with these, or with what these share one with; copies and raw lines."""
    own_world = {i: e for i, e in reading.events.items() if seed is None or i.startswith(namespace(seed))}
    near = {event_id for event_id in event_ids if event_id in own_world}
    for _ in range(2):
        shared = {
            pair
            for event_id in near
            for pair in identifiers(own_world[event_id])
            if pair not in own_world[event_id].ignored
        }
        near |= {event_id for event_id, event in own_world.items() if shared & identifiers(event)}
    at = {event_id: number for number, event_id in enumerate(sorted(near, key=lambda i: own_world[i].place))}
    middle = min((at[event_id] for event_id in event_ids if event_id in at), default=0)
    for event_id in sorted(at, key=lambda i: at[i]):
        if abs(at[event_id] - middle) > 15:
            continue
        event = own_world[event_id]
        who = " ".join(f"{kind}={value!r}" for kind, value in sorted(identifiers(event)))
        yield f"  {'>' if event_id in event_ids else ' '} {event.at.isoformat()} {event_id!r} {event.fields['event_type']} {who}"
        ours, theirs = answer(reading.touchpoints.get(event_id)), published.answer(event_id)
        yield f"        {ours}" + ("" if ours == theirs else f"   PUBLISHED {theirs}")
    for raw in worlds.events(seed) if seed is not None else ():
        if raw.get("event_id") in event_ids:
            yield f"    raw: {json.dumps(raw, ensure_ascii=False)}"


# ---- the comparison sees what it should


@pytest.mark.parametrize(
    ("what", "spoil"),
    [
        ("customer_key", lambda row: row | {"customer_key": row["customer_key"] + "x"}),
        ("is_known", lambda row: row | {"is_known": not row["is_known"]}),
        (
            "identity_rule",
            lambda row: row | {"identity_rule": "device" if row["identity_rule"] == "email" else "email"},
        ),
        ("seq", lambda row: row | {"seq": row["seq"] + 1}),
        ("session_id", lambda row: row | {"session_id": "s:x"}),
    ],
)
def test_the_comparison_sees_one_value_of_one_event(
    what: str, spoil: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    worlds = Worlds(range(3), 5)
    reading = read(worlds.all_events(), rules := Rules(AS_OF, ignored_identifiers=ADDED))
    rows: dict[str, Mapping[str, Any]] = {
        event_id: dict(zip(COLUMNS, answer(touchpoint) or (), strict=True))
        for event_id, touchpoint in reading.touchpoints.items()
    }
    number_of = {"duplicates": reading.duplicates, "after_as_of": reading.after_as_of, "touchpoints": len(rows)}
    of_events = {str(touchpoint.session_id) for touchpoint in reading.touchpoints.values() if touchpoint.session_id}
    same = Published(
        rows,
        number_of | {"quarantined": reading.quarantined.total()},
        reading.quarantined,
        reading.identity_map,
        reading.identity_decisions,
        {session_id: session_id in reading.truncated_sessions for session_id in of_events},
    )
    assert not list(differences(reading, same))
    changed = sorted(rows)[17]
    rows[changed] = spoil(dict(rows[changed]))
    [difference] = differences(reading, same)
    assert (difference.what, difference.event_ids) == (what, (changed,))
    assert repr(changed) in report([difference], worlds, rules, reading, same)
