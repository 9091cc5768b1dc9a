"""POST /v1/audio/dialogue: who says what, in which voice, and what is refused."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from faster_higgs.audio.encode import encode
from faster_higgs.testing import spoken, tones
from tests.server.conftest import RATE, Live, Reply, Witness, serving
from tests.server.test_speech import events, joined

CLIP = base64.b64encode(encode(tones(spoken("A clip of Carol for the test.")), "wav")).decode()
TURNS = [
    {"speaker": "Anna", "text": "Hello there.", "pause": 0.5},
    {"speaker": "Ben", "text": "Hi, Anna. [pause:250ms] How are you?"},
    {"speaker": "Anna", "text": "Well."},
]
CAST = {"Ben": {"voice": "bob"}, "Anna": {"voice": "alice"}}
SAID = ["Hello there.", "Hi, Anna.", "How are you?", "Well."]


def ask(live: Live, turns=TURNS, speakers=CAST, **fields) -> Reply:
    body = {"turns": turns, "speakers": speakers, "response_format": "pcm", **fields}
    return live.ask("/v1/audio/dialogue", body)


def samples(data: bytes) -> np.ndarray:
    return np.frombuffer(data, "<i2").astype(np.float32) / 32_768


def test_each_says_his_turn_in_his_voice_and_pauses_are_exact(live):
    reply = ask(live)
    assert reply.status == 200 and reply.headers["x-voice"] == "alice, bob"
    silences = [np.zeros(round(s * RATE), np.float32) for s in (0.5, 0.25)]
    one, two, three, four = (tones(spoken(text)) for text in SAID)
    whole = np.concatenate([one, silences[0], two, silences[1], three, four])
    assert np.allclose(samples(reply.body), whole, atol=1e-4)
    voices = [voice.name for voice in live.service.higgs.asked[-1][1]]
    assert voices == ["alice", "bob"]  # in the order in which they begin


@pytest.mark.parametrize("how", [{"stream": False}, {}, {"stream_format": "sse"}])
def test_it_is_answered_as_a_speech_is(live, how):
    reply = ask(live, **how, seed=5)
    data = joined(events(reply.body)) if "stream_format" in how else reply.body
    assert data == ask(live, seed=5).body and reply.headers["x-seed"] == "5"


def test_events_name_the_speakers(live):
    found = events(ask(live, stream_format="sse", utterance_events=True).body)
    ended = [one for one in found if one["type"] == "speech.audio.utterance.end"]
    assert [one["text"] for one in ended] == SAID
    assert [one["speaker"] for one in ended] == ["Anna", "Ben", "Ben", "Anna"]
    assert ended[1]["start"] - ended[0]["end"] == pytest.approx(0.5)
    assert found[-1]["take"] is None


def test_every_kind_of_voice_and_a_scene():
    cast = {
        "A": {"voice": "alice"},
        "B": {"ref_audio": CLIP, "ref_text": "A clip of Carol for the test."},
        "C": {"description": "A deep, slow voice."},
    }
    turns = [{"speaker": name, "text": f"I am {name}."} for name in "CAB"]
    with Witness() as higgs, serving(higgs) as live:
        reply = ask(live, turns, cast, scene_prompt="In a cave.", temperature=0.9)
        assert reply.status == 200
        text, voices, sampling, delivery = higgs.asked[-1]
    assert text.splitlines() == [
        "[SPEAKER0] I am C.",
        "[SPEAKER1] I am A.",
        "[SPEAKER2] I am B.",
    ]
    assert [(v.name, v.description) for v in voices] == [
        ("described", "A deep, slow voice."),
        ("alice", ""),
        ("reference", ""),
    ]
    assert delivery.scene == "In a cave." and sampling.temperature == 0.9


def test_one_speaker_alone_makes_a_take(live):
    turns = [{"speaker": "A", "text": "One, and some more."}, {"speaker": "A", "text": "Two."}]
    reply = ask(live, turns, {"A": {"voice": "alice"}}, stream=False)
    assert reply.status == 200 and reply.headers["x-take"]


def test_openais_names_leave_the_voices_to_the_model(live):
    cast = {"Anna": {"voice": "alloy"}, "Ben": {"voice": "nova"}}
    assert ask(live, speakers=cast).headers["x-voice"] == "chosen by the model"
    mixed = ask(live, speakers={"Anna": {"voice": "alice"}, "Ben": {"voice": "nova"}})
    assert mixed.status == 400 and mixed.error["param"] == "speakers.Ben.voice"


def turn(**fields) -> dict:
    return {"turns": [*TURNS, {"speaker": "Anna", "text": "Well.", **fields}]}


def ben(**fields) -> dict:
    return {"speakers": CAST | {"Ben": fields}}


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"turns": []}, "turns", "There are no turns"),
        (turn(speaker="Carl"), "turns.3.speaker", "no speaker 'Carl'; speakers names Ben, Anna"),
        (turn(text=" "), "turns.3.text", "no word"),
        (turn(text="[SPEAKER1] Hi."), "turns.3.text", "has one speaker"),
        (turn(text="Hi. [pause:]"), "turns.3.text", "is not a pause"),
        (turn(pause=-1), "turns.3.pause", "greater than or equal to 0"),
        (turn(pause=11), "turns.3.pause", "less than or equal to 10"),
        (turn(mood="sad"), "turns.3.mood", "no parameter"),
        (turn(text="a" * 5000), "turns", "at most 4,096"),
        ({"speakers": CAST | {"Carl": {"voice": "bob"}}}, "speakers.Carl", "has no turn"),
        (ben(), "speakers.Ben", "needs one of voice"),
        (ben(voice="bob", description="Low."), "speakers.Ben", "needs one of voice"),
        (ben(ref_text="Words."), "speakers.Ben", "needs one of voice"),
        (ben(ref_audio=CLIP), "speakers.Ben.ref_text", "What is said"),
        (ben(ref_audio="http://x/a.wav", ref_text="W."), "speakers.Ben.ref_audio", "not fetch"),
        (ben(ref_audio="AAAA", ref_text="Words."), "speakers.Ben.ref_audio", ""),
        (ben(voice="nobody"), "speakers.Ben.voice", "no voice 'nobody'"),
        (ben(voice="alice,bob"), "speakers.Ben.voice", "No voice named"),
        ({"input": "Hello."}, "input", "no parameter"),
        ({"speed": 9}, "speed", "0.25 to 4"),
        ({"model": "gpt-9"}, "model", "not served"),
        ({"utterance_events": True}, "utterance_events", "stream_format sse"),
    ],
)
def test_what_is_wrong_is_named(live, fields, param, words):
    told = {"turns": TURNS, "speakers": CAST} | fields
    refused = live.ask("/v1/audio/dialogue", told)
    assert refused.status == (404 if param == "model" else 400), refused.body
    assert refused.error["param"] == param and words in refused.error["message"]
