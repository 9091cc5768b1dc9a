"""Listening during training: fixed texts and seeds, the weights as they are, and no trace left."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from faster_higgs.audio.save import save
from faster_higgs.checkpoint.codec_files import load_codec
from faster_higgs.checkpoint.load import read_config
from faster_higgs.config import ModelConfig
from faster_higgs.data.cache import ABOUT, Cache
from faster_higgs.data.wording import Wording
from faster_higgs.errors import DataError
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.prompt.tokens import START_HEADER
from faster_higgs.train import listen
from faster_higgs.train.listen import Listener, lines_of, speak
from faster_higgs.train.lora import put
from faster_higgs.train.tune_config import AdapterSettings
from tests.data.tiny import PICO, tiny_cache

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
}
KEPT = "clip-0017"


@pytest.fixture(scope="module")
def config() -> ModelConfig:
    return replace(ModelConfig.from_json(read_config(PICO)), **SMALL)


@pytest.fixture(scope="module")
def wording(config: ModelConfig) -> Wording:
    return Wording.load(PICO, config)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    folder = tiny_cache(tmp_path_factory.mktemp("listen") / "data")
    (folder / "listen").mkdir()
    save(folder / "listen" / "a.flac", np.zeros(9600, np.float32), rate=24_000)
    about = json.loads((folder / ABOUT).read_text())
    about["listen"] = [{"id": KEPT, "audio": "listen/a.flac"}]
    (folder / ABOUT).write_text(json.dumps(about))
    return Cache(folder)


@pytest.fixture
def model(config: ModelConfig) -> DualFFN:
    made = DualFFN(config)
    made.initialize(torch.Generator().manual_seed(0), std=0.3)
    return made


class Notes:
    """A journal that keeps what it is told."""

    def __init__(self) -> None:
        self.sounds: list[str] = []
        self.pictures: list[str] = []
        self.lines: list[str] = []

    def sound(self, step: int, name: str, samples: Tensor, rate: int) -> None:
        self.sounds.append(name)

    def picture(self, step: int, name: str, samples: Tensor, rate: int) -> None:
        self.pictures.append(name)

    def line(self, text: str) -> None:
        self.lines.append(text)


def short(cache: Cache, wording: Wording) -> list[listen.Line]:
    return [replace(line, most=12) for line in lines_of(cache, wording, 2)]


def test_lines_are_held_out_clips_those_first_whose_recordings_are_kept(cache, wording):
    lines = lines_of(cache, wording)
    held_out = [cache.clip(i).id for i in cache.indices("validation")]
    assert lines[0].name == KEPT and lines[0].recording == cache.folder / "listen/a.flac"
    assert {line.name for line in lines} <= set(held_out) and len(lines) == min(4, len(held_out))
    assert [line.seed for line in lines] == list(range(len(lines)))


def test_the_voice_is_another_clip_of_the_speaker(cache, wording):
    for line in lines_of(cache, wording):
        (given,) = line.prompt.clips
        assert line.codes is not None and not torch.equal(given, line.codes)
        index = cache.column("id").index(line.name)
        clips = map(cache.clip, range(len(cache)))
        owner = next(c.speaker for c in clips if torch.equal(c.codes, given))
        assert owner == cache.column("speaker")[index]
        assert line.prompt.ids.count(wording.tokenizer.special(START_HEADER)) == 5


def test_data_without_validation_is_refused(cache, wording, monkeypatch):
    monkeypatch.setattr(Cache, "indices", lambda self, split: [])
    with pytest.raises(DataError, match="no clips for validation"):
        lines_of(cache, wording)


def same(one: list[Tensor | None], two: list[Tensor | None]) -> bool:
    return all(
        a is not None and b is not None and torch.equal(a, b) for a, b in zip(one, two, strict=True)
    )


def test_the_same_weights_say_the_same_and_changed_ones_something_else(cache, wording, model):
    lines = short(cache, wording)
    first = speak(model, lines)
    assert same(first, speak(model, lines))
    with torch.no_grad():  # in place, as an optimiser changes them
        model.layers[1].audio_mlp.down.weight.mul_(-3)
    changed = speak(model, lines)
    assert not same(first, changed)
    fresh = DualFFN(model.config)
    fresh.load_state_dict(model.state_dict())
    assert same(changed, speak(fresh, lines))


@pytest.mark.parametrize("parts", [("attention", "audio_ffn"), ("attention",), ("text_ffn",)])
def test_an_adapter_is_heard_as_it_is_now(parts: Any, cache, wording, model):
    lines = short(cache, wording)
    put(model, AdapterSettings(parts, rank=4, alpha=8))
    first = speak(model, lines)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 1, generator=torch.Generator().manual_seed(1))
    assert not same(first, speak(model, lines))


def test_an_adapter_that_adds_nothing_is_not_heard(cache, wording, model):
    lines = short(cache, wording)
    first = speak(model, lines)
    put(model, AdapterSettings(("attention", "audio_ffn"), ("audio_head",), rank=4, dropout=0.5))
    assert same(first, speak(model, lines))  # with dropout left on it would


def test_training_goes_on_as_if_nobody_had_listened(cache, wording, model):
    model.train()
    model.layers[0].eval()
    modes = [module.training for module in model.modules()]
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    speak(model, short(cache, wording))
    assert torch.equal(torch.rand(3), expected)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(weight, weights[name]) for name, weight in model.state_dict().items())
    assert all(weight.grad is None and not weight.is_inference() for weight in model.parameters())


def test_files_and_curves_hold_recording_codec_and_every_evaluation(
    cache, wording, model, tmp_path
):
    lines = [replace(short(cache, wording)[0], name="a/b c"), short(cache, wording)[1]]
    listener, notes = (
        Listener(model, load_codec(PICO / "codec", encoder=False), lines, tmp_path),
        Notes(),
    )
    listener(10, notes)  # type: ignore[arg-type]
    listener(20, notes)  # type: ignore[arg-type]
    found = sorted(str(p.relative_to(tmp_path / "listen")) for p in tmp_path.rglob("*.wav"))
    names = ["a-b-c.wav", f"{lines[1].name}.wav"]
    steps = [f"step-{n:08d}/{name}" for n in (10, 20) for name in names]
    assert found == [*(f"codec/{name}" for name in names), "recording/a-b-c.wav", *steps]
    assert notes.sounds == notes.pictures
    assert notes.sounds.count("a/b c/recording") == notes.sounds.count("a/b c/codec") == 1
    assert notes.sounds.count("a/b c/model") == 2


def test_one_that_fails_or_is_silent_is_told_and_the_others_are_heard(
    cache, wording, model, tmp_path, monkeypatch
):
    lines = short(cache, wording)
    codes = speak(model, lines)[1]
    monkeypatch.setattr(listen, "speak", lambda *_: [None, codes])
    notes = Notes()
    Listener(model, load_codec(PICO / "codec", encoder=False), lines, tmp_path)(5, notes)  # type: ignore[arg-type]
    assert notes.lines == [f"step 5  {lines[0].name} could not be spoken"]
    assert f"{lines[1].name}/model" in notes.sounds
