"""The benchmarks of graphics cards run with the tiny model, and their arithmetic is right."""

from __future__ import annotations

import math
import time
from itertools import islice
from types import SimpleNamespace

import pytest
import torch

from benchmarks import (
    gpu_decode,
    gpu_first_audio,
    gpu_throughput,
    listeners,
    report,
    weights,
)
from benchmarks.bandwidth import copy_bandwidth
from benchmarks.flags import Flags, judged, read_flags
from benchmarks.listeners import Heard, Service, engine_for, percentile
from faster_higgs.codec.stream import SharedStream
from faster_higgs.errors import EngineError, SettingError
from faster_higgs.prompt.template import Prompt
from tests.benchmarks.conftest import run

SCRIPTS = (gpu_decode, gpu_throughput, gpu_first_audio)
BF16 = ("--precision", "bf16")


@pytest.fixture
def service():
    settings = read_flags(Flags("", device=True), ["--tiny", *BF16])
    with Service(settings, engine_for(4, 80)) as made:
        yield made


class TestScripts:
    @pytest.mark.parametrize("precision", weights.PRECISIONS)
    def test_decoding_is_measured_beside_the_floor(self, precision, tmp_path, capsys):
        found = run(gpu_decode, tmp_path, "--precision", precision)
        floor = 1e9 * found["bandwidth_gb_s"] / found["bytes_per_frame"]
        assert math.isclose(found["floor_frames_per_s"], floor)
        assert math.isclose(found["floor_fraction"], found["frames_per_s"] / floor)
        assert found["frames_per_s"] == found["rounds"][0] > 0
        assert (found["device"], found["card"], found["must"]) == ("cpu", None, None)
        assert f"one request, {precision}" in capsys.readouterr().out

    def test_throughput_is_measured_at_each_number_of_streams(self, tmp_path, capsys):
        found = run(gpu_throughput, tmp_path, *BF16, "--streams", "1", "3")
        assert set(found["streams"]) == {"1", "3"}
        for one in found["streams"].values():
            assert math.isclose(one["frames_per_s"], 25 * one["sound_s_per_s"])
        best = found["streams"][str(found["best_streams"])]["sound_s_per_s"]
        assert best == found["best_sound_s_per_s"] > 0
        assert max(one["sound_s_per_s"] for one in found["streams"].values()) == best
        assert "best: " in capsys.readouterr().out

    def test_first_audio_is_measured_of_one_and_of_many(self, tmp_path, capsys):
        found = run(gpu_first_audio, tmp_path, *BF16)
        one, many = found["one"], found["many"]
        assert len(one["rounds"]) == 3 and 0 < one["p50_ms"] <= one["p95_ms"]
        assert one["p50_ms"] in one["rounds"]
        (first,), (underruns,) = many["rounds"]["first_ms"], many["rounds"]["underrun_ms"]
        assert len(first) == len(underruns) == many["streams"] == 4
        assert (many["p95_ms"], many["worst_underrun_ms"]) == (max(first), max(underruns))
        assert "worst underrun, ms" in capsys.readouterr().out

    @pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
    def test_a_card_that_is_not_there_is_told_in_a_sentence(self, script, monkeypatch, capsys):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
        assert script.main([*BF16]) == SettingError.exit_code
        assert "No CUDA device is at hand" in capsys.readouterr().err
        assert script.main([*BF16, "--tiny", "--device", "mps"]) == SettingError.exit_code
        assert "use cpu, cuda or cuda:N" in capsys.readouterr().err

    @pytest.mark.gpu
    @pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
    def test_they_run_on_a_card(self, script, tmp_path):
        found = run(script, tmp_path, *BF16, "--device", "cuda")
        assert found["device"] == "cuda:0"
        assert found["card"]["name"] == torch.cuda.get_device_name(0)
        assert found["peak_card_gb"] > 0

    def test_only_the_whole_model_on_a_card_is_judged(self):
        whole = {"tiny": False, "layers": 28, "device": "cuda:0"}
        assert judged(SimpleNamespace(**whole), 0.5) == 0.5
        for other in ({"tiny": True}, {"layers": 8}, {"device": "cpu"}):
            assert judged(SimpleNamespace(**{**whole, **other}), 0.5) is None


class TestListeners:
    def test_a_player_that_never_waits_has_no_underrun(self):
        heard = Heard(10.0, ((10.5, 100), (10.6, 100), (12.5, 100)))
        assert heard.first == 0.5
        assert (heard.end, heard.samples) == (12.5, 300)
        assert heard.underrun(rate=100) == 0  # the last came as the one before it was over

    def test_an_underrun_is_the_time_a_player_stood_still(self):
        heard = Heard(0.0, ((1.0, 100), (2.25, 100), (3.0, 50), (4.25, 100)))
        # It stood still from 2.0 to 2.25, played until 3.75, and stood still until 4.25.
        assert heard.underrun(rate=100) == 0.75
        assert Heard(0.0, ((1.0, 100),)).underrun(rate=100) == 0

    def test_a_percentile_is_one_of_the_values(self):
        values = [float(value) for value in range(20, 0, -1)]
        assert [percentile(values, percent) for percent in (50, 95, 100)] == [10, 19, 20]
        assert percentile([3.0], 50) == 3

    def test_every_clip_has_its_length_and_begins_when_its_listener_comes(self, service):
        prompts = [*islice(gpu_throughput.texts(service, 40), 6)]
        begin = time.perf_counter()
        heard = service.gather(prompts, 50, [0.0] * 5 + [0.2])
        assert [one.samples for one in heard] == [50 * service.hop] * 6  # two of them had to wait
        assert all(one.pieces[0][1] <= 5 * service.hop for one in heard)  # small, to be heard early
        assert heard[-1].asked - begin >= 0.2

    def test_prompts_of_throughput_share_no_page_and_those_of_a_voice_do(self, service):
        texts = gpu_throughput.texts(service, 40)
        one, other = next(texts), next(texts)
        assert len(one) == len(other) == 40 and one.ids[:16] != other.ids[:16]
        spoken = gpu_first_audio.texts(service, 20)
        asked = [next(spoken) for _ in range(gpu_first_audio.VOICES + 1)]
        assert torch.equal(asked[0].clips[0], asked[-1].clips[0])
        assert not torch.equal(asked[0].clips[0], asked[1].clips[0])
        assert len({prompt.ids for prompt in asked}) == len(asked)

    def test_a_clip_of_another_length_is_not_measured(self, service, monkeypatch):
        monkeypatch.setattr(listeners, "ENDLESS", {"rules": "transformers"})
        prompt = Prompt(tuple(gpu_throughput.prompt_ids(service.config, 40)), ())
        with pytest.raises(EngineError, match="1 of 1 clips have not the 50 frames"):
            service.gather([prompt], 50)

    def test_a_full_card_is_told_in_a_sentence(self, service, monkeypatch):
        def full(*_, **__):
            raise torch.OutOfMemoryError("tried to allocate 20 GiB")

        monkeypatch.setattr(SharedStream, "decode", full)
        with pytest.raises(EngineError, match="full with 2 streams; ask for fewer"):
            service.gather([*islice(gpu_throughput.texts(service, 40), 2)], 20)


class TestReport:
    def test_a_copy_reads_and_writes(self):
        assert copy_bandwidth("cpu", 4_000_000, tries=1) > 1e7

    def test_what_has_to_stay_small_is_judged(self):
        assert report.limit(50.0, 50).endswith("kept")
        assert report.limit(50.1, 50).endswith("MISSED")
        assert report.limit(1.0, None) == ""

    def test_a_card_is_named(self, monkeypatch, tmp_path, capsys):
        found = SimpleNamespace(name="Card 9", total_memory=80 * 10**9, major=9, minor=0)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: found)
        report.finish({}, [("a", 1)], tmp_path / "found.json", "cuda:0")
        facts = report.about("cuda:0")["card"]
        assert (facts["name"], facts["memory_gb"], facts["capability"]) == ("Card 9", 80, "9.0")
        assert "Card 9" in capsys.readouterr().out
