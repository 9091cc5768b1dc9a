"""Laws of text that arrives: its parts do not depend on how it was cut on its way."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faster_higgs.text.arriving import Arriving, Granularity
from faster_higgs.text.chunk import sentences
from tests.text.test_chunk import PIECES

TEXTS = st.lists(st.sampled_from([*PIECES, " ", "\n", "...", "你好。", "「谁？」"]), max_size=25)


def whole(text: str, granularity: Granularity) -> list[str]:
    arriving = Arriving(granularity)
    return arriving.feed(text) + arriving.finish()


def cut(text: str, granularity: Granularity, sizes: list[int]) -> list[str]:
    arriving, found, begin = Arriving(granularity), [], 0
    while begin < len(text):
        size = sizes[begin % len(sizes)]
        found += arriving.feed(text[begin : begin + size])
        begin += size
    return found + arriving.finish()


@given(
    TEXTS, st.sampled_from(["none", "sentence", "clause"]), st.lists(st.integers(1, 9), min_size=1)
)
@settings(max_examples=300, deadline=None)
def test_parts_do_not_depend_on_the_way(pieces, granularity, sizes):
    text = " ".join(pieces)
    assert cut(text, granularity, sizes) == whole(text, granularity)
    assert cut(text, granularity, [1]) == whole(text, granularity)


@given(TEXTS)
@settings(max_examples=200, deadline=None)
def test_sentences_are_those_of_the_chunker_where_each_has_a_word(pieces):
    text = " ".join(pieces)
    usual = sentences(text)
    if all(any(map(str.isalnum, sentence)) for sentence in usual):
        assert whole(text, "sentence") == usual


@given(TEXTS, st.sampled_from(["none", "sentence", "clause"]))
@settings(max_examples=200, deadline=None)
def test_nothing_that_can_be_said_is_lost(pieces, granularity):
    text = " ".join(pieces)
    said = "".join(whole(text, granularity))
    assert [c for c in said if c.isalnum()] == [c for c in text if c.isalnum()]


@pytest.mark.parametrize(
    ("pieces", "found"),
    [
        (["Hello there. How "], ["Hello there."]),
        (["Hello there. How"], []),  # it may still become something else
        (["Dr. Smith ", "came. He ", "sat."], ["Dr. Smith came."]),
        (["It costs 3", ".5 dollars. Not "], ["It costs 3.5 dollars."]),
        (["你好。再见。", "我"], ["你好。"]),
        (["One.\nTwo ", "three"], ["One."]),
        (["Hi. <SE>[a long. Laugh"], []),
        (["Hi. <SE>[a long. Laugh", "]</SE> So "], ["Hi."]),
        (["!!! ... What? ", "Yes "], ["!!! ... What?"]),
    ],
)
def test_a_part_comes_as_soon_as_it_is_whole(pieces, found):
    arriving = Arriving("sentence")
    assert [part for piece in pieces for part in arriving.feed(piece)] == found


def test_clauses_are_shorter():
    arriving = Arriving("clause")
    assert arriving.feed("Well, my friend, how are ") == ["Well,", "my friend,"]
    assert arriving.finish() == ["how are"]


@pytest.mark.parametrize(("text", "found"), [("  ", []), ("!!", ["!!"]), ("So. !!", ["So."])])
def test_marks_alone_are_only_a_part_where_there_is_no_other(text, found):
    assert whole(text, "sentence") == found


def test_each_text_begins_afresh():
    arriving = Arriving("sentence")
    arriving.feed("One. Two ")
    arriving.finish()
    assert arriving.feed("Three. Four ") == ["Three."] and arriving.finish() == ["Four"]
