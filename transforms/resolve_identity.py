"""Whose events they are: five rounds of questions and answers between the staged blocks and the identifiers.

In each round every block is opened, less its duplicates, and asks about its identifiers: one row for each that differs,
not for each event. The questions of one identifier meet in one shard, are decided, and the answers go back to the blocks
that asked. So a device with a million events, or an e-mail with a thousand customers, costs what its rows cost, and
nothing grows on one worker. The rules: docs/data-model.md, "Customer".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa

from transforms import find_owners, link_devices, link_emails, link_entities, split_devices
from transforms.answers import ANSWERS, by_block
from transforms.batches import conform, keyed_tables, split_by_shard
from transforms.columns import one_chunk
from transforms.decisions import Decided
from transforms.hashing import murmur3_128
from transforms.identities import Identities, IdentityRules
from transforms.stage_blocks import shard_of_id


class Round(NamedTuple):
    """One round: `ask` a block's questions, `decide` all questions of some identifiers."""

    name: str
    questions: pa.Schema
    ask: Callable[[Identities, IdentityRules], pa.Table]
    decide: Callable[[pa.Table, IdentityRules], Decided]


#: Each needs the answers of those before it.
ROUNDS = (
    Round("Emails", link_emails.QUESTIONS, link_emails.ask, link_emails.decide),
    Round("Entities", link_entities.QUESTIONS, link_entities.ask, link_entities.decide),
    Round("Devices", link_devices.QUESTIONS, link_devices.ask, link_devices.decide),
    Round("SharedDevices", split_devices.QUESTIONS, split_devices.ask, split_devices.decide),
    Round("Owners", find_owners.QUESTIONS, find_owners.ask, find_owners.decide),
)


def resolve_identity(
    blocks: Mapping[str, pa.Table], duplicates: pa.Table, rules: IdentityRules
) -> tuple[dict[str, pa.Table], pa.Table]:
    """All rounds over blocks of events by name: what each block is told (ANSWERS), and the rows of identity_decisions.

    `duplicates` are ANSWERS with the column `block`. Whose the events are: `Identities(events, rules, answers).resolve()`.
    """
    known = {path: ANSWERS.empty_table() for path in blocks} | dict(by_block(duplicates))
    refused = []
    for round_ in ROUNDS:
        questions = [round_.ask(Identities(blocks[path], rules, known[path], path), rules) for path in blocks]
        decided = round_.decide(conform(questions, round_.questions), rules)
        for path, told in by_block(decided.answers):
            known[path] = pa.concat_tables((known[path], told))
        refused.append(decided.decisions)
    return known, pa.concat_tables(refused).sort_by([("kind", "ascending"), ("identifier", "ascending")])


class _Ask(beam.DoFn):
    def __init__(self, round_: Round, rules: IdentityRules, shards: int) -> None:
        self._round, self._rules, self._shards = round_, rules, shards

    def process(self, block: tuple[str, Iterable[pa.Table]]) -> Iterator[tuple[int, pa.Table]]:
        path, answers = block
        questions = self._round.ask(Identities.read(path, pa.concat_tables(answers), self._rules), self._rules)
        if questions.num_rows:
            high, _ = murmur3_128(one_chunk(questions["identifier"]))
            yield from split_by_shard(questions, shard_of_id(high, self._shards), self._shards)


class _Decide(beam.DoFn):
    def __init__(self, round_: Round, rules: IdentityRules) -> None:
        self._round, self._rules = round_, rules

    def process(self, shard: tuple[int, Iterable[pa.Table]]) -> Iterator[Any]:
        number, questions = shard
        decided = self._round.decide(conform(questions, self._round.questions), self._rules)
        yield from by_block(decided.answers)
        if decided.decisions.num_rows:
            yield beam.pvalue.TaggedOutput("decisions", (number, decided.decisions))
        for reason in decided.decisions["reason"].value_counts().to_pylist():
            yield beam.pvalue.TaggedOutput("tallies", ("identity_decisions", "", reason["values"], reason["counts"]))
        for tally in decided.tallies:
            yield beam.pvalue.TaggedOutput("tallies", tally)


class _SortDecisions(beam.DoFn):
    def process(self, shard: tuple[int, Iterable[pa.Table]]) -> Iterator[tuple[str, pa.Table]]:
        table = pa.concat_tables(shard[1])
        yield "identity_decisions", table.sort_by([("kind", "ascending"), ("identifier", "ascending")])


class ResolveIdentity(beam.PTransform):
    """ANSWERS keyed by block (at least one table for each block) -> all that identity adds to them.

    Gives `answers`, keyed by block; `decisions`, KV["identity_decisions", table]; `tallies`.
    """

    def __init__(self, rules: IdentityRules, shards: int) -> None:
        super().__init__()
        self._rules, self._shards = rules, shards

    def expand(self, known: beam.PCollection) -> dict[str, beam.PCollection]:
        by_shard = beam.typehints.KV[int, pa.Table]
        decisions, tallies = [], []
        for round_ in ROUNDS:
            decided = (
                known
                | f"{round_.name}ByBlock" >> beam.GroupByKey()
                | f"Ask{round_.name}" >> beam.ParDo(_Ask(round_, self._rules, self._shards)).with_output_types(by_shard)
                | f"Group{round_.name}" >> beam.GroupByKey()
                | f"Decide{round_.name}"
                >> beam.ParDo(_Decide(round_, self._rules)).with_outputs("decisions", "tallies", main="answers")
            )
            known = (known, keyed_tables(decided.answers, str)) | f"With{round_.name}" >> beam.Flatten()
            decisions.append(keyed_tables(decided.decisions, int))
            tallies.append(decided.tallies)
        sorted_ = (
            decisions
            | "Decisions" >> beam.Flatten()
            | "GroupDecisions" >> beam.GroupByKey()
            | "SortDecisions" >> beam.ParDo(_SortDecisions()).with_output_types(beam.typehints.KV[str, pa.Table])
        )
        return {"answers": known, "decisions": sorted_, "tallies": tallies | "IdentityTallies" >> beam.Flatten()}
