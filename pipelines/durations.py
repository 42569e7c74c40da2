"""Spans of time as people write them: 30m, 1h, 7d, 1h30m."""

from __future__ import annotations

import re

_UNITS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_SPAN = re.compile(r"(?:[0-9]{1,9}[wdhms])+")
#: Ten years, as the other spans of the settings have it.
LONGEST_S = 3_650 * 86_400


def parse_duration(text: object) -> int:
    """Whole seconds of a span such as 45s, 30m, 1h, 7d, 2w or 1h30m; a day has 24 hours.

    ValueError, which says how to write it, for anything else, for none at all, and for more than 3650 days.

    >>> parse_duration("1h30m")
    5400
    """
    if not isinstance(text, str) or not _SPAN.fullmatch(text.strip()):
        raise ValueError("is not a span of time; write it as 30m, 1h, 7d or 1h30m (w, d, h, m, s)")
    parts = re.findall(r"(\d+)([wdhms])", text)
    units = [unit for _, unit in parts]
    if units != sorted(set(units), key=list(_UNITS).index):
        raise ValueError("names its units twice or in another order than w, d, h, m, s; write it as 1h30m")
    seconds = sum(int(number) * _UNITS[unit] for number, unit in parts)
    if not 0 < seconds <= LONGEST_S:
        raise ValueError("is not longer than nothing and at most 3650d")
    return seconds


def spelled(seconds: float) -> str:
    """A span for people: its two largest units, from a day on without seconds. Below a minute to a tenth.

    >>> spelled(5400), spelled(604_800), spelled(93_784.5), spelled(0.5)
    ('1h 30m', '7d', '1d 2h', '0.5s')
    """
    if seconds < 60:
        return f"{seconds:.1f}".removesuffix(".0") + "s"
    rest, parts = round(seconds), []
    for unit, length in _UNITS.items():
        if unit != "w" and rest >= length:
            parts.append(f"{rest // length}{unit}")
            rest %= length
        elif parts:
            break
    return " ".join(parts[:2])
