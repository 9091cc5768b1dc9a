"""The spine on a tiny random model: the same speech however it is asked for."""

from __future__ import annotations

import itertools
import json
import shutil
import time
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from faster_higgs.audio.encode import encode
from faster_higgs.audio.levels import Samples
from faster_higgs.compat import ChatMLSample, HiggsAudioServeEngine, Message
from faster_higgs.delivery import Delivery, utterances
from faster_higgs.engine.engine import Engine
from faster_higgs.engine.request import Finish, FrameEvent, Result
from faster_higgs.engine.scheduler import BATCH, INTERACTIVE
from faster_higgs.errors import (
    CheckpointError,
    DeadlinePassed,
    HiggsError,
    NoAudio,
    SettingError,
    TextError,
    VoiceNotFound,
)
from faster_higgs.native.kernels import Found
from faster_higgs.prompt.conversation import INSTRUCTION, QUIET_ROOM, Conversation
from faster_higgs.prompt.template import Prompt
from faster_higgs.prompt.voices import Voice
from faster_higgs.quant.quantization import Quantization
from faster_higgs.sampling import Rules, Sampling
from faster_higgs.speech import Higgs
from faster_higgs.spoken import Manners
from faster_higgs.testing import FakeHiggs, spoken, tiny_checkpoint, tones
from tests.engine.held import Held

LIVELY = Sampling(temperature=1.0, top_k=0, top_p=1.0, seed=5, max_new_tokens=60)
TEXT = "One short sentence. Then a second one follows!"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def higgs(folder: Path) -> Higgs:
    return Higgs.load(folder, text_head=True)


def test_streamed_bytes_are_the_whole_speech(higgs: Higgs) -> None:
    whole = higgs.speak(TEXT, sampling=LIVELY)
    streamed = b"".join(higgs.stream(TEXT, sampling=LIVELY, format="pcm"))
    assert streamed == encode(whole.samples, "pcm")
    found = [piece.codes for piece in higgs.pieces(TEXT, sampling=LIVELY)]
    decoded = np.concatenate([higgs.decode(codes) for codes in found if codes is not None])
    np.testing.assert_allclose(whole.samples, decoded, atol=1e-5)


def test_a_speech_is_the_same_however_long_its_parts_take(
    higgs: Higgs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sound and codes, whatever the pieces are that it is cut into."""
    heard, written, cuts = list[Samples](), list[Tensor](), set()
    for seed in range(5):
        times = itertools.accumulate(np.random.default_rng(seed).exponential(0.01, 100_000))
        monkeypatch.setattr(higgs._decoder._decoder, "_clock", lambda t=times: next(t))
        pieces = list(higgs.pieces(TEXT, sampling=LIVELY))
        cuts.add(tuple(len(piece.samples) for piece in pieces))
        heard.append(np.concatenate([piece.samples for piece in pieces]))
        codes = [piece.codes for piece in pieces if piece.codes is not None]
        written.append(torch.cat(codes, dim=1))
    assert len(cuts) > 1
    for samples, codes in zip(heard, written, strict=True):
        np.testing.assert_array_equal(samples, heard[0])
        assert torch.equal(codes, written[0])


def test_a_seed_makes_a_speech_again(higgs: Higgs) -> None:
    first = higgs.speak(TEXT)
    again = higgs.speak(TEXT, sampling=Sampling(seed=first.seed))
    np.testing.assert_array_equal(first.samples, again.samples)


def test_the_parts_of_a_speech_lie_side_by_side(higgs: Higgs) -> None:
    speech = higgs.speak(TEXT, sampling=LIVELY, delivery=Delivery(max_words=5))
    assert len(speech.parts) == 2
    assert speech.parts[0].begin == 0.0
    assert speech.parts[0].end == speech.parts[1].begin
    assert speech.parts[1].end == pytest.approx(speech.seconds)


def test_utterances_of_one_speech_draw_different_numbers(higgs: Higgs) -> None:
    speech = higgs.speak(
        "Same words. Same words.", sampling=LIVELY, delivery=Delivery(max_words=2, history=0)
    )
    cut = round(speech.parts[0].end * speech.rate)
    one, two = speech.samples[:cut], speech.samples[cut:]
    assert one.shape != two.shape or not np.array_equal(one, two)


def test_a_prompt_is_the_same_from_python_and_the_original_names(
    higgs: Higgs, folder: Path
) -> None:
    text = "The sun rises in the east and sets in the west."
    system = f"{INSTRUCTION}\n\n<|scene_desc_start|>\n{QUIET_ROOM}\n<|scene_desc_end|>"
    utterance = higgs.plan(text, voice=[])[0]
    ours = higgs.prompt(Conversation(utterance.setting, utterance.tags).ask(utterance.text))
    engine = HiggsAudioServeEngine(str(folder), device="cpu")
    sample = ChatMLSample([Message("system", system), Message("user", text)])
    dicts = [{"role": "system", "content": system}, {"role": "user", "content": text}]
    assert engine.prompt(sample, force_audio=True).ids == ours.ids
    assert engine.prompt(dicts, force_audio=True).ids == ours.ids


def test_a_cloned_voice_is_heard_by_the_model(higgs: Higgs, tmp_path: Path) -> None:
    clip = tmp_path / "clip.wav"
    rng = np.random.default_rng(0)
    clip.write_bytes(encode(rng.normal(0, 0.1, 24_000).astype(np.float32), "wav"))
    voice = higgs.clone(clip, "What is said.")
    assert voice.codes is not None
    assert voice.codes.shape == (higgs.config.num_codebooks, 25)
    plain, cloned = (higgs.speak("Hello there.", v, LIVELY).samples for v in ([], voice))
    assert plain.shape != cloned.shape or not np.array_equal(plain, cloned)


def test_every_turn_of_a_dialogue_has_its_own_voice_alone() -> None:
    voices = [Voice(n, torch.zeros(8, 3).long(), n) for n in ("a", "b")]
    text = "[SPEAKER1] Second first. [SPEAKER0] Then I. [SPEAKER1] And again."
    plan = utterances(text, Delivery(), voices)
    assert [(u.text, u.setting.voices[0].name) for u in plan] == [
        ("Second first.", "b"),
        ("Then I.", "a"),
        ("And again.", "b"),
    ]
    together = utterances(text, Delivery(chunk_method="none"), voices)
    assert len(together) == 1
    assert [v.name for v in together[0].setting.voices] == ["a", "b"]
    assert together[0].tags == ("SPEAKER0", "SPEAKER1")


def test_a_checkpoint_may_name_the_voices_of_texts_that_name_none(tmp_path: Path) -> None:
    assert Manners.load(tmp_path) == Manners()
    (tmp_path / "speech.json").write_text('{"voices": ["alice"], "max_words": 20}')
    assert Manners.load(tmp_path) == Manners(("alice",), 20)


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"voices": "alice"}', '{"max_words": "20"}', '{"max_words": 0}']
)
def test_a_broken_speech_file_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "speech.json").write_text(content)
    with pytest.raises(CheckpointError, match="cannot be read"):
        Manners.load(tmp_path)


def changed(folder: Path, target: Path, **settings: object) -> Path:
    """A copy of a checkpoint with other settings in its config.json."""
    shutil.copytree(folder, target)
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**config, **settings}))
    return target


def test_a_long_text_without_a_voice_forgets_what_there_is_no_room_for(
    folder: Path, tmp_path: Path
) -> None:
    small = changed(folder, tmp_path / "small", max_position_embeddings=400)
    with Higgs.load(small) as higgs:
        text = "And so they went on. " * 12
        speech = higgs.speak(text, [], LIVELY, Delivery(max_words=5))
    assert len(speech.parts) == 12


def test_parts_of_different_models_are_refused(folder: Path, tmp_path: Path) -> None:
    ids = changed(folder, tmp_path / "ids", audio_bos_token_id=260)
    with pytest.raises(CheckpointError, match="tokenizer writes"):
        Higgs.load(ids)
    codes = changed(folder, tmp_path / "codes", audio_stream_bos_id=60)
    with pytest.raises(CheckpointError, match="8 codebooks of 60 codes"):
        Higgs.load(codes)


@pytest.mark.parametrize("device", ["gpu", "meta", "cpu:3", "cuda:99", "xpu"])
def test_a_device_that_is_not_there_is_told(folder: Path, device: str) -> None:
    with pytest.raises(SettingError, match="device"):
        Higgs.load(folder, device=device)


def test_the_rules_of_the_references_need_no_text_head_for_forced_speech(folder: Path) -> None:
    with Higgs.load(folder) as higgs:
        for rules in get_args(Rules):
            assert len(higgs.speak("Hello.", [], replace(LIVELY, rules=rules)).samples)


def test_a_limit_that_is_too_small_for_sound_says_so(higgs: Higgs) -> None:
    with pytest.raises(NoAudio, match="max_new_tokens to 10 or more"):
        higgs.speak("Hello.", [], replace(LIVELY, max_new_tokens=9))
    assert len(higgs.speak("Hello.", [], replace(LIVELY, max_new_tokens=10)).samples)


def test_leaving_a_speech_early_frees_the_engine(
    higgs: Higgs, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, long = "And so they went on and on. " * 4, replace(LIVELY, seed=7, max_new_tokens=400)
    whole = higgs.speak(text, [], long)
    assert whole.seconds > 3  # so that it matters whether the rest is made
    held = Held(monkeypatch, most=40)
    pieces = higgs.pieces(text, [], long)
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    held.go.set()
    assert len(higgs.speak("Hello.", [], LIVELY).samples)
    assert held.steps[min(held.steps)] <= 41


@pytest.mark.parametrize(
    ("text", "voice", "error", "words"),
    [
        ("", None, TextError, "empty"),
        ("  \n ", None, TextError, "empty"),
        ("🎉🎉🎉", None, TextError, "no word"),
        ("...", None, TextError, "no word"),
        ("a " * 50_000, None, TextError, "100,000 characters"),
        ("Hello.", "nobody", VoiceNotFound, "nobody"),
        ("[SPEAKER0] Hi. [SPEAKER1] Hello.", "alice", SettingError, "2 speakers"),
        ("Hello.", "alice,bob", SettingError, "2 voices"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_spoken(
    higgs: Higgs, text: str, voice: str | None, error: type[HiggsError], words: str
) -> None:
    with pytest.raises(error, match=words):
        higgs.speak(text, voice)


def test_a_speech_cut_by_its_limit_says_so(higgs: Higgs) -> None:
    ends = {
        higgs.speak("Hello.", sampling=Sampling(temperature=1.0, seed=s, max_new_tokens=12)).finish
        for s in range(6)
    }
    assert Finish.LENGTH in ends


class Hesitant(FakeHiggs):
    """Falls silent for longer than anyone would wait, and goes on."""

    answer = f"Hello{100 * ' '}there."

    def _asked(self, prompt: Prompt) -> str:
        return self.answer


def test_only_guarded_speech_ends_with_a_long_silence() -> None:
    whole = tones(spoken(Hesitant.answer))
    with Hesitant() as higgs:
        guarded = higgs.speak("Hello there.")
        assert guarded.finish is Finish.SILENCE and len(guarded.samples) < len(whole) / 4
        *_, last = higgs.pieces("Hello there.")
        assert last.codes is not None
        assert last.codes.shape[1] == -(-len(guarded.samples) // higgs.codec.hop)
        for rules in ("original", "transformers"):
            speech = higgs.speak("Hello there.", sampling=Sampling(rules=rules))
            assert speech.finish is Finish.STOP
            np.testing.assert_array_equal(speech.samples, whole)


class Late(FakeHiggs):
    """Only its first utterance is ready in time."""

    begun = 0

    def frames(
        self, prompt: Prompt, sampling: Sampling, stop_ids: Sequence[int] = (), **urgency: Any
    ) -> Generator[FrameEvent]:
        self.begun += 1
        if self.begun == 1:
            return super().frames(prompt, sampling, stop_ids)
        nothing = torch.empty(8, 0, dtype=torch.long)
        return (FrameEvent(1, nothing, Result(Finish.DEADLINE, 0, 1, (), ())) for _ in range(1))


def test_what_was_spoken_before_the_deadline_is_kept() -> None:
    with Late() as higgs:
        speech = higgs.speak("One. Two. Three.", delivery=Delivery(max_words=1))
    assert [part.finish for part in speech.parts] == [Finish.STOP, Finish.DEADLINE]
    assert speech.finish is Finish.DEADLINE
    np.testing.assert_array_equal(speech.samples, tones(spoken("One.")))


def test_a_deadline_before_the_first_frame_is_told_in_its_own_words(higgs: Higgs) -> None:
    with pytest.raises(DeadlinePassed, match="give it more time"):
        higgs.speak(TEXT, sampling=LIVELY, delivery=Delivery(deadline=1e-9))
    assert len(higgs.speak(TEXT, sampling=LIVELY, delivery=Delivery(deadline=60)).samples)


def test_how_urgent_a_speech_is_reaches_the_engine(
    higgs: Higgs, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, add = [], Engine.add

    def noting(engine: Engine, *given: Any, priority: int, deadline: float | None) -> int:
        seen.append((priority, deadline))
        return add(engine, *given, priority=priority, deadline=deadline)

    monkeypatch.setattr(Engine, "add", noting)
    higgs.speak("Hello.", sampling=LIVELY)
    before = time.monotonic()
    higgs.speak("Hello.", sampling=LIVELY, delivery=Delivery(priority="batch", deadline=60))
    (usual, never), (patient, until) = seen
    assert (usual, never) == (INTERACTIVE, None) and patient == BATCH
    assert before + 60 <= until <= time.monotonic() + 60


def test_what_a_plan_has_to_say_is_told_when_the_model_is_loaded(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("faster_higgs.checkpoint.fit.find", lambda: Found(None, "no compiler"))
    with Higgs.load(folder, device="cpu", quantization=Quantization("int8", "int8")):
        assert caplog.messages == ["Warning: int8 weights are slow here: no compiler."]
