"""What an operator says about a training run; every default of training is written here.

Knows nothing of tensors.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from faster_higgs.errors import SettingError


@dataclass(frozen=True)
class LossSettings:
    """How the single number is made.

    ours: the mean over all supervised codes, weighted by codebook.
    hf: the sum over codebooks of each one's mean, as transformers computes it.
    mean: the mean over codebooks of each one's mean, as the community trainers compute it.
    """

    reduction: Literal["ours", "hf", "mean"] = "ours"
    codebook_weights: tuple[float, ...] | None = None
    text_weight: float = 0.0  # 0 means: the text head is not touched

    def __post_init__(self) -> None:
        _choice("loss reduction", self.reduction, ("ours", "hf", "mean"))
        _at_least("text_weight", self.text_weight, 0)
        weights = self.codebook_weights
        if weights is not None and (min(weights) < 0 or sum(weights) <= 0):
            raise SettingError(f"The codebook weights {weights} must not be negative or all zero.")


@dataclass(frozen=True)
class OptimizerSettings:
    """AdamW. Norms and embeddings are never decayed.

    adamw: beside weights of 16 bits stand masters in fp32, which are what is trained.
    adamw8bit: the moments have 8 bits (bitsandbytes), weights of 16 bits have no master.
    """

    learning_rate: float = 3e-4
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.01
    clip: float = 1.0  # of the gradient's norm; 0 means: not clipped
    kind: Literal["adamw", "adamw8bit"] = "adamw"

    def __post_init__(self) -> None:
        _choice("optimizer", self.kind, ("adamw", "adamw8bit"))
        if not 0 < self.learning_rate < 1:
            raise SettingError(
                f"The learning rate is {self.learning_rate}; it must lie between 0 and 1."
            )
        _at_least("clip", self.clip, 0)
        _at_least("weight_decay", self.weight_decay, 0)


@dataclass(frozen=True)
class RunSettings:
    """How long, how fast, and what is written down on the way."""

    steps: int | None = None  # of the whole training, earlier runs included
    minutes: float | None = None  # of this run
    epochs: float | None = None  # in place of steps; who knows the data makes steps of them
    schedule: Literal["constant", "trapezoid", "cosine"] = "trapezoid"
    warmup: int = 200
    warmup_share: float | None = None  # of the steps, in place of `warmup` where it is less
    decay: float = 0.2  # share of the steps (or of the minutes) in which a trapezoid comes down
    floor: float = 0.0  # where it comes down to, as a share of the learning rate
    log_every: int = 20
    eval_every: int = 500
    save_every: int = 1000
    save_minutes: float = 10.0
    keep: int = 3
    patience: int | None = None  # evaluations in a row that are no better, after which it ends
    non_finite: Literal["raise", "skip"] = "raise"
    max_skips: int = 10  # in a row

    def __post_init__(self) -> None:
        _choice("schedule", self.schedule, ("constant", "trapezoid", "cosine"))
        _choice("non_finite", self.non_finite, ("raise", "skip"))
        if self.steps is None and self.minutes is None and self.epochs is None:
            raise SettingError("A training run needs an end: give steps, minutes or both.")
        if self.schedule == "cosine" and self.steps is None and self.epochs is None:
            raise SettingError(
                "A cosine schedule needs a number of steps; give steps or use 'trapezoid'."
            )
        for name in ("log_every", "eval_every", "save_every", "keep"):
            _at_least(name, getattr(self, name), 1)
        for name in ("warmup", "decay", "floor", "max_skips"):
            _at_least(name, getattr(self, name), 0)
        for name in ("steps", "minutes", "epochs", "warmup_share", "patience"):
            if (value := getattr(self, name)) is not None and value <= 0:
                raise SettingError(f"{name} is {value}; it must be above 0.")
        if self.decay > 1 or self.floor > 1:
            raise SettingError(
                f"decay ({self.decay}) and floor ({self.floor}) are shares and at most 1."
            )


@dataclass(frozen=True)
class LanguageSettings:
    """Training of the language model, beside the run's own settings."""

    budget: int = 4096  # positions of a packed batch
    accumulate: int = 1  # batches that make one step
    window: int = 512  # examples that are packed together
    seed: int = 0
    autocast: bool = False  # bfloat16 matrix products
    checkpointing: bool = False  # less memory, about a third more time
    code_noise: float = 0.0  # share of the codes that are replaced by random ones on the way in
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    loss: LossSettings = field(default_factory=LossSettings)

    def __post_init__(self) -> None:
        for name in ("budget", "accumulate", "window"):
            _at_least(name, getattr(self, name), 1)
        if not 0 <= self.code_noise < 1:
            raise SettingError(
                f"code_noise is {self.code_noise}; it is a share, from 0 to less than 1."
            )


def _at_least(name: str, value: float, least: float) -> None:
    if value < least:
        raise SettingError(f"{name} is {value}; it must be at least {least}.")


def _choice(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise SettingError(f"The {name} is {value!r}; it can be {', '.join(map(repr, known))}.")
