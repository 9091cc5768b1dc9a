"""Each benchmark runs with the tiny model; both contestants do the same work."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest
import torch
from transformers import HiggsAudioV2ForConditionalGeneration

from benchmarks import (
    contestants,
    cpu_batch,
    cpu_codec,
    cpu_decode,
    cpu_load,
    data_encode,
    gpu_train,
    host_cost,
    pico_cold,
    prefix,
    report,
    server_overhead,
    train_throughput,
    training,
    weights,
)
from benchmarks.apart import Apart, peak_memory
from faster_higgs.checkpoint.load import load_model
from faster_higgs.checkpoint.save import save_model
from faster_higgs.errors import EngineError, HiggsError, SettingError
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.testing import tiny_config
from faster_higgs.train.config import LossSettings
from faster_higgs.train.flops import operations, peak_of
from faster_higgs.train.loss import language_loss
from faster_higgs.train.packing import join
from tests.benchmarks.conftest import run

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

PRECISION = pytest.mark.parametrize("precision", weights.PRECISIONS)


class Here:
    """`Apart`, but in this process: two of those take seconds to start."""

    def __init__(self, make, *given):
        self.made = make(*given)
        self.peak_memory = peak_memory()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def ask(self, method, *given):
        return getattr(self.made, method)(*given)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return weights.model_folder(tmp_path_factory.mktemp("weights"), tiny=True)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    for module in (cpu_batch, cpu_decode, cpu_load):
        monkeypatch.setattr(module, "Apart", Here)


class TestScripts:
    @PRECISION
    def test_decoding_is_measured_beside_the_rival_and_the_floor(self, precision, tmp_path, capsys):
        found = run(cpu_decode, tmp_path, "--precision", precision, "--frames", "3")
        assert found["precision"] == precision
        assert found["ratio"] == found["frames_per_s"] / found["rival_frames_per_s"] > 0
        floor = 1e9 * found["bandwidth_gb_s"] / found["bytes_per_frame"]
        assert math.isclose(found["floor_fraction"], found["frames_per_s"] / floor)
        assert found["peak_rss_gb"] > 0.05
        assert "transformers, bf16" in capsys.readouterr().out

    def test_ours_can_be_measured_alone(self, tmp_path, capsys):
        found = run(cpu_decode, tmp_path, "--precision", "bf16", "--frames", "3", "--no-rival")
        assert found["ratio"] is None
        assert "transformers" not in capsys.readouterr().out

    @PRECISION
    def test_batches_are_compared_with_one_request(self, precision, tmp_path):
        flags = ("--precision", precision, "--frames", "3", "--batches", "1", "4")
        found = run(cpu_batch, tmp_path, *flags)["batches"]
        assert found["1"]["ratio"] == 1
        assert found["4"]["ratio"] == found["4"]["frames_per_s"] / found["1"]["frames_per_s"]

    def test_the_codec_is_measured_both_ways(self, tmp_path, capsys):
        pytest.importorskip("torchaudio", reason="the rival needs torchaudio")
        found = run(cpu_codec, tmp_path, "--seconds", "1")
        for way in ("decode", "encode"):
            assert found[way]["ratio"] == found[way]["rival_seconds"] / found[way]["seconds"] > 0
        assert "1 s of sound" in capsys.readouterr().out

    def test_coding_a_corpus_is_measured_together_and_one_by_one(self, tmp_path):
        found = run(data_encode, tmp_path)
        one, together = (found[way]["seconds"] for way in ("one by one", "together"))
        assert found["ratio"] == one / together > 0 and found["clips_with_other_codes"] == 0

    def test_loading_is_measured_in_seconds_and_memory(self, tiny, tmp_path):
        found = run(cpu_load, tmp_path)
        assert found["time_fraction"] == found["seconds"] / found["rival_seconds"] > 0
        (file,) = tiny.glob("*.safetensors")
        assert found["weights_gb"] == file.stat().st_size / 1e9

    def test_a_known_voice_is_compared_with_a_new_one(self, tmp_path):
        found = run(prefix, tmp_path, "--precision", "bf16", "--clip", "20")
        assert found["ratio"] == found["new_voice_s"] / found["known_voice_s"] > 0

    def test_pico_is_measured_from_the_shell_and_loaded(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr(pico_cold.machine, "cold_start", lambda folder, tries: 2.5)
        found = run(pico_cold, tmp_path)
        assert (found["cold_start_s"], found["rtf"] > 0) == (2.5, True)
        assert "at most 4" in capsys.readouterr().out

    def test_the_host_is_measured_for_each_number_of_requests(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr(host_cost, "STEP", 0.002)
        found = run(host_cost, tmp_path, "--requests", "1", "3")["requests"]
        assert set(found) == {"1", "3"}
        for one in found.values():
            parts = [one[part] for part in ("engine_ms", "decoder_ms", "threads_ms")]
            assert [parts] == one["rounds"] and all(part > 0 for part in parts)
        assert "in threads, ms" in capsys.readouterr().out
        assert host_cost.verdict(256, 11.0).endswith("MISSED")
        assert host_cost.verdict(64, 11.0) == ""

    def test_the_server_is_measured_without_its_engine(self, tmp_path, capsys):
        found = run(server_overhead, tmp_path, "--rounds", "1")
        assert found["requests"].keys() == server_overhead.KINDS.keys()
        assert all(0 < one["engine_ms"] < one["total_ms"] for one in found["requests"].values())
        for costs in found["percent_of_a_core"].values():
            assert costs.keys() == {"engine", *server_overhead.STREAMED}
        assert "at most 2" in capsys.readouterr().out

    def test_a_wrong_setting_is_told_in_a_sentence(self, tmp_path, capsys):
        flags = ["--precision", "bf16", "--layers", "29", "--folder", str(tmp_path)]
        assert cpu_decode.main(flags) == SettingError.exit_code
        assert "1 to 28" in capsys.readouterr().err

    def test_weights_of_another_precision_are_refused(self, tiny, tmp_path, capsys):
        flags = ["--tiny", "--precision", "int4", "--model", str(tiny)]
        assert cpu_decode.main(flags) == SettingError.exit_code
        assert "holds bf16" in capsys.readouterr().err


class TestContestants:
    def test_both_give_the_same_logits(self, tiny):
        rival = HiggsAudioV2ForConditionalGeneration.from_pretrained(tiny, dtype=torch.float32)
        config, ours = load_model(tiny, dtype=torch.float32)
        ids = torch.tensor(contestants.prompt_ids(config))
        nothing = torch.empty(0, config.num_codebooks, dtype=torch.long)
        with torch.no_grad():
            hidden = ours.prefill(ids, nothing, torch.zeros(len(ids), dtype=torch.bool),
                                  ours.new_cache())  # fmt: skip
            found = rival(input_ids=ids[None]).logits[0]
        assert ids.numel() == contestants.PROMPT
        torch.testing.assert_close(ours.audio_logits(hidden).flatten(-2), found, atol=1e-4, rtol=0)

    def test_the_rival_reads_a_column_for_each_frame(self, tiny, monkeypatch):
        rival = contestants.Rival(tiny)
        rows = []
        layer = rival.model.model.layers[0]
        layer.audio_mlp.register_forward_hook(lambda *given: rows.append(given[1][0].shape[:2]))
        layer.mlp.register_forward_hook(lambda *given: rows.append("text"))
        assert len(rival._generate(1, 12, seed=0)) == 12
        assert rows[-11:] == [(1, 1)] * 11  # and no text weight was read

    def test_a_clip_that_ends_too_soon_is_not_measured(self, tiny, monkeypatch):
        ours = contestants.Ours(tiny)
        short = contestants.Sampling(seed=0, max_new_tokens=20)
        monkeypatch.setattr(contestants, "Sampling", lambda **_: short)
        with pytest.raises(EngineError, match="within 30 frames"):
            ours.rate(1, 30)
        assert ours.engine.idle

    def test_a_frame_reads_the_audio_side_of_the_published_model(self):
        with torch.device("meta"):
            model = DualFFN(weights.MODEL).bfloat16()
        assert contestants.bytes_per_frame(model) == 2 * 2_843_986_944


class TestWeights:
    def test_the_shapes_are_the_published_ones(self):
        shapes = weights._shapes(weights.MODEL)
        assert len(shapes) == 397
        assert sum(map(math.prod, shapes.values())) == 5_771_283_456
        assert len(weights._shards(shapes, weights.SHARD)) == 3

    def test_both_libraries_read_the_shards(self, tmp_path):
        weights.write_model(tiny_config(), tmp_path, shard_bytes=30_000)
        assert len(list(tmp_path.glob("*.safetensors"))) > 1
        _, ours = load_model(tmp_path)
        rival, told = HiggsAudioV2ForConditionalGeneration.from_pretrained(
            tmp_path, dtype="auto", use_text_head=True, output_loading_info=True
        )
        assert not any(told.values()), told
        assert torch.equal(ours.audio_head.weight, rival.audio_lm_head.weight)
        assert torch.equal(ours.norm.weight, torch.ones_like(ours.norm.weight))
        rows = ours.audio_head.weight.detach().float()
        assert abs(float(rows.std()) / weights.SCALE - 1) < 0.1
        assert len(rows.unique(dim=0)) == len(rows)

    def test_only_what_is_missing_is_written(self, tmp_path):
        config = tiny_config()
        weights.write_model(config, tmp_path, shard_bytes=30_000)
        first, second, *_ = sorted(tmp_path.glob("*.safetensors"))
        whole = second.read_bytes()
        second.write_bytes(whole[:-1])
        kept = first.stat().st_mtime_ns
        weights.write_model(config, tmp_path, shard_bytes=30_000)
        assert second.read_bytes() == whole
        assert first.stat().st_mtime_ns == kept
        assert not list(tmp_path.glob(".*"))


class TestApart:
    def test_it_answers_from_another_process(self):
        with Apart(Counter, "aab") as apart:
            assert apart.ask("most_common", 1) == [("a", 2)]
            assert 1e6 < apart.peak_memory < peak_memory()

    def test_one_that_is_gone_is_told(self, capfd):
        with pytest.raises(EngineError, match="Counter ended by itself"):
            Apart(Counter, 5)
        assert "TypeError" in capfd.readouterr().err


class TestReport:
    def test_a_table_has_its_columns_below_each_other(self):
        found = report.table([("", "frames/s"), ("ours", 12.345), ("theirs", 1234.5)])
        assert found == ["        frames/s", "ours        12.3", "theirs      1234"]

    def test_what_had_to_be_reached_is_judged(self):
        assert report.verdict(1.5, 1.5).endswith("reached")
        assert report.verdict(1.49, 1.5).endswith("MISSED")
        assert report.verdict(1.0, None) == ""

    def test_codecs_that_differ_are_not_compared(self):
        sound = torch.ones(1, 100)
        cpu_codec.refuse_different("decode", sound, sound + 1e-6)
        with pytest.raises(HiggsError, match="decode to different"):
            cpu_codec.refuse_different("decode", sound, sound + 0.1)


class TestTraining:
    def test_training_is_measured_beside_a_plain_loop_over_the_same_positions(self, tmp_path):
        found = run(train_throughput, tmp_path, "--examples", "3")
        speeds = found["positions_per_s"]
        assert found["ratio"]["transformers"] == speeds["packed"] / speeds["transformers"] > 0
        assert set(speeds) == {
            *("packed", "one by one", "transformers", "transformers, one step"),
        }

    def test_ours_and_the_plain_loop_have_one_loss(self, tmp_path):
        config = tiny_config()
        clips = training.Clips(config, 3)
        examples = [clips.example(number, 0) for number in range(3)]
        model = train_throughput.fresh(config)
        save_model(model, config, tmp_path)
        rival = HiggsAudioV2ForConditionalGeneration.from_pretrained(tmp_path, dtype=torch.float32)
        theirs = rival(**training.padded(examples, config.pad_token_id)).loss
        batch = join(examples)
        hidden = model.train_forward(
            batch.ids, batch.columns, batch.is_audio, batch.segment, batch.positions
        )
        ours = language_loss(model, hidden, batch, LossSettings("hf")).total
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)

    def test_clips_are_as_long_as_those_of_the_seed_corpus(self):
        clips = training.Clips(weights.MODEL, 300)
        frames = [len(clips.example(number, 0).columns) - 9 for number in range(300)]
        assert 3.6 < sum(frames) / len(frames) / 25 < 4.3

    def test_each_way_of_fine_tuning_is_measured(self, tmp_path, capsys):
        found = run(gpu_train, tmp_path, "--device", "cpu", "--only", "2048")
        assert all(row["positions_per_s"] > 0 for row in found["rows"].values())
        assert "LoRA r16, 2048" in capsys.readouterr().out

    def test_operations_are_those_of_the_published_model(self):
        """training.md (i): 5.69 GFLOP forward, twice that for pairs, thrice for all weights."""
        assert operations(weights.MODEL, learns=False) == pytest.approx(11.4e9, rel=0.01)
        assert operations(weights.MODEL, learns=True) == pytest.approx(17.1e9, rel=0.01)
        assert operations(weights.MODEL, learns=True, recomputed=True) == pytest.approx(
            22.8e9, rel=0.01
        )
        assert peak_of("NVIDIA A100-SXM4-40GB") == 312e12
        assert peak_of("Riva") is None
