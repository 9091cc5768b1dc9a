"""Laws and golden cases of the normaliser."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faster_higgs.text.normalize import original, show, speakable

GOLDEN = [
    tuple(line.replace("\\n", "\n").split("\t"))
    for line in (Path(__file__).parent / "golden_en.tsv").read_text(encoding="utf-8").splitlines()
    if not line.startswith("## ")
]
WRITTEN = """
    0 1 5 12 2025 1999 3.5 1,234 007 12:30 7pm a.m. p.m. $ € £ % km kg °C GB m s / - – — + = # @ & *
    ^ ~ _ | ( ) [ ] < > . , : ; ! ? ' " ... Dr. St. Mr. No. etc. e.g. U.S. Inc. Jan. May March Mon.
    1st 2nd '90s IV VIII Henry Chapter FBI NASA IT USA AI CEOs OK A I a the word Word example.com
    https:// www. x@y.org +1 555-123-4567 [laugh] [music] [SPEAKER0] <SE>[Laughter]</SE> <SE> ½ ² 😀
    你好 。 BC AD k M x v2 B2B AT&T C++ w/ Ph.D. \\ ` -5 #1 USD 4B Room no. 12-25-2020 10%-20% 1-2-3
    $2B-$3B 72F ft. in. 8/10 "5" <5 020 John King III Mon-Fri 5k people 2024/25 7.30 min. on 1/2
    1:1-3 27" $-5 a
"""
PIECES = st.sampled_from([*WRITTEN.split(), " ", " ", "\n", "", "\ue000", "\u200b"])
MIXED = st.lists(PIECES, max_size=14).map("".join)
SPACED = st.lists(PIECES, max_size=14).map(" ".join)


@pytest.mark.parametrize(("text", "expected"), GOLDEN, ids=[text for text, _ in GOLDEN])
def test_golden(text: str, expected: str) -> None:
    assert speakable(text) == expected


def test_the_golden_file_is_large_enough() -> None:
    assert len(GOLDEN) >= 300
    assert len({text for text, _ in GOLDEN}) == len(GOLDEN)


@settings(deadline=None, max_examples=300)
@given(st.one_of(st.text(max_size=60), MIXED, SPACED))
def test_speakable_twice_is_speakable_once(text: str) -> None:
    once = speakable(text)
    assert speakable(once) == once


@settings(deadline=None, max_examples=200)
@given(st.one_of(st.text(max_size=60), MIXED, SPACED))
def test_nothing_is_left_for_a_reader_to_guess(text: str) -> None:
    spoken = speakable(text)
    outside = spoken.replace("[SPEAKER0]", "").replace("<SE>[Laughter]</SE>", "")
    assert not any(c in "0123456789$€£%°@&+=#_~|^\\" for c in outside)


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=60))
def test_original_settles_after_two_rounds(text: str) -> None:
    once = original(original(text))
    assert original(once) == once


@settings(deadline=None, max_examples=100)
@given(SPACED)
def test_tags_survive_in_order(text: str) -> None:
    spoken = speakable(text)
    assert spoken.count("[SPEAKER0]") == text.count("[SPEAKER0]")
    assert spoken.count("<SE>[Laughter]</SE>") == text.count("<SE>[Laughter]</SE>") + text.count(
        "[laugh]"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "."),
        ("hello", "hello."),
        ("hello!", "hello!"),
        ("  a \n\n b  ", "a\nb."),
        ("(a) 20°C 68°F", "a 20 degrees Celsius 68 degrees Fahrenheit."),
        ("[humming start]x[humming end]", "<SE_s>[Humming]</SE_s>x<SE_e>[Humming]</SE_e>"),
        ("[laugh][music][applause][cheering][cough]",
         "<SE>[Laughter]</SE><SE>[Music]</SE><SE>[Applause]</SE><SE>[Cheering]</SE><SE>[Cough]</SE>"),
        ("[music start][music end][sing start][sing end]",
         "<SE_s>[Music]</SE_s><SE_e>[Music]</SE_e><SE_s>[Singing]</SE_s><SE_e>[Singing]</SE_e>"),
        ("，。：；？！（）【】《》“”‘’、—…·「」『』", ", .:;?! []<>\"\"''," + "-....\"\"\"\""),
        ("I paid $5 in 1999", "I paid $5 in 1999."),
        ("ends with colon:", "ends with colon:."),
        ("ends;", "ends;"),
    ],
)  # fmt: skip
def test_original_does_what_the_original_does(text: str, expected: str) -> None:
    assert original(text) == expected


def test_other_languages_get_the_rules_of_the_original_only() -> None:
    assert speakable("今天是2025年。", language="zh") == "今天是2025年."


def test_nothing_to_say_is_empty() -> None:
    assert [speakable(text) for text in ("", "  ", "😀", "...", "?!", "\ud800")] == [""] * 6


def test_show_names_the_stages_and_ends_with_the_spoken_text() -> None:
    shown = show("Dr. Who paid $5 at 7:30.")
    assert shown[0] == ("text", "Dr. Who paid $5 at 7:30.")
    assert [name for name, _ in shown[1:]] == ["abbreviations", "dates and times", "money"]
    assert shown[-1][1] == "Doctor Who paid five dollars at seven thirty."


def test_a_hundred_thousand_characters_of_everything_take_less_than_two_seconds() -> None:
    text = " ".join([text for text, _ in GOLDEN] * 20)[:100_000]
    assert _seconds(text) < 2


@pytest.mark.parametrize(
    "piece",
    """7 1, 1/ 1.1 a. A. x@ www. $ ( <SE> *a -_ ' https://a. +1 V_ ½ _ é
    1- 5" 0_1_ 1:1- <_ 1%- 1k- no._5_ 1_min. Mon- King_A_""".split(),
)
def test_no_piece_repeated_takes_more_than_its_share(piece: str) -> None:
    assert _seconds((piece.replace("_", " ") * 10_000)[:10_000]) < 2


def _seconds(text: str) -> float:
    began = time.process_time()
    speakable(text)
    return time.process_time() - began
