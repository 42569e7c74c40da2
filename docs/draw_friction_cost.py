"""Draws docs/friction-cost.svg: which moments are compared when friction is priced.

python docs/draw_friction_cost.py        writes docs/friction-cost.svg
"""

from __future__ import annotations

import sys
from pathlib import Path
from xml.sax.saxutils import escape

HERE = Path(__file__).resolve().parent
WIDTH, HEIGHT = 980, 400
INK, FAINT, PAPER, BAND = "#1f2933", "#66788a", "#ffffff", "#eef3f8"
EXPOSED, CONTROL, NEITHER, WON = "#c8553d", "#2f6f9f", "#b8c4cf", "#3f8f5f"

#: Customers in one stratum, from above: name, touches (x, mark), x of the outcome or None, and what the row shows.
TOUCH_X = (120, 190, 260, 330, 400)
ROWS: tuple[tuple[str, str, str, int | None], ...] = (
    ("Ann", "..!xx", "exposed at her third touch; her later ones are on neither side", None),
    ("Bob", "..ooo", "never exposed: three moments that are controls, and he orders", 470),
    ("Cleo", "..oo", "never exposed: two controls, and no order", None),
    ("Dan", "!xxx", "exposed at his first touch, in another stratum: no control here", None),
    ("Eve", "..o!x", "a control until she is exposed herself; she orders all the same", 500),
)
MARKS = {"!": EXPOSED, "o": CONTROL, ".": NEITHER, "x": NEITHER}


def draw() -> str:
    """The picture as SVG text."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif" role="img">',
        "<title>What is compared: moments at the same touch of a spell</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="{PAPER}"/>',
        f'<rect x="238" y="58" width="184" height="270" rx="8" fill="{BAND}"/>',
        _text(330, 30, "third to fifth touch", "middle", INK, 600),
        _text(330, 48, "same stage, doing, tenure, spend, channel", "middle", FAINT),
        _text(24, 30, "Spells", "start", INK, 600),
        _text(452, 30, "an outcome within 30 days", "start", INK, 600),
    ]
    for number, (name, marks, words, outcome) in enumerate(ROWS):
        y = 84 + number * 52
        parts.append(_text(24, y + 4, name, "start", INK, 600))
        parts.append(_text(590, y + 4, words, "start", FAINT))
        end = outcome or TOUCH_X[len(marks) - 1]
        parts.append(f'<line x1="{TOUCH_X[0]}" y1="{y}" x2="{end}" y2="{y}" stroke="{NEITHER}" stroke-width="1.5"/>')
        for x, mark in zip(TOUCH_X, marks, strict=False):
            size = 8 if mark in "!o" else 5
            parts.append(f'<circle cx="{x}" cy="{y}" r="{size}" fill="{MARKS[mark]}"/>')
        if outcome:
            parts.append(f'<rect x="{outcome - 8}" y="{y - 8}" width="16" height="16" rx="3" fill="{WON}"/>')
    x = 24
    for colour, words in ((EXPOSED, "friction"), (CONTROL, "control"), (NEITHER, "another touch"), (WON, "order")):
        parts.append(f'<circle cx="{x + 6}" cy="362" r="6" fill="{colour}"/>')
        parts.append(_text(x + 18, 366, words, "start", INK))
        x += 150
    lost = "Lost here for each exposed spell: the share of the controls that lead to an order (4 of 6) less that of the exposed"
    parts.append(_text(24, 388, f"{lost} (1 of 2).", "start", FAINT))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _text(x: int, y: int, words: str, anchor: str, colour: str, weight: int = 400) -> str:
    return (
        f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="12" font-weight="{weight}" fill="{colour}">'
        f"{escape(words)}</text>"
    )


if __name__ == "__main__":
    (HERE / "friction-cost.svg").write_text(draw(), encoding="utf-8")
    sys.stdout.write("docs/friction-cost.svg written\n")
