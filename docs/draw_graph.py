"""Draws docs/graph.svg: the steps of pipelines/journeys.py under their labels, and what passes between them.

    python docs/draw_graph.py        writes docs/graph.svg

No drawing program is needed; tests/test_docs.py holds the picture against the labels in the code.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

HERE = Path(__file__).resolve().parent
WIDTH, HEIGHT = 1080, 560
BOX_WIDTH, BOX_HEIGHT = 140, 44

INK, FAINT, PAPER = "#1f2933", "#66788a", "#ffffff"
STEP, DATA = "#e3edf7", "#fdf3d8"


@dataclass(frozen=True)
class Box:
    """A step (its label in the graph) or a store of data, with a few words below its name."""

    name: str
    words: str
    x: int
    y: int
    is_data: bool = False
    width: int = BOX_WIDTH

    @property
    def centre(self) -> int:
        return self.x + self.width // 2

    @property
    def right(self) -> int:
        return self.x + self.width

    @property
    def middle(self) -> int:
        return self.y + BOX_HEIGHT // 2

    @property
    def bottom(self) -> int:
        return self.y + BOX_HEIGHT


#: Rows of the picture: heading, its words, top and height, and where the heading begins.
LANES = (
    ("Block by block", "read, map, check, set aside", 16, 118, 24),
    ("Narrow rows", "duplicates, identity", 146, 90, 24),
    ("Shard by shard", "one shuffle, then whole customers in order", 250, 176, 160),
    ("Once", "all tables whole, then one write", 438, 106, 24),
)

BOXES = {
    box.name: box
    for box in (
        Box("files", "jsonl, csv, parquet", 24, 64, True),
        Box("ReadBlocks", "files to blocks", 184, 64),
        Box("MapSource", "by name, or SELECT", 344, 64),
        Box("Validate", "contracts, as-of", 504, 64),
        Box("StageBlocks", "events, once, to disk", 664, 64),
        Box("GatherQuarantine", "with every broken rule", 904, 64, width=152),
        Box("FindDuplicates", "by event_id and times", 588, 182, width=172),
        Box("ResolveIdentity", "five rounds: whose events", 344, 182, width=172),
        Box("LoadByCustomer", "customer_key, bucket", 24, 296),
        Box("Stitch", "order, sessions", 184, 296),
        Box("BuildEntities", "tickets, subscriptions", 344, 296),
        Box("AssignStages", "stages, lapses", 504, 296),
        Box("BuildJourneys", "outcomes, silences", 664, 296),
        Box("FindFriction", "one SQL file a kind", 24, 366),
        Box("SummariseCustomers", "one row a customer", 178, 366, width=148),
        Box("MapIdentities", "identity_map", 340, 366, width=108),
        Box("FrictionSummary", "what friction costs", 850, 262, width=150),
        Box("MeasureShards", "months, partial sums", 462, 366, width=130),
        Box("Measure", "fit, value, add up", 606, 366, width=120),
        Box("WriteShards", "tables of customers", 742, 366, width=136),
        Box("WriteTables", "metrics, quarantine, …", 892, 366, width=148),
        Box("WriteListing", "files and counts", 664, 484),
        Box("manifest", "sums proven", 504, 484, True),
        Box("catalog", "views for DuckDB", 344, 484, True),
        Box("current.json", "the published run", 184, 484, True),
    )
}


def draw() -> str:
    """The picture as SVG text."""
    b = BOXES
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif" role="img">',
        "<title>From files to the published run</title>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0 L8 4 L0 8 z" fill="{INK}"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="{PAPER}"/>',
    ]
    for name, words, top, height, left in LANES:
        parts += [
            f'<rect x="10" y="{top}" width="{WIDTH - 20}" height="{height}" rx="6" fill="none" stroke="#cfd8e3"/>',
            f'<text x="{left}" y="{top + 24}" font-size="14" font-weight="600" fill="{INK}">{escape(name)}'
            f'<tspan font-weight="400" font-size="12" fill="{FAINT}" dx="10">{escape(words)}</tspan></text>',
        ]
    for left, right in (
        ("files", "ReadBlocks"), ("ReadBlocks", "MapSource"), ("MapSource", "Validate"), ("Validate", "StageBlocks"),
        ("LoadByCustomer", "Stitch"), ("Stitch", "BuildEntities"), ("BuildEntities", "AssignStages"),
        ("AssignStages", "BuildJourneys"), ("FindFriction", "SummariseCustomers"), ("SummariseCustomers", "MapIdentities"),
        ("MapIdentities", "MeasureShards"), ("MeasureShards", "Measure"),
    ):  # fmt: skip
        parts.append(_arrow((b[left].right, b[left].middle), (b[right].x, b[right].middle)))
    for right, left in (("WriteListing", "manifest"), ("manifest", "catalog"), ("catalog", "current.json")):
        parts.append(_arrow((b[right].x, b[right].middle), (b[left].right, b[left].middle)))
    stage, duplicates, load = b["StageBlocks"], b["FindDuplicates"], b["LoadByCustomer"]
    identity = b["ResolveIdentity"]
    journeys, friction, tables = b["BuildJourneys"], b["FindFriction"], b["WriteTables"]
    quarantine = b["GatherQuarantine"]
    parts += [
        # what is wrong, over the top; and its records to the merged tables
        _arrow((b["Validate"].centre, b["Validate"].y), (b["Validate"].centre, 44), (quarantine.centre, 44),
               (quarantine.centre, quarantine.y)),
        _arrow((quarantine.centre + 60, quarantine.bottom), (quarantine.centre + 60, 340), (tables.right - 30, 340),
               (tables.right - 30, tables.y)),
        # identifier rows down, the rows of duplicates on; the blocks themselves beside them
        _arrow((stage.centre - 40, stage.bottom), (stage.centre - 40, duplicates.y)),
        _arrow((duplicates.x, duplicates.middle), (identity.right, identity.middle)),
        _arrow((identity.x, identity.middle), (load.centre - 20, identity.middle), (load.centre - 20, load.y)),
        _arrow((stage.right, stage.middle), (826, stage.middle), (826, 243), (load.centre + 20, 243),
               (load.centre + 20, load.y)),
        # from the end of the row of steps to the next one
        _arrow((journeys.centre, journeys.bottom), (journeys.centre, 353), (friction.centre, 353),
               (friction.centre, friction.y)),
        # the tables of the shards, and the merged ones
        _arrow((b["MeasureShards"].centre, b["MeasureShards"].bottom),
               (b["MeasureShards"].centre, 418), (b["WriteShards"].centre - 30, 418),
               (b["WriteShards"].centre - 30, b["WriteShards"].bottom)),
        # what friction costs, beside the numbers
        _arrow((b["SummariseCustomers"].centre, b["SummariseCustomers"].y), (b["SummariseCustomers"].centre, 347),
               (b["FrictionSummary"].x + 20, 347), (b["FrictionSummary"].x + 20, b["FrictionSummary"].bottom)),
        _arrow((b["FrictionSummary"].right - 20, b["FrictionSummary"].bottom),
               (b["FrictionSummary"].right - 20, tables.y)),
        _arrow((b["Measure"].right, b["Measure"].middle), (b["WriteShards"].x, b["Measure"].middle)),
        _arrow((b["Measure"].centre, b["Measure"].y), (b["Measure"].centre, 359),
               (tables.x + 40, 359), (tables.x + 40, tables.y)),
        _arrow((b["WriteShards"].centre + 20, b["WriteShards"].bottom), (b["WriteListing"].centre + 20,
               b["WriteListing"].y)),
        _arrow((tables.centre, tables.bottom), (tables.centre, b["WriteListing"].middle),
               (b["WriteListing"].right, b["WriteListing"].middle)),
        _words(duplicates.x - 6, duplicates.middle - 7, "copies", "end"),
        _words(identity.x - 10, identity.middle - 7, "what each block is told", "end"),
        _words(834, 215, "blocks", "start"),
        _words(stage.centre - 34, stage.bottom + 16, "identifier rows", "start"),
    ]  # fmt: skip
    parts += [_box(box) for box in BOXES.values()]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _box(box: Box) -> str:
    fill, radius = (DATA, 16) if box.is_data else (STEP, 5)
    return (
        f'<rect x="{box.x}" y="{box.y}" width="{box.width}" height="{BOX_HEIGHT}" rx="{radius}" fill="{fill}" '
        f'stroke="{INK}" stroke-width="1"/>'
        f'<text x="{box.centre}" y="{box.y + 19}" text-anchor="middle" font-size="13" font-weight="600" '
        f'fill="{INK}">{escape(box.name)}</text>'
        f'<text x="{box.centre}" y="{box.y + 35}" text-anchor="middle" font-size="11" fill="{INK}">'
        f"{escape(box.words)}</text>"
    )


def _arrow(*points: tuple[int, int]) -> str:
    path = " L".join(f"{x} {y}" for x, y in points)
    return f'<path d="M{path}" fill="none" stroke="{INK}" stroke-width="1.2" marker-end="url(#head)"/>'


def _words(x: int, y: int, words: str, anchor: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="11" fill="{FAINT}">{escape(words)}</text>'


if __name__ == "__main__":
    (HERE / "graph.svg").write_text(draw(), encoding="utf-8")
    sys.stdout.write("docs/graph.svg written\n")
