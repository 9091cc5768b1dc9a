"""The frame of every training: when to step, log, evaluate, save and stop.

Knows nothing of what a step computes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from torch import nn
from torch.optim import Optimizer

from faster_higgs.train import figures
from faster_higgs.train.config import RunSettings
from faster_higgs.train.journal import Journal, Quiet, Say
from faster_higgs.train.schedule import Schedule
from faster_higgs.train.skips import Skips
from faster_higgs.train.state import Checkpoints
from faster_higgs.train.stopping import Stopper
from faster_higgs.train.team import ALONE, Team

OVERTIME = 1.2  # share of the minutes after which a run ends even if its descent is not over


Reason = Literal["steps", "minutes", "signal", "patience"]
JUDGE = "eval_loss_audio"  # the less the better


class Task(Protocol):
    """What is trained. A step that meets a number that is not finite changes nothing."""

    @property
    def modules(self) -> Mapping[str, nn.Module]: ...

    @property
    def optimizers(self) -> Mapping[str, Optimizer]:
        """Each under the name of the module it trains."""

    def step(self, step: int) -> dict[str, float]:
        """One optimiser step; amounts are named num_*; 'skipped' is 1 where nothing was learnt."""

    def evaluate(self) -> dict[str, float]:
        """Metrics on held-out data, or nothing."""

    def place(self) -> dict[str, Any]:
        """Where the data stands, as JSON."""

    def seek(self, place: dict[str, Any]) -> None:
        """Go back to a place."""

    def whole(self) -> AbstractContextManager[None]:
        """Every member of the team has all weights, so that the first one can speak with them."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    step: int
    reason: Reason
    metrics: dict[str, float]
    checkpoint: Path


class Run:
    """One run of a task in a folder, where it leaves a checkpoint behind.

    In a team all members run; the first one alone speaks, listens and writes, and its clock counts.
    """

    def __init__(
        self,
        task: Task,
        settings: RunSettings,
        folder: Path,
        *,
        say: Say,
        identity: Mapping[str, Any] | None = None,
        listen: Callable[[int, Journal], None] | None = None,
        keep_best: Callable[[int], None] | None = None,
        team: Team = ALONE,
    ) -> None:
        self.task, self.settings, self.listen, self.keep_best = task, settings, listen, keep_best
        self.team = team
        self.best, self.worse = math.inf, 0  # the least held-out loss, and how often since
        self.identity = dict(identity or {})
        self.checkpoints = Checkpoints(folder, settings.keep, team)
        device = figures.device_of(task.optimizers.values())
        journal = Journal(Path(folder), say, device) if team.leads else Quiet()
        self.journal = cast(Journal, journal)
        self.schedule = Schedule(settings)
        self.skips = Skips(settings, self.journal.line)
        self.step = 0
        self.seconds = 0.0  # of training before this run
        self._begun = self._saved = time.monotonic()
        self._first = 0
        self._rates = {k: [g["lr"] for g in opt.param_groups] for k, opt in task.optimizers.items()}

    def resume(self, name: str = "latest") -> None:
        """Go on from a checkpoint of this folder."""
        task = self.task
        state = self.checkpoints.restore(name, task.modules, task.optimizers, self.identity)
        self.step, self.seconds = state["step"], state["seconds"]
        self.skips.count = state["skipped"]
        self.best, self.worse = state.get("best") or math.inf, state.get("worse", 0)
        self.schedule.restore(state["schedule"], self.step)
        task.seek(state["place"])
        for module in state["joining"]:
            self.journal.line(f"The checkpoint has no {module} yet; it begins now.")
        spent = figures.spell(self.seconds)
        self.journal.line(f"Resumed at step {self.step}, after {spent} of training.")

    def resume_if_any(self) -> None:
        """Go on from the newest checkpoint if there is one."""
        if self.checkpoints.find() is not None:
            self.resume()

    def go(self) -> Outcome:
        """Train until the steps, the minutes or a signal end it; then save."""
        self.journal.open()
        self._warn()
        self._begun = self._saved = time.monotonic()
        self._first = self.step
        metrics: dict[str, float] = {}
        try:
            with Stopper(self.journal.line) as stopper:
                self._first_look()
                while (reason := self._reason(stopper)) is None:
                    self._one_step()
                    if self.step % self.settings.eval_every == 0:
                        metrics = self._evaluate()
                    self._save_in_time()
                if reason in ("steps", "minutes") and self.step % self.settings.eval_every:
                    metrics = self._evaluate()
                path = self._save()
            self.journal.line(f"Stopped by {reason} at step {self.step}; saved as {path.name}.")
        finally:
            self.journal.close()
        return Outcome(self.step, reason, metrics, path)

    def _first_look(self) -> None:
        """Where all begins, to compare with; it is no candidate for the best."""
        if self.settings.eval_first and self.step == 0:
            self._evaluate(judge=False)

    def _one_step(self) -> None:
        self._come_down_in_time()
        factor = self.schedule.factor(self.step)
        for name, optimizer in self.task.optimizers.items():
            for group, rate in zip(optimizer.param_groups, self._rates[name], strict=True):
                group["lr"] = rate * factor
        metrics = self.task.step(self.step)
        self.skips.take_out(self.step, metrics, getattr(self.task, "seen", ()))
        self.step += 1
        self.journal.add(metrics)
        if self.step % self.settings.log_every == 0 or self.step == self.settings.steps:
            told = {"rate_factor": factor, "skipped_steps": self.skips.count}
            told |= figures.of_step(self.task.optimizers.values())
            self.journal.flush(self.step, told, self._left(), self.settings.steps)

    def _evaluate(self, *, judge: bool = True) -> dict[str, float]:
        metrics = {f"eval_{name}": value for name, value in self.task.evaluate().items()}
        if metrics.pop("eval_looks_leaked", 0.0):
            self.journal.line(
                "The held-out set is far too easy in every codebook: do labels leak into the input?"
            )
        if metrics:
            self.journal.write(self.step, metrics)
            shown = "  ".join(f"{name} {value:.4f}" for name, value in list(metrics.items())[:4])
            self.journal.line(f"step {self.step}  {shown}")
        if judge:
            self._judge(metrics)
        if self.listen is not None:
            with self.task.whole():
                if self.team.leads:
                    self.listen(self.step, self.journal)
        return metrics

    def _judge(self, metrics: Mapping[str, float]) -> None:
        """Keep what is better on held-out data than all before it."""
        if (loss := metrics.get(JUDGE)) is None:
            return
        self.worse += 1
        if loss < self.best:
            self.best, self.worse = loss, 0
            if self.keep_best is not None:
                with self.task.whole():
                    if self.team.leads:
                        self.keep_best(self.step)

    def _reason(self, stopper: Stopper) -> Reason | None:
        settings = self.settings
        if self.team.any(stopper.wanted):
            return "signal"
        if settings.patience is not None and self.worse >= settings.patience:
            return "patience"
        if settings.steps is not None and self.step >= settings.steps:
            return "steps"
        if self.schedule.end is not None and self.step >= self.schedule.end:
            return "minutes"
        return "minutes" if self._seconds_left() <= 0 else None

    def _seconds_left(self) -> float:
        """Until the clock ends the run; a descent that has begun is given overtime."""
        if self.settings.minutes is None:
            return math.inf
        share = 1.0 if self.schedule.end is None else OVERTIME
        return share * self.settings.minutes * 60 - self._elapsed()

    def _elapsed(self) -> float:
        return self.team.first(time.monotonic() - self._begun)

    def _come_down_in_time(self) -> None:
        """Where only a time is given, a trapezoid comes down when its share of it is left."""
        settings = self.settings
        if (
            settings.schedule != "trapezoid"
            or settings.minutes is None
            or self.schedule.end is not None
        ):
            return
        left = settings.minutes * 60 - self._elapsed()
        if (
            settings.steps is not None
            or settings.decay == 0
            or left > settings.decay * settings.minutes * 60
        ):
            return
        done = self.step - self._first
        self.checkpoints.save(self._state(), self.task.modules, self.task.optimizers, "stable")
        self.schedule.come_down(self.step, round(done * left / max(self._elapsed(), 1e-9)))
        self.journal.line(
            f"step {self.step}  the learning rate now comes down, for "
            f"{self.schedule.decay_steps} steps"
        )

    def _save_in_time(self) -> None:
        since = self.team.first(time.monotonic() - self._saved)
        due = since >= self.settings.save_minutes * 60
        if due or self.step % self.settings.save_every == 0:
            self._save()

    def _save(self) -> Path:
        self._saved = time.monotonic()
        return self.checkpoints.save(self._state(), self.task.modules, self.task.optimizers)

    def _state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "skipped": self.skips.count,
            "seconds": self.seconds + self._elapsed(),
            "schedule": self.schedule.to_json(),
            "place": self.task.place(),
            "best": self.best if math.isfinite(self.best) else None,
            "worse": self.worse,
            "identity": self.identity,
        }

    def _left(self) -> str:
        ends = [end for end in (self.settings.steps, self.schedule.end) if end is not None]
        times = [self._seconds_left()]
        if ends:
            times.append(
                (min(ends) - self.step) * self._elapsed() / max(1, self.step - self._first)
            )
        return figures.left(max(0.0, min(times)))

    def _warn(self) -> None:
        settings = self.settings
        if settings.steps is not None and settings.warmup > 0.2 * settings.steps:
            self.journal.line(
                f"The warm-up of {settings.warmup} steps is more than a fifth of all "
                f"{settings.steps} steps."
            )
