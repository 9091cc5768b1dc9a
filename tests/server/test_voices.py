"""/v1/audio/voices: lists in every dialect, uploads that are judged, ids that are never paths."""

from __future__ import annotations

import numpy as np
import pytest

from faster_higgs.audio.save import save
from faster_higgs.testing import FakeHiggs, spoken, tones
from tests.server.conftest import seconds, serving

SAID = "Somebody says a whole sentence for the test."
FORM = {"name": "carla", "ref_text": SAID}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "clip.wav"
    save(path, tones(spoken(SAID)))
    return path


@pytest.fixture
def live(tmp_path):
    with FakeHiggs(voices=[tmp_path / "mine"]) as higgs, serving(higgs, warmup=False) as server:
        yield server


class TestLists:
    def test_the_usual_one_has_every_shape(self, live):
        told = live.ask("/v1/audio/voices").json
        assert told["object"] == "list" and told["data"] == told["voices"]
        assert {"id", "name", "object", "created_at"} <= told["data"][0].keys()
        assert told["data"][-1]["id"].startswith("profile:")

    @pytest.mark.parametrize("query", ["legacy=true", "format=names", "format=vllm-omni"])
    def test_other_servers_list_names(self, live, query):
        told = live.ask(f"/v1/audio/voices?{query}").json
        assert all(isinstance(name, str) for name in told["voices"])
        assert ("uploaded_voices" in told) == (query == "format=vllm-omni")

    def test_no_path_is_told(self, live, tmp_path, clip):
        live.form("/v1/audio/voices", FORM, clip)
        assert str(tmp_path).encode() not in live.ask("/v1/audio/voices").body
        assert b"/" not in live.ask("/v1/audio/voices").body.replace(b"audio/", b"")


class TestUpload:
    def test_a_voice_is_added_heard_and_deleted(self, live, clip):
        more = {"consent": "cons_7", "speaker_description": "warm, close"}
        added = live.form("/v1/audio/voices", FORM | more | {"name": "My Carla"}, clip)
        assert added.status == 200, added.body
        told = added.json
        assert told["id"] == "my-carla" and told["name"] == "My Carla" and told["success"]
        assert told["object"] == "audio.voice" and told["voice"]["consent"] == "cons_7"
        assert told["ref_text"] == SAID and told["speaker_description"] == "warm, close"
        assert live.ask("/v1/audio/voices/my-carla").json["created_at"] > 1_700_000_000
        sample = live.ask("/v1/audio/voices/MY-CARLA/sample")
        assert seconds(sample.body) == pytest.approx(len(SAID) * 0.08, abs=0.05)
        assert live.speak(voice="my-carla").headers["x-voice"] == "my-carla"
        gone = live.ask("/v1/audio/voices/my-carla", method="DELETE").json
        assert gone["deleted"] and gone["success"] and gone["id"] == "my-carla"
        assert live.ask("/v1/audio/voices/my-carla").status == 404
        assert live.speak(voice="my-carla").status == 400

    def test_a_described_voice(self, live):
        form = {"name": "old", "type": "prompt", "prompt": "an old man", "model": "auto"}
        told = live.form("/v1/audio/voices", form).json
        assert (told["id"], told["type"], told["prompt"]) == ("old", "prompt", "an old man")
        assert live.speak(voice="old").headers["x-voice"] == "old"
        assert live.ask("/v1/audio/voices/old/sample").error["param"] == "id"
        assert live.ask("/v1/audio/voices/old", method="DELETE").status == 200

    def test_a_name_is_taken_in_any_case(self, live, clip):
        assert live.form("/v1/audio/voices", FORM, clip).status == 200
        for name in ("carla", "CARLA", "Alice"):
            reply = live.form("/v1/audio/voices", FORM | {"name": name}, clip)
            assert (reply.status, reply.error["code"]) == (409, "voice_exists")

    @pytest.mark.parametrize(
        "name", ["../x", "/etc/passwd", "..", "a/b", "a\\b", "", "con", "nul.txt", "a..b", "x" * 65]
    )
    def test_a_name_that_is_no_id_is_refused(self, live, clip, tmp_path, name):
        reply = live.form("/v1/audio/voices", FORM | {"name": name}, clip)
        assert reply.status == 400 and reply.error["param"] == "name"
        assert not list((tmp_path / "mine").glob("*"))

    def test_a_name_of_openais_is_taken_on_purpose_only(self, live, clip):
        alloy = FORM | {"name": "Alloy"}
        reply = live.form("/v1/audio/voices", alloy, clip)
        assert (reply.status, reply.error["code"]) == (400, "reserved_name")
        live.service.higgs.voices.add("alloy", clip, SAID)  # as `higgs voices add` does
        assert live.speak(voice="alloy").headers["x-voice"] == "chosen by the model"
        live.service.higgs.voices.remove("alloy")
        assert live.form("/v1/audio/voices", alloy | {"openai_name": "true"}, clip).status == 200
        assert live.speak(voice="alloy").headers["x-voice"] == "alloy"
        reply = live.form("/v1/audio/voices", FORM | {"openai_name": "true"}, clip)
        assert (reply.status, reply.error["param"]) == (400, "openai_name")

    @pytest.mark.parametrize("name", ["", "   "])
    def test_an_empty_name_is_told(self, live, clip, name):
        message = live.form("/v1/audio/voices", FORM | {"name": name}, clip).error["message"]
        assert "missing" in message or "empty" in message

    @pytest.mark.parametrize(
        ("samples", "word"),
        [
            (np.zeros(48_000, np.float32), "silent"),
            (tones(spoken("Hi.")), "too short"),
            (np.tile(tones(spoken(SAID)), 20), "at most 30 s"),
        ],
    )
    def test_the_linter_says_what_is_wrong(self, live, tmp_path, samples, word):
        path = tmp_path / "bad.wav"
        save(path, samples)
        reply = live.form("/v1/audio/voices", FORM, path)
        assert reply.status == 400 and word in reply.error["message"]
        assert (reply.error["param"], reply.error["code"]) == ("audio_sample", "invalid_audio")

    def test_what_may_pass_is_a_warning(self, live, clip):
        assert live.form("/v1/audio/voices", FORM, clip).json["warnings"]

    def test_what_is_no_sound_is_refused(self, live, tmp_path):
        (tmp_path / "x.wav").write_bytes(b"#!/bin/sh\n" * 100)
        reply = live.form("/v1/audio/voices", FORM, tmp_path / "x.wav")
        assert reply.status == 400 and str(tmp_path) not in reply.error["message"]

    @pytest.mark.parametrize(
        ("change", "param"),
        [
            ({"ref_text": ""}, "ref_text"),
            ({"speaker_embedding": "[1]"}, "speaker_embedding"),
            ({"prompt": "a man"}, "prompt"),
            ({"nosuch": "1"}, "nosuch"),
            ({"type": "other"}, "type"),
            ({"type": "prompt"}, "type"),
            ({"script_hint": "x" * 5000}, "script_hint"),
        ],
    )
    def test_a_wrong_field_is_named(self, live, clip, change, param):
        reply = live.form("/v1/audio/voices", FORM | change, clip)
        assert reply.status == 400 and reply.error["param"] == param

    def test_a_missing_clip_or_name_is_named(self, live, clip):
        assert live.form("/v1/audio/voices", FORM).error["param"] == "audio_sample"
        assert live.form("/v1/audio/voices", {"ref_text": "x"}, clip).error["param"] == "name"

    def test_too_much_and_too_many_are_refused(self, tmp_path, clip):
        few = {"max_upload_bytes": 2000, "max_voices": 2, "warmup": False}
        with FakeHiggs() as higgs, serving(higgs, **few) as live:
            assert live.form("/v1/audio/voices", FORM, clip).status == 413
            reply = live.form(
                "/v1/audio/voices", {"name": "x", "type": "prompt", "prompt": "a man"}
            )
            assert (reply.status, reply.error["code"]) == (409, "too_many_voices")


def test_a_voice_of_the_model_stays(tmp_path):
    with (
        FakeHiggs() as made,
        FakeHiggs(made.folder, [tmp_path / "mine"]) as higgs,
        serving(higgs, warmup=False) as live,
    ):
        reply = live.ask("/v1/audio/voices/alice", method="DELETE")
        assert (reply.status, reply.error["code"]) == (403, "voice_read_only")
        reply = live.ask("/v1/audio/voices/profile:male_en", method="DELETE")
        assert (reply.status, reply.error["code"]) == (403, "voice_read_only")
        reply = live.form(
            "/v1/audio/voices", {"name": "alice", "type": "prompt", "prompt": "a woman"}
        )
        assert reply.status == 409 and "choose another name" in reply.error["message"]
        assert live.ask("/v1/audio/voices/nobody", method="DELETE").status == 404
        assert live.ask("/v1/audio/voices/..%2F..%2Fetc%2Fpasswd").status == 404


def test_models_for_audio_are_listed(live):
    told = live.ask("/v1/audio/models").json
    assert told["models"][0]["id"] == "fake-higgs" and told["data"] == told["models"]
