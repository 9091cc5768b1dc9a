"""Golden cases and laws of the language guess."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faster_higgs.text import chunk, normalize
from faster_higgs.text.language import OTHER, guess
from faster_higgs.text.languages import signs

GOLDEN = [
    tuple(line.split("\t"))
    for line in (Path(__file__).parent / "golden_languages.tsv").read_text("utf-8").splitlines()
    if not line.startswith("## ")
]
CODES = {OTHER, *signs.SCRIPT_LANGUAGES.values()}.union(*signs.LETTERS.values())
NOT_ENGLISH = re.compile("[你「]|٣|^.sing start. la")  # of the normaliser's golden cases
SPOKEN_AS_ENGLISH = [
    line.split("\t")[0].replace("\\n", "\n")
    for line in (Path(__file__).parent / "golden_en.tsv").read_text("utf-8").splitlines()
    if not line.startswith("## ") and not NOT_ENGLISH.search(line)
]


@pytest.mark.parametrize(("language", "text"), GOLDEN, ids=[text for _, text in GOLDEN])
def test_golden(language: str, text: str) -> None:
    assert guess(text) == language


@pytest.mark.parametrize("text", SPOKEN_AS_ENGLISH)
def test_what_the_normaliser_reads_in_english_is_english(text: str) -> None:
    assert guess(text) == "en"


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=80))
def test_every_text_has_a_code_that_a_table_names(text: str) -> None:
    assert guess(text) in CODES


@settings(deadline=None, max_examples=100)
@given(st.sampled_from([text for _, text in GOLDEN]), st.text("0123456789 .,!?$%\n", max_size=9))
def test_numbers_and_marks_around_a_text_change_nothing(text: str, marks: str) -> None:
    assert guess(f"{marks} {text} {marks}") == guess(text)


def test_the_guess_does_not_change_from_run_to_run() -> None:
    code = (
        "import sys; from faster_higgs.text.language import guess; "
        "print([guess(line) for line in sys.stdin.read().splitlines()])"
    )
    text = "\n".join(text for _, text in GOLDEN)
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            input=text.encode(),
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path), "PYTHONUTF8": "1"},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1]


@pytest.mark.parametrize("script", signs.WORDS)
def test_every_letter_of_a_table_is_of_its_script(script: str) -> None:
    shared = set(signs.SHARED_LETTERS[script])
    for language, words in signs.WORDS[script].items():
        letters = set(words) - shared - set(" \n'")
        assert letters <= set(signs.LETTERS[script][language]), language
    assert list(signs.WORDS[script]) == list(signs.LETTERS[script])
    assert next(iter(signs.WORDS[script])) == signs.SCRIPT_LANGUAGES[script]


def test_the_codes_are_those_of_the_normaliser_and_the_chunker() -> None:
    assert set(normalize.LANGUAGES) <= CODES
    assert set(chunk.LANGUAGES) <= CODES


def test_fifty_thousand_characters_take_less_than_a_second() -> None:
    text = " ".join([text for _, text in GOLDEN] * 20)[:50_000]
    began = time.process_time()
    guess(text)
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    "piece", ["a", "a'", "é ", "[", "https://", "@", "x@", "'", "你", "\u0301"]
)
def test_no_piece_repeated_takes_long(piece: str) -> None:
    began = time.process_time()
    guess((piece * 20_000)[:20_000])
    assert time.process_time() - began < 1
