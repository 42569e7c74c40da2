"""Where to begin, and what all tests share.

What Parcours promises, on whole runs:
    test_invariance.py      the same events give the same tables, however they are ordered, cut, packed and repeated
    test_runners.py         on two worker processes and on a job server too; and no table is ever pickled
    test_object_store.py    a lake and its input on a server that speaks S3 (marked `portable`)
    test_nothing_lost.py    every record of the input is accounted for, once, where it stands
    test_bad_input.py       whatever is handed over: a clear message, the right status, the lake as it was
    test_oracle.py          who did what, in which session: as a plain reading of the design says (oracle.py)
    test_company.py         a small company's tables, worked out by hand (fixtures/company)
    test_docs.py            what the documents say is so

What each part does: schemas/, transforms/ and pipelines/, a file a module. sources/ reads exports of other systems: small
ones of our own always, the real ones where PARCOURS_EXPORTS, or ../shared/data, holds them.

What they are made with:
    hostile_events.py       events of a small business, in which everything meets
    hostile_identities.py   worlds in which every rule of identity is met at its limit, on both sides
    oracle.py               the design's rules in plain Python, written apart from the code
    lake_tables.py          the tables of a published run, and their comparison
    plain_reading.py        input files read in the plainest way, to hold ours against
    real_command.py         `parcours` in a process of its own
"""

from collections.abc import Iterator
from types import TracebackType

import pytest
from hypothesis import settings

from pipelines.without_unused import hide_unused

hide_unused()  # before a test imports Beam: as the command line does

# The same examples every time: a test that passes must pass again. Others are looked for by
# make test PYTEST="--hypothesis-profile=explore"
settings.register_profile("same", deadline=None, derandomize=True, database=None)
settings.register_profile("explore", deadline=None, database=None)
settings.load_profile("same")


@pytest.fixture(scope="session", autouse=True)
def one_audit_process() -> Iterator[None]:
    """Runs that a test makes in its own process share one audit process: it takes long to start, and serves many."""
    from pipelines import audit, run  # here, where pandas is hidden

    own = audit.Auditor
    started: dict[bool, audit.Auditor] = {}

    class SharedAuditor(own):  # type: ignore[misc, valid-type]
        def __enter__(self) -> "audit.Auditor":  # type: ignore[override]
            if self.whole not in started or started[self.whole].has_ended:
                started[self.whole] = own(self.whole).__enter__()
            return started[self.whole]

        def __exit__(
            self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
        ) -> None:
            pass

    audit.Auditor = run.Auditor = SharedAuditor  # type: ignore[misc]
    yield
    audit.Auditor = run.Auditor = own  # type: ignore[misc]
    for auditor in started.values():
        auditor.__exit__(None, None, None)
