"""What a run tells an operator at its end: the sums that prove that nothing is lost, and what was refused."""

import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from pipelines.audit import Audit, told

_LINES_SHOWN = 10
_TIMES_THE_MEAN = 20  # of the events of a customer: below that, a share only says that there are few customers
_NEVER_LIKELY = 0.2  # above this share it is unlikely however few there are: a word that means nobody leaves few
_RULES = {
    "customer_id": "its own customer_id",
    "linked_email": "an e-mail linked to one customer_id",
    "entity": "its ticket, subscription or order",
    "email": "an e-mail that no customer_id is linked to",
    "device": "others on the same device",
    "shared_email": "an e-mail of several customers, and nothing better",
    "anonymous_id": "nothing but the device: unknown",
    "entity_id": "nothing but a ticket, subscription or order: unknown",
}
_REFUSED = {
    "shared_email": ("e-mail of several customers", "e-mails of several customers"),
    "kiosk": ("device of too many customers", "devices of too many customers"),
    "means_nobody": ("value that means nobody", "values that mean nobody"),
}
_LETTERS_SHOWN = 300


class RunResult(Protocol):
    """What the summary reads of `pipelines.run.RunResult`.

    A tally is {name, source, code, count}. The names are those of the two sums, `quarantined` (code: the rule),
    `unknown_field` (code: the field's name), `converted` and `without_rate` (code: the currency), `identity_rule`
    (code: the rule), `identity_decisions` (code: the reason), `busiest_customer` and `busiest_device` (code: the key
    or identifier), `inactivity_not_fitted` (code: the reason).
    """

    @property
    def run_id(self) -> str: ...
    @property
    def lake(self) -> str: ...
    @property
    def as_of(self) -> Any: ...
    @property
    def identity_policy(self) -> str: ...
    @property
    def unlikely_share(self) -> float: ...
    @property
    def published(self) -> bool: ...
    @property
    def tallies(self) -> Sequence[Mapping[str, Any]]: ...
    @property
    def tables(self) -> Mapping[str, int]: ...
    @property
    def customers(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    @property
    def examples(self) -> Sequence[Mapping[str, Any]]: ...
    @property
    def audit(self) -> Audit: ...
    @property
    def removed(self) -> Sequence[str]: ...


#: total -> its parts, each with the words an operator reads. design.md, "Bad input".
SUMS: Mapping[str, Mapping[str, str]] = {
    "records_in": {
        "records_mapped": "mapped",
        "records_skipped": "skipped",
        "records_unreadable": "unreadable",
    },
    "events_in": {
        "touchpoints": "touchpoints",
        "duplicates": "duplicates",
        "quarantined_events": "quarantined",
        "after_as_of": "after as-of",
        "excluded": "excluded",
    },
}


def totals(tallies: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """Each tally's name with its count over all sources and codes.

    >>> totals([{"name": "duplicates", "source": "web", "code": None, "count": 2}])
    Counter({'duplicates': 2})
    """
    counted: Counter[str] = Counter()
    for tally in tallies:
        counted[tally["name"]] += tally["count"]
    return counted


def render(result: RunResult) -> str:
    """The closing summary of a run."""
    state = "published" if result.published else "NOT published"
    lines = [f"Run {result.run_id}, as of {_moment(result.as_of)}: {state}", ""]
    lines += _sums(result) + _quarantine(result) + _unknown_fields(result) + _money(result)
    lines += _identity(result) + _warnings(result)
    lines += _audit(result)
    lines += ["", "Tables", *_aligned([(f"  {name}", f"{rows:,}") for name, rows in result.tables.items()])]
    customers = "customer" if result.customers == 1 else "customers"
    lines += ["", f"{result.customers:,} {customers} in {duration(result.seconds)}, in {result.lake}"]
    if result.removed:
        lines += [f"Tables of older runs removed: {', '.join(result.removed)}"]
    if not result.published and result.audit.results and not result.audit.failures:
        lines += [f"Next: parcours publish --lake {shlex.quote(result.lake)} {result.run_id}"]
    if result.published:
        question = "select current_stage, count(*) from customers group by all order by 2 desc"
        lines += [f'Next: parcours query --lake {shlex.quote(result.lake)} "{question}"']
    return "\n".join(lines)


def render_check(result: RunResult) -> str:
    """What `parcours check` found: each code with one record that broke it. Duplicates need a run."""
    count = totals(result.tallies)
    fine = count["events_in"] - count["quarantined_events"] - count["after_as_of"] - count["excluded"]
    parts = [f"{count[name]:,} {SUMS['events_in'][name]}" for name in ("quarantined_events", "after_as_of", "excluded")]
    events = " + ".join((f"= {fine:,} fine", *parts))
    lines = _aligned([_sum("records_in", count), ("events in", f"{count['events_in']:,}", events)])
    lines += _quarantine(result) + _unknown_fields(result) + _money(result)
    first: dict[str, Mapping[str, Any]] = {}
    for example in result.examples:
        first.setdefault(example["code"], example)
    for code, example in sorted(first.items()):
        lines += ["", f"For example, {code}: {one_line(example['file'])}, at {example['offset']}"]
        lines += [f"  {one_line(example['raw'])}"]
        told = [(name, one_line(example.get(name))) for name in ("path", "expected", "observed")]
        lines += _aligned([(f"  {name}", text) for name, text in told if text], right=False)
    is_fine = not first and count["records_mapped"] == count["records_in"] > 0
    verdict = "Every record is fine. Nothing was written." if is_fine else "Nothing was written."
    return "\n".join([*lines, "", f"{verdict} ({duration(result.seconds)})"])


def _sums(result: RunResult) -> list[str]:
    count = totals(result.tallies)
    return _aligned([_sum(total, count) for total in SUMS])


def _sum(total: str, count: Counter[str]) -> tuple[str, str, str]:
    parts = SUMS[total]
    told = " + ".join(f"{count[name]:,} {word}" for name, word in parts.items())
    off = count[total] - sum(count[name] for name in parts)
    mark = "✓" if off == 0 else f"✗ ALARM: {abs(off):,} {'missing' if off > 0 else 'too many'}"
    return total.replace("_", " "), f"{count[total]:,}", f"= {told}  {mark}"


def _quarantine(result: RunResult) -> list[str]:
    codes = _by(result.tallies, "quarantined", lambda tally: (tally["source"] or "", tally["code"]))
    if not codes:
        return ["", "Quarantine: empty"]
    # What a source could have had refused: its events, and the records that never became one.
    given = _by(
        (tally for tally in result.tallies if tally["name"] in ("events_in", "records_unreadable")),
        None,
        lambda tally: tally["source"] or "",
    )
    rows = [
        (f"  {one_line(source) or '-'}", code, f"{count:,}", _percent(count, given[source]))
        for (source, code), count in _most(codes)
    ]
    return ["", "Quarantine, by source and broken rule (share of what the source gave)", *_aligned(rows)]


def _unknown_fields(result: RunResult) -> list[str]:
    names = _by(result.tallies, "unknown_field", lambda tally: (tally["source"] or "", tally["code"]))
    if not names:
        return []
    rows = [(f"  {one_line(source) or '-'}", one_line(name), f"{count:,}") for (source, name), count in _most(names)]
    return ["", "Fields that no contract knows, kept in extra", *_aligned(rows[:_LINES_SHOWN]), *_rest(len(rows))]


def _money(result: RunResult) -> list[str]:
    """How many events had their money converted by the settings' rates, and which have a currency without one."""
    lines = [
        (f"  {one_line(currency)}", f"{count:,}", told)
        for name, told in (("without_rate", "without a rate, as sent"), ("converted", "converted"))
        for currency, count in _most(_by(result.tallies, name, lambda tally: tally["code"]))
    ]
    if not lines:
        return []
    title = "Money by the rates of the setting currency (events, copies among them)"
    return ["", title, *_aligned(lines[:_LINES_SHOWN]), *_rest(len(lines))]


def _most(counted: Mapping[Any, int]) -> list[tuple[Any, int]]:
    return sorted(counted.items(), key=lambda item: (-item[1], item[0]))


def _rest(lines: int) -> list[str]:
    return [f"  and {lines - _LINES_SHOWN:,} more, in the tallies of manifest.json"] if lines > _LINES_SHOWN else []


def _identity(result: RunResult) -> list[str]:
    """How events found their customer, rule by rule, and what was refused on the way."""
    given = _by(result.tallies, "identity_rule", lambda tally: tally["code"])
    refused = _by(result.tallies, "identity_decisions", lambda tally: tally["code"])
    if not given:
        return []
    total = sum(given.values())
    rows = [(f"  {n} {rule}", f"{given[rule]:,}", _percent(given[rule], total), told)
            for n, (rule, told) in enumerate(_RULES.items(), 1) if given[rule]]  # fmt: skip
    told = [f"{count:,} {_REFUSED[reason][count != 1]}" for reason, count in sorted(refused.items())]
    title = f"How events found their customer (policy {result.identity_policy})"
    return ["", title, *_aligned(rows), *([f"  refused: {', '.join(told)}; see identity_decisions"] if told else [])]


def _warnings(result: RunResult) -> list[str]:
    """Customers and devices that hold more of the events than one person or device is likely to make; what is not known."""
    touchpoints = totals(result.tallies)["touchpoints"]
    usual = _TIMES_THE_MEAN * touchpoints / max(result.customers, 1)
    least = max(result.unlikely_share * touchpoints, min(usual, _NEVER_LIKELY * touchpoints))
    lines = []
    for kind in ("customer", "device"):
        busiest = _by(result.tallies, f"busiest_{kind}", lambda tally: tally["code"])
        for name, count in _most(busiest):
            if count > least:
                share = _percent(count, touchpoints)
                lines.append(
                    f"Warning: the {kind} {one_line(name)} has {count:,} of the events ({share}). A test account, a robot "
                    f"or a word that means nobody? The settings `exclude` and `ignored_identifiers` take it out."
                )
    for reason in _by(result.tallies, "inactivity_not_fitted", lambda tally: tally["code"]):
        lines.append(
            f'Warning: inactivity_days = "fit" found no days ({reason}). Who has lapsed is not known: churn_rate_lapsed and '
            "what is made of it are null. Give the setting a number of days."
        )
    return ["", *lines] if lines else []


def _audit(result: RunResult) -> list[str]:
    """How the audit went, and what it warns of; what it refuses stands in the error message."""
    if not result.audit.results:
        return []
    lines = ["", audited(result.audit)]
    lines += [f"  refused by {failed['table_name']}: {failed['rule']}" for failed in result.audit.failures]
    for warned in result.audit.warnings:
        lines += told(warned)
    return lines


def audited(audit: Audit) -> str:
    """The audit in one line."""
    failures, warnings = len(audit.failures), len(audit.warnings)
    verdict = "nothing forbids publication" if not failures else f"{failures:,} forbid publication"
    warned = f", {warnings:,} {'warning' if warnings == 1 else 'warnings'}" if warnings else ""
    return f"Audit: {len(audit.results):,} expectations, {verdict}{warned}"


def _by(
    tallies: Iterable[Mapping[str, Any]], name: str | None, key: Callable[[Mapping[str, Any]], Any]
) -> Counter[Any]:
    counted: Counter[Any] = Counter()
    for tally in tallies:
        if name is None or tally["name"] == name:
            counted[key(tally)] += tally["count"]
    return +counted  # without zeros


def _aligned(rows: Sequence[Sequence[str]], right: bool = True) -> list[str]:
    """Columns of one width; those that are numbers stand right."""
    if not rows:
        return []
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if right and cell[:1].isdigit() else cell.ljust(width)
            for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]


def one_line(text: object) -> str:
    """A text of the input on one line of a terminal: no control characters, and not too long.

    >>> one_line("red \\x1b[31m" + "x" * 1000)[:16], len(one_line("x" * 1000))
    ('red �[31mxxxxxxx', 301)
    """
    line = " ".join(str("" if text is None else text).split())
    shown = "".join(letter if letter.isprintable() else "\ufffd" for letter in line[:_LETTERS_SHOWN])
    return shown if len(line) <= _LETTERS_SHOWN else shown + "…"


def _percent(part: int, whole: int) -> str:
    """
    >>> _percent(1, 3), _percent(1, 100_000), _percent(1, 0)
    ('33.3 %', '< 0.1 %', '')
    """
    if whole == 0:
        return ""
    return "< 0.1 %" if 0 < part / whole < 0.001 else f"{part / whole:.1%}".replace("%", " %")


def duration(seconds: float) -> str:
    """A time that somebody waited.

    >>> duration(3.14), duration(75), duration(4000)
    ('3.1 s', '1 min 15 s', '1 h 6 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _moment(moment: Any) -> str:
    return moment.isoformat().replace("+00:00", "Z") if hasattr(moment, "isoformat") else str(moment)
