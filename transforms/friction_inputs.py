"""What the SQL of a kind of friction sees: the tables of a shard, and a few that are made of them once for all kinds.

docs/friction.md lists them. What depends on the order of events (stays on a page, the event that began a stage) is worked
out here on sorted arrays; what it means is SQL.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms import duck
from transforms.batches import ShardTables, with_columns
from transforms.columns import one_chunk
from transforms.metric_inputs import made, opened
from transforms.runs import changes

_PATH = r"^(?:[a-zA-Z][a-zA-Z0-9+.-]*://[^/?#]*)?(?P<path>[^?#]*)"


@contextmanager
def inputs_of_friction(
    shard: ShardTables,
    texts: Iterable[str],
    as_of: datetime.datetime,
    connection: duckdb.DuckDBPyConnection,
    *others: duckdb.DuckDBPyConnection,
) -> Iterator[None]:
    """The tables and macros that the SQL `texts` may use, as long as it lasts. What none of them names is not made."""
    everything = "\n".join(texts)
    tables = {
        "touchpoints": shard["touchpoints"],
        "sessions": with_columns(shard["sessions"], {"session_no": pa.array(np.arange(shard["sessions"].num_rows))}),
        "journeys": shard["journeys"],
        "journey_stages": stages_entered(shard["journey_stages"], shard["touchpoints"]),
        "tickets": shard["tickets"],
        "subscriptions": shard["subscriptions"],
    }
    if _names(everything, "pages"):
        tables["pages"] = page_stays(shard["touchpoints"])
    for each in (connection, *others):
        each.execute(duck.read_sql("friction_macros"))
    with opened(connection, tables, *others):
        if not _names(everything, "answers") and not _names(everything, "answers_about"):
            yield
            return
        with made(connection, ("answers",), as_of, with_events=True):
            connection.execute(f"create table answers_about as\n{duck.read_sql('answers_about')}")
            try:
                yield
            finally:
                connection.execute("drop table answers_about")


def _names(sql: str, table: str) -> bool:
    return re.search(rf"\b{table}\b", sql) is not None


def stages_entered(journey_stages: pa.Table, touchpoints: pa.Table) -> pa.Table:
    """The runs of one stage with `event_id`, `journey_no` and `is_known` of the event that began them, where one did.

    A lapse begins a run without an event: its `seq` is null, and so are these.
    """
    customer = touchpoints["customer_no"].to_numpy()
    first_row = np.flatnonzero(changes(customer))
    seq = journey_stages["seq"].fill_null(0).to_numpy()
    rows = first_row[journey_stages["customer_no"].to_numpy()] + seq - 1
    began = touchpoints.select(["event_id", "journey_no", "is_known"]).take(pa.array(rows, mask=seq == 0))
    return with_columns(journey_stages, {name: one_chunk(began[name]) for name in began.column_names})


def page_stays(touchpoints: pa.Table) -> pa.Table:
    """One row a stay on a page: consecutive visits of one path in a session, clicks on it among them.

    Columns customer_no, session_no, seq and event_id (of the first visit), path, entered_at; and of the stays beside it in the
    session path_before, path_after, next_event_id, and left_at, when the next one began. They are null at its ends.
    """
    session = touchpoints["session_no"].to_numpy()
    is_visit = pc.equal(touchpoints["event_type"], "site_visit").fill_null(False).to_numpy()
    visits = np.flatnonzero(is_visit & (session >= 0))
    # Devices take turns on a timeline; a session is of one of them. Rows of a session stay in their order.
    visits = visits[np.argsort(session[visits], kind="stable")]
    urls = one_chunk(one_chunk(touchpoints["page_url"]).take(pa.array(visits))).dictionary_encode()
    paths, path_of_url = _paths(urls.dictionary)
    code = urls.indices.fill_null(-1).to_numpy()
    path = np.where(code >= 0, path_of_url[code], -1) if len(path_of_url) else np.full(len(code), -1, np.int64)

    begins = np.flatnonzero(changes(session[visits]) | changes(path))
    rows, path = visits[begins], path[begins]
    of_session = session[rows]
    is_first = changes(of_session)
    is_last = np.append(is_first[1:], True) if len(rows) else is_first
    before, after = np.roll(path, 1), np.roll(path, -1)
    stay = touchpoints.select(["customer_no", "session_no", "seq", "event_id", "occurred_at"]).take(pa.array(rows))
    next_rows = pa.array(np.roll(np.arange(len(rows)), -1), mask=is_last)

    def path_text(codes: np.ndarray, absent: np.ndarray) -> pa.Array:
        return paths.take(pa.array(codes, mask=absent | (codes < 0)))

    return pa.table(
        {
            "customer_no": stay["customer_no"],
            "session_no": stay["session_no"],
            "seq": stay["seq"],
            "event_id": stay["event_id"],
            "path": path_text(path, np.zeros(len(rows), bool)),
            "entered_at": stay["occurred_at"],
            "path_before": path_text(before, is_first),
            "path_after": path_text(after, is_last),
            "next_event_id": one_chunk(stay["event_id"]).take(next_rows),
            "left_at": one_chunk(stay["occurred_at"]).take(next_rows),
        }
    )


def _paths(urls: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """The distinct paths of addresses, as the macro page_path has them, and which one each address has."""
    found = pc.struct_field(pc.extract_regex(urls, _PATH), "path")
    encoded = pc.if_else(pc.equal(found, ""), "/", found).dictionary_encode()
    return encoded.dictionary, encoded.indices.fill_null(-1).to_numpy().astype(np.int64)
