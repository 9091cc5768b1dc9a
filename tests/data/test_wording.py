"""A text is read the same whether its ids are known or not."""

from dataclasses import replace
from pathlib import Path

import pytest

from faster_higgs.checkpoint.load import read_config
from faster_higgs.config import ModelConfig
from faster_higgs.data.wording import KnownTexts, Wording
from faster_higgs.errors import CheckpointError
from faster_higgs.prompt.conversation import Conversation, Setting
from faster_higgs.prompt.template import write
from faster_higgs.prompt.voices import Voice
from tests.data.tiny import PICO, TEXTS, tiny_clips

CONFIG = ModelConfig.from_json(read_config(PICO))
SAID = (*TEXTS, "the <SE>[Laughter]</SE> end.", "user", "")


@pytest.fixture(scope="module", params=["text", "phonemes"])
def wording(request: pytest.FixtureRequest) -> Wording:
    return Wording.load(PICO, replace(CONFIG, text_input=request.param))


@pytest.mark.parametrize("voices", [0, 1, 2])
@pytest.mark.parametrize("in_system", [False, True])
def test_known_ids_are_those_of_the_tokenizer(
    wording: Wording, voices: int, in_system: bool
) -> None:
    known = KnownTexts(wording, {text: wording.tokens(text) for text in SAID})
    codes = tiny_clips(2)
    cast = tuple(Voice(f"v{i}", codes[i].codes, TEXTS[i]) for i in range(voices))
    setting = Setting(cast, voices_in_system=in_system)
    for text in (*SAID[:-1], f"[SPEAKER0] {TEXTS[2]}\n[SPEAKER1] {TEXTS[3]}", "never said."):
        plain = Conversation(setting, spell=wording.spell).ask(text)
        ours = Conversation(setting, spell=known.spell).ask(text)
        assert write(ours, known).ids == write(plain, wording.tokenizer).ids


def test_what_is_known_is_not_spelled(wording: Wording) -> None:
    known = KnownTexts(wording, {"hello": (7, 8, 9)})
    assert known.text(known.spell("hello")) == [7, 8, 9]
    assert known.text("hello") == wording.tokenizer.text("hello") != [7, 8, 9]


def test_a_wording_has_the_name_of_its_checkpoint(wording: Wording) -> None:
    same = Wording.load(PICO, CONFIG)
    assert (wording.fingerprint == same.fingerprint) == (wording.spell("a b") == same.spell("a b"))


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        Wording.load(tmp_path, CONFIG)
