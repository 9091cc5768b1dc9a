"""Runs: resumed equals uninterrupted, ends are clean, bad numbers are never silent."""

from __future__ import annotations

import json
import math
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import tiny_training as tiny
from faster_higgs.errors import (
    CheckpointError,
    CheckpointNotFound,
    HiggsError,
    OutputError,
    SettingError,
)
from faster_higgs.train import state as state_module
from faster_higgs.train.config import LanguageSettings, OptimizerSettings, RunSettings
from faster_higgs.train.guide import Guide
from faster_higgs.train.journal import Journal
from faster_higgs.train.loop import LanguageTask
from faster_higgs.train.run import Run
from faster_higgs.train.schedule import Schedule
from faster_higgs.train.stopping import Stopper

FAST = OptimizerSettings(learning_rate=1e-2)


def task(count: int = 9, seed: int = 0, **more: Any) -> LanguageTask:
    held_out = more.pop("held_out", None)
    settings = LanguageSettings(budget=60, window=4, seed=seed, optimizer=FAST, **more)
    return LanguageTask(tiny.model(), tiny.Conversations(count), settings, held_out=held_out)


def make_run(
    folder: Path, job: LanguageTask, lines: list[str] | None = None, **settings: Any
) -> Run:
    settings = {"warmup": 2, "eval_every": 100, "log_every": 5, **settings}
    say = (lines if lines is not None else []).append
    return Run(job, RunSettings(**settings), folder, say=say, identity={"seed": job.settings.seed})


def weights(job: LanguageTask) -> dict[str, Tensor]:
    return {name: weight.clone() for name, weight in job.model.state_dict().items()}


def equal(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, two[name]) for name, tensor in one.items())


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    tmp_path: Path, noise: float
) -> None:
    whole = task(code_noise=noise, accumulate=2)
    make_run(tmp_path / "whole", whole, steps=12, decay=0.5).go()
    first = task(code_noise=noise, accumulate=2)
    half = make_run(tmp_path / "parts", first, steps=12, decay=0.5, save_every=7)
    half.task.step = stop_after(half, 7)  # type: ignore[method-assign]
    assert half.go().reason == "signal"
    second = task(code_noise=noise, accumulate=2)
    rest = make_run(tmp_path / "parts", second, steps=12, decay=0.5)
    rest.resume_if_any()
    assert rest.step == 7
    outcome = rest.go()
    assert (outcome.step, outcome.reason) == (12, "steps")
    assert equal(weights(whole), weights(second))
    assert second.place() == whole.place()


def stop_after(run: Run, steps: int) -> Any:
    """The task's step, which sends this process a SIGTERM at the end of step number `steps`."""
    original = run.task.step

    def step(number: int) -> dict[str, float]:
        metrics = original(number)
        if number + 1 == steps:
            os.kill(os.getpid(), signal.SIGTERM)
        return metrics

    return step


def test_a_signal_saves_and_ends_and_the_old_handler_returns(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    job = task()
    run = make_run(tmp_path, job, steps=50)
    job.step = stop_after(run, 3)  # type: ignore[method-assign]
    outcome = run.go()
    assert (outcome.reason, outcome.step, outcome.checkpoint.name) == ("signal", 3, "step-00000003")
    assert signal.getsignal(signal.SIGTERM) is before
    lines: list[str] = []
    with Stopper(lines.append) as stopper:
        os.kill(os.getpid(), signal.SIGINT)
        assert stopper.wanted
    assert lines[0].startswith("Stopping after this step")


def test_a_run_of_minutes_comes_down_and_keeps_the_state_before_it(tmp_path: Path) -> None:
    job, lines = task(), []
    run = make_run(tmp_path, job, lines, minutes=1, decay=0.5, warmup=0)
    keep_time(run, lambda step: 6.0 * step)
    outcome = run.go()
    assert outcome.reason == "minutes"
    assert (tmp_path / "stable" / "state.json").is_file()
    assert run.schedule.decay_start == 5
    assert run.schedule.end == outcome.step == 10
    assert any("comes down" in line for line in lines)
    again = make_run(tmp_path, task(), minutes=1, decay=0.0, warmup=0)
    again.resume("stable")
    assert again.step == run.schedule.decay_start
    assert again.schedule.factor(again.step) == 1.0


def keep_time(run: Run, seconds: Any) -> None:
    """Let a run's clock be a function of its step."""
    run._elapsed = lambda: seconds(run.step)  # type: ignore[method-assign]


def test_a_run_of_minutes_that_grows_slow_ends_by_the_clock(tmp_path: Path) -> None:
    run = make_run(tmp_path, task(), minutes=1, decay=0.5, warmup=0)
    keep_time(run, lambda step: 6.0 * step if step <= 5 else 30.0 * step - 120)
    outcome = run.go()
    assert (outcome.reason, outcome.step) == ("minutes", 7)  # 60 s are over at 6, 72 s at 7
    assert run.schedule.end == 10
    rest = make_run(tmp_path, task(), minutes=1, decay=0.5, warmup=0)
    rest.resume()
    assert rest.go().step == 10


def test_old_checkpoints_go_and_latest_names_the_newest(tmp_path: Path) -> None:
    make_run(tmp_path, task(), steps=9, save_every=2, keep=2).go()
    assert sorted(path.name for path in tmp_path.glob("step-*")) == [
        "step-00000008",
        "step-00000009",
    ]
    assert (tmp_path / "latest").read_text().strip() == "step-00000009"
    assert not list(tmp_path.glob(".*"))


def test_a_run_that_went_back_keeps_what_it_writes(tmp_path: Path) -> None:
    make_run(tmp_path, task(), steps=8, save_every=2, keep=2).go()
    (tmp_path / "step-00000006").rename(tmp_path / "early")
    back = make_run(tmp_path, task(), steps=7, keep=2)
    back.resume("early")
    back.go()
    assert (tmp_path / "latest").read_text().strip() == "step-00000007"
    assert (tmp_path / "step-00000007").is_dir()
    again = make_run(tmp_path, task(), steps=7, save_every=1, keep=1)
    again.resume("early")
    again.go()
    assert [path.name for path in tmp_path.glob("step-*")] == ["step-00000007"]


def test_a_failed_save_leaves_the_old_checkpoints_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = task()
    make_run(tmp_path, job, steps=1).go()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(state_module, "save_file", full)
    run = make_run(tmp_path, job, steps=2)
    run.resume()
    with pytest.raises(OutputError, match="No space left"):
        run.go()
    assert [path.name for path in tmp_path.glob("*step*")] == ["step-00000001"]
    assert run.checkpoints.find() == tmp_path / "step-00000001"


@pytest.mark.parametrize("cut_off", [False, True])
def test_a_failed_save_of_the_same_step_leaves_the_only_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut_off: bool
) -> None:
    run = make_run(tmp_path, task(), steps=1, keep=1)
    run.go()
    rename, names = os.replace, []

    def fail(source: Path, target: Path) -> None:
        names.append(Path(target).name)
        if len(names) == 2 or (cut_off and len(names) > 2):  # cut off: nothing can be put back
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises((OutputError, OSError), match="Input/output"):
        run._save()
    monkeypatch.undo()
    assert names[:2] == ["step-00000001.before", "step-00000001"]
    again = make_run(tmp_path, task(), steps=1, keep=1)
    again.resume()
    assert again.step == 1
    again._save()
    assert [path.name for path in tmp_path.glob("*step*")] == ["step-00000001"]


def test_settings_that_a_checkpoint_is_too_old_to_know_are_not_refused(tmp_path: Path) -> None:
    make_run(tmp_path, task(), steps=1).go()
    known = make_run(tmp_path, task(), steps=2)
    known.identity["semantic"] = True
    known.resume()
    known.go()
    changed = make_run(tmp_path, task(), steps=3)
    changed.identity["semantic"] = False
    with pytest.raises(SettingError, match="semantic = True, this run has False"):
        changed.resume()


def test_an_optimiser_that_does_not_fit_is_told_in_a_sentence(tmp_path: Path) -> None:
    make_run(tmp_path, task(), steps=1).go()
    other = task()
    other.optimizer = torch.optim.AdamW([other.model.norm.weight])
    with pytest.raises(CheckpointError, match=r"cannot be resumed from: [^\n]+\.$"):
        make_run(tmp_path, other, steps=2).resume()
    (tmp_path / "step-00000001" / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="cannot be resumed"):
        make_run(tmp_path, task(), steps=2).resume()


def test_means_are_over_the_steps_that_gave_a_number(tmp_path: Path) -> None:
    journal = Journal(tmp_path, say=lambda line: None)
    for metrics in ({"loss": 3.0, "num_frames": 5.0}, {"num_frames": 5.0}, {"loss": 1.0}):
        journal.add(metrics)
    journal.flush(3, {}, "")
    row = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert row["loss"] == 2.0


def test_resuming_refuses_what_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFound, match="latest"):
        make_run(tmp_path, task(), steps=1).resume()
    make_run(tmp_path, task(), steps=1).go()
    with pytest.raises(SettingError, match="seed = 0, this run has 5"):
        make_run(tmp_path, task(seed=5), steps=2).resume()
    path = tmp_path / "step-00000001" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="cannot be resumed"):
        make_run(tmp_path, task(), steps=2).resume()


@pytest.mark.parametrize("policy", ["raise", "skip"])
def test_numbers_that_are_not_finite_are_never_learnt_from_nor_silent(
    tmp_path: Path, policy: str
) -> None:
    job, lines = task(), []
    run = make_run(tmp_path, job, lines, steps=3, non_finite=policy)
    with torch.no_grad():
        job.model.norm.weight[0] = math.nan
    before = weights(job)
    if policy == "raise":
        with pytest.raises(HiggsError, match="not finite"):
            run.go()
    else:
        run.go()
        assert run.skips.count == 3
        assert any("left out" in line for line in lines)
    after = weights(job)
    assert all(torch.equal(after[n].nan_to_num(7), before[n].nan_to_num(7)) for n in before)


def test_endless_skipping_ends_and_memory_errors_pass_through(tmp_path: Path) -> None:
    job = task()
    with torch.no_grad():
        job.model.norm.weight[0] = math.nan
    with pytest.raises(HiggsError, match="not finite"):
        make_run(tmp_path, job, steps=50, non_finite="skip", max_skips=2).go()

    def exhausted(number: int) -> dict[str, float]:
        raise torch.OutOfMemoryError("no memory")

    job.step = exhausted  # type: ignore[method-assign]
    with pytest.raises(torch.OutOfMemoryError):
        make_run(tmp_path, job, steps=50).go()


def test_metrics_are_written_and_evaluation_warns_of_leaks(tmp_path: Path) -> None:
    job, lines = task(held_out=tiny.Conversations(2)), []
    run = make_run(tmp_path, job, lines, steps=6, eval_every=3, log_every=2)
    job.evaluate = lambda: {"loss": 0.1, "looks_leaked": 1.0}  # type: ignore[method-assign]
    heard: list[int] = []

    def listen(step: int, journal: Journal) -> None:
        journal.sound(step, "voice", torch.zeros(240), 24_000)
        heard.append(step)

    run.listen = listen
    assert run.go().metrics == {"eval_loss": 0.1}
    assert heard == [3, 6]
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 3, 4, 6, 6]
    assert {"loss", "loss_codebook_3", "accuracy_codebook_0", "gradient_norm"} <= rows[0].keys()
    assert rows[0]["positions_per_second"] > 0
    assert any("leak" in line for line in lines)
    assert list((tmp_path / "curves").iterdir())


def test_ends_and_the_likeliest_five_are_looked_at_now_and_then() -> None:
    job = task(look_every=3)
    looked = ["loss_eos" in job.step(step) for step in range(5)]
    assert looked == [True, False, False, True, False]


def test_evaluation_is_the_mean_over_all_held_out_codes() -> None:
    one, many = task(held_out=tiny.Conversations(7)), task(held_out=tiny.Conversations(7))
    many.held_out = [batch for i in range(7) for batch in single(i)]
    names = ("loss", "loss_eos", "accuracy_top5", "accuracy_codebook_1")
    both = [(one.evaluate()[name], many.evaluate()[name]) for name in names]
    assert all(mine == pytest.approx(theirs, abs=1e-5) for mine, theirs in both)
    assert one.evaluate()["looks_leaked"] == 0.0


def single(index: int) -> list[Any]:
    from faster_higgs.train.packing import join

    return [join([tiny.Conversations(7).example(index, 0)])]


def test_the_learning_rate_warms_up_stays_and_comes_down() -> None:
    trapezoid = Schedule(RunSettings(steps=100, warmup=9, decay=0.2))
    factors = [trapezoid.factor(step) for step in range(100)]
    assert factors[:2] == [0.1, 0.2]
    assert factors[9:80] == [1.0] * 71
    assert factors[79:] == sorted(factors[79:], reverse=True)
    assert factors[-1] == 0.0
    cosine = Schedule(RunSettings(steps=100, warmup=0, schedule="cosine", floor=0.1))
    assert cosine.factor(0) == 1.0
    assert cosine.factor(100) == pytest.approx(0.1)
    assert Schedule(RunSettings(steps=9, warmup=0, schedule="constant")).factor(8) == 1.0


@pytest.mark.parametrize(
    "settings",
    [{}, {"minutes": 1, "schedule": "cosine"}, {"steps": 1, "keep": 0}, {"steps": 1, "decay": 2}],
)
def test_contradicting_run_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingError):
        RunSettings(**settings)


def test_a_guided_head_learns_to_look_at_the_text_being_spoken() -> None:
    job = task()
    example = tiny.example(6, 1)
    words = (example.ids >= tiny.WORDS).nonzero()[:, 0]
    centres = torch.full((len(example.columns),), torch.nan)
    centres[:6] = words[0] + torch.linspace(0, 1, 6)

    class One:
        def __len__(self) -> int:
            return 1

        def example(self, index: int, epoch: int) -> Any:
            from dataclasses import replace

            return replace(example, centres=centres)

    guide = Guide(layer=1, head=2, sigma=0.7, weight=1.0, steps=1000)
    job = LanguageTask(
        tiny.model(), One(), LanguageSettings(budget=60, optimizer=FAST), guide=guide
    )
    first = job.step(0)["loss_guide"]
    for step in range(1, 40):
        last = job.step(step)["loss_guide"]
    assert last < 0.6 * first
    assert guide.strength(500) == 0.5
    assert guide.strength(2000) == 0.0
    assert "loss_guide" in job.step(2000)
