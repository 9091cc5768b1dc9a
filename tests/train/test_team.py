"""Two processes train as one does: the same gradients, one place in the data, one who writes."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import tiny_training as tiny
from faster_higgs.errors import HiggsError, SettingError
from faster_higgs.train.config import LanguageSettings, OptimizerSettings, RunSettings
from faster_higgs.train.loop import LanguageTask
from faster_higgs.train.run import Run
from faster_higgs.train.spread import gathered
from faster_higgs.train.team import ALONE, Team, assembled

Numbers = dict[str, Tensor]
SPREADS = pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
LONG = 240.0  # seconds after which a process is lost, on a machine that does much else
SMOOTH = 1e-4  # of AdamW, so that no weight turns on how a gradient of nothing was rounded
FROZEN = ("embed_text", "audio_mlp", "q_proj")


def environment(rank: int, size: int = 2) -> dict[str, str]:
    return {"WORLD_SIZE": str(size), "RANK": str(rank), "LOCAL_RANK": str(rank)}


class Pair:
    """Two processes that are a team."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        context = multiprocessing.get_context("spawn")
        ends = [context.Pipe() for _ in range(2)]
        self.ends = [end for end, _ in ends]
        self.members = [
            context.Process(target=_member, args=(end, port, rank))
            for rank, (_, end) in enumerate(ends)
        ]
        for member in self.members:
            member.start()

    @classmethod
    def met(cls) -> Pair:
        """Two that have found each other; another program may take their port before they do."""
        for _ in range(3):
            pair = cls()
            if all(map(_is_here, pair.ends, pair.members)):
                return pair
            pair.kill()
        raise AssertionError("two processes do not find each other")

    def __call__(self, work: Callable[..., Any], folder: Path, *given: Any) -> list[Any]:
        """What `work(team, folder, *given)` returns in each of the two."""
        for end in self.ends:
            end.send((work, folder, given))
        assert all(end.poll(LONG) for end in self.ends), "a process does not answer"
        found = [end.recv() for end in self.ends]
        for answer in found:
            if isinstance(answer, Exception):
                raise answer
        return found

    def close(self) -> None:
        for end in self.ends:
            with suppress(BrokenPipeError):
                end.send(None)
        for member in self.members:
            member.join(20)
        self.kill()

    def kill(self) -> None:
        for member in self.members:
            member.kill()


def _is_here(end: Any, member: Any) -> bool:
    """Whether the process says so before it ends."""
    deadline = time.monotonic() + LONG
    while not end.poll(0.1):
        if not member.is_alive() or time.monotonic() > deadline:
            return False
    try:
        return bool(end.recv() == "here")
    except EOFError:
        return False


def _member(end: Any, port: int, rank: int) -> None:
    os.environ.update(environment(rank), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    with assembled(os.environ) as team:
        end.send("here")
        while (asked := end.recv()) is not None:
            work, folder, given = asked
            try:
                end.send(work(team, folder, *given))
            except Exception as error:  # noqa: BLE001 - told to the test
                end.send(HiggsError(f"{type(error).__name__}: {error}"))


@pytest.fixture(scope="module")
def together() -> Iterator[Pair]:
    pair = Pair.met()
    yield pair
    pair.close()


def job(team: Team, frozen: bool = False, **settings: Any) -> LanguageTask:
    settings = {"budget": 60, "window": 4, "checkpointing": True, **settings}
    optimizer = OptimizerSettings(learning_rate=1e-2, clip=0.05, eps=SMOOTH)
    model = tiny.model(seed=0 if team.leads or settings["parallel"] == "fsdp" else 7)
    for name, weight in model.named_parameters():
        if frozen and any(part in name for part in FROZEN):
            weight.requires_grad_(False)
            weight.data.fill_(0.01)
    data = tiny.Conversations(9)
    held_out = tiny.Conversations(17)
    return LanguageTask(
        model,
        data,
        LanguageSettings(optimizer=optimizer, **settings),
        held_out=held_out,
        team=team,
    )


def stepped(team: Team, folder: Path, frozen: bool, settings: dict[str, Any]) -> Any:
    """Metrics, gradients and weights after three steps, and what is held out."""
    task = job(team, frozen, **settings)
    metrics = [task.step(step) for step in range(3)]
    for one in metrics:
        del one["seconds_waiting"]  # each member's own
    grads = {n: w.grad for n, w in task.model.named_parameters() if w.grad is not None}
    found = {"gradients": grads, "weights": dict(task.model.state_dict())}
    found = gathered(found, team)
    plain = {k: {n: t.detach().tolist() for n, t in v.items()} for k, v in found.items()}
    return {**plain, "metrics": metrics, "held_out": task.evaluate(), "place": task.place()}


@SPREADS
@pytest.mark.parametrize("frozen", [False, True])
def test_two_processes_step_as_one_that_takes_as_many_batches(
    together: Pair, parallel: str, frozen: bool, tmp_path: Path
) -> None:
    settings = {"code_noise": 0.1, "parallel": "auto"}
    alone = stepped(ALONE, tmp_path, frozen, {**settings, "accumulate": 4})
    settings |= {"parallel": parallel, "accumulate": 2}
    first, second = together(stepped, tmp_path, frozen, settings)
    assert first["place"] == second["place"] == alone["place"]
    for one, wanted in zip(first["metrics"], alone["metrics"], strict=True):
        assert one == pytest.approx(wanted, rel=1e-4)
    assert first["metrics"] == second["metrics"]
    assert first["held_out"] == pytest.approx(alone["held_out"], rel=1e-3)
    for kind in ("gradients", "weights"):
        assert first[kind].keys() == alone[kind].keys()
        for name, value in first[kind].items():
            close(value, alone[kind][name], name)


def close(one: Any, two: Any, name: str) -> None:
    torch.testing.assert_close(
        torch.tensor(one), torch.tensor(two), atol=2e-5, rtol=1e-3, msg=lambda m: f"{name}: {m}"
    )


def run(team: Team, folder: Path, steps: int, parallel: str) -> tuple[Run, list[Tensor], list[str]]:
    task = job(team, parallel=parallel, accumulate=2 // team.size)
    heard, lines = list[Tensor](), list[str]()
    pace = RunSettings(
        steps=steps, schedule="constant", warmup=0, eval_every=2, save_every=2, log_every=1
    )
    made = Run(
        task,
        pace,
        folder,
        say=lines.append,
        listen=lambda step, journal: heard.append(listened(task)),
        team=team,
    )
    return made, heard, lines


def listened(task: LanguageTask) -> Tensor:
    """What one alone hears of the model."""
    prompt = tiny.example()
    return task.model.prefill(prompt.ids, prompt.columns, prompt.is_audio, task.model.new_cache())


def ran(team: Team, folder: Path, parallel: str) -> Any:
    """Two steps, then two more in another run that resumes."""
    run(team, folder, 2, parallel)[0].go()
    again, heard, lines = run(team, folder, 4, parallel)
    again.resume()
    outcome = again.go()
    return outcome.step, [one.tolist() for one in heard], lines


@SPREADS
def test_a_run_goes_on_and_the_first_alone_speaks_listens_and_writes(
    together: Pair, parallel: str, tmp_path: Path
) -> None:
    first, second = together(ran, tmp_path / "team", parallel)
    wanted = ran(ALONE, tmp_path / "alone", "auto")
    assert first[0] == second[0] == wanted[0] == 4
    assert second[1:] == ([], [])
    close(first[1], wanted[1], "heard")
    assert any("Resumed at step 2" in line for line in first[2])
    files = [{p.relative_to(d).as_posix() for p in d.rglob("*.*")} for d in folders(tmp_path)]
    written = [{name for name in some if "tfevents" not in name} for some in files]
    assert written[0] == written[1]
    states = [json.loads((d / "step-00000004/state.json").read_text()) for d in folders(tmp_path)]
    assert states[0]["place"] == states[1]["place"]
    one, two = (load_file(d / "step-00000004/model.safetensors") for d in folders(tmp_path))
    for name, weight in one.items():
        close(weight.tolist(), two[name].tolist(), name)


def folders(place: Path) -> list[Path]:
    return [place / "team", place / "alone"]


@SPREADS
def test_one_process_goes_on_where_two_stopped(
    together: Pair, parallel: str, tmp_path: Path
) -> None:
    together(ran, tmp_path, parallel)
    rest = run(ALONE, tmp_path, 6, "auto")[0]
    rest.resume()
    whole_run = run(ALONE, tmp_path / "whole", 6, "auto")[0]
    assert rest.go().step == whole_run.go().step == 6
    weights = (made.task.modules["model"].parameters() for made in (rest, whole_run))
    for one, two in zip(*weights, strict=True):
        close(one.tolist(), two.tolist(), "weight")
    assert rest.task.place() == whole_run.task.place()


def lost(team: Team, folder: Path, parallel: str) -> str:
    """The second member dies; what the first one is told."""
    task = job(team, parallel=parallel)
    task.step(0)
    if not team.leads:
        os._exit(1)
    try:
        for step in range(1, 4):
            task.step(step)
    except HiggsError as error:
        return str(error)
    return "nothing"


def stopped(team: Team, folder: Path) -> tuple[str, int]:
    """A run in which only the second member is told to stop, after three steps."""
    made = run(team, folder, 50, "ddp")[0]
    step = made.task.step

    def told(number: int) -> dict[str, float]:
        if number == 2 and not team.leads:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(number)

    made.task.step = told  # type: ignore[method-assign]
    outcome = made.go()
    return outcome.reason, outcome.step


def test_a_signal_to_one_stops_all_at_one_step(together: Pair, tmp_path: Path) -> None:
    assert together(stopped, tmp_path) == [("signal", 3)] * 2


def test_without_torchrun_one_is_the_team() -> None:
    with assembled({}, "cpu") as team:
        assert team == ALONE
    with pytest.raises(SettingError, match="RANK is None"), assembled({"WORLD_SIZE": "2"}):
        pass


def test_shares_of_one_process_are_refused() -> None:
    with pytest.raises(SettingError, match="torchrun --nproc-per-node"):
        job(ALONE, parallel="fsdp")
    with pytest.raises(SettingError, match="'pipeline'"):
        LanguageSettings(parallel="pipeline")  # type: ignore[arg-type]


@pytest.mark.parametrize("parallel", [pytest.param("ddp", marks=pytest.mark.slow), "fsdp"])
def test_a_lost_process_ends_the_others_with_a_sentence(
    request: pytest.FixtureRequest, parallel: str, tmp_path: Path
) -> None:
    """The last of the tests: of the two that the others share one is lost."""
    pair = Pair.met() if parallel == "ddp" else request.getfixturevalue("together")
    for end in pair.ends:
        end.send((lost, tmp_path, (parallel,)))
    assert pair.ends[0].poll(LONG), "a process waits for the lost one"
    assert "one of them was lost" in pair.ends[0].recv()
    pair.kill()
