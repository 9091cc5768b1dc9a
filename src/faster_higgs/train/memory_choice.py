"""How to train in a given memory: the batch, checkpointing and the optimiser. Arithmetic only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from faster_higgs.config import ModelConfig
from faster_higgs.train.job import Job, Optimizer
from faster_higgs.train.memory import estimate

STEP = 8192  # positions that a step learns from, in one batch or in several
BUDGETS = (8192, 4096, 2048, 1024, 512)
ENOUGH = 2048  # positions with which a card is busy; smaller batches are the last resort
HEADERS = 80  # positions of a conversation that are neither speech nor what is said


@dataclass(frozen=True)
class Wish:
    """What is not left to be chosen."""

    positions: int | None = None
    checkpointing: bool | None = None
    optimizer: Optimizer | None = None


@dataclass(frozen=True)
class Lengths:
    """How long the conversations of a prepared folder are, in positions."""

    clips: int
    shortest: int
    middle: int
    longest: int
    audio: float  # share of all positions

    @classmethod
    def of(cls, frames: Sequence[int], texts: Sequence[int], books: int, heard: int) -> Lengths:
        """From each clip's frames and text tokens; before it a clip of `heard` frames at most."""
        sound = [frame + books + 1 for frame in frames]
        whole = sorted(a + b for a, b in zip(sound, texts, strict=True))
        before = max((a + b for a, b in zip(sound, texts, strict=True) if a <= heard), default=0)
        share = sum(sound) / (sum(whole) + HEADERS * len(whole))
        middle = 2 * whole[len(whole) // 2] + HEADERS
        return cls(len(whole), whole[0] + HEADERS, middle, whole[-1] + before + HEADERS, share)


def choose(
    config: ModelConfig, job: Job, room: int, wish: Wish = Wish(), longest: int = 1
) -> Job | None:
    """The best way that fits in `room` bytes; batches hold at least `longest` positions."""
    return next(
        (
            way
            for way in ways(job, wish)
            if way.positions >= longest and estimate(config, way).total <= room
        ),
        None,
    )


def ways(job: Job, wish: Wish = Wish()) -> Iterator[Job]:
    """All ways, the best first: fast ones, then those that take less, then small batches."""
    budgets = BUDGETS if wish.positions is None else (wish.positions,)
    small = [budget for budget in budgets if budget < ENOUGH]
    kept = (False, True) if wish.checkpointing is None else (wish.checkpointing,)
    kinds: tuple[Optimizer, ...] = (
        ("adamw", "adamw8bit") if wish.optimizer is None else (wish.optimizer,)
    )
    for some in ([budget for budget in budgets if budget >= ENOUGH], small):
        for kind in kinds:
            for checkpointing in kept:
                for budget in some:
                    yield replace(
                        job,
                        positions=budget,
                        checkpointing=checkpointing,
                        optimizer=kind,
                        accumulate=max(1, STEP // budget),
                    )
