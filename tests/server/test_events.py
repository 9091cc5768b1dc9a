"""Events of utterances with exact times, and takes that become voices."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from faster_higgs.audio.files import read
from faster_higgs.errors import EngineError
from faster_higgs.server.takes import KEPT_TAKES
from faster_higgs.speech import Higgs
from faster_higgs.testing import FakeHiggs, heard, spoken
from tests.server.conftest import RATE, Live, serving
from tests.server.test_speech import events, joined

TEXT = "One of them. [pause:500ms] And another one, [pause:1.5s] then the last."
SAID = ["One of them.", "And another one,", "then the last."]


def sound(found: list[dict]) -> np.ndarray:
    return np.frombuffer(joined(found), "<i2").astype(np.float32) / 32_768


def asked(live: Live, text: str = TEXT, **fields) -> list[dict]:
    told = {"stream_format": "sse", "utterance_events": True, "response_format": "pcm"}
    return events(live.speak(text, **told | fields).body)


class TestUtterances:
    def test_each_begins_and_ends_around_its_sound(self, live):
        found = asked(live)
        kinds = [one["type"].removeprefix("speech.audio.") for one in found]
        plain = [one for one in kinds if one != "delta"]
        assert plain == ["utterance.begin", "utterance.end"] * 3 + ["done"]
        assert kinds.index("utterance.begin") < kinds.index("delta")
        begun = [one for one in found if one["type"].endswith("begin")]
        ended = [one for one in found if one["type"].endswith("utterance.end")]
        assert [one["text"] for one in begun] == [one["text"] for one in ended] == SAID
        assert [one["index"] for one in begun] == [0, 1, 2]
        assert [one["start"] for one in begun] == [one["start"] for one in ended]
        assert {one["finish_reason"] for one in ended} == {"stop"}

    @pytest.mark.parametrize("shape", [{}, {"speed": 2.0}, {"speed": 0.5, "sample_rate": 16_000}])
    def test_times_are_exact_and_pauses_keep_their_length(self, live, shape):
        found = asked(live, **shape)
        rate = shape.get("sample_rate", RATE)
        samples = sound(found)
        ended = [one for one in found if one["type"].endswith("utterance.end")]
        gaps = [b["start"] - a["end"] for a, b in pairwise(ended)]
        assert gaps == pytest.approx([0.5, 1.5], abs=1 / rate)
        for one, next in pairwise(ended):
            silence = samples[round(one["end"] * rate) : round(next["start"] * rate)]
            assert not silence.any()
        for one in ended:
            said = samples[round(one["start"] * rate) : round(one["end"] * rate)]
            assert np.sqrt(np.mean(said**2)) > 0.1
        assert ended[0]["start"] == 0 and found[-1]["duration"] == ended[-1]["end"]
        assert len(samples) == round(found[-1]["duration"] * rate)

    @pytest.mark.parametrize("shape", [{}, {"speed": 1.7}, {"sample_rate": 48_000}])
    def test_a_stream_with_pauses_is_the_whole(self, live, shape):
        whole = live.speak(TEXT, response_format="pcm", stream=False, **shape).body
        assert joined(asked(live, **shape)) == whole
        assert live.speak(TEXT, response_format="pcm", **shape).body == whole

    def test_they_come_only_to_who_asks(self, live):
        kinds = {one["type"] for one in asked(live, utterance_events=False)}
        assert kinds == {"speech.audio.delta", "speech.audio.done"}
        refused = live.speak(utterance_events=True)
        assert refused.error["param"] == "utterance_events"

    def test_the_last_event_tells_how_it_was_made(self, live):
        done = asked(live, seed=77, utterance_events=False)[-1]
        assert done["seed"] == 77 and done["finish_reason"] == "stop"
        assert done["take"].startswith("take_") and done["usage"]["total_tokens"] > 0

    def test_speakers_are_told(self, live):
        text = "[SPEAKER0] Hello there. [SPEAKER1] Hi."
        found = asked(live, text, voice="alice,bob")
        said = [(one.get("speaker"), one["text"]) for one in found if "start" in one]
        assert said[::2] == [("SPEAKER0", "Hello there."), ("SPEAKER1", "Hi.")]
        together = [one for one in asked(live, text) if "start" in one]
        assert together[0]["text"] == "SPEAKER0: Hello there. SPEAKER1: Hi."

    def test_what_goes_wrong_later_is_an_event_too(self, live, monkeypatch):
        def broken(higgs, answer):
            if answer.utterance.text == SAID[1]:
                raise EngineError("The engine stopped.")
            yield from whole(higgs, answer)

        whole = Higgs._sound
        monkeypatch.setattr(Higgs, "_sound", broken)
        found = asked(live)
        assert found[-1]["type"] == "speech.audio.error"
        assert found[-2]["type"] == "speech.audio.utterance.end"


class TestTakes:
    @pytest.mark.parametrize("fields", [{}, {"stream": False}, {"stream_format": "sse"}])
    def test_a_take_becomes_a_voice_that_says_what_it_said(self, tmp_path, fields):
        higgs = Kept(tmp_path)
        with higgs, serving(higgs) as live:
            reply = live.speak("I have 3 words. [pause:1s] And more.", **fields)
            take = reply.headers["x-take"]
            added = live.form("/v1/audio/voices", {"name": "Mine", "take": take}).json
            assert added["id"] == "mine" and added["uploaded"] is True
            assert added["ref_text"] == "I have three words. And more."
            voice = higgs.voices.load("mine")
            said = [spoken("I have three words."), spoken("And more.")]
            assert voice.codes.equal(torch.cat(said, dim=1))
            assert live.speak(voice="mine").headers["x-voice"] == "mine"
            clip = live.ask("/v1/audio/voices/mine/sample").body
            assert heard(read(clip, rate=RATE)).equal(voice.codes)

    def test_codes_are_kept_as_they_were_drawn(self, tmp_path):
        """No second way through the codec: a voice is the very take."""
        higgs = Kept(tmp_path)
        with higgs, serving(higgs) as live:
            take = live.speak("Hello there, all of you.", stream=False).headers["x-take"]
            higgs.encode = None  # type: ignore[assignment]  nothing may be encoded
            assert live.form("/v1/audio/voices", {"name": "mine", "take": take}).status == 200
            assert live.speak(voice="mine").status == 200

    def test_several_speakers_are_no_voice(self, live):
        reply = live.speak("[SPEAKER0] Hello. [SPEAKER1] Hi.", voice="alice,bob")
        fields = {"name": "both", "take": reply.headers["x-take"]}
        refused = live.form("/v1/audio/voices", fields)
        assert refused.status == 400 and refused.error["param"] == "take"
        assert "Several speak in it" in refused.error["message"]
        whole = live.speak("[SPEAKER0] Hello. [SPEAKER1] Hi.", voice="alice,bob", stream=False)
        assert "x-take" not in whole.headers

    def test_one_that_was_broken_off_is_no_voice(self, live):
        done = asked(live, "A sentence that is cut.", max_new_tokens=30)[-1]
        assert done["finish_reason"] == "length" and done["take"] is None

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"take": "take_0"}, "take"),
            ({"take": "take_0", "ref_text": "Words."}, "ref_text"),
            ({"take": "take_0", "type": "prompt", "prompt": "Low."}, "type"),
        ],
    )
    def test_what_is_wrong_is_named(self, live, fields, param):
        refused = live.form("/v1/audio/voices", {"name": "one"} | fields)
        assert refused.status == 400 and refused.error["param"] == param

    def test_too_short_a_take_is_refused_like_a_clip(self, live):
        take = live.speak("Hi.", stream=False).headers["x-take"]
        refused = live.form("/v1/audio/voices", {"name": "short", "take": take})
        assert refused.error["param"] == "take" and "too short" in refused.error["message"]

    def test_the_oldest_goes(self, live):
        first = live.speak(stream=False).headers["x-take"]
        for _ in range(KEPT_TAKES):
            live.speak("Hi.", stream=False, response_format="pcm")
        refused = live.form("/v1/audio/voices", {"name": "gone", "take": first})
        assert refused.error["code"] == "take_not_found"


class Kept(FakeHiggs):
    """With a folder for voices."""

    def __init__(self, folder) -> None:
        super().__init__(voices=[folder / "mine"])
