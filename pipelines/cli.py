"""The command line. Only this module and exit_status.py print; only `run`, `check` and `demo` import Beam."""

import contextlib
import dataclasses
import difflib
import gc
import logging
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn, TypeVar

import click

from pipelines import exit_status
from pipelines.errors import Refused, UsageError
from pipelines.interrupts import stoppable
from pipelines.without_unused import hide_unused

_LOCAL_RUNNERS = ("FnApiRunner", "DirectRunner", "BundleBasedDirectRunner")
_T = TypeVar("_T", bound=Callable[..., Any])


def main() -> NoReturn:
    """Runs one command and ends the process; start.py is the console script."""
    hide_unused()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a terminal without UTF-8 is no crash
    exit_status.end(status_of())


def status_of(args: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status; what went wrong, and the mend, go to standard error."""
    return exit_status.status_of(lambda: parcours.main(args, prog_name="parcours", standalone_mode=False))


def _print_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from pipelines.manifest import version

        click.echo(f"parcours {version()}")
        context.exit()


def _lookups(_: click.Context, __: click.Parameter, given: Iterable[str]) -> dict[str, str]:
    lookups: dict[str, str] = {}
    for entry in given:
        name, separator, file = entry.partition("=")
        if not (name and separator and file):
            raise click.BadParameter(f"{entry!r} is not NAME=FILE, such as products=export/products.csv.")
        if name in lookups:
            raise click.BadParameter(f"{name} is given twice.")
        if not os.path.isfile(file):
            raise click.BadParameter(f"{name}: there is no file {file}.")
        lookups[name] = file
    return lookups


def _reads_events(command: _T) -> _T:
    """The options that `run` and `check` have in common."""
    for decorate in reversed(
        (
            click.option(
                "--input",
                "inputs",
                metavar="[SOURCE:]PATTERN",
                multiple=True,
                required=True,
                help="Files to read, a quoted pattern; SOURCE is one of parcours sources. Repeat for more.",
            ),
            click.option("--as-of", metavar="T", help="The moment taken as now, RFC 3339. Default: the clock."),
            click.option("--settings", metavar="FILE", help="Settings, in TOML."),
            click.option(
                "--lookup",
                "lookups",
                metavar="NAME=FILE",
                multiple=True,
                callback=_lookups,
                help="The file of a lookup table that a source description names. Repeat for more.",
            ),
            click.option("--runner", default="FnApiRunner", show_default=True, help="The Beam runner."),
            click.option("--quiet", is_flag=True, help="No progress, only the result."),
            click.argument("beam", metavar="[BEAM OPTIONS]", nargs=-1, type=click.UNPROCESSED),
        )
    ):
        command = decorate(command)
    return command


_PASSES_ON = {"ignore_unknown_options": True}


@click.group(
    cls=exit_status.Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version.",
)
def parcours() -> None:
    """Turns raw touchpoint events into per-customer journeys, as Parquet tables for DuckDB.

    \b
    parcours run --input 'events/*.jsonl' --output lake --as-of 2026-11-01T00:00:00Z
    parcours query --lake lake "select stage, count(*) from touchpoints group by all"

    Exit status: 0 done; 1 refused, nothing published; 2 usage, settings or SQL; 3 input could not be read.
    """


@parcours.command(context_settings=_PASSES_ON, epilog="Any of Beam's own options may follow and is passed on.")
@click.option(
    "--output",
    "lake",
    metavar="LAKE",
    required=True,
    help="The lake: a folder, gs://bucket/folder or s3://bucket/folder.",
)
@click.option(
    "--identity-policy",
    type=click.Choice(["device_split", "last_auth", "none"]),
    help="How a device's unidentified events find their customer. Default: device_split.",
)
@click.option(
    "--no-publish", is_flag=True, help="Stage and audit only: parcours publish makes the run the one that is read."
)
@click.option(
    "--keep",
    metavar="N",
    type=click.IntRange(min=1),
    help="Keep the tables of the newest N runs, and of the published one; remove older ones. Default: keep all.",
)
@_reads_events
def run(
    inputs: tuple[str, ...],
    lake: str,
    as_of: str | None,
    identity_policy: str | None,
    no_publish: bool,
    keep: int | None,
    settings: str | None,
    lookups: dict[str, str],
    runner: str,
    quiet: bool,
    beam: tuple[str, ...],
) -> int:
    """Read events, build the journeys, audit and publish them.

    \b
    parcours run --input 'events/*.jsonl' --output lake
    parcours run --input complete_journey.campaigns:data/campaigns.parquet --output lake \\
        --lookup campaign_descriptions=data/campaign_descriptions.parquet

    The published run stays as it was until the new one is whole and its audit has passed. A run that the audit
    refuses ends with status 1; its tables are kept for a look: parcours query --run, parcours publish.
    """
    from pipelines.settings import load_settings

    loaded = load_settings(settings, as_of=as_of, identity_policy=identity_policy, keep=keep)
    from pipelines.audit import Auditor

    # Started before Beam is imported: its own imports are over when the pipeline has work for two cores. Suites of the
    # user's are looked at first.
    with stoppable(), contextlib.nullcontext() if loaded.expectations else Auditor() as auditor:
        with _quiet_imports():
            from pipelines import run as pipeline
        from pipelines.progress import Progress
        from pipelines.summary import render

        try:
            result = pipeline.run(
                inputs=list(inputs),
                lake=lake,
                settings=loaded,
                beam_args=_beam_args(runner, beam),
                lookups=lookups,
                progress=partial(Progress, quiet=quiet),
                publish=not no_publish,
                auditor=auditor,
            )
        except Refused as refused:
            if isinstance(refused.result, pipeline.RunResult):
                click.echo(render(refused.result))
            raise
    click.echo(render(result))
    return 0


@parcours.command(context_settings=_PASSES_ON, epilog="Any of Beam's own options may follow and is passed on.")
@_reads_events
def check(
    inputs: tuple[str, ...],
    as_of: str | None,
    settings: str | None,
    lookups: dict[str, str],
    runner: str,
    quiet: bool,
    beam: tuple[str, ...],
) -> int:
    """Say what would be quarantined, and why; write nothing.

    \b
    parcours check --input 'events/*.jsonl'

    Each rule that a record breaks is counted by its code, and shown with one example.

    Exit status: 0 if the files could be read, whether or not records would be quarantined; 3 if not.
    """
    from pipelines.settings import load_settings

    loaded = load_settings(settings, as_of=as_of)
    with _quiet_imports():
        from pipelines import run as pipeline
    from pipelines.progress import Progress
    from pipelines.summary import render_check

    with stoppable():
        result = pipeline.check(
            inputs=list(inputs),
            settings=loaded,
            beam_args=_beam_args(runner, beam),
            lookups=lookups,
            progress=partial(Progress, quiet=quiet),
        )
    click.echo(render_check(result))
    return 0


@parcours.command()
@click.option("--lake", metavar="LAKE", required=True, help="The lake that a run was published in.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json", "parquet"]),
    default="table",
    show_default=True,
    help="The form of the answer.",
)
@click.option("--output", metavar="FILE", help="Write the answer to a file.")
@click.option("--run", "run_id", metavar="RUN", help="Ask this run, published or not, instead of the published one.")
@click.argument("sql")
def query(lake: str, sql: str, form: Any, output: str | None, run_id: str | None) -> int:
    """Ask the published run a question in SQL.

    \b
    parcours query --lake lake "select stage, count(*) from touchpoints group by all"
    parcours query --lake lake "from journey('c-1042')" --format csv --output one.csv

    SQL is DuckDB's; - reads it from standard input. The tables are those of parcours tables. Two macros help:
    share(n, d), which is null where d is 0, and journey(customer_key), one customer's touchpoints in order.
    """
    from pipelines.query import query as ask

    with _quiet_imports():  # a lake on an object store is read through Beam
        ask(lake, sys.stdin.read() if sql == "-" else sql, form, output, run_id)
    return 0


@parcours.command()
@click.option("--lake", metavar="LAKE", required=True, help="The lake that a run was published in.")
@click.option(
    "--step",
    "steps",
    metavar="STEP",
    multiple=True,
    required=True,
    help="An event type, stage:NAME, or a SQL condition on a touchpoint. Two or more, in order.",
)
@click.option(
    "--window", metavar="SPAN", default="30d", show_default=True, help="From the first step to the last, at most."
)
@click.option(
    "--step-window",
    "step_windows",
    metavar="SPAN",
    multiple=True,
    help="From each step to the next, at most: once for all, or once for each step after the first.",
)
@click.option(
    "--by",
    metavar="SEGMENT",
    multiple=True,
    help="Tell apart by this at the entry: a column of touchpoints or SQL, plan, or first_channel. Repeat for more.",
)
@click.option(
    "--count",
    "counted",
    type=click.Choice(["customers", "journeys", "entries"]),
    default="customers",
    show_default=True,
    help="What is counted: customers or journeys by their furthest attempt, or each first step.",
)
@click.option("--from", "since", metavar="DAY", type=click.DateTime(["%Y-%m-%d"]), help="Entries from this day on.")
@click.option("--to", "until", metavar="DAY", type=click.DateTime(["%Y-%m-%d"]), help="Entries before this day.")
@click.option(
    "--top",
    metavar="N",
    type=click.IntRange(min=1),
    help="Values of a segment to show; the others are told as one. Default: 10, in a file 100.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json", "parquet"]),
    default="table",
    show_default=True,
    help="The form of the answer.",
)
@click.option("--output", metavar="FILE", help="Write the answer to a file.")
@click.option("--run", "run_id", metavar="RUN", help="Ask this run, published or not, instead of the published one.")
def funnel(
    lake: str, steps: tuple[str, ...], window: str, step_windows: tuple[str, ...], by: tuple[str, ...], counted: Any,
    since: Any, until: Any, top: int | None, form: Any, output: str | None, run_id: str | None,
) -> int:  # fmt: skip
    """Count how many take some steps in order, and where they stop.

    \b
    parcours funnel --lake lake --step site_visit --step "page_kind = 'checkout'" --step purchase --window 7d
    parcours funnel --lake lake --step stage:consideration --step stage:purchase --by channel --from 2026-01-01

    Also told: how long each step takes. Each step is a later touchpoint of the same customer than the one before;
    others may lie between. converted took
    all steps within the windows; open did not, but still can at as-of; dropped cannot. docs/funnels.md has the rules.
    """
    from pipelines.query import target_of, write_rows

    with _quiet_imports():  # a lake on an object store is read through Beam
        from pipelines.funnel import Asked, ask_funnel
        from pipelines.funnel_text import as_text

        days = [None if day is None else day.date() for day in (since, until)]
        asked = Asked(steps, window, step_windows, by, counted, *days)
        answer = ask_funnel(lake, asked, run_id, top or (10 if form == "table" else 100))
    if form == "table":
        with target_of(output) as target:
            target.write("".join(f"{line}\n" for line in as_text(answer)).encode())
    else:
        write_rows(answer.rows, form, output)
    return 0


@parcours.command()
@click.option("--lake", metavar="LAKE", required=True, help="The lake that a run was published in.")
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(min=0),
    default=200,
    show_default=True,
    help="Events to show: half of them the first, half the last; 0 for all.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="The form of the answer.",
)
@click.option("--metric", metavar="NAME", help="Tell a number of lifecycle_metrics instead, event by event.")
@click.option(
    "--period",
    metavar="MONTH",
    default="all",
    show_default=True,
    help="With --metric: a month as 2026-02, or all; of what the setting `periods` asks for 2026-Q1, 2026-W07 or 2026-02-14.",
)
@click.option("--segment", metavar="NAME=VALUE", help="With --metric: of a segment, such as plan=pro.")
@click.option("--customer", "only", metavar="CUSTOMER", help="With --metric: what one customer has to do with it.")
@click.argument("customer", required=False)
def explain(
    lake: str, customer: str | None, limit: int, form: str, metric: str | None, period: str, segment: str | None,
    only: str | None,
) -> int:  # fmt: skip
    """Tell the journey of one customer, or a metric, event by event.

    \b
    parcours explain --lake lake c-1042
    parcours explain --lake lake ada@example.com --format json
    parcours explain --lake lake --metric churn_rate --period 2026-02
    parcours explain --lake lake --metric csat --segment first_channel=email --customer c-1042

    CUSTOMER is a customer_key, or an identifier of one customer: a customer_id, an e-mail, a device, or a ticket,
    subscription or order. Told are the events with the rule that gave each its customer, stages, sessions and friction
    in place, what was refused, and the numbers with the events that they are made of.

    A metric is told with the events behind its numerator and its denominator, and whether they add up to what is
    published.
    """
    if metric is not None:
        return _explain_metric(lake, limit, form, metric, period, segment, only or customer)
    if segment is not None or period != "all":
        raise click.UsageError("--period and --segment go with --metric.")
    customer = customer or only
    if customer is None:
        raise click.UsageError("Name a customer, or a metric with --metric.")
    from pipelines.explain import explained
    from pipelines.explain_text import as_json, as_text

    width = max(60, min(110, shutil.get_terminal_size().columns)) if sys.stdout.isatty() else 110
    with _quiet_imports(), explained(lake, customer, limit) as explanation:
        lines = as_json(explanation) if form == "json" else as_text(explanation, width)
        sys.stdout.writelines(f"{line}\n" for line in lines)
        sys.stdout.flush()
    return 0


def _explain_metric(
    lake: str, limit: int, form: str, metric: str, period: str, segment: str | None, customer: str | None
) -> int:
    name, is_there, value = (segment or "").partition("=")
    if segment is not None and not (name and is_there):
        raise click.UsageError(f"--segment {segment} is not NAME=VALUE, such as plan=pro.")
    with _quiet_imports():  # a lake on an object store is read through Beam
        from pipelines.explain_metric import Asked, explain_metric
        from pipelines.explain_metric_text import as_json, as_text

        asked = Asked(metric, period, customer, name or None, value if segment is not None else None)
        explanation = explain_metric(lake, asked)
    lines = [as_json(explanation)] if form == "json" else as_text(explanation, limit)
    sys.stdout.writelines(f"{line}\n" for line in lines)
    sys.stdout.flush()
    return 0


@parcours.command()
@click.option("--lake", metavar="LAKE", required=True, help="The lake that the run was made in.")
@click.option("--reason", metavar="TEXT", help="Why, kept in the table runs.")
@click.argument("run_id", metavar="RUN")
def publish(lake: str, run_id: str, reason: str | None) -> int:
    """Make a run the one that readers see.

    \b
    parcours publish --lake lake 20261121T235900Z-0a1b2c3d --reason 'a campaign: the volume is right'

    For a person who has looked at a run that the audit refused, or that was staged with --no-publish; or to go back to
    an earlier run. Who decided, when and why is kept in the table runs.
    """
    with _quiet_imports():
        from pipelines.publish import publish as make_current

        with stoppable():
            row = make_current(lake, run_id, reason)
    failures = row["audit_failures"]
    told = " It was not audited." if failures is None else ""
    if failures:
        told = f" Its audit forbade it in {failures:,} {'point' if failures == 1 else 'points'}."
    click.echo(f"Run {run_id} is published.{told}")
    return 0


@parcours.command()
@click.option("--lake", metavar="LAKE", required=True, help="The lake.")
@click.option("--all", "every", is_flag=True, help="All runs, not the newest twenty only.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="The form of the answer.",
)
@click.argument("run_id", metavar="[RUN]", required=False)
def runs(lake: str, every: bool, form: str, run_id: str | None) -> int:
    """List the runs of a lake, or tell one with its audit.

    \b
    parcours runs --lake lake

    A run is running, failed, died (its process was killed), refused (by the audit), accepted (not published) or
    published. The same and more: parcours query --lake lake "from runs", or "from audit_results".
    """
    from pipelines import run_list
    from pipelines.lake import Lake

    with _quiet_imports():  # a lake on an object store is read through Beam
        opened = Lake(lake)
        if run_id is not None:
            lines: Iterable[str] = (
                run_list.one(opened, run_id) if form == "text" else [run_list.one_as_json(opened, run_id)]
            )
        else:
            rows = run_list.runs(opened)
            lines = run_list.as_text(rows, every) if form == "text" else [run_list.as_json(rows)]
        sys.stdout.writelines(f"{line}\n" for line in lines)
        sys.stdout.flush()
    return 0


@parcours.command()
@click.option("--settings", metavar="FILE", help="Settings that name a folder of your own metrics.")
@click.argument("name", required=False)
def metrics(name: str | None, settings: str | None) -> None:
    """Explain the metrics.

    Lists them, or says all of the one with this NAME.

    \b
    parcours metrics repurchase_rate
    """
    from schemas.dictionary import load_friction, load_metrics

    with _describing():
        known = load_metrics(_folder("metrics", settings))
    if name is None:
        click.echo("Metrics (table lifecycle_metrics)\n")
        _print_pairs((metric.name, _with_statistics(metric)) for metric in known.values())
        click.echo("\nparcours metrics NAME explains one; parcours friction lists the kinds of friction.")
        return
    named: dict[str, Any] = {published: metric for metric in known.values() for published in metric.published_names}
    named |= known
    if name not in named and name in load_friction():
        raise UsageError(f"There is no metric {name}.", f"It is a kind of friction: parcours friction {name}.")
    _explain_entry(_named(name, named, "metric"))


@parcours.command()
@click.option("--settings", metavar="FILE", help="Settings with a folder of your own kinds, and with parameters.")
@click.argument("name", required=False)
def friction(name: str | None, settings: str | None) -> None:
    """Explain the kinds of friction.

    Lists them, or says all of the one with this NAME: what it is, its parameters, and a worked example.

    \b
    parcours friction rage_click
    """
    from schemas.dictionary import AREAS, load_friction

    with _describing():
        given = _settings(settings)
        known = load_friction(given.friction, given.friction_parameters) if given else load_friction()
    if name is not None:
        _explain_entry(_named(name, known, "kind of friction", "friction"))
        return
    click.echo("Kinds of friction (table friction_points)")
    for area in AREAS:
        of_area = [kind for kind in known.values() if kind.area == area]
        if of_area:
            click.echo(f"\n{area}\n")
            _print_pairs((f"  {kind.kind}", kind.description) for kind in of_area)
    click.echo("\nparcours friction NAME explains one.")


def _explain_entry(entry: Any) -> None:
    """All of one entry of the dictionary: its texts, and its worked example with what comes of it."""
    _print_pairs(_told(entry))
    click.echo("\nExample\n")
    click.echo("\n".join(textwrap.wrap(entry.example.text, 108, initial_indent="  ", subsequent_indent="  ")) + "\n")
    table = entry.example.table()
    widths = [max(len(row[place]) for row in table) for place in range(len(table[0]))]
    for row in table:
        click.echo("  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    click.echo("")
    for result in entry.example.results:
        click.echo(f"  {result}")
    if not entry.example.results:
        click.echo("  nothing")


@parcours.command()
@click.option("--settings", metavar="FILE", help="Settings that name a folder of your own event types.")
@click.argument("name", required=False)
def tables(name: str | None, settings: str | None) -> None:
    """List the tables of a run, or the columns of one.

    \b
    parcours tables journeys
    """
    from pipelines.manifest import sql_type
    from schemas.contracts import load_contracts
    from schemas.tables import tables as all_tables

    with _describing():
        known = all_tables(load_contracts(_folder("contracts", settings)))
    if name is None:
        _print_pairs((table.name, f"{table.description} One row is {table.grain}.") for table in known.values())
        click.echo("\nparcours tables NAME lists the columns of one.")
        return
    table = _named(name, known, "table")
    click.echo(f"{table.name}: {table.description}\nOne row is {table.grain}. Key: {', '.join(table.key)}.\n")
    width = max(len(column.name) for column in table.columns)
    _print_pairs((f"{c.name:<{width}}  {sql_type(c.type)}", c.description) for c in table.columns)


@parcours.command()
@click.option("--settings", metavar="FILE", help="Settings that name a folder of your own descriptions.")
def sources(settings: str | None) -> None:
    """List the exports of other systems that can be read.

    A name of the list stands before the pattern of run --input:

    \b
    parcours run --input 'complete_journey.transactions:data/transactions*.parquet' --output lake
    """
    from schemas.source_descriptions import load_sources

    with _describing():
        known = load_sources(_folder("sources", settings))
    _print_pairs((source.name, source.description) for source in known.values())


@parcours.command()
@click.option(
    "--output",
    "lake",
    metavar="LAKE",
    default="demo-lake",
    show_default=True,
    help="Where the demo's lake is made.",
)
def demo(lake: str) -> Any:
    """Make a small lake, and ask it a few questions.

    \b
    parcours demo --output demo-lake
    """
    with _quiet_imports():
        from pipelines import demo as story

    with stoppable():
        return story.main(lake)


# ---- parts of the commands -----------------------------------------------------------------------


@contextlib.contextmanager
def _quiet_imports() -> Iterator[None]:
    """Beam warns of extras that are absent while it is imported, and sets up logging: ours comes after it.

    A hundred thousand objects of imports all stay: not to look for garbage among them spares a tenth of a second.
    """
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr, force=True)
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s", force=True
    )


def _beam_args(runner: str, given: Sequence[str]) -> list[str]:
    """The runner and Beam's own options, as Beam wants them. UsageError for what neither we nor Beam know.

    Beam drops what it does not know without a word that one would see, and `--as-off` must not pass for it. A
    runner elsewhere may have options of its own (Flink's --parallelism): only there an unknown one is passed
    on.
    """
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator
    from apache_beam.runners.runner import create_runner

    parsers: list[Any] = []
    PipelineOptions([]).get_all_options(add_extra_args_fn=parsers.append)
    [parser] = parsers
    parser.error = _refuse_beam_option
    _, unknown = parser.parse_known_args(list(given))

    ours = [option for command in (run, check) for parameter in command.params for option in parameter.opts]
    previous = ""
    for word in unknown:
        if word.startswith("--"):
            option = word.partition("=")[0]
            near = difflib.get_close_matches(option, ours, n=1, cutoff=0.75)
            if near:
                raise UsageError(f"There is no option {option}.", f"Did you mean {near[0]}?")
            if runner in _LOCAL_RUNNERS:
                raise UsageError(f"Neither Parcours nor Beam has an option {option}.", "See parcours run --help.")
        elif not previous.startswith("--") or "=" in previous:
            raise UsageError(
                f"{word!r} belongs to no option.",
                "If the shell made several files of a pattern, quote it: --input 'events/*.jsonl'.",
            )
        previous = word

    args = [f"--runner={runner}", *given]
    try:
        missing = PipelineOptionsValidator(PipelineOptions(args), create_runner(runner)).validate()
    except (ValueError, ImportError, AttributeError) as error:
        raise UsageError(f"The runner {runner} cannot be used: {error}", "The usual one is FnApiRunner.") from None
    if missing:
        raise UsageError(f"The runner {runner} cannot start: {' '.join(missing)}", "Add these options of Beam's.")
    return args


def _refuse_beam_option(message: str) -> NoReturn:
    raise UsageError(f"Beam refuses an option: {message}.", "See parcours run --help, and the options of your runner.")


@contextlib.contextmanager
def _describing() -> Iterator[None]:
    """A file of the user's that `schemas` cannot use raises a ValueError that names it: theirs to mend."""
    try:
        yield
    except ValueError as error:
        raise UsageError(str(error)) from None


def _folder(setting: str, settings: str | None) -> str | None:
    """The user's own folder that a settings file names."""
    given = _settings(settings)
    folder: str | None = getattr(given, setting) if given else None
    return folder


def _settings(file: str | None) -> Any:
    """The settings of a file; None without one: importing them takes a while."""
    if file is None:
        return None
    from pipelines.settings import load_settings

    return load_settings(file)


def _named(name: str, known: Any, kind: str, command: str | None = None) -> Any:
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, list(known), n=3)
    mend = f"Did you mean {', '.join(near)}?" if near else f"parcours {command or f'{kind}s'} lists them."
    raise UsageError(f"There is no {kind} {name}.", mend)


def _told(entry: Any) -> Iterator[tuple[str, str]]:
    """A dictionary entry as label and text, in its own order; its SQL is named, not printed."""
    from schemas.parameters import told_parameter

    for part in dataclasses.fields(entry):
        value = getattr(entry, part.name)
        if part.name in _NOT_TOLD or not value or not isinstance(value, str | tuple | Mapping):
            continue  # an example as a whole is printed below
        if isinstance(value, Mapping):
            value = ", ".join(f"{name} = {told_parameter(given)}" for name, given in value.items())
        elif isinstance(value, tuple):
            value = ", ".join(value)
        yield part.name.replace("_", " "), value.removesuffix(".toml") + ".sql" if part.name == "file" else value


_NOT_TOLD = ("sql", "shape", "divisor", "accumulates", "over_all", "by_dimension_only", "is_forecast")


def _with_statistics(metric: Any) -> str:
    published = ", ".join(f"_{statistic}" for statistic in metric.statistics)
    return f"{metric.description} ({published})" if published else metric.description


def _print_pairs(pairs: Iterable[tuple[str, str]]) -> None:
    """Two columns: wrapped to a terminal, one line each for a pipe."""
    width = None if sys.stdout.isatty() else 1_000_000
    formatter = click.HelpFormatter(width=width, max_width=110)
    formatter.write_dl([(left, right) for left, right in pairs], col_max=70)
    click.echo("\n".join(line.removeprefix("  ") for line in formatter.getvalue().splitlines()))


if __name__ == "__main__":
    main()
