"""What /metrics and /stats tell, and that it is so."""

from __future__ import annotations

import re

import pytest

from faster_higgs.server.app import create_app
from faster_higgs.server.gauges import NAMES
from faster_higgs.server.ledger import Playback
from faster_higgs.speech import Higgs
from faster_higgs.testing import FakeHiggs, tiny_checkpoint
from tests.server.conftest import Live, serving

TOLD = {"max_new_tokens": 60, "voice": "alice", "seed": 3}


def value(live: Live, name: str) -> float:
    """One sample."""
    text = live.ask("/metrics").body.decode()
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    assert found, name
    return float(found[1])


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    folder = tiny_checkpoint(tmp_path_factory.mktemp("model"))
    with Higgs.load(folder, device="cpu") as higgs, serving(higgs, warmup=False) as live:
        yield live


def test_the_engine_is_told_as_it_is(real):
    for _ in range(2):
        assert real.speak("A sentence of several words.", **TOLD).status == 200
    stats = real.ask("/stats").json
    engine = stats["engine"]
    assert engine["running"] == engine["waiting"] == engine["pages_used"] == 0
    assert engine["pages_total"] > 0 and engine["steps"] > 20
    assert 0 < engine["mean_batch"] <= 1 and engine["admitted"] == 2
    assert engine["prefix_hits"] == 1  # the voice of the second was known
    assert stats["queue_depth"] == stats["running"] == 0
    assert stats["audio_seconds"] > 0.1 and stats["memory"]["rss_bytes"] > 1_000_000
    for name, told in {
        "engine_steps_total": engine["steps"],
        "engine_columns_total": engine["columns"],
        "prefix_hits_total": 1,
        "cache_pages": engine["pages_total"],
        "cache_pages_used": 0,
        "model_loaded": 1,
        "ready": 1,
    }.items():
        assert value(real, f"higgs_{name}") == told
    assert 0 < value(real, "higgs_engine_step_seconds_total") < 60
    frames, samples = value(real, "higgs_frames_total"), value(real, "higgs_samples_total")
    assert frames * 960 == samples == pytest.approx(stats["audio_seconds"] * 24_000)


def test_streams_are_judged_by_their_gaps(real):
    before = value(real, "higgs_streams_total")
    real.speak("Hello there.", **TOLD, stream_format="audio")
    real.speak("Hello there.", **TOLD, stream=False)
    assert value(real, "higgs_streams_total") == before + 1
    assert value(real, "higgs_underrun_seconds_count") == before + 1
    assert value(real, 'higgs_continuity_ok_total{threshold_ms="500"}') <= before + 1


def test_a_listener_hears_gaps_where_sound_comes_late():
    playback = Playback()
    for seconds, now in ((1.0, 10.0), (1.0, 10.5), (0.5, 12.25), (1.0, 12.5)):
        playback.heard(seconds, now)
    assert playback.gaps == 0.25  # 10 to 12 is played, the next comes at 12.25
    playback.heard(1.0, 14.25)
    assert playback.gaps == 0.75


def test_a_deadline_is_a_reason(real):
    real.speak("A sentence. " * 200, voice="alice", timeout=0.05, seed=1)
    assert value(real, 'higgs_aborted_total{reason="deadline"}') >= 1


@pytest.mark.parametrize("compat", [None, "vllm_omni"])
def test_boards_made_for_another_server_find_its_names(compat):
    with FakeHiggs() as higgs, serving(higgs, metrics_compat=compat, warmup=False) as live:
        live.speak()
        text = live.ask("/metrics").body.decode()
        assert ("vllm:omni_" in text) == bool(compat)
        if compat:
            assert 'vllm:omni_audio_ttfp_s_count{model_name="fake-higgs"} 1.0' in text
            ok = 'vllm:omni_audio_continuity_ok_total{model_name="fake-higgs",threshold_ms="100"}'
            assert f"{ok} 1.0" in text
            families = set(re.findall(r"# TYPE (\S+) ", text))
            for ours, theirs in NAMES.items():
                assert {ours, f"{ours}_total"} & families, ours
                assert {theirs, f"{theirs}_total"} & families, theirs


def test_names_are_told_once():
    with FakeHiggs() as higgs, serving(higgs, metrics_compat="vllm_omni", warmup=False) as live:
        names = re.findall(r"# TYPE (\S+) ", live.ask("/metrics").body.decode())
    assert len(names) == len(set(names))


def test_the_port_of_metrics_tells_metrics_alone_and_needs_no_key():
    with FakeHiggs() as higgs:
        with serving(higgs, api_keys=("first-key-1",), warmup=False) as live:
            assert live.ask("/metrics").status == 401
        with serving(higgs, api_keys=("first-key-1",), warmup=False, apart=True) as live:
            assert live.ask("/metrics", headers={"Host": "collector.example"}).status == 200
            for path in ("/v1/models", "/health", "/metrics/", "//metrics"):
                assert live.ask(path).status == 404
            assert live.speak().status == 404


def test_a_card_is_told_where_there_is_one():
    facts = {"device": "cuda:0", "gpu_memory_total_gb": 80.0, "gpu_memory_used_gb": 2.5}
    for more in ({}, {"gpu_utilization": 0.25}):
        with FakeHiggs() as higgs:
            service = create_app(higgs, facts=lambda more=more: facts | more).inner.state.service
            text = service.metrics().decode()
        assert "higgs_memory_gpu_memory_used_bytes 2.5e+09" in text
        assert "higgs_memory_gpu_memory_total_bytes 8e+10" in text
        assert ("higgs_gpu_utilization_ratio 0.25" in text) == bool(more)
