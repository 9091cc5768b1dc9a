"""What is asked of a speech, asked of a server with a real model: the small one that is shipped."""

from __future__ import annotations

import base64
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import openai
import pytest

from faster_higgs.audio.files import read
from faster_higgs.speech import Higgs
from tests.server.conftest import RATE, serving
from tests.server.test_speech import events, joined

TEXT = "Hello there. [pause:500ms] How are you?"


@pytest.fixture(scope="module")
def live():
    with (
        TemporaryDirectory() as folder,
        Higgs.load(voices=[Path(folder) / "mine"]) as higgs,
        serving(higgs) as server,
    ):
        yield server


def test_a_pause_is_silent_to_the_sample_and_times_are_exact(live):
    asked = {"stream_format": "sse", "utterance_events": True, "response_format": "pcm", "seed": 1}
    found = events(live.speak(TEXT, speed=1.5, **asked).body)
    samples = np.frombuffer(joined(found), "<i2")
    first, second = (one for one in found if one["type"].endswith("utterance.end"))
    end, start = round(first["end"] * RATE), round(second["start"] * RATE)
    assert start - end == RATE // 2 and not samples[end:start].any()
    assert samples[:end].any() and samples[start:].any()
    assert round(found[-1]["duration"] * RATE) == len(samples)
    assert [one["text"] for one in (first, second)] == ["Hello there.", "How are you?"]


def test_a_take_becomes_a_voice(live):
    take = live.speak(TEXT, stream=False, seed=1).headers["x-take"]
    added = live.form("/v1/audio/voices", {"name": "mine", "take": take}).json
    assert added["ref_text"] == "Hello there. How are you?"
    assert live.speak("Hi.", voice="mine").headers["x-voice"] == "mine"
    clip = live.service.higgs.voices.load("mine").codes
    assert clip.shape[1] == added["voice"]["file_size"] // (2 * live.service.higgs.codec.hop)


def test_a_dialogue(live):
    turns = [
        {"speaker": "Anna", "text": "Hello there.", "pause": 0.25},
        {"speaker": "Ben", "text": "Good morning."},
    ]
    body = {
        "turns": turns,
        "speakers": {"Anna": {"voice": "clara"}, "Ben": {"voice": "alloy"}},
        "response_format": "wav",
    }
    reply = live.ask("/v1/audio/dialogue", body)
    assert reply.status == 200 and len(read(reply.body, rate=RATE)) > RATE


def test_a_chat_with_the_clip_of_a_voice(live):
    clip = live.ask("/v1/audio/voices/clara/sample").body
    said = live.ask("/v1/audio/voices/clara").json["ref_text"]
    sound = {"data": base64.b64encode(clip).decode(), "format": "wav"}
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key="x", max_retries=0) as client:
        stream = client.chat.completions.create(
            model="tts-1",
            modalities=["text", "audio"],
            audio={"format": "pcm16", "voice": "alloy"},
            messages=[
                {"role": "user", "content": said},
                {
                    "role": "assistant",
                    "content": [{"type": "input_audio", "input_audio": sound}],
                },
                {"role": "user", "content": "Good morning."},
            ],
            stream=True,
        )
        found = [one.choices[0].delta.audio for one in stream if one.choices[0].delta.audio]
    data = b"".join(base64.b64decode(one.data) for one in found if one.data)
    assert 0.3 * RATE < len(data) // 2 < 5 * RATE and np.frombuffer(data, "<i2").any()
