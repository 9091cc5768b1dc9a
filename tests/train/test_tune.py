"""A tuning from its settings to what it leaves: exact when resumed, whole whatever stops it."""

from __future__ import annotations

import json
import math
import os
import resource
import shutil
import signal
import threading
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from faster_higgs.checkpoint.adapter import read_adapter
from faster_higgs.cli.main import main
from faster_higgs.data.cache import Cache, write_about
from faster_higgs.errors import (
    CheckpointError,
    CheckpointNotFound,
    DataError,
    HiggsError,
    OutputPlaceError,
    SettingError,
)
from faster_higgs.locks import LOCK, alone_in
from faster_higgs.sampling import Sampling
from faster_higgs.speech import Higgs
from faster_higgs.testing import tiny_checkpoint
from faster_higgs.train import lengths, state
from faster_higgs.train.dataset import Dataset
from faster_higgs.train.learner import Learner
from faster_higgs.train.lengths import Lengths
from faster_higgs.train.loop import LanguageTask
from faster_higgs.train.packing import Batch
from faster_higgs.train.prefetch import NAME
from faster_higgs.train.run import Run
from faster_higgs.train.settings_file import built, checked
from faster_higgs.train.state import Checkpoints
from faster_higgs.train.tune import Tuned, planned, tune
from faster_higgs.train.tune_config import TuneSettings, completed
from tests.train.tiny_cache import clips, prepared

pytest.importorskip("peft")

FRESH = "To begin again in this folder, give --fresh."
FAST = {
    "adapter.rank": 4,
    "listen": 0,
    "training.budget": 400,
    "training.accumulate": 1,
    "training.optimizer.learning_rate": 1e-2,
    "run.steps": 8,
    "run.log_every": 4,
    "run.eval_every": 4,
    "run.eval_first": False,
    "run.save_every": 3,
    "run.schedule": "constant",
    "run.keep": 2,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    return prepared(tmp_path_factory.mktemp("data") / "prepared", model)


@pytest.fixture
def train(tmp_path: Path, model: Path, data: Path) -> Callable[..., Tuned]:
    """Tune the tiny model; settings by full name with `__` for the dot."""

    def go(out: str = "out", *, again: Any = "if any", lines: Any = None, **more: Any) -> Tuned:
        settings = asked(tmp_path / out, more.pop("data", data), **more)
        say = (lines if lines is not None else []).append
        return tune(settings, model, say, again)

    return go


def asked(out: Path, data: Path, **more: Any) -> TuneSettings:
    own = {name.replace("__", "."): value for name, value in more.items()}
    values = {**FAST, "out": str(out), "data": str(data), **own}
    return built(TuneSettings, completed(checked(values, TuneSettings, "test")))


def stopped_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """SIGTERM to this process at the end of step number `steps`."""
    original = LanguageTask.step

    def step(self: LanguageTask, number: int) -> dict[str, float]:
        metrics = original(self, number)
        if number + 1 == steps:
            os.kill(os.getpid(), signal.SIGTERM)
        return metrics

    monkeypatch.setattr(LanguageTask, "step", step)


@pytest.mark.parametrize(
    "more",
    [
        {"adapter__dropout": 0.2, "training__code_noise": 0.1},
        {"mode": "qlora", "adapter__whole": ["audio_head"]},
        {"dtype": "bfloat16", "adapter__init": "pissa"},
        {"mode": "audio_path", "dtype": "bfloat16"},
    ],
)
def test_a_tuning_that_was_stopped_ends_as_one_that_was_not(
    train: Callable[..., Tuned],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    more: dict[str, Any],
) -> None:
    whole = train("whole", **more)
    with monkeypatch.context() as patch:
        stopped_after(patch, 5)
        first = train("parts", **more)
    assert (first.outcome.reason, first.place) == ("signal", None)
    lines: list[str] = []
    second = train("parts", lines=lines, **more)
    assert any("Resumed at step 5" in line for line in lines)
    assert second.outcome.step == whole.outcome.step == 8
    states = [load_file(out.outcome.checkpoint / "model.safetensors") for out in (whole, second)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert second.outcome.metrics == whole.outcome.metrics


def test_what_is_kept_is_what_learns_and_the_best_is_the_result(
    train: Callable[..., Tuned], tmp_path: Path, model: Path
) -> None:
    before = (model / "model.safetensors").read_bytes()
    done = train(adapter__whole=["embed_audio"])
    out = tmp_path / "out"
    assert done.place == out / "adapter"
    assert sorted(path.name for path in out.glob("step-*")) == ["step-00000006", "step-00000008"]
    kept = load_file(done.outcome.checkpoint / "model.safetensors")
    assert all(".lora_" in name or name == "embed_audio.weight" for name in kept)
    adapter = read_adapter(done.place)
    assert adapter.config.rank == 4 and set(adapter.replaced) == {"embed_audio.weight"}
    best = json.loads((done.outcome.checkpoint / "state.json").read_text())["best"]
    assert best <= done.outcome.metrics["eval_loss_audio"]
    told = json.loads((out / "run.json").read_text())
    assert told.keys() == {"data", "model", "version"}
    assert "steps: 8" in (out / "config.yaml").read_text()
    assert (model / "model.safetensors").read_bytes() == before


def test_the_adapter_speaks_as_the_trained_model_did(
    train: Callable[..., Tuned], model: Path, tmp_path: Path
) -> None:
    """Trained, written, read and folded in: the held-out loss is the one that was told."""
    from faster_higgs.checkpoint.folding import folded

    done = train(run__eval_every=8)
    learner = Learner.load(model, asked(tmp_path, tmp_path, mode="full"))
    assert done.place is not None
    adapter = read_adapter(done.place)
    state = {name: folded(name, w, adapter) for name, w in learner.model.state_dict().items()}
    learner.model.load_state_dict(state)
    wanted = done.outcome.metrics["eval_loss_audio"]
    assert held_out_loss(learner, tmp_path) == pytest.approx(wanted, rel=1e-4)


def held_out_loss(learner: Learner, tmp_path: Path) -> float:
    from faster_higgs.data.cache import Cache
    from tests.train.tiny_cache import demands

    made = Cache(prepared(tmp_path / "again", learner.folder))
    settings = asked(tmp_path, tmp_path)
    wanted = demands(learner.folder)
    train = Dataset(made, wanted, settings.mixture)
    held_out = Dataset(made, wanted, settings.mixture, "validation")
    return LanguageTask(learner.model, train, settings.training, held_out=held_out).evaluate()[
        "loss_audio"
    ]


@pytest.mark.parametrize("mode", ["full", "audio_only"])
def test_a_mode_without_pairs_leaves_a_model_that_loads_and_speaks(
    train: Callable[..., Tuned], model: Path, mode: str
) -> None:
    before = (model / "model.safetensors").read_bytes()
    done = train(mode=mode, run__steps=4)
    assert done.place is not None and done.place.name == "best"
    old, new = load_file(model / "model.safetensors"), load_file(done.place / "model.safetensors")
    assert old.keys() == new.keys()  # the text head too, which was not even loaded
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    assert ("model.layers.0.mlp.up_proj.weight" in changed) == (mode == "full")
    assert "model.layers.0.audio_mlp.up_proj.weight" in changed
    assert (model / "model.safetensors").read_bytes() == before
    with Higgs.load(done.place, device="cpu") as higgs:
        assert higgs.speak("a", sampling=Sampling(seed=1, max_new_tokens=12)).samples.size


def test_without_better_evaluations_it_ends_early_and_the_best_stays(
    train: Callable[..., Tuned], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([3.0, 2.0, 2.5, 2.2, 2.1, 1.0])
    monkeypatch.setattr(LanguageTask, "evaluate", lambda self: {"loss_audio": next(losses)})
    done = train(run__steps=50, run__eval_every=2, run__patience=3)
    assert (done.outcome.reason, done.outcome.step) == ("patience", 10)
    assert done.place is not None
    best, last = read_adapter(done.place), load_file(done.outcome.checkpoint / "model.safetensors")
    path = "layers.0.q_proj"
    assert not torch.equal(best.pairs[path][0], last[f"{path}.lora_A.default.weight"])


def test_what_was_best_and_how_long_ago_is_known_after_a_stop(
    train: Callable[..., Tuned], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([1.0, 2.0, 3.0, 2.5, 2.0])
    monkeypatch.setattr(LanguageTask, "evaluate", lambda self: {"loss_audio": next(losses)})
    more = {"run__steps": 50, "run__eval_every": 2, "run__patience": 3}
    with monkeypatch.context() as patch:
        stopped_after(patch, 5)
        assert train(**more).outcome.reason == "signal"
    best = (tmp_path / "out" / "best" / "adapter_model.safetensors").read_bytes()
    done = train(**more)
    assert (done.outcome.reason, done.outcome.step) == ("patience", 8)
    assert (tmp_path / "out" / "adapter" / "adapter_model.safetensors").read_bytes() == best


@pytest.mark.parametrize("end", ["steps", "signal", "error"])
def test_however_it_ends_nothing_is_made_ahead_any_more(
    train: Callable[..., Tuned], monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    made = counted_examples(monkeypatch)
    stopped_after(monkeypatch, 2) if end == "signal" else None
    if end == "error":
        monkeypatch.setattr(LanguageTask, "_gradient_norm", lambda self: math.nan)
        with pytest.raises(HiggsError, match="not finite"):
            train(training__window=9)
    else:
        assert train(training__window=9, run__steps=3).outcome.reason == end
    done = len(made)
    for thread in threading.enumerate():
        if thread.name.startswith(NAME):
            thread.join(timeout=10)
    assert len(made) == done


def counted_examples(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What is made from now on; slowly where it is made ahead, so that there is much to end."""
    original, made = Dataset.example, list[int]()

    def example(self: Dataset, index: int, epoch: int) -> Any:
        made.append(index)
        if threading.current_thread() is not threading.main_thread():
            threading.Event().wait(0.2)
        return original(self, index, epoch)

    monkeypatch.setattr(Dataset, "example", example)
    return made


def test_a_short_run_tells_how_it_goes(train: Callable[..., Tuned]) -> None:
    lines: list[str] = []
    train(run__steps=2, run__log_every=10, lines=lines)
    assert any(line.startswith("step 2/2  loss") for line in lines)


def test_a_conversation_longer_than_a_batch_is_refused_at_once(train: Callable[..., Tuned]) -> None:
    with pytest.raises(SettingError, match="a batch holds 150; give it as many"):
        train(training__budget=150)


def test_a_rare_long_conversation_is_refused_before_it_comes(
    train: Callable[..., Tuned], tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lengths, "_SAMPLE", 1)
    made = clips(model)
    made[8] = replace(made[8], codes=torch.cat([made[8].codes] * 20, dim=1))
    folder = prepared(tmp_path / "long", model, made)
    with pytest.raises(SettingError, match=r"that of clip clip-0008\), and a batch holds 400"):
        train(data=folder)
    assert not (tmp_path / "out").exists()


def test_the_last_evaluation_is_in_the_checkpoint(
    train: Callable[..., Tuned], tmp_path: Path
) -> None:
    train(run__steps=6)
    told = [json.loads(line) for line in (tmp_path / "out/metrics.jsonl").read_text().splitlines()]
    losses = {line["step"]: line["eval_loss_audio"] for line in told if "eval_loss_audio" in line}
    assert losses.keys() == {4, 6} and losses[6] < losses[4]
    saved = json.loads((tmp_path / "out/step-00000006/state.json").read_text())
    assert saved["best"] == losses[6]


def test_what_a_lost_run_left_is_not_taken_for_the_best(
    train: Callable[..., Tuned], tmp_path: Path, data: Path, model: Path
) -> None:
    out = tmp_path / "out"
    (out / "best").mkdir(parents=True)
    (out / "best" / "left").touch()
    with pytest.raises(HiggsError):
        train(training__budget=20)  # no clip is so short
    assert (out / "best" / "left").exists()  # it may be somebody else's
    (out / "run.json").write_text("{}")
    train(run__steps=1)
    assert not (out / "best" / "left").exists()


def test_a_fresh_run_does_not_touch_what_is_not_its_own(
    train: Callable[..., Tuned], tmp_path: Path
) -> None:
    (tmp_path / "out" / "step-00000001").mkdir(parents=True)
    with pytest.raises(OutputPlaceError, match="of no tuning"):
        train(again="fresh")
    assert (tmp_path / "out" / "step-00000001").exists()


def test_held_out_clips_are_not_those_that_are_learnt(
    train: Callable[..., Tuned], tmp_path: Path, model: Path
) -> None:
    made = [replace(clip, split="train") for clip in clips(model, 6)]
    other = [replace(clip, split="train", codes=clip.codes.flip(1)) for clip in made]
    folders = [
        prepared(tmp_path / name, model, some)
        for name, some in zip("ab", (made, other), strict=True)
    ]
    (tmp_path / "c").mkdir()
    write_about(tmp_path / "c", {**Cache(folders[0]).about, "shards": []})
    with pytest.raises(DataError, match="has no clips"):
        train(data=folders[0], eval_data=str(tmp_path / "c"))
    with pytest.raises(DataError, match="6 of the 6 clips that are held out"):
        train(data=folders[0], eval_data=str(folders[0]), run__steps=1)
    done = train(data=folders[0], eval_data=str(folders[1]), run__steps=1, listen=1)
    assert "eval_loss_audio" in done.outcome.metrics
    assert list((tmp_path / "out" / "listen").iterdir())


@pytest.mark.parametrize("others", [0, 1])
def test_changed_settings_are_told_all_at_once_and_those_of_pace_may_change(
    train: Callable[..., Tuned], others: int
) -> None:
    train(run__steps=2)
    if not others:
        assert train(run__steps=3, run__log_every=1, run__keep=1).outcome.step == 3
        return
    with pytest.raises(SettingError) as caught:
        train(adapter__dropout=0.5, training__seed=9)
    said = str(caught.value)
    assert "adapter.dropout = 0.0, this run has 0.5" in said
    assert "training.seed = 0, this run has 9" in said
    assert said.endswith(f" {FRESH}")
    assert train(again="fresh", adapter__dropout=0.5).outcome.step == 8


def test_other_data_and_another_model_are_refused(
    train: Callable[..., Tuned], model: Path, tmp_path: Path
) -> None:
    train(run__steps=2)
    other = prepared(tmp_path / "other", model, clips(model, 18))
    with pytest.raises(SettingError, match=f"the data.*{FRESH}"):
        train(data=(other))
    with pytest.raises(SettingError, match=f"the model.*{FRESH}"):
        train_on = tiny_checkpoint(tmp_path / "stranger", seed=5)
        tune(asked(tmp_path / "out", prepared(tmp_path / "d", train_on)), train_on, str)


def test_resuming_what_is_not_there_and_what_is_damaged_is_refused(
    train: Callable[..., Tuned], tmp_path: Path
) -> None:
    with pytest.raises(CheckpointNotFound, match="no checkpoint"):
        train(again="resume")
    path = train(run__steps=2).outcome.checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=rf"cannot be resumed from: [^;]*\. {FRESH}"):
        train()


def test_without_a_damaged_checkpoint_the_one_before_it_is_gone_on_from(
    train: Callable[..., Tuned], tmp_path: Path
) -> None:
    newest = train(run__steps=5).outcome.checkpoint
    for damaged in (b"nothing", b""):
        (newest / "training.pt").write_bytes(damaged)
        with pytest.raises(CheckpointError, match="damaged; remove it to go on from the one befor"):
            train(run__steps=5)
    shutil.rmtree(newest)
    lines: list[str] = []
    assert train(run__steps=5, lines=lines).outcome.step == 5
    assert any("Resumed at step 3" in line for line in lines)


def test_a_damaged_shard_is_refused(
    train: Callable[..., Tuned], tmp_path: Path, model: Path
) -> None:
    folder = prepared(tmp_path / "broken", model)
    shard = next((folder / "clips").iterdir())
    shard.write_bytes(shard.read_bytes()[:-64] + bytes(64))
    with pytest.raises(DataError, match="is damaged"):
        train(data=(folder))


def test_a_number_that_is_not_finite_ends_it_with_the_step_and_the_clips(
    train: Callable[..., Tuned], monkeypatch: pytest.MonkeyPatch
) -> None:
    original, read = LanguageTask._backward, []

    def broken(self: LanguageTask, batch: Batch, *more: Any) -> Any:
        loss = original(self, batch, *more)
        if len(read) == 3:
            weight = next(w for w in self.model.parameters() if w.requires_grad)
            assert weight.grad is not None
            weight.grad[0, 0] = math.nan
        read.append(batch.names)
        return loss

    monkeypatch.setattr(LanguageTask, "_backward", broken)
    with pytest.raises(HiggsError) as caught:
        train()
    assert "Step 3 gave numbers that are not finite" in str(caught.value)
    assert f"It read {', '.join(read[3])}." in str(caught.value)
    assert read[3] and all(name.startswith("clip-") for name in read[3])
    assert "go on from it with run.non_finite=skip" in str(caught.value)
    read.clear()
    assert train(run__save_every=2, run__non_finite="skip").outcome.step == 8


def test_held_out_texts_are_spoken_at_every_evaluation(
    train: Callable[..., Tuned], tmp_path: Path
) -> None:
    train(listen=1, run__steps=8)
    heard = sorted(path.name for path in (tmp_path / "out" / "listen").iterdir())
    assert [name for name in heard if name != "codec"] == ["step-00000004", "step-00000008"]
    train(again="fresh", run__steps=2)
    assert not (tmp_path / "out" / "listen").exists()


def test_epochs_and_clips_become_steps_and_positions(data: Path) -> None:
    many = Lengths(1000, 100.0, 200)
    lines: list[str] = []
    settings = asked(data, data, run__steps=None, run__epochs=2, run__schedule="cosine")
    training, pace = planned(settings, many, lines.append)
    assert training.budget == 400
    assert pace.steps == 2 * (128 + 122)  # windows of 512 and 488 clips, 4 clips a batch
    assert pace.warmup == round(0.03 * 500)
    assert pace.eval_every == 4  # as asked
    pace = planned(replace(settings, run=replace(pace, evaluations=10)), many, lines.append)[1]
    assert pace.eval_every == 4
    pace = replace(pace, eval_every=100, evaluations=10)
    assert planned(replace(settings, run=pace), many, lines.append)[1].eval_every == 50
    settings = asked(data, data, batch_clips=10)
    assert planned(settings, many, lines.append)[0].budget == 1000
    settings = asked(data, data, batch_clips=1)
    assert planned(settings, many, lines.append)[0].budget == many.longest
    assert any("10 clips a batch" in line for line in lines)


def in_a_child(work: Callable[[], None]) -> int:
    """Do it in another process, which may die of it; the status as subprocess tells it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads, which the child does not use
        child = os.fork()
    if child == 0:
        try:
            torch.set_num_threads(1)
            work()
        finally:
            os._exit(7)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def at_call(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, number: int, act: Any) -> None:
    """Do something before the call of that number of a function."""
    original, calls = getattr(owner, name), []

    def counted(*given: Any) -> Any:
        calls.append(given)
        if len(calls) == number:
            act()
        return original(*given)

    monkeypatch.setattr(owner, name, counted)


@pytest.mark.parametrize("place", ["save_file", "put_in_place", "_replace_text"])
def test_a_kill_while_saving_leaves_the_checkpoint_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, train: Callable[..., Tuned]
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        at_call(patch, state, place, 2, lambda: os.kill(os.getpid(), signal.SIGKILL))
        assert in_a_child(train) == -signal.SIGKILL
    assert Checkpoints(out).find() == out / "step-00000003"
    lines: list[str] = []
    done = train(lines=lines)
    assert any("Resumed at step 3" in line for line in lines)
    assert done.outcome.step == 8
    assert [path.name for path in out.glob(".*")] == [LOCK]


def test_a_full_disk_ends_it_in_a_sentence_with_status_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: Path, model: Path
) -> None:
    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    def work() -> None:
        with Path(tmp_path / "said").open("w") as said, redirect_stderr(said):
            ended = main([*map(str, words)])
        os._exit(ended)

    out = tmp_path / "out"
    words = ["train", "--data", data, "--model", model, "--out", out, "--device", "cpu"]
    words += [f"--set={name}={value}" for name, value in FAST.items()]
    at_call(monkeypatch, Run, "_save", 2, fill)
    assert in_a_child(work) == 1
    said = (tmp_path / "said").read_text()
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("Error: The checkpoint step-00000006 could not")
    assert Checkpoints(out).find() == out / "step-00000003"
    assert [path.name for path in out.glob(".*")] == [LOCK]


def test_few_clips_are_heard_often_and_looked_at_often() -> None:
    few = Lengths(count=28, mean=202, longest=350)
    said: list[str] = []
    pace = planned(built(TuneSettings, completed({})), few, said.append)[1]
    assert (pace.steps, pace.eval_every) == (300, 30)
    assert "1 step an epoch; 300 steps in all" in said[-1]
    asked_for = completed({"run.epochs": 2, "run.eval_every": 50})
    pace = planned(built(TuneSettings, asked_for), few, said.append)[1]
    assert (pace.steps, pace.eval_every) == (2, 50)


def test_the_beginning_is_heard_too_and_is_not_the_best(
    train: Callable[..., Tuned], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([1.0, 3.0, 2.0])
    monkeypatch.setattr(LanguageTask, "evaluate", lambda self: {"loss_audio": next(losses)})
    train(run__eval_first=True)
    lines = (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    seen = {row["step"]: row["eval_loss_audio"] for row in rows if "eval_loss_audio" in row}
    assert seen == {0: 1.0, 4: 3.0, 8: 2.0}
    assert (tmp_path / "out" / "best").is_dir()


def test_two_trainings_do_not_share_a_folder(train: Callable[..., Tuned], tmp_path: Path) -> None:
    with alone_in(tmp_path / "out"), pytest.raises(SettingError, match="Another process"):
        train()
    assert not (tmp_path / "out").exists()
