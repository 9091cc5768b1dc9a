"""A client written for vLLM-Omni: what it sends is taken, what it reads is there."""

from __future__ import annotations

import base64
import json
import urllib.request

import pytest
from websockets.sync.client import connect

from faster_higgs.audio.encode import encode
from faster_higgs.audio.save import save
from faster_higgs.testing import FakeHiggs, spoken, tones
from tests.server.conftest import seconds, serving
from tests.server.test_speech import events

SAID = "A clip of somebody who speaks for a while."
CLIP = tones(spoken(SAID))
URI = "data:audio/wav;base64," + base64.b64encode(encode(CLIP, "wav")).decode()
HEARD = len(CLIP) // 960 + 8 + 1  # positions in which its frames are read
CLONE = {
    "model": "higgs-audio-v2",
    "input": "Hello from the client.",
    "task_type": "Base",
    "ref_audio": URI,
    "ref_text": SAID,
    "response_format": "wav",
    "max_new_tokens": 1024,
    "seed": 42,
    "language": "English",
    "x_vector_only_mode": False,
    "initial_codec_chunk_frames": 4,
    "extra_params": {"temperature": 0.9, "top_k": 50},
}


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    voices = tmp_path_factory.mktemp("voices") / "mine"
    with FakeHiggs(voices=[voices]) as higgs, serving(higgs) as server:
        yield server


def test_a_clone_with_what_it_cost(live):
    """Headers, of a whole answer: what was read is text and frames of the clip."""
    request = urllib.request.Request(
        f"{live.url}/v1/audio/speech",
        json.dumps(CLONE | {"stream": False}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        told, data = answer.headers, answer.read()
    names = ("INPUT", "OUTPUT", "TOTAL", "INPUT-TEXT", "INPUT-AUDIO")
    read, made, total, text, audio = (int(told[f"X-VLLM-OMNI-{name}-TOKENS"]) for name in names)
    assert audio == HEARD and text == read - audio > len(CLONE["input"])
    assert total == read + made and made == round(seconds(data) * 25)
    assert (told["X-Sample-Rate"], told["X-Channels"]) == ("24000", "1")


def test_without_a_clip_no_audio_is_read(live):
    reply = live.speak(stream=False, voice="default")
    assert reply.headers["x-vllm-omni-input-audio-tokens"] == "0"
    assert "x-vllm-omni-input-tokens" not in live.speak().headers  # not known at its beginning


def test_events_with_usage(live):
    asked = CLONE | {"stream": True, "response_format": "pcm"}
    *deltas, done = events(live.ask("/v1/audio/speech", asked).body)
    assert {delta["type"] for delta in deltas} == {"speech.audio.delta"}
    assert {delta["response_format"] for delta in deltas} == {"pcm"}
    details = done["usage"]["input_token_details"]
    assert details["audio_tokens"] == HEARD
    assert sum(details.values()) == done["usage"]["input_tokens"]


@pytest.mark.parametrize("name", ["x_vector_only_mode", "word_timestamps", "ref_audio_2"])
def test_what_means_nothing_here_is_refused_by_name(live, name):
    value = URI if name == "ref_audio_2" else True
    reply = live.ask("/v1/audio/speech", CLONE | {name: value})
    assert reply.status == 400
    assert reply.error.keys() >= {"message", "type", "param", "code"}
    assert reply.error["param"] == name


def test_a_session_of_two_utterances(live):
    found = []
    with connect(f"ws://127.0.0.1:{live.port}/v1/audio/speech/stream") as socket:
        config = {"type": "session.config", "model": "higgs-audio-v2", "task_type": "Base"}
        config |= {"ref_audio": URI, "ref_text": SAID, "response_format": "pcm"}
        config |= {"stream_audio": True, "speed": 1.0, "x_vector_only_mode": False}
        config |= {"word_timestamps": False, "non_streaming_mode": None, "language": "English"}
        socket.send(json.dumps(config))
        for text in ("Hello there.", "How are you?"):
            for word in text.split(" "):
                socket.send(json.dumps({"type": "input.text", "text": f"{word} "}))
            socket.send(json.dumps({"type": "input.done"}))
            sound = b""
            while True:
                message = socket.recv(timeout=60)
                if isinstance(message, bytes):
                    sound += message
                elif json.loads(message)["type"] == "session.done":
                    break
            found.append(len(sound) / 48_000)
        socket.send(json.dumps({"type": "session.close"}))
    assert found == [pytest.approx(12 * 0.08), pytest.approx(12 * 0.08)]


def test_voices_are_uploaded_listed_and_deleted(live, tmp_path):
    save(tmp_path / "clip.wav", CLIP)
    form = {"name": "Dora", "consent": "dora_consents", "ref_text": SAID}
    form["speaker_description"] = "warm"
    told = live.form("/v1/audio/voices", form, tmp_path / "clip.wav").json
    assert told["success"] and told["voice"]["name"] == "Dora"
    listed = live.ask("/v1/audio/voices?format=vllm-omni").json
    assert "dora" in listed["voices"]
    (mine,) = listed["uploaded_voices"]
    wanted = "name consent created_at file_size mime_type embedding_source embedding_dim ref_text"
    assert mine.keys() >= {*wanted.split(), "speaker_description"}
    assert live.speak(speaker="DORA").headers["x-voice"] == "dora"
    gone = live.ask("/v1/audio/voices/dora", method="DELETE").json
    assert gone["success"] and gone["message"]
