"""Values that mean nobody, and those that nearly do."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.nobody import means_nobody

#: The design's list; the module's own must not be what it is held against.
LISTED = ["-1", "null", "none", "n/a", "nan", "undefined", "unknown", "anonymous", "guest", "test"]


def nobody(*values: str | None, more: tuple[str, ...] = ()) -> list[bool]:
    return means_nobody(pa.array(values, pa.string()), more).tolist()


@pytest.mark.parametrize("word", LISTED)
def test_a_listed_word_in_any_case_and_in_white_space(word: str) -> None:
    spellings = [word, word.upper(), word.title(), word.swapcase()]
    white = (" ", "\t", "\r\n", "\x1f", "\u00a0", "\u2003")
    spellings += [before + word + after for before in white for after in ("", *white)]
    assert nobody(*spellings) == [True] * len(spellings)


@pytest.mark.parametrize("value", ["0", "0000", "-", "--", "0-0", "-0", " 00 ", "00000000-0000-0000-0000-000000000000"])
def test_nothing_but_zeros_and_hyphens(value: str) -> None:
    assert nobody(value) == [True]


@pytest.mark.parametrize(
    "value",
    [
        "c-1", "1", "-10", "--1", "-01", "0.0", "0x0", "0 0", "0_0", "00a", "١", "O", "−1", "nul", "nulll", "null.", "n a",
        "n / a", "none@x.example", "test1", "guest-7", "user unknown", "un known", "undefined undefined", "nän", "ｎｕｌｌ",
        "null\x00", "\x00",
    ],
)  # fmt: skip
def test_what_nearly_means_nobody_is_somebody(value: str) -> None:
    assert nobody(value) == [False]


def test_null_is_no_value() -> None:
    assert nobody(None, "null", None) == [False, True, False]
    assert nobody() == []


def test_a_slice_of_a_column() -> None:
    column = pa.array(["guest", "c-1", None, "GUEST", "c-2"])
    assert means_nobody(column.slice(1, 3)).tolist() == [False, False, True]


def test_words_of_the_settings() -> None:
    more = ("Nobody", " N.N. ", "büro", "")
    assert nobody("NOBODY ", "n.n.", "BÜRO", "Büro", "buro", "nobody else", more=more) == [True] * 4 + [False] * 2
    assert nobody("nobody", "null") == [False, True], "they are added to the list for this run only"


@pytest.mark.parametrize("word", ["ΚΑΝΕΝΑΣ", "İsimsiz", "straße", "НИКТО", "Éva", "Ǆ", "😀"])
def test_a_word_of_the_settings_is_found_as_it_is_written_there(word: str) -> None:
    """What lowers letters may differ in a final sigma or a dotted İ: word and value must go the same way."""
    assert nobody(word, f" {word}", more=(word,)) == [True, True]


letters = st.sampled_from([*"0-1nNuUlLaA/gG eEtTsSoO", "\u00a0", "\t", "ß", "Σ", "ς", "İ", "\u212a"])


@settings(max_examples=300)
@given(
    st.lists(st.one_of(st.none(), st.sampled_from(LISTED), st.text(letters, min_size=1, max_size=5)), max_size=8),
    st.lists(st.text(letters, min_size=1, max_size=3), max_size=2),
)
def test_reads_like_the_rule(values: list[str | None], more: list[str]) -> None:
    def lowered(text: str) -> str:
        return "".join(letter.lower()[0] for letter in text.strip())

    words = {lowered(word) for word in (*LISTED, *more)}
    expected = [v is not None and (lowered(v) in words or not v.strip().strip("0-")) for v in values]
    assert nobody(*values, more=tuple(more)) == expected
