"""Laws and golden cases of the chunker."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faster_higgs.errors import SettingError
from faster_higgs.text.chunk import METHODS, Method, chunks, sentences, words
from faster_higgs.text.tags import TAG

GOLDEN = [
    json.loads(line)
    for line in (Path(__file__).parent / "golden_chunks.jsonl").read_text("utf-8").splitlines()
]
PIECES = [
    "word",
    "Word.",
    "word,",
    "end!",
    "Really?",
    "Dr.",
    "U.S.",
    "e.g.",
    "No.",
    "5",
    "3.5",
    "I.",
    "wait...",
    '"Quoted."',
    "(so)",
    "[SPEAKER0]",
    "[SPEAKER1]",
    "<SE>[Laughter]</SE>",
    "<SE_s>[Humming]</SE_s>",
    "你好",
    "世界。",
    "吗？",
    "「是」",
    "The",
    "a",
    "<|",
    "[x]",
    "[SPEAKER",
    "<SE>",
]
TEXT = st.one_of(
    st.text(max_size=80),
    st.lists(
        st.one_of(st.sampled_from([*PIECES, " ", " ", "\n"]), st.text(max_size=3)), max_size=40
    ).map("".join),
    st.lists(st.sampled_from(PIECES), max_size=40).map(" ".join),
)


@pytest.mark.parametrize("case", GOLDEN, ids=range(len(GOLDEN)))
def test_golden(case: dict[str, object]) -> None:
    given_, expected = dict(case), case["chunks"]
    del given_["chunks"]
    assert chunks(**given_) == expected  # type: ignore[arg-type]


def test_the_golden_file_is_large_enough() -> None:
    assert len(GOLDEN) >= 40


@settings(deadline=None)
@given(TEXT, st.sampled_from(METHODS), st.integers(1, 12), st.integers(1, 3))
def test_the_chunks_hold_the_words_of_the_text_in_order(
    text: str, method: Method, most: int, turns: int
) -> None:
    pieces = chunks(text, method, max_words=most, max_turns=turns)
    assert [word for piece in pieces for word in words(piece)] == words(text)
    assert all(piece == piece.strip() and piece for piece in pieces)


@settings(deadline=None)
@given(TEXT, st.sampled_from(["word", "sentence"]), st.integers(1, 12))
def test_no_chunk_is_too_long_and_each_is_a_slice(text: str, method: Method, most: int) -> None:
    at = 0
    for piece in chunks(text, method, max_words=most):
        assert 1 <= len(words(piece)) <= most
        at = text.index(piece, at) + len(piece)


@settings(deadline=None)
@given(TEXT, st.sampled_from(METHODS), st.integers(1, 5))
def test_tags_are_never_split(text: str, method: Method, most: int) -> None:
    pieces = chunks(text, method, max_words=most)
    assert [tag for piece in pieces for tag in TAG.findall(piece)] == TAG.findall(text)


@settings(deadline=None)
@given(TEXT, st.integers(1, 12))
def test_a_sentence_that_fits_is_not_cut(text: str, most: int) -> None:
    cuts, at = set(), 0
    for piece in chunks(text, "sentence", max_words=most):
        at += len(words(piece))
        cuts.add(at)
    at = 0
    for length in (len(words(sentence)) for sentence in sentences(text)):
        assert length > most or not any(at < cut < at + length for cut in cuts)
        at += length


@pytest.mark.parametrize("method", ["words", "", "Speaker"])
def test_an_unknown_method_is_named(method: str) -> None:
    with pytest.raises(SettingError, match="chunk method"):
        chunks("Hello.", method)  # type: ignore[arg-type]


@pytest.mark.parametrize("setting", [{"max_words": 0}, {"max_turns": -1}])
def test_impossible_sizes_are_refused(setting: dict[str, int]) -> None:
    with pytest.raises(SettingError, match="1 or more"):
        chunks("Hello.", "word", **setting)


@pytest.mark.parametrize(
    "piece",
    ["word ", "Dr. ", "你", "a.", "<SE>", "[SPEAKER0] ", "[", "「", '"', ".", "\n", "e.g. A. "],
)
@pytest.mark.parametrize("method", ["word", "sentence", "speaker"])
def test_long_text_takes_linear_time(piece: str, method: Method) -> None:
    text, began = (piece * 30_000)[:30_000], time.process_time()
    pieces = chunks(text, method, max_words=100)
    assert words(text) == [word for each in pieces for word in words(each)]
    assert time.process_time() - began < 2
