"""The model in the package: what it cannot read is told before it speaks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from faster_higgs.checkpoint.files import PACKAGED
from faster_higgs.checkpoint.load import load_model
from faster_higgs.config import EngineConfig
from faster_higgs.engine.engine import Engine
from faster_higgs.engine.request import Result
from faster_higgs.engine.scheduler import Job, Scheduler
from faster_higgs.errors import SettingError, TextError
from faster_higgs.prompt.conversation import Conversation
from faster_higgs.prompt.template import Prompt
from faster_higgs.sampling import Sampling
from faster_higgs.speech import Higgs
from tests.laws.test_batching import answers, same


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


def asked(pico: Higgs, text: str, voice: str) -> Prompt:
    (utterance,) = pico.plan(text, voice)
    return pico.prompt(Conversation(utterance.setting, utterance.tags, pico.spell).ask(text))


def test_sixteen_together_speak_as_each_alone(pico: Higgs) -> None:
    _, model = load_model(PACKAGED, dtype=torch.float32, text_head=False)
    voices = [voice.name for voice in pico.voices.list()]
    texts = ("Good morning.", "The weather is cold and windy today.", "Where are you?", "No.")
    wanted = [
        (asked(pico, text, voice), Sampling(seed=n, max_new_tokens=45, temperature=0.2 + n % 3))
        for n, (text, voice) in enumerate((t, v) for t in texts for v in voices)
    ]
    engine = Engine(model.eval())
    numbers = [engine.add(*one) for one in wanted]
    together = answers(engine)
    assert len(wanted) == 16
    for one, number in zip(wanted, numbers, strict=True):
        engine = Engine(model)
        assert same(answers_of(engine, *one), together[number])


def test_who_had_to_give_way_speaks_as_undisturbed(
    pico: Higgs, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, model = load_model(PACKAGED, dtype=torch.float32, text_head=False)
    voices = [voice.name for voice in pico.voices.list()]
    sampling = Sampling(max_new_tokens=60)
    wanted = [
        (asked(pico, "Good morning.", voice), replace(sampling, seed=n))
        for n, voice in enumerate(voices)
    ]
    interrupted = list[Job]()
    preempt = Scheduler._preempt

    def noted(scheduler: Scheduler, job: Job) -> Job:
        interrupted.append(job)
        return preempt(scheduler, job)

    monkeypatch.setattr(Scheduler, "_preempt", noted)
    longest = max(len(prompt) for prompt, _ in wanted)
    engine = Engine(model.eval(), EngineConfig(positions=2 * longest + 16), behind=True)
    numbers = [engine.add(*one) for one in wanted]
    together = answers(engine)
    assert interrupted
    for one, number in zip(wanted, numbers, strict=True):
        assert same(answers_of(Engine(model), *one), together[number])


def answers_of(engine: Engine, prompt: Prompt, sampling: Sampling) -> tuple[torch.Tensor, Result]:
    number = engine.add(prompt, sampling)
    return answers(engine)[number]
