"""A block's identifiers as codes, and what is known so far of whose events they are.

Identity is decided in rounds (resolve_identity.py). In each, a block that was staged is opened again, less its
duplicates; it asks about identifiers, and is told ANSWERS. `resolve` turns all answers so far into a key for each event.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.answers import DEVICE, DUPLICATE, EMAIL, ENTITY, OWNER, ROW
from transforms.columns import one_chunk, valid_mask
from transforms.nobody import means_nobody
from transforms.stage_blocks import read_block

PERSONS = ("customer_id", "email", "anonymous_id")
#: In the order in which rules 3 and 8 try them.
ENTITIES = ("ticket_id", "subscription_id", "order_id")
_COLUMNS = ("event_id", "event_type", "occurred_at", "source", *PERSONS, *ENTITIES, "ignored_identifiers")

#: How an event found its customer: the name of the rule that applied, by its number in docs/data-model.md.
RULES = (
    "", "customer_id", "linked_email", "entity", "email", "device", "shared_email", "anonymous_id", "entity_id",
)  # fmt: skip
#: Rules that tell who the customer is without a look at the device.
IDENTIFIED = 4
_PREFIX = {"email": "email:", "anonymous_id": "anon:"}
_ENTITY_PREFIX = {"ticket_id": "ticket:", "subscription_id": "subscription:", "order_id": "order:"}
_RESERVED = "(?s)^(id|email|anon|ticket|subscription|order):.*"


@dataclass(frozen=True)
class IdentityRules:
    """What the settings say of identity."""

    policy: str = "device_split"
    max_customers_per_device: int = 5
    ignored: tuple[str, ...] = ()
    session_types: tuple[str, ...] = ()


@dataclass(frozen=True)
class Coded:
    """One identifier of n events: `names[codes[i]]` is that of event i; -1 for none."""

    codes: np.ndarray
    names: pa.Array


@dataclass(frozen=True)
class Resolved:
    """Whose n events they are: `names[key[i]]` by the rule `rule[i]`; `names` are distinct."""

    key: np.ndarray
    rule: np.ndarray
    names: pa.Array

    @property
    def is_identified(self) -> np.ndarray:
        """bool[n]: one of the rules 1 to 4 applied."""
        return self.rule <= IDENTIFIED


class Identities:
    """The kept events of one staged block: where they lie, when they happened, and their identifiers."""

    def __init__(self, events: pa.Table, rules: IdentityRules, answers: pa.Table, path: str = "") -> None:
        self.path, self._rules = path, rules
        kind = answers["kind"].to_numpy()
        keep = np.ones(events.num_rows, bool)
        keep[answers["row"].filter(pa.array(kind == DUPLICATE)).to_numpy()] = False
        self.rows = np.flatnonzero(keep)
        self._events, self._all = events, bool(keep.all())
        self._answers = {k: answers.filter(pa.array(kind == k)) for k in (EMAIL, ENTITY, DEVICE, ROW, OWNER)}

    @classmethod
    def read(cls, path: str, answers: pa.Table, rules: IdentityRules) -> Identities:
        """Open a staged block; of its columns only those that identify."""
        return cls(read_block(path, _COLUMNS), rules, answers, path)

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def time(self) -> np.ndarray:
        """int64[n]: microseconds since 1970 UTC."""
        return one_chunk(self._events["occurred_at"]).cast(pa.int64()).to_numpy()[self.rows]

    def event_ids(self, events: np.ndarray) -> pa.Array:
        return one_chunk(self._events["event_id"]).take(pa.array(self.rows[events]))

    def is_one_of(self, event_types: tuple[str, ...]) -> np.ndarray:
        """bool[n]: which events are of some types."""
        types = self._coded("event_type")
        return np.append(np.isin(types.names.to_numpy(zero_copy_only=False), event_types), False)[types.codes]

    @cached_property
    def persons(self) -> Mapping[str, Coded]:
        """customer_id, email and anonymous_id. Values that mean nobody were taken out when the events were checked."""
        return {name: self._coded(name) for name in PERSONS}

    @cached_property
    def entities(self) -> Mapping[str, Coded]:
        """ticket_id, subscription_id and order_id, each within its source; the names are those of `entity_name`."""
        return {name: self._entity(name) for name in ENTITIES if name in self._events.column_names}

    def _coded(self, name: str) -> Coded:
        if name not in self._events.column_names:
            return Coded(np.full(len(self), -1), pa.array([], pa.string()))
        column = one_chunk(self._events[name])
        column = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        codes = column.indices.fill_null(-1) if column.null_count else column.indices
        codes = codes.to_numpy()
        return Coded(codes if self._all else codes[self.rows], column.dictionary)

    def _entity(self, name: str) -> Coded:
        ids, sources = self._coded(name), self._coded("source")
        codes = np.full(len(self), -1, np.int64)
        nobody = np.append(means_nobody(ids.names, self._rules.ignored), True)
        rows = np.flatnonzero(~nobody[ids.codes])
        together = ids.codes[rows].astype(np.int64) * (len(sources.names) + 1) + sources.codes[rows] + 1
        distinct, codes[rows] = np.unique(together, return_inverse=True)
        id_no, source_no = np.divmod(distinct, len(sources.names) + 1)
        source = pa.concat_arrays([pa.array([""]), sources.names.cast(pa.string())]).take(pa.array(source_no))
        return Coded(codes, entity_name(name, source, ids.names.take(pa.array(id_no))))

    def column(self, name: str) -> pa.Array | None:
        """A further column of the kept events, None where the block has none."""
        if name not in self._events.column_names:
            return None
        return one_chunk(self._events[name]).take(pa.array(self.rows))

    def told(self, kind: int) -> pa.Table:
        """The answers of one kind."""
        return self._answers[kind]

    def resolve(self) -> Resolved:
        """Whose events they are by all that was told so far. With no word on devices yet, rule 5 waits."""
        found = _Finding(len(self))
        customer, email, device = (self.persons[name] for name in PERSONS)
        linked = self._looked_up(EMAIL, email.names)
        found.where(customer, customer_key(customer.names), 1)
        found.where(email, linked.key, 2)
        of_entity = {name: self._looked_up(ENTITY, entity.names).key for name, entity in self.entities.items()}
        for name, entity in self.entities.items():
            found.where(entity, of_entity[name], 3)
        of_email = pc.binary_join_element_wise(_PREFIX["email"], email.names, "")
        found.where(email, pc.if_else(linked.there, pa.scalar(None, pa.string()), of_email), 4)
        found.at(self._told_rows(), 5)
        found.where(device, self._looked_up(DEVICE, device.names).key, 5)
        found.where(email, of_email, 6)
        found.where(device, pc.binary_join_element_wise(_PREFIX["anonymous_id"], device.names, ""), 7)
        for name, entity in self.entities.items():
            found.where(entity, _entity_key(name, entity.names), 8)
        return found.resolved()

    def _looked_up(self, kind: int, names: pa.Array) -> _LookedUp:
        answers = self.told(kind)
        if not answers.num_rows:
            return _LookedUp(pa.nulls(len(names), pa.string()), pa.array(np.zeros(len(names), bool)))
        place = pc.index_in(names, one_chunk(answers["identifier"]))
        return _LookedUp(one_chunk(answers["customer_key"]).take(place), place.is_valid())

    def is_told_shared(self) -> np.ndarray:
        """bool[devices]: which devices of `persons["anonymous_id"]` are shared, so that their rows are asked."""
        shared = self.told(DEVICE).filter(self.told(DEVICE)["flag"])
        return np.asarray(
            pc.is_in(self.persons["anonymous_id"].names, one_chunk(shared["identifier"])).to_numpy(zero_copy_only=False)
        )

    def _told_rows(self) -> Coded:
        """The customers that rows were told one by one."""
        answers = self.told(ROW).filter(self.told(ROW)["customer_key"].is_valid())
        keys = one_chunk(answers["customer_key"]).dictionary_encode()
        codes = np.full(len(self), -1, np.int64)
        codes[np.searchsorted(self.rows, answers["row"].to_numpy())] = keys.indices.to_numpy()
        return Coded(codes, keys.dictionary)

    def starts_session(self) -> np.ndarray:
        """bool[n]: another customer's session event stands before this one on its device."""
        found = np.zeros(len(self), bool)
        answers = self.told(ROW).filter(self.told(ROW)["flag"])
        found[np.searchsorted(self.rows, answers["row"].to_numpy())] = True
        return found

    def owners(self) -> Mapping[str, Coded]:
        """For tickets and subscriptions with events of several customers: the key of the one whom they belong to."""
        owners = {}
        for name in ("ticket_id", "subscription_id"):
            if name in self.entities and self.told(OWNER).num_rows:
                entity = self.entities[name]
                key = self._looked_up(OWNER, entity.names).key
                codes = np.append(np.where(valid_mask(key), np.arange(len(key)), -1), -1)[entity.codes]
                owners[name] = Coded(codes, key)
        return owners


@dataclass(frozen=True)
class _LookedUp:
    key: pa.Array
    there: pa.Array


class _Finding:
    """Keys as they are found, rule by rule; the first that applies stays."""

    def __init__(self, n: int) -> None:
        self._key = np.full(n, -1, np.int64)
        self._rule = np.zeros(n, np.int8)
        self._names: list[pa.Array] = []
        self._count = 0

    def where(self, identifier: Coded, keys: pa.Array, rule: int) -> None:
        """Events without a key whose identifier has one: `keys` is aligned with the identifier's names."""
        if keys.null_count == len(keys):
            return
        place = np.where(valid_mask(keys), np.arange(len(keys)) + self._count, -1)
        key = np.append(place, -1)[identifier.codes]
        hit = (self._key < 0) & (key >= 0)
        np.copyto(self._key, key, where=hit)
        self._rule[hit] = rule
        self._names.append(keys)
        self._count += len(keys)

    def at(self, rows: Coded, rule: int) -> None:
        """Events that the rules 1 to 4 left open, as they were told one by one."""
        self.where(rows, rows.names, rule)

    def resolved(self) -> Resolved:
        names = pa.concat_arrays(self._names) if self._names else pa.array([], pa.string())
        distinct = names.dictionary_encode()
        code = np.append(distinct.indices.fill_null(-1).to_numpy(), -1)
        if (self._key < 0).any():  # an event without any identifier is quarantined long before
            raise AssertionError(f"{int((self._key < 0).sum())} events have no identifier")
        return Resolved(code[self._key].astype(np.int64), self._rule, distinct.dictionary)


def customer_key(customer_ids: pa.Array) -> pa.Array:
    """Rule 1: the id itself; `id:<id>` where it begins like a key of another kind, so that no two kinds meet."""
    reserved = pc.match_substring_regex(customer_ids, _RESERVED)
    if not pc.any(reserved).as_py():
        return customer_ids
    return pc.if_else(reserved, pc.binary_join_element_wise("id:", customer_ids, ""), customer_ids)


def entity_name(kind: str, source: pa.Array, ids: pa.Array) -> pa.Array:
    """A text for each (kind, source, id) that no other has: the source's length stands before it."""
    length = pc.binary_length(source).cast(pa.string())
    return pc.binary_join_element_wise(_ENTITY_PREFIX[kind], length, ":", source, ":", ids, "")


def _entity_key(kind: str, names: pa.Array) -> pa.Array:
    """Rule 8: `ticket:<source>:<id>` and the like, from the names of `entity_name`."""
    return pc.replace_substring_regex(names, f"^{_ENTITY_PREFIX[kind]}[0-9]+:", _ENTITY_PREFIX[kind])


def was_ignored(ignored_identifiers: pa.Array | pa.ChunkedArray, kind: str) -> np.ndarray:
    """bool[n]: the event's value of this kind means nobody."""
    if ignored_identifiers.null_count == len(ignored_identifiers):
        return np.zeros(len(ignored_identifiers), bool)
    named = pc.match_substring(one_chunk(ignored_identifiers), f'"{kind}":').fill_null(False)
    return np.asarray(named.to_numpy(zero_copy_only=False))


def is_known(keys: pa.Array) -> pa.Array:
    """bool[n]: the key comes from a customer_id or an e-mail."""
    return pc.invert(pc.match_substring_regex(keys, "^(anon|ticket|subscription|order):"))
