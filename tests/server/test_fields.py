"""No field is taken and then forgotten: each changes the order, is refused, or is told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faster_higgs.errors import SettingError
from faster_higgs.server.body import MEANINGLESS, WITHOUT_EFFECT, SpeechBody
from faster_higgs.server.errors import Refusal, refusal
from faster_higgs.server.order import Order, order_of
from faster_higgs.server.settings import ServerSettings

SETTINGS = ServerSettings()
CLIP = {"ref_audio": "AAAA", "ref_text": "words"}
# For each field values that are not its default, with what has to stand beside it.
VALUES: dict[str, tuple[st.SearchStrategy, dict]] = {
    "input": (st.sampled_from(["Other words.", "And others."]), {}),
    "voice": (st.sampled_from(["alice", "bob", {"id": "carol"}]), {}),
    "speaker": (st.sampled_from(["alice", "bob"]), {}),
    "instructions": (st.sampled_from(["Whisper.", "Sing."]), {}),
    "response_format": (st.sampled_from(["wav", "flac", "opus", "aac", "pcm", "ogg"]), {}),
    "speed": (st.floats(0.25, 0.9), {}),
    "sample_rate": (st.sampled_from([8_000, 16_000, 48_000]), {}),
    "stream_format": (st.just("sse"), {}),
    "stream": (st.booleans(), {}),
    "utterance_events": (st.just(True), {"stream_format": "sse"}),
    "temperature": (st.floats(0.4, 2), {}),
    "top_p": (st.floats(0.1, 0.9), {}),
    "top_k": (st.one_of(st.integers(0, 49), st.none()), {}),
    "min_p": (st.floats(0.01, 0.5), {}),
    "ras_win_len": (st.integers(-1, 6), {}),
    "ras_win_max_num_repeat": (st.integers(3, 9), {}),
    "max_new_tokens": (st.integers(20, 2000), {}),
    "max_tokens": (st.integers(20, 2000), {}),
    "seed": (st.integers(0, 2**31), {}),
    "ref_audio": (st.sampled_from(["BBBB", ["CCCC"]]), {"ref_text": "words"}),
    "ref_text": (st.sampled_from(["other", ["more"]]), {"ref_audio": "AAAA"}),
    "references": (st.just([{"audio_path": "BBBB", "text": "more"}]), {}),
    "language": (st.sampled_from(["en", "Vietnamese", "zh-CN"]), {}),
    "scene_prompt": (st.sampled_from(["A hall.", ""]), {}),
    "system_prompt": (st.just("Speak as a pirate."), {}),
    "normalization": (st.sampled_from(["off", "original"]), {}),
    "timeout": (st.floats(1, 500), {}),
    "extra_params": (st.just({"top_k": 7}), {}),
    "audio_chunk_size": (st.integers(1, 50), {}),
    "audio_chunk_overlap_size": (st.integers(1, 50), {}),
    "initial_codec_chunk_frames": (st.integers(1, 50), {}),
    "non_streaming_mode": (st.booleans(), {}),
    "x_vector_only_mode": (st.just(True), {}),
    "speaker_embedding": (st.just([1.0]), {}),
    "ref_audio_2": (st.just("AAAA"), {}),
    "ambient_sound": (st.just("rain"), {}),
    "duration_seconds": (st.just(2.0), {}),
    "token_count": (st.just(2), {}),
    "word_timestamps": (st.just(True), {}),
    "repetition_penalty": (st.just(1.3), {}),
}
CHECKED = {  # they name what is asked for, and are refused where it is something else
    "model": ({}, "nosuch"),
    "task_type": ({}, "Base"),
    "stop": ({}, "the end"),
}


def ordered(**fields) -> Order:
    """What a body asks for; the seed is not drawn."""
    order = order_of(SpeechBody.model_validate({"input": "Hello there."} | fields), SETTINGS)
    if "seed" not in fields:
        order = replace(order, sampling=replace(order.sampling, seed=-1))
    return order


def test_every_field_is_in_the_tables():
    assert SpeechBody.model_fields.keys() == VALUES.keys() | CHECKED.keys()


@pytest.mark.parametrize("name", VALUES)
@given(data=st.data())
@settings(max_examples=5, deadline=None)
def test_a_field_changes_the_order_or_is_refused_or_told(name, data):
    values, beside = VALUES[name]
    value = data.draw(values)
    try:
        order = ordered(**beside, **{name: value})
    except Refusal as refused:
        assert refused.param == name and name in MEANINGLESS
        return
    without = ordered(**(CLIP if CLIP.keys() & beside.keys() else beside))
    told = name in order.ignored
    assert told == (name in WITHOUT_EFFECT)
    assert replace(order, ignored=()) != without or told


@given(
    st.dictionaries(
        st.sampled_from(sorted(set(VALUES) - set(MEANINGLESS) - {"extra_params", "input"})),
        st.none(),
        min_size=2,
        max_size=6,
    ),
    st.data(),
)
@settings(max_examples=150, deadline=None)
def test_a_field_counts_beside_others_too(names, data):
    fields = {name: data.draw(VALUES[name][0]) for name in names}
    try:
        order = ordered(**fields)
    except (Refusal, SettingError) as error:
        assert refusal(error).status == 400
        return
    for name in fields:
        rest = {other: value for other, value in fields.items() if other != name}
        if name == "seed" or {"ref_audio", "ref_text"} & {name}:
            continue
        try:
            without = ordered(**rest)
        except (Refusal, SettingError):
            continue  # it is needed by another, and so it counts
        kept = replace(order, ignored=()) if name not in order.ignored else None
        same = {"voice": "speaker", "speaker": "voice", "max_tokens": "max_new_tokens"}
        twice = same.get(name) in fields or (name == "max_new_tokens" and "max_tokens" in fields)
        follows = name in ("stream", "stream_format") and {"stream", "stream_format"} <= set(fields)
        assert kept is None or twice or follows or _unseeded(kept) != _unseeded(without), name


def _unseeded(order: Order) -> Order:
    return replace(order, ignored=(), sampling=replace(order.sampling, seed=0))


@pytest.mark.parametrize("name", CHECKED)
def test_a_field_that_is_only_checked_is_refused_when_wrong(name):
    beside, wrong = CHECKED[name]
    if name == "model":
        return  # over HTTP, in test_speech.py
    with pytest.raises(Refusal) as caught:
        ordered(**beside, **{name: wrong})
    assert caught.value.param == name
