"""pico's conversations are written as inference writes its prompts, and learn what is answered."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conversations import Conversations
from lm import shape
from tokenizer import build
from voices import TEACHERS

from faster_higgs.prompt.conversation import Conversation, Setting
from faster_higgs.prompt.expand import expand
from faster_higgs.prompt.template import write
from faster_higgs.prompt.tokens import TextTokenizer
from faster_higgs.train.sample import IGNORE

SENTENCES = [f"we saw {word} by the old river." for word in "ten red birds with boats".split()]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    said = [(voice, text) for voice, t in TEACHERS.items() for text in (t.reference, *SENTENCES)]
    frames = [20 + i for i in range(len(said))]
    utterances = [
        SimpleNamespace(text=text, voice=voice, frames=f, phones=[("w", 0.2), ("iy", f * 0.04)])
        for (voice, text), f in zip(said, frames, strict=True)
    ]
    folder = tmp_path_factory.mktemp("codes")
    rng = np.random.default_rng(0)
    np.save(folder / "codes.npy", rng.integers(0, 1024, (8, sum(frames))).astype(np.int16))
    np.save(folder / "starts.npy", np.cumsum([0, *frames]))
    raw = build()
    tokenizer = TextTokenizer(raw)
    config, corpus = shape(tokenizer, raw.get_vocab_size()), SimpleNamespace(utterances=utterances)
    return Conversations(corpus, folder, tokenizer, config, set()), config  # type: ignore[arg-type]


def test_a_shipped_voice_is_asked_as_inference_asks(made: tuple[Any, Any]) -> None:
    data, config = made
    for i in data.indices[:6]:
        voice = data.voice(data.references[data.corpus.utterances[i].voice])
        example = data.speak(Setting((voice,)), [i])
        text = data.corpus.utterances[i].text
        asked = Conversation(Setting((voice,)), spell=data.pronounce).ask(text)
        prompt = expand(write(asked, data.tokenizer), config)
        assert torch.equal(example.ids[: len(prompt.ids)], prompt.ids)
        assert torch.equal(example.columns[: len(prompt.columns)], prompt.columns)
        assert bool((example.audio_labels[: len(prompt.columns)] == IGNORE).all())
        centres = example.centres[len(prompt.columns) :]
        assert bool(centres[: data.corpus.utterances[i].frames].isfinite().all())


def test_every_conversation_learns_whole_clips(made: tuple[Any, Any]) -> None:
    data, config = made
    for epoch in range(4):
        for index in range(len(data)):
            labels = data.example(index, epoch).audio_labels
            ends = (labels == config.audio_stream_eos_id).sum(0)
            assert bool((ends == ends[0]).all()) and int(ends[0]) in (1, 2)
