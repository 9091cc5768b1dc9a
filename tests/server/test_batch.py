"""POST /v1/audio/speech/batch and /timestamps."""

from __future__ import annotations

import base64

import pytest

from faster_higgs.audio.encode import encode
from faster_higgs.testing import FakeHiggs, spoken, tones
from tests.server.conftest import SECONDS_PER_CHARACTER, Live, Reply, Slow, seconds, serving

CLIP = base64.b64encode(encode(tones(spoken("A clip of Carol for the test.")), "wav")).decode()


class TestBatch:
    def ask(self, live: Live, *items, **shared) -> Reply:
        return live.ask("/v1/audio/speech/batch", {"items": [*items], **shared})

    def test_as_a_client_of_vllm_omni_asks(self, live):
        """Shared defaults, overrides, a clip as data URI, results in their order."""
        reply = self.ask(
            live,
            {"input": "The first of all."},
            {"input": "The second.", "voice": "bob", "response_format": "flac"},
            {
                "input": "A third.",
                "ref_audio": f"data:audio/wav;base64,{CLIP}",
                "ref_text": "A clip.",
            },
            voice="alice",
            response_format="wav",
            seed=3,
            temperature=0.5,
        ).json
        assert (reply["total"], reply["succeeded"], reply["failed"]) == (3, 3, 0)
        assert reply["id"] and [one["index"] for one in reply["results"]] == [0, 1, 2]
        for one, text in zip(
            reply["results"], ("The first of all.", "The second.", "A third."), strict=True
        ):
            assert one["status"] == "success" and one["error"] is None
            data = base64.b64decode(one["audio_data"])
            assert seconds(data) == pytest.approx(len(text) * SECONDS_PER_CHARACTER, abs=0.1)
            assert one["seed"] == 3 and one["usage"]["total_tokens"] > 0
        assert [one["media_type"] for one in reply["results"]] == [
            "audio/wav",
            "audio/flac",
            "audio/wav",
        ]
        names = {
            tuple(asked[1]) if isinstance(asked[1], str) else asked[1][0].name
            for asked in live.service.higgs.asked[-3:]
        }
        assert names == {tuple("alice"), tuple("bob"), "reference"}

    def test_one_that_fails_stops_no_other(self, live):
        reply = self.ask(
            live,
            {"input": "Well."},
            {"input": "Well.", "voice": "nobody"},
            {"input": " "},
            {"input": "Well.", "model": "gpt-9"},
            {"input": "Well.", "ambient_sound": "rain"},
            {"input": "Well.", "stream": True},
            {"input": "Well.", "max_new_tokens": 2},
        ).json
        assert [one["status"] for one in reply["results"]] == ["success"] + ["error"] * 6
        assert (reply["succeeded"], reply["failed"]) == (1, 6)
        assert [one.get("code") for one in reply["results"][1:]] == [
            "invalid_voice",
            "invalid_input",
            "model_not_found",
            "unsupported_parameter",
            "unsupported_parameter",
            "invalid_value",
        ]
        assert all(one["audio_data"] is None and one["error"] for one in reply["results"][1:])

    @pytest.mark.parametrize(
        ("body", "param"),
        [
            ({"items": []}, "items"),
            ({"items": [{"input": "A."}] * 33}, "items"),
            ({"items": [{"input": "A."}, {"voice": "bob"}]}, "items.1.input"),
            ({"items": [{"input": "A.", "wish": 1}]}, "items.0.wish"),
            ({"items": [{"input": "A."}], "input": "B."}, "input"),
        ],
    )
    def test_what_is_no_batch_is_refused(self, live, body, param):
        refused = live.ask("/v1/audio/speech/batch", body)
        assert refused.status == 400 and refused.error["param"] == param

    def test_it_does_not_crowd_itself_out(self):
        with Slow() as higgs, serving(higgs, warmup=False, max_running=2, max_queue=0) as live:
            higgs.go.release(10_000)
            reply = self.ask(live, *[{"input": "Well."}] * 6).json
        assert reply["succeeded"] == 6

    @pytest.mark.parametrize(
        ("own", "shared"),
        [
            ({"voice": "bob"}, {"speaker": "alice"}),
            ({"max_tokens": 60}, {"max_new_tokens": 90}),
            ({"ref_audio": CLIP, "ref_text": "A."}, {"references": [{"audio_path": CLIP}]}),
        ],
    )
    def test_what_an_item_says_goes_before_other_names_for_it(self, live, own, shared):
        assert self.ask(live, {"input": "Oh.", **own}, **shared).json["succeeded"] == 1

    @pytest.mark.parametrize(
        "limits",
        [{"max_running": 2, "max_queue": 0}, {"key_concurrent": 2}, {"key_concurrent": 0.5}],
    )
    def test_none_is_sent_away_by_its_own_batch(self, limits):
        with FakeHiggs() as higgs, serving(higgs, warmup=False, **limits) as live:
            assert self.ask(live, *[{"input": "Well."}] * 5).json["succeeded"] == 5
            generated = live.ask("/generate/batch", [{"text": "Well."}] * 5).json
            assert generated["successful"] == 5


class TestTimestamps:
    TEXT = "One of them. [pause:500ms] And another."

    def ask(self, live: Live, **fields) -> Reply:
        body = {"input": self.TEXT, "response_format": "wav", **fields}
        return live.ask("/v1/audio/speech/timestamps", body)

    def test_segments_have_exact_times(self, live):
        reply = self.ask(live, seed=4, speed=2.0)
        told = reply.json
        first, second = told["segments"]
        assert first | {"end": 0} == {"index": 0, "text": "One of them.", "start": 0.0, "end": 0}
        assert second["start"] - first["end"] == pytest.approx(0.5)
        assert second["end"] == told["duration"]
        assert seconds(base64.b64decode(told["audio"])) == pytest.approx(told["duration"], abs=1e-4)
        assert (told["format"], told["sample_rate"], told["seed"]) == ("wav", 24_000, 4)
        assert told["take"] == reply.headers["x-take"] and "captions" not in told

    def test_captions_as_files_have_them(self, live):
        srt = self.ask(live, timestamp_format="srt").json["captions"]
        assert srt == (
            "1\n00:00:00,000 --> 00:00:00,960\nOne of them.\n\n"
            "2\n00:00:01,460 --> 00:00:02,420\nAnd another.\n\n"
        )
        vtt = self.ask(live, timestamp_format="vtt").json["captions"]
        assert vtt.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:00.960\n")

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"word_timestamps": True}, "word_timestamps"),
            ({"timestamp_format": "ass"}, "timestamp_format"),
            ({"stream": True}, "stream"),
            ({"stream_format": "sse"}, "stream_format"),
            ({"utterance_events": True}, "utterance_events"),
            ({"voice": "nobody"}, "voice"),
        ],
    )
    def test_what_cannot_be_followed_is_named(self, live, fields, param):
        refused = self.ask(live, **fields)
        assert refused.status == 400 and refused.error["param"] == param
