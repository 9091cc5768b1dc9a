"""The original's names and the dicts of transformers: the same engine, mistakes told in words."""

from __future__ import annotations

import asyncio
import base64
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from faster_higgs.audio.encode import encode
from faster_higgs.chatml import conversation
from faster_higgs.compat import (
    AudioContent,
    ChatMLSample,
    HiggsAudioServeEngine,
    HiggsAudioStreamerDelta,
    Message,
    TextContent,
)
from faster_higgs.delay import unwrap
from faster_higgs.delivery import Delivery
from faster_higgs.errors import AudioError, HiggsError, NoAudio, SettingError
from faster_higgs.prompt.conversation import Conversation
from faster_higgs.prompt.template import Clip
from faster_higgs.testing import tiny_checkpoint

SYSTEM = {"role": "system", "content": "Speak."}
LIVELY = {"temperature": 1.0, "top_p": 1.0, "seed": 3, "max_new_tokens": 40}
FREE = ChatMLSample([Message("system", "Speak."), Message("user", "Hello.")])


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> HiggsAudioServeEngine:
    folder = tiny_checkpoint(tmp_path_factory.mktemp("tiny"))
    return HiggsAudioServeEngine(str(folder), device="cpu")


@pytest.fixture(scope="module")
def clip() -> bytes:
    noise = np.random.default_rng(0).normal(0, 0.1, 24_000)
    return encode(noise.astype(np.float32), "wav")


def said(text: str) -> list[dict[str, Any]]:
    return [SYSTEM, {"role": "user", "content": text}]


def test_a_stream_is_the_whole_answer(engine: HiggsAudioServeEngine) -> None:
    async def collected() -> list[HiggsAudioStreamerDelta]:
        stream = engine.generate_delta_stream(said("Hello."), force_audio_gen=True, **LIVELY)
        return [delta async for delta in stream]

    whole = engine.generate(said("Hello."), force_audio_gen=True, **LIVELY)
    deltas = asyncio.run(collected())
    # As the original: an id for the slot, then raw columns one by one, the all-bos column first.
    columns = torch.stack([d.audio_tokens for d in deltas if d.audio_tokens is not None], dim=1)
    ids = [int(d.text_tokens) for d in deltas if d.text_tokens is not None]
    assert ids == [engine.higgs.config.audio_out_token_id] == list(whole.generated_text_tokens)
    assert deltas[0].text_tokens is not None
    assert whole.generated_audio_tokens is not None
    assert whole.audio is not None
    np.testing.assert_array_equal(columns, whole.generated_audio_tokens)
    np.testing.assert_array_equal(engine.higgs.decode(unwrap(columns)), whole.audio)
    assert [d.finish_reason for d in deltas if d.finish_reason] in (["stop"], ["length"])
    assert deltas[-1].finish_reason


def test_text_is_streamed_id_by_id_without_the_end_of_a_clip(
    engine: HiggsAudioServeEngine,
) -> None:
    async def collected() -> list[HiggsAudioStreamerDelta]:
        return [delta async for delta in engine.generate_delta_stream(FREE, **LIVELY)]

    whole = engine.generate(FREE, **LIVELY)
    ids = [int(d.text_tokens) for d in asyncio.run(collected()) if d.text_tokens is not None]
    closing = engine.higgs.config.audio_eos_token_id
    assert len(ids) > 1
    assert ids == [int(i) for i in whole.generated_text_tokens if i != closing]


def test_a_response_has_the_shapes_of_the_original(engine: HiggsAudioServeEngine) -> None:
    response = engine.generate(said("Hello."), force_audio_gen=True, **LIVELY)
    assert response.audio is not None
    assert response.audio.dtype == np.float32
    assert response.sampling_rate == 24_000
    assert response.generated_audio_tokens is not None
    assert response.generated_audio_tokens.shape[0] == engine.higgs.config.num_codebooks
    assert response.usage is not None
    total = response.usage["prompt_tokens"] + response.usage["completion_tokens"]
    assert response.usage["total_tokens"] == total


def test_an_answer_in_text_has_no_audio(engine: HiggsAudioServeEngine) -> None:
    for seed in range(20):
        response = engine.generate(FREE, 3, temperature=1.0, top_p=1.0, seed=seed)
        if response.audio is None:
            assert response.generated_audio_tokens is None
            return
    pytest.fail("no answer was text alone")


def test_a_conversation_of_dicts_is_always_answered_with_sound(
    engine: HiggsAudioServeEngine,
) -> None:
    for seed in range(8):
        assert engine.generate(said("Hello."), **{**LIVELY, "seed": seed}).audio is not None
    ids = engine.prompt(said("Hello."), force_audio=False).ids
    assert ids == engine.prompt(said("Hello."), force_audio=True).ids
    assert ids != engine.prompt(FREE, force_audio=False).ids


def test_a_checkpoint_saved_without_its_text_head_speaks(
    engine: HiggsAudioServeEngine, tmp_path: Path
) -> None:
    folder = shutil.copytree(engine.higgs.folder, tmp_path / "headless")
    weights = load_file(folder / "model.safetensors")
    save_file({n: t for n, t in weights.items() if "text" not in n}, folder / "model.safetensors")
    headless = HiggsAudioServeEngine(str(folder), device="cpu")
    ours, theirs = (e.generate(said("Hello."), **LIVELY).audio for e in (headless, engine))
    assert ours is not None
    np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(SettingError, match="text head"):
        headless.generate(FREE, **LIVELY)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (None, {"<|eot_id|>", "<|end_of_text|>"}),
        (["<|eot_id|>"], {"<|eot_id|>", "<|end_of_text|>"}),
        (["<|audio_eos|>"], {"<|audio_eos|>", "<|end_of_text|>"}),
        ([], {"<|end_of_text|>"}),
    ],
)
def test_the_end_of_text_always_stops(
    engine: HiggsAudioServeEngine,
    monkeypatch: pytest.MonkeyPatch,
    given: list[str] | None,
    names: set[str],
) -> None:
    stops: set[int] = set()
    frames = engine.higgs.frames

    def spied(prompt: Any, sampling: Any, stop_ids: Any) -> Any:
        stops.update(stop_ids)
        return frames(prompt, sampling, stop_ids)

    monkeypatch.setattr(engine.higgs, "frames", spied)
    engine.generate(FREE, 2, stop_strings=given)
    assert stops == {engine.higgs.tokenizer.special(name) for name in names}


def test_only_conversations_have_instruction_marks(engine: HiggsAudioServeEngine) -> None:
    text = "<|generation_instruction_start|>Speak low.<|generation_instruction_end|> Hello."
    mark = engine.higgs.tokenizer.special("<|generation_instruction_start|>")
    for sample in (said(text), ChatMLSample([Message("user", text)])):
        assert mark in engine.prompt(sample, force_audio=True).ids
    utterance = engine.higgs.plan(text, [], Delivery(normalization="off"))[0]
    talk = Conversation(utterance.setting, utterance.tags)
    assert mark not in engine.higgs.prompt(talk.ask(utterance.text)).ids


def test_a_limit_that_is_too_small_for_sound_says_so(engine: HiggsAudioServeEngine) -> None:
    with pytest.raises(NoAudio, match="max_new_tokens to 10 or more"):
        engine.generate(said("Hello."), 5, force_audio_gen=True, seed=1)
    assert engine.generate(said("Hello."), 10, force_audio_gen=True, seed=1).audio is not None


def test_clips_come_from_files_and_from_base64(
    engine: HiggsAudioServeEngine, clip: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "clip.wav"
    path.write_bytes(clip)
    raw = base64.b64encode(clip).decode()
    ways: list[Any] = [
        AudioContent(str(path)),
        AudioContent(path.as_uri()),
        AudioContent(raw_audio=raw),
        {"type": "audio", "url": str(path)},
        {"type": "audio", "raw_audio": raw},
    ]
    found = []
    for way in ways:
        turn = {"role": "assistant", "content": [way]} if isinstance(way, dict) else None
        sample: Any = [turn] if turn else ChatMLSample([Message("assistant", way)])
        (part,) = conversation(sample, engine.higgs)[0].parts
        assert isinstance(part, Clip)
        found.append(part.codes)
    assert all(torch.equal(codes, found[0]) for codes in found)


def test_offset_and_duration_cut_a_clip(engine: HiggsAudioServeEngine, clip: bytes) -> None:
    raw = base64.b64encode(clip).decode()

    def frames(offset: float | None, duration: float | None) -> int:
        content = AudioContent(raw_audio=raw, offset=offset, duration=duration)
        (part,) = conversation(ChatMLSample([Message("user", content)]), engine.higgs)[0].parts
        assert isinstance(part, Clip)
        return part.codes.shape[1]

    assert (frames(None, None), frames(0.4, None), frames(None, 0.2)) == (25, 15, 5)
    for offset, duration in ((-0.1, None), (None, -1.0), (2.0, None)):
        with pytest.raises(AudioError):
            frames(offset, duration)


def test_texts_of_every_form_are_one_conversation(engine: HiggsAudioServeEngine) -> None:
    forms: list[Any] = [
        said("Hello."),
        [SYSTEM, {"role": "user", "content": ["Hello."]}],
        [SYSTEM, {"role": "user", "content": [{"type": "text", "text": "Hello."}]}],
        ChatMLSample([Message("system", "Speak."), Message("user", TextContent("Hello."))]),
        ChatMLSample([Message("system", ["Speak."]), Message("user", [TextContent("Hello.")])]),
    ]
    ids = [engine.prompt(form, force_audio=True).ids for form in forms]
    assert ids == [ids[0]] * len(forms)


def test_a_scene_is_folded_into_the_system_turn(engine: HiggsAudioServeEngine) -> None:
    scene = {"role": "scene", "content": " A quiet room. "}
    ours = said("Hello.")
    ours[0] = {
        "role": "system",
        "content": "Speak.\n\n<|scene_desc_start|>\nA quiet room.\n<|scene_desc_end|>",
    }
    folded = engine.prompt([SYSTEM, scene, said("Hello.")[1]], force_audio=True)
    assert folded.ids == engine.prompt(ours, force_audio=True).ids


@pytest.mark.parametrize(
    ("messages", "error", "words"),
    [
        ([], SettingError, "no message"),
        ([{"role": "user"}], SettingError, "needs a role and a content"),
        ([{"role": "user", "content": "x", "name": "y"}], SettingError, "unknown key 'name'"),
        ([{"role": "user", "content": None}], SettingError, "content is None"),
        ([{"role": "user", "content": 3}], SettingError, "content is 3"),
        ([{"role": "user", "content": [None]}], SettingError, "type 'NoneType'"),
        ([{"role": "user", "content": [{"type": "video"}]}], SettingError, "type 'video'"),
        ([{"role": "narrator", "content": "x"}], SettingError, "role 'narrator'"),
        ([{"role": "user", "content": [{"type": "audio"}]}], AudioError, "names no file"),
        (
            [{"role": "user", "content": [{"type": "audio", "audio": np.zeros(4)}]}],
            SettingError,
            "given as a ndarray",
        ),
        (
            [{"role": "user", "content": [{"type": "audio", "url": "https://a/b.wav"}]}],
            AudioError,
            "not fetched",
        ),
        (
            [{"role": "user", "content": [{"type": "audio", "raw_audio": "%"}]}],
            AudioError,
            "not valid base64",
        ),
    ],
)
def test_a_message_that_cannot_be_used_is_told(
    engine: HiggsAudioServeEngine, messages: Any, error: type[HiggsError], words: str
) -> None:
    with pytest.raises(error, match=words):
        engine.prompt(messages, force_audio=True)


def test_what_the_engine_cannot_do_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="tokenizer lies in the model's folder"):
        HiggsAudioServeEngine("model", tokenizer_name_or_path="other", device="cpu")
    with pytest.raises(SettingError, match="torch_dtype"):
        HiggsAudioServeEngine("model", torch_dtype=torch.float16, device="cpu")


def test_generation_stops_at_special_tokens_only(engine: HiggsAudioServeEngine) -> None:
    with pytest.raises(SettingError, match="'stop' is not a special token"):
        engine.generate(said("Hello."), 5, stop_strings=["stop"])
