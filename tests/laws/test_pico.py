"""The model in the package: what it cannot read is told before it speaks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from faster_higgs.checkpoint.files import PACKAGED
from faster_higgs.errors import SettingError, TextError
from faster_higgs.speech import Higgs


@pytest.fixture(scope="module")
def pico() -> Iterator[Higgs]:
    with Higgs.load(PACKAGED, device="cpu") as higgs:
        yield higgs


@pytest.mark.parametrize(
    ("text", "strange"),
    [("你好，世界。", "你好世界"), ("Hello, мир!", "мир")],
)
def test_letters_without_phonemes_are_refused(pico: Higgs, text: str, strange: str) -> None:
    with pytest.raises(TextError, match=f"cannot pronounce '{strange}'"):
        pico.speak(text)


def test_accents_and_numbers_are_read(pico: Higgs) -> None:
    (utterance,) = pico.plan("Café Zoë has 3 tables, naïvely £5.")
    assert "θɹi" in pico.spell(utterance.text)
    assert pico.spell("I paid $5.") == pico.spell("I paid five dollars.")


def test_more_speakers_than_voices_are_refused(pico: Higgs) -> None:
    text = "".join(f"[SPEAKER{i}] Hello." for i in range(5))
    with pytest.raises(SettingError, match="5 speakers and this model 4 voices"):
        pico.plan(text)
