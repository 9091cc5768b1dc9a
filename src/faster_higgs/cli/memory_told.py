"""What a way to train takes, in lines for people and for machines. Knows nothing of flags."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from faster_higgs.config import ModelConfig
    from faster_higgs.train.job import Job
    from faster_higgs.train.memory import Estimate
    from faster_higgs.train.memory_choice import Lengths
    from faster_higgs.train.probe import Measured


@dataclass(frozen=True)
class Model:
    """What is to be trained, and how it is called."""

    called: str
    config: ModelConfig
    named: str | None = None  # as it was asked for


@dataclass(frozen=True)
class Told:
    """One way to train, and whether there is room for it."""

    preset: str
    model: Model
    job: Job
    room: int
    fits: bool
    lengths: Lengths | None

    def lines(self) -> Iterator[str]:
        """For people."""
        from faster_higgs.train.memory import counts, estimate, trainable

        made, job = estimate(self.model.config, self.job), self.job
        whole = sum(counts(self.model.config).values())
        learns = trainable(self.model.config, job)
        beside = f"{self.model.called} has {whole / 1e6:,.1f} M."
        yield f"{self.preset}: {learns / 1e6:,.1f} M learn; {beside}"
        yield from _data_lines(self.lengths, job)
        yield ""
        yield from _parts(made)
        yield ""
        yield f"The most is taken at {made.moment}, of steps of {told_way(job)}."
        left = self.room - made.total
        free = f"of {gb(self.room)}"
        if self.fits:
            yield f"That fits: {gb(left)} {free} stay free. To train so:"
            yield f"  {_settings(job)}"
            return
        yield f"That is {gb(-left)} more than there is, {free}. {self._advice()}"

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        from dataclasses import asdict

        from faster_higgs.train.memory import estimate, trainable

        made = estimate(self.model.config, self.job)
        return {
            "model": {"named": self.model.named, **asdict(self.model.config)},
            "job": asdict(self.job),
            "trainable": trainable(self.model.config, self.job),
            "parts": {**made.parts, "context": made.context, "reserve": made.reserve},
            "moment": made.moment,
            "total": made.total,
            "room": self.room,
            "fits": self.fits,
            "lengths": asdict(self.lengths) if self.lengths else None,
        }

    def _advice(self) -> str:
        """What would fit, if anything does."""
        from faster_higgs.train.memory_choice import Wish, choose

        free = Wish()
        least = self.lengths.longest if self.lengths else 1
        if choose(self.model.config, self.job, self.room, free, least):
            return "It fits if the batch, checkpointing and the optimizer are left to be chosen."
        four = replace(self.job, base="int4") if self.job.adapters else None
        if four and choose(self.model.config, four, self.room, free, least):
            return "With --base int4 it fits."
        if not self.job.adapters:
            return "Train an adapter (--preset voice), or share the work: --gpus 2."
        return "Take a larger card, or share the work: --gpus 2."


def told_way(job: Job) -> str:
    """The choices in words."""
    batches = "1 batch" if job.accumulate == 1 else f"{job.accumulate} batches"
    kept = "with" if job.checkpointing else "without"
    return f"{batches} of {job.positions:,} positions, {kept} checkpointing, {job.optimizer}"


def _settings(job: Job) -> str:
    kept = str(job.checkpointing).lower()
    return (
        f"--set training.budget={job.positions} --set training.accumulate={job.accumulate} "
        f"--set training.checkpointing={kept} --set training.optimizer.kind={job.optimizer}"
    )


def _parts(made: Estimate) -> Iterator[str]:
    rows = {**made.parts, "reserve": made.reserve, "context": made.context, "together": made.total}
    yield f"{'':<12}{'GB':>8}{'GiB':>8}"
    for name, size in rows.items():
        yield f"{name:<12}{size / 1e9:>8.2f}{size / 2**30:>8.2f}"


def _data_lines(lengths: Lengths | None, job: Job) -> Iterator[str]:
    if lengths is None:
        return
    each = max(1, job.positions // lengths.middle)
    yield (
        f"{lengths.clips:,} clips: conversations of {lengths.shortest:,} to {lengths.longest:,} "
        f"positions, most near {lengths.middle:,}; about {each} in a batch. "
        f"{lengths.audio:.0%} is sound."
    )


def compared(made: Estimate, found: Measured, device: str, job: Job) -> Iterator[str]:
    """The estimate beside what was measured."""
    yield f"Two steps of {told_way(job)} on {device}; MB:"
    yield f"{'':<12}{'estimated':>10}{'measured':>10}"
    for name, size in made.parts.items():
        told = f"{found.parts[name] / 1e6:>10,.1f}" if name in found.parts else ""
        yield f"{name:<12}{size / 1e6:>10,.1f}{told}"
    expected = made.expected(device)
    if expected > made.peak:
        yield f"{'libraries':<12}{(expected - made.peak) / 1e6:>10,.1f}"
    yield f"{'together':<12}{expected / 1e6:>10,.1f}{found.peak / 1e6:>10,.1f}"
    yield f"The estimate is off by {expected / found.peak - 1:+.1%}."
    yield (
        f"At {made.moment}; gradients and activations are measured where each is largest. "
        f"A step took {found.seconds:.2f} s."
    )


def gb(size: int) -> str:
    """For people."""
    return f"{size / 1e9:.1f} GB"
