"""/generate, /generate/batch, /stats, /health: what scripts for other Higgs servers rely on."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from faster_higgs.audio.encode import encode
from faster_higgs.errors import NoAudio
from faster_higgs.server.described import Described
from faster_higgs.testing import FakeHiggs, spoken, tones
from tests.server.conftest import SECONDS_PER_CHARACTER, Slow, Witness, seconds, serving, until

TEXT = "A sentence for the other servers."
SCENE = "A big hall."
SYSTEM = (
    f"Generate audio following instruction.\n\n<|scene_desc_start|>\n{SCENE}\n<|scene_desc_end|>"
)
CLIP = base64.b64encode(encode(tones(spoken("A clip of somebody.")), "wav")).decode()


def test_a_whole_wav_file(live):
    reply = live.ask("/generate", {"text": TEXT})
    assert reply.status == 200 and reply.headers["content-type"] == "audio/wav"
    assert seconds(reply.body) == pytest.approx(len(TEXT) * SECONDS_PER_CHARACTER, abs=0.05)
    told = reply.headers
    assert float(told["x-generation-time"]) >= 0 and told["x-sample-rate"] == "24000"
    assert told["x-mode"] == "single" and "x-chunks" not in told
    assert told["x-has-voice-clone"] == told["x-has-system-prompt"] == "false"
    assert float(told["x-duration"]) > 1 and int(told["x-concurrent-requests"]) >= 1


def test_a_dialogue(live):
    text = "[SPEAKER0] Hello there! [SPEAKER1] Hi, how are you?"
    reply = live.ask("/generate", {"text": text, "system_prompt": SYSTEM})
    assert reply.headers["x-mode"] == "multi-speaker" and int(reply.headers["x-chunks"]) >= 1
    assert live.service.higgs.asked[-1][3].scene == SCENE


def test_a_system_prompt_is_taken_as_it_is(live):
    reply = live.ask("/generate", {"text": TEXT, "system_prompt": SYSTEM})
    assert reply.headers["x-has-system-prompt"] == "true"
    assert live.service.higgs.asked[-1][3].system == SYSTEM


@pytest.mark.parametrize("more", [{"voice_id": "alice"}, None])
def test_a_voice_or_a_clip(live, more):
    clone = more or {"reference_audio_base64": CLIP, "reference_text": "A clip of somebody."}
    reply = live.ask("/generate", {"text": TEXT, **clone})
    assert reply.status == 200 and reply.headers["x-has-voice-clone"] == "true"


@pytest.mark.parametrize("top_k", [0, None])
def test_top_k_may_be_off(live, top_k):
    assert live.ask("/generate", {"text": TEXT, "top_k": top_k}).status == 200
    assert live.service.higgs.asked[-1][2].top_k == 0


@pytest.mark.parametrize("text", ["", "  \n"])
def test_no_text_is_a_400(live, text):
    reply = live.ask("/generate", {"text": text})
    assert (reply.status, reply.json) == (400, {"detail": "Text cannot be empty"})


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": 2}, {"top_p": 1.5}, {"top_k": 101}, {"max_tokens": 100}, {"nosuch": 1}],
)
def test_what_is_out_of_range_is_a_422(live, wrong):
    reply = live.ask("/generate", {"text": TEXT, **wrong})
    assert reply.status == 422 and reply.json["detail"][0]["loc"] == ["body", *wrong]


@pytest.mark.parametrize(
    "wrong",
    [
        {"reference_audio_base64": CLIP},
        {"reference_text": "words"},
        {"reference_audio_base64": "%%", "reference_text": "words"},
        {"reference_audio_base64": CLIP, "reference_text": "words", "voice_id": "alice"},
        {"voice_url": "file:///etc/passwd"},
        {"voice_id": "nobody"},
        {"text": "x" * 5000},
    ],
)
def test_what_cannot_be_done_is_a_400_with_a_sentence(live, wrong):
    reply = live.ask("/generate", {"text": TEXT} | wrong)
    assert reply.status == 400 and reply.json.keys() == {"detail"}


def test_a_batch(live):
    bodies = [{"text": TEXT}, {"text": " "}, {"text": TEXT, "voice_id": "nobody"}, {"text": "Hi."}]
    told = live.ask("/generate/batch", bodies).json
    assert (told["total"], told["successful"], told["failed"]) == (4, 2, 2)
    good = [one for one in told["results"] if one["success"]]
    assert [one["index"] for one in good] == [0, 3]
    assert told["results"][1]["error"] == "Text cannot be empty"
    assert seconds(base64.b64decode(good[0]["audio_base64"])) > 2
    assert good[0]["generation_time"] >= 0


@pytest.mark.parametrize("count", [0, 33])
def test_a_batch_has_a_size(live, count):
    assert live.ask("/generate/batch", [{"text": "Hi."}] * count).status == 400


def test_the_counters_agree():
    with FakeHiggs() as higgs, serving(higgs, warmup=False) as live:
        for text in ("One.", "Two.", "!!!"):
            live.ask("/generate", {"text": text})
        health, stats = live.ask("/health").json, live.ask("/stats").json
        assert stats["total_requests"] == 3 and stats["successful_requests"] == 2
        assert stats["failed_requests"] == 1 and stats["peak_concurrent"] == 1
        assert stats["avg_generation_time"] == pytest.approx(
            stats["total_generation_time"] / 2, abs=1e-6
        )
        assert health["stats"].items() <= stats.items()
        assert {"status", "higgs_available", "model_loaded", "model_id"} <= health.keys()
        assert {"vllm_backend", "vllm_healthy", "model"} <= health.keys()


def test_a_failure_begins_as_it_did_there():
    class Mute(FakeHiggs):
        def frames(self, *_, **__):
            raise NoAudio("The model answered without any sound.")

    with Mute() as higgs, serving(higgs, warmup=False) as live:
        reply = live.ask("/generate", {"text": TEXT})
        assert reply.status == 500
        assert reply.json["detail"].startswith("Generation failed: The model answered")


def test_the_system_prompt_of_the_server_holds_here_too():
    told = {"default_system_prompt": "Speak slowly."}
    with Witness() as higgs, serving(higgs, warmup=False, **told) as live:
        for own, system in ((None, "Speak slowly."), ("Be quick.", "Be quick.")):
            assert live.ask("/generate", {"text": TEXT, "system_prompt": own}).status == 200
            assert higgs.asked[-1][3].system == system


def test_the_cap_holds_here_too():
    with Witness() as higgs, serving(higgs, warmup=False, max_new_tokens_cap=300) as live:
        assert live.ask("/generate", {"text": TEXT}).status == 200
        assert higgs.asked[-1][2].max_new_tokens == 300
        reply = live.ask("/generate", {"text": TEXT, "max_tokens": 301})
        assert reply.status == 400 and "max_tokens is 301" in reply.json["detail"]
        assert live.speak().status == 200  # who names no limit has not asked for too much


def test_who_looks_at_the_machine_holds_up_nobody():
    looking, seen = threading.Event(), threading.Event()

    def facts() -> dict[str, str]:
        looking.set()
        seen.wait(10)
        return {}

    with FakeHiggs() as higgs, serving(higgs, warmup=False) as live, ThreadPoolExecutor(1) as one:
        live.service.facts = facts
        live.service.metrics = lambda: b"" if facts() else b"none"
        for path in ("/stats", "/metrics"):
            looking.clear(), seen.clear()
            asked = one.submit(live.ask, path)
            assert looking.wait(10)
            begin = time.monotonic()
            assert live.ask("/health/live").status == 200
            took = time.monotonic() - begin
            seen.set()
            assert asked.result(10).status == 200 and took < 5


def test_a_model_that_breaks_at_the_start_is_told(caplog):
    class Broken(FakeHiggs):
        def pieces(self, *_, **__):
            raise RuntimeError("CUDA error")

    with Broken() as higgs, serving(higgs, await_ready=False) as live:
        until(lambda: "cannot speak" in caplog.text, 5)
        assert live.ask("/health/ready").status == 503


def test_version_metrics_and_readiness(live):
    assert live.ask("/version").json["version"]
    assert live.ask("/health/live").json == {"status": "ok"}
    assert live.ask("/health/ready").json == {"status": "ok", "model_loaded": True}
    live.speak()
    text = live.ask("/metrics").body.decode()
    for name in ("time_to_first_audio_seconds_count", "real_time_factor_count", "queue_depth"):
        assert f"higgs_{name}" in text
    assert 'higgs_requests_total{path="/v1/audio/speech",status="200"}' in text


def test_it_is_not_ready_before_it_has_spoken():
    with Slow() as higgs, serving(higgs, await_ready=False) as live:
        until(lambda: higgs.begun == 1)
        assert live.ask("/health/ready").status == 503
        assert live.ask("/health").json["status"] == "degraded"
        higgs.go.release(10_000)
        until(lambda: live.ask("/health/ready").status == 200)
        assert live.ask("/health").json["status"] == "ok"


def test_the_description_of_the_api_is_there(live):
    paths = json.loads(live.ask("/openapi.json").body)["paths"]
    assert {"/v1/audio/speech", "/v1/audio/voices", "/generate", "/health"} <= paths.keys()
    assert live.ask("/docs").status == 404  # it would load scripts from elsewhere


def test_the_description_is_written_while_others_are_answered(live, monkeypatch):
    def written(_: Described) -> dict[str, str]:
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()
        return {"openapi": "3.1.0"}

    monkeypatch.setattr(Described, "openapi", written)
    assert live.ask("/openapi.json").json == {"openapi": "3.1.0"}
