"""Laws and golden cases of the normaliser for Vietnamese."""

from __future__ import annotations

import re
import time
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faster_higgs.text import language
from faster_higgs.text.languages.vi import ABBREVIATIONS, CURRENCY_CODES, UNITS
from faster_higgs.text.languages.vi_letters import placed
from faster_higgs.text.languages.vi_numbers import cardinal, number
from faster_higgs.text.normalize import show, speakable

GOLDEN = [
    tuple(line.replace("\\n", "\n").split("\t"))
    for line in (Path(__file__).parent / "golden_vi.tsv").read_text(encoding="utf-8").splitlines()
    if not line.startswith("## ")
]
WRITTEN = """
    0 1 5 12 2025 1945 3,5 3.5 1.234 1,234 007 12:30 7h30 7h 7g 7pm $ € £ ₫ đ % km m2 kg °C GB m s k
    tr tỷ / - – — + = # @ & * ^ ~ _ | ( ) [ ] < > . , : ; ! ? ' " ... TP. TP.HCM GS. Q. Q.1 P.
    H. v.v.
    ngày tháng thứ quý năm sáng 2/9 30/4 1/2 2/9/1945 02-09-1945 IV VIII XX thế kỷ chương FBI
    VTV AI US
    NAM một nghe xe hoà quí VN UBND VND USD CEOs example.com https:// www. x@y.org 0912 345 678
    +84 1900
    [laugh] [music] [SPEAKER0] <SE>[Laughter]</SE> <SE> ½ ² 😀 你好 。 v2 A4 51F-123.45 C++ \\ `
    -5 #1
    số hẻm 12/5 tỷ lệ 1:2 10%-20% 1-2-3 20k-30k 5kg-7kg 1m75 1tr5 72°F tr. 8/10 "5" <5 020 2-1 thắng
    T2-T6 30p 90' 6,1" 10°45' 1,2,3 3.2.1 x 3x4 ≥ → m/s người/km² đ/kg /tháng oC mã gọi 113 a N Đ
""".split()
PIECES = st.sampled_from([*WRITTEN, " ", " ", "\n", "", "\ue000", "\u200b", "\u0301"])
MIXED = st.lists(PIECES, max_size=14).map("".join)
SPACED = st.lists(PIECES, max_size=14).map(" ".join)
ANY_TEXT = st.one_of(st.text(max_size=60), MIXED, SPACED)


def vietnamese(text: str) -> str:
    return speakable(text, "vi")


@pytest.mark.parametrize(("text", "expected"), GOLDEN, ids=[text for text, _ in GOLDEN])
def test_golden(text: str, expected: str) -> None:
    assert vietnamese(text) == expected


def test_decomposed_letters_are_read_alike() -> None:
    for text, expected in GOLDEN:
        assert vietnamese(unicodedata.normalize("NFD", text)) == expected


def test_the_golden_file_is_large_enough() -> None:
    assert len(GOLDEN) >= 400
    assert len({text for text, _ in GOLDEN}) == len(GOLDEN)


@settings(deadline=None, max_examples=250)
@given(ANY_TEXT)
def test_twice_is_once(text: str) -> None:
    once = vietnamese(text)
    assert vietnamese(once) == once


@settings(deadline=None, max_examples=200)
@given(ANY_TEXT)
def test_nothing_is_left_for_a_reader_to_guess(text: str) -> None:
    spoken = vietnamese(text)
    outside = re.sub(r"\[SPEAKER0\]|</?SE(_[se])?>", "", spoken)
    assert not any(c in "0123456789$€£₫%°@&+=#_~|^\\" for c in outside)


@settings(deadline=None, max_examples=100)
@given(SPACED)
def test_tags_survive_in_order(text: str) -> None:
    spoken = vietnamese(text)
    assert spoken.count("[SPEAKER0]") == text.count("[SPEAKER0]")
    assert spoken.count("<SE>[Laughter]</SE>") == text.count("<SE>[Laughter]</SE>") + text.count(
        "[laugh]"
    )


@settings(deadline=None, max_examples=100)
@given(st.lists(st.sampled_from("tôi đi xe về nghe nhạc và Ăn cơm ở Huế".split()), min_size=1))
def test_plain_words_are_all_kept_and_end_in_a_full_stop(words: list[str]) -> None:
    assert vietnamese(" ".join(words)) == " ".join(words) + "."


# --- numbers -----------------------------------------------------------------------------------

SAID = {
    word: value
    for value, words in enumerate("không;một mốt;hai;ba;bốn tư;năm lăm;sáu;bảy;tám;chín".split(";"))
    for word in words.split()
}


def parsed(words: str) -> int:
    """The number that a Vietnamese speaker understands; written apart from what is tested."""
    for name, size in (("tỷ", 10**9), ("triệu", 10**6), ("nghìn", 10**3), ("trăm", 100)):
        head, found, rest = (
            words.rpartition(f" {name}") if name == "tỷ" else words.partition(f" {name}")
        )
        if found:
            return parsed(head) * size + (parsed(rest.strip()) if rest.strip() else 0)
    words = words.removeprefix("linh ")
    if words.startswith("mười"):
        return 10 + SAID.get(words[5:], 0)
    tens, found, one = words.partition(" mươi")
    return SAID[tens] * 10 + SAID.get(one.strip(), 0) if found else SAID[words]


SIZES = st.integers(0, 15).flatmap(lambda size: st.integers(0, 10**size))


@pytest.mark.parametrize("start", range(0, 3000, 500))
def test_small_numbers_are_understood(start: int) -> None:
    for n in range(start, start + 500):
        assert parsed(cardinal(n)) == n


@settings(max_examples=250)
@given(SIZES)
def test_numbers_are_understood(n: int) -> None:
    assert parsed(cardinal(n)) == n
    assert vietnamese(f"{n:,}".replace(",", ".") if n >= 1000 else str(n)) == f"{cardinal(n)}."


@settings(max_examples=300)
@given(SIZES, SIZES)
def test_two_numbers_never_sound_alike(a: int, b: int) -> None:
    assert (cardinal(a) == cardinal(b)) == (a == b)


@settings(max_examples=300)
@given(SIZES)
def test_only_standard_forms_are_said(n: int) -> None:
    words = cardinal(n)
    for wrong in ("mươi một", "mươi năm", "mười năm", "mười mốt", "mười tư", "linh mười"):
        assert wrong not in words
    for right in ("mốt", "tư"):
        assert words.count(right) == words.count(f"mươi {right}")


@settings(max_examples=200)
@given(st.integers(0, 10**6), st.text("0123456789", min_size=1, max_size=6))
def test_a_decimal_says_all_its_digits(whole: int, part: str) -> None:
    head, _, tail = number(f"{whole},{part}").partition(" phẩy ")
    assert parsed(head) == whole
    if len(part) == 2 and part[0] != "0":
        assert parsed(tail) == int(part)
    else:
        assert "".join(str(SAID[word]) for word in tail.split()) == part


# --- tone marks --------------------------------------------------------------------------------


@settings(max_examples=300)
@given(st.text("hqugitànoóeỏyúưươâệáếăùỳ", min_size=1, max_size=6))
def test_a_tone_mark_moves_and_nothing_else(word: str) -> None:
    moved = placed(word)
    assert placed(moved) == moved
    assert sorted(unicodedata.normalize("NFD", moved)) == sorted(unicodedata.normalize("NFD", word))


@pytest.mark.parametrize("pair", ["hoà hòa", "thuý thúy", "khoẻ khỏe", "hòan hoàn", "qúy quý"])
def test_two_spellings_become_one(pair: str) -> None:
    first, last = pair.split()
    assert vietnamese(first) == vietnamese(last) == f"{last}."


# --- the whole ---------------------------------------------------------------------------------

ENGLISH_WORDS = set(
    """degrees celsius percent dollars dollar and plus minus at dot slash equals point hundred
    thousand million to kilometers hashtag""".split()
)


def test_no_english_gets_in() -> None:
    for text, expected in GOLDEN:
        came_in = _words(expected) - _words(text)
        assert not ENGLISH_WORDS & came_in, text


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


@pytest.mark.parametrize("table", [UNITS, ABBREVIATIONS, CURRENCY_CODES])
def test_what_a_table_says_needs_no_further_rule(table: dict[str, str]) -> None:
    for words in table.values():
        assert vietnamese(f"a {words} a") == f"a {words} a."


def test_every_unit_is_said() -> None:
    for sign, words in UNITS.items():
        assert vietnamese(f"có 5 {sign} đó") == f"có năm {words} đó."


def test_every_abbreviation_is_said() -> None:
    for short, words in ABBREVIATIONS.items():
        assert vietnamese(f"a {short} là") == f"a {words} là."


def test_show_names_the_stages() -> None:
    shown = show("Quí vị trả 5$ lúc 7h30 ngày 2/9.", "vi")
    assert [name for name, _ in shown[1:]] == ["tone marks", "dates and times", "money"]
    assert shown[-1][1] == "Quý vị trả năm đô la lúc bảy giờ ba mươi phút ngày hai tháng chín."


def test_the_language_is_guessed_from_the_golden_sentences() -> None:
    sentences = [text for text, _ in GOLDEN if len(text.split()) > 5 and not text.isascii()]
    assert len(sentences) > 25
    for text in sentences:
        assert language.guess(text) == "vi", text
        assert language.guess(unicodedata.normalize("NFD", text)) == "vi", text


def test_a_hundred_thousand_characters_of_everything_take_less_than_three_seconds() -> None:
    text = " ".join([text for text, _ in GOLDEN] * 20)[:100_000]
    assert _seconds(text) < 3


@pytest.mark.parametrize(
    "piece",
    """7 1, 1. 1/ 1.1 1,1 a. A. x@ www. $ ( <SE> *a -_ ' https://a. +1 V_ ½ _ é 1- 5" 5' 0_1_
    1:1- <_ 1%- 1k-
    1đ- 7h- Q._ TP. ngày_ ngày_1/ tháng_1- thứ_1 XX- thế_kỷ_X số_1/ mã_số_1_ IV_ T2- GS.TS. 1x
    1h3 hoà ộ AB
    Đ.Đ v.v. 1m 1tr1 0912. / +""".split(),
)
def test_no_piece_repeated_takes_more_than_its_share(piece: str) -> None:
    assert _seconds((piece.replace("_", " ") * 10_000)[:10_000]) < 2


def _seconds(text: str) -> float:
    began = time.process_time()
    vietnamese(text)
    return time.process_time() - began
