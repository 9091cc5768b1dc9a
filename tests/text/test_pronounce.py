"""Laws and examples of the pronouncer and its packed lexicon."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from faster_higgs.errors import CheckpointError
from faster_higgs.text import lexicon as lx
from faster_higgs.text.normalize import speakable
from faster_higgs.text.pronounce import Pronouncer
from faster_higgs.text.tags import TAG

SAY = Pronouncer.load()
LETTERS = frozenset("".join(letter for _, letter, _ in lx.PHONES))

# Written down from what the synthesiser says.
WORDS = {
    "hello": "həloʊ", "world": "wɝld", "apple": "æpəl", "water": "wɔtɝ", "chair": "tʃɛɹ",
    "judge": "dʒʌdʒ", "thing": "θɪŋ", "this": "ðɪs", "vision": "vɪʒən", "you": "ju", "boy": "bɔɪ",
    "now": "naʊ", "my": "maɪ", "good": "ɡʊd", "one": "wʌn", "often": "ɔfən", "knight": "naɪt",
    "colonel": "kɝnəl", "queue": "kju", "don't": "doʊnt", "they're": "ðeɪɹ", "it's": "ɪts",
    "o'clock": "əklɑk", "dogs'": "dɑɡz", "cat's": "kæts", "church's": "tʃɝtʃəz", "John's": "dʒɑnz",
    "café": "kəfeɪ", "FBI": "ɛfbiaɪ", "NASA": "næsə", "STOP": "stɑp", "brrr": "biɑɹɑɹɑɹ",
}  # fmt: skip
SENTENCES = {
    "hello, world.": "həloʊ, wɝld.",
    "the apple and the pear": "ði æpəl ænd ðə pɛɹ",
    "the hour, the one, the use": "ði aʊɝ, ðə wʌn, ðə jus",
    "an apple a day": "æn æpəl ə deɪ",
    "vitamin a.": "vaɪtəmən eɪ.",
    "the use, to use, uses": "ðə jus, tə juz, juzəz",
    "at nine A M": "æt naɪn eɪ ɛm",
    "the F B I": "ði ɛf bi aɪ",
    "a record to record": "ə ɹɛkɝd tə ɹəkɔɹd",
    "Close the close door": "kloʊz ðə kloʊs dɔɹ",
    "where do you live": "wɛɹ du ju lɪv",
    "live, the live show, their lives": "lɪv, ðə laɪv ʃoʊ, ðɛɹ laɪvz",
    "to read what I read": "tə ɹid wʌt aɪ ɹɛd",
    "well-known": "wɛl noʊn",
    "wait - what": "weɪt, wʌt",
    "wait... what?!": "weɪt. wʌt?",
    "“quoted” (words)": "kwoʊtəd wɝdz",
    "[SPEAKER0] yes <SE>[Laughter]</SE> no.": "[SPEAKER0] jɛs <SE>[Laughter]</SE> noʊ.",
    "42": "fɔɹ tu",
    "U.S.": "ju ɛs",
    "你好": "",
    "": "",
    "...": "",
}


PIECES = "the A a FBI use 's ' - … [SPEAKER0] <SE>[Cough]</SE> . ? U.S. é x 7".split()
MIXED = st.lists(st.sampled_from([*PIECES, " ", " "]), max_size=12).map("".join)


@pytest.mark.parametrize(("word", "sounds"), WORDS.items())
def test_words(word: str, sounds: str) -> None:
    assert SAY(word) == sounds


@pytest.mark.parametrize(("text", "sounds"), SENTENCES.items())
def test_sentences(text: str, sounds: str) -> None:
    assert SAY(text) == sounds


@settings(deadline=None, max_examples=200)
@given(st.one_of(st.text(max_size=60), MIXED))
def test_any_text_gives_phones_marks_and_tags_only(text: str) -> None:
    sounds = SAY(text)
    assert set(TAG.sub("", sounds)) <= LETTERS | set(" .,?!;:")
    assert sounds == " ".join(sounds.split())
    assert TAG.findall(sounds) == TAG.findall(text)


@settings(deadline=None, max_examples=100)
@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=40))
@example("ou")
def test_every_word_of_letters_is_said(word: str) -> None:
    assert SAY(word)


@given(st.lists(st.text(alphabet="abcdxyz\t'", max_size=12), max_size=30).map(sorted))
def test_squeezed_lines_come_back(lines: list[str]) -> None:
    assert list(lx.unsqueeze(lx.squeeze(lines))) == lines or lines == [""]


def test_sections_come_back_and_pack_alike() -> None:
    sections = {name: name.encode() * 9 for name in lx.SECTIONS}
    assert lx.unpack(lx.pack(sections), "x") == sections
    assert lx.pack(sections) == lx.pack(dict(reversed(sections.items())))


def test_the_packaged_file_is_small_and_quick() -> None:
    assert lx.PACKAGED.stat().st_size < 1_200_000
    began = time.process_time()
    Pronouncer.load()("The quick brown fox jumps over the lazy dog.")
    assert time.process_time() - began < 1.0


@pytest.mark.parametrize("data", [b"", b"nonsense", lx.MAGIC + b"nonsense", lx.MAGIC])
def test_a_damaged_file_is_named(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "lexicon.bin").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"lexicon\.bin"):
        Pronouncer.load(tmp_path / "lexicon.bin")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none\.bin"):
        Pronouncer.load(tmp_path / "none.bin")


def test_speakable_text_is_pronounced_whole() -> None:
    assert SAY(speakable("Dr. Lee paid $5.")) == "dɑktɝ li peɪd faɪv dɑlɝz."


@pytest.mark.parametrize(
    "piece",
    ["the ", "The THE ", "a ", "a.", "-", "'", "[SPEAKER0] ", "<", "x", "word ", "..", "FBI "],
)
def test_long_text_takes_linear_time(piece: str) -> None:
    text, began = (piece * 20_000)[:20_000], time.process_time()
    SAY(text)
    assert time.process_time() - began < 2
