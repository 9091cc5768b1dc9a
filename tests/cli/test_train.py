"""`higgs train`: what is asked becomes settings, and the result is where it says and speaks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from faster_higgs.checkpoint.adapter import read_adapter
from faster_higgs.cli.main import main
from faster_higgs.testing import tiny_checkpoint
from faster_higgs.train import tune
from tests.data.tiny import PICO
from tests.train.tiny_cache import prepared

pytest.importorskip("peft")

# The command of the original's guide, and every other flag of its trainer.
THEIRS = """
--model_path base --audio_tokenizer_path base/codec --train_data_dir data --output_dir out
--task_type single_speaker_smart_voice --num_train_epochs 5 --per_device_train_batch_size 2
--gradient_accumulation_steps 8 --learning_rate 1e-4 --warmup_steps 500 --use_lora --lora_rank 4
--lora_alpha 8 --lora_dropout 0.1 --bf16 --gradient_checkpointing --logging_steps 10
--save_steps 1000 --eval_steps 500 --seed 42 --report_to tensorboard --freeze_audio_tower
--dataloader_num_workers 0 --eval_data_dir held --weight_decay 0.02 --max_grad_norm 0.5
--save_total_limit 4 --logging_dir logs
"""


def config(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[dict[str, object], str]:
    """All settings by full name, and what was said beside them."""
    assert main(["train", *words, "--print-config"]) == 0
    said = capsys.readouterr()
    return dict(flat(yaml.safe_load(said.out))), said.err


def flat(found: dict[str, object], before: str = ""):
    for key, value in found.items():
        if isinstance(value, dict):
            yield from flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def test_the_originals_command_means_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    found, notes = config(capsys, *THEIRS.split())
    wanted = {
        "model": "base",
        "codec": "base/codec",
        "data": "data",
        "eval_data": "held",
        "out": "out",
        "mode": "lora",
        "dtype": "bfloat16",
        "batch_clips": 2,
        "adapter.rank": 4,
        "adapter.alpha": 8.0,
        "adapter.dropout": 0.1,
        "training.accumulate": 8,
        "training.seed": 42,
        "training.checkpointing": True,
        "training.optimizer.learning_rate": 1e-4,
        "training.optimizer.weight_decay": 0.02,
        "training.optimizer.clip": 0.5,
        "mixture.single_speaker_smart_voice": 1.0,
        "mixture.zero_shot_voice_cloning": 0.0,
        "run.epochs": 5.0,
        "run.warmup": 500,
        "run.warmup_share": None,
        "run.log_every": 10,
        "run.save_every": 1000,
        "run.eval_every": 500,
        "run.keep": 4,
    }
    assert {name: found[name] for name in wanted} == wanted
    noted = {line.split(":")[1].strip() for line in notes.splitlines()}
    flags = "per-device-train-batch-size freeze-audio-tower dataloader-num-workers logging-dir"
    assert noted == {f"--{name}" for name in flags.split()}


@pytest.mark.parametrize(
    ("words", "mode"),
    [(["--use_lora"], "lora"), (["--use_lora", "False"], "full"), (["--freeze-llm"], "audio_only")],
)
def test_a_switch_may_stand_alone(
    capsys: pytest.CaptureFixture[str], words: list[str], mode: str
) -> None:
    assert config(capsys, *words, "--seed", "3")[0]["mode"] == mode


def test_each_source_goes_over_the_one_before(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("adapter: {rank: 8, dropout: 0.1}\nrun: {steps: 100, keep: 9}\n")
    words = ["--preset", "language", "--config", str(path), "--rank", "12", "--set", "run.keep=7"]
    found, _ = config(capsys, *words)
    assert found["adapter.whole"] == ["embed_audio", "audio_head"]
    assert (found["adapter.rank"], found["adapter.alpha"]) == (12, 24.0)
    assert (found["adapter.dropout"], found["run.keep"], found["run.steps"]) == (0.1, 7, 100)
    again, _ = config(capsys, "--config", str(path), "--epochs", "2", "--patience", "0")
    assert (again["run.steps"], again["run.epochs"], again["run.patience"]) == (None, 2.0, None)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--preset", "song"], "no preset 'song'; use one of voice, language, light"),
        (["--set", "run.stepz=3"], "did you mean run.steps?"),
        (["--mode", "half"], "mode is 'half'"),
        (["--set", "run.steps=[1"], "is not YAML"),
        (["--use-lora", "True", "--mode", "full"], "Two flags set mode, one to lora and one to"),
        (["--batch-positions", "900", "--per-device-train-batch-size", "2"], "leave one of them"),
        (["--mode", "full", "--rank", "8"], "adapter.rank is about pairs, and mode full has none"),
        (["--mode", "full", "--preset", "voice"], "The preset 'voice' is about pairs"),
        (["--set", "base=nf4"], "base is of mode qlora"),
        (["--resume", "--fresh"], "contradict"),
        (["--max_length", "1024"], "no clip is cut"),
        ([], "Say where the results go"),
        (["--out", "x"], "Say what to train on"),
        (["--out", "x", "--data", "nowhere"], "is no prepared data set"),
    ],
)
def test_what_cannot_be_is_refused_with_status_2(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", *words, "--model", str(PICO)]) == 2
    assert says in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_where_memory_ends_it_is_said_what_helps(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(tune, "tune", exhausted)
    assert main(["train", "--data", "a", "--out", "b", "--model", str(PICO)]) == 1
    assert "`higgs memory --data FOLDER` finds a batch" in capsys.readouterr().err


def test_two_commands_make_an_adapter_that_speaks(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    model = tiny_checkpoint(tmp_path / "model")
    data, out = prepared(tmp_path / "data", model), tmp_path / "out"
    words = ["--preset", "voice", "--data", data, "--out", out, "--model", model]
    words += ["--set", "listen=1", "--steps", 3, "--device", "cpu", "--batch-positions", 400]
    assert main(["train", *map(str, words)]) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(out / "adapter")
    assert read_adapter(out / "adapter").config.rank == 16
    hint = next(line for line in said.err.splitlines() if line.startswith("Hear it: "))
    assert hint.endswith(f"--model {model} --adapter {out / 'adapter'}")
    assert "audio_ffn" in said.err and "3 steps in all" in said.err
    speak = ["say", "Hi.", "--max-new-tokens", "12", "-o", str(tmp_path / "hi.wav"), "-q"]
    assert main([*speak, "--model", str(model), "--adapter", str(out / "adapter")]) == 0
    assert (tmp_path / "hi.wav").stat().st_size > 1000


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["voice", "language", "light"])
def test_pico_learns(capsys: pytest.CaptureFixture[str], tmp_path: Path, preset: str) -> None:
    words = ["--preset", preset, "--data", prepared(tmp_path / "data"), "--out", tmp_path / "out"]
    words += ["--model", PICO, "--steps", 20, "--device", "cpu", "--batch-positions", 600]
    words += ["--log-every", 1, "--accumulate", 1]
    assert main(["train", *map(str, words)]) == 0
    lines = capsys.readouterr().err.splitlines()
    losses = [float(line.split()[3]) for line in lines if line.startswith("step ") and "/s" in line]
    assert sum(losses[-3:]) < sum(losses[:3])
