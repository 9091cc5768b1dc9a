"""What an operator says about a training run; every default of training is written here.

Knows nothing of tensors.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from faster_higgs.errors import SettingError

Parallel = Literal["auto", "ddp", "fsdp"]
"""Several processes: equal copies of the model, or a share of it each."""


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
    plus: float = 1.0  # LoRA+: how much faster the B of a pair learns than its A

    def __post_init__(self) -> None:
        _choice("optimizer", self.kind, ("adamw", "adamw8bit"))
        if not 0 < self.learning_rate < 1:
            raise SettingError(
                f"The learning rate is {self.learning_rate}; it must lie between 0 and 1."
            )
        if self.plus <= 0:
            raise SettingError(f"plus is {self.plus}; it must be above 0.")
        _at_least("clip", self.clip, 0)
        _at_least("weight_decay", self.weight_decay, 0)


@dataclass(frozen=True)
class RunSettings:
    """How long, how fast, and what is written down on the way."""

    steps: int | None = None  # of the whole training, earlier runs included
    minutes: float | None = None  # of this run
    epochs: float | None = None  # in place of steps; who knows the data makes steps of them
    least_steps: int | None = None  # whatever the epochs of few data come to
    schedule: Literal["constant", "trapezoid", "cosine"] = "trapezoid"
    warmup: int = 200
    warmup_share: float | None = None  # of the steps, in place of `warmup` where it is less
    decay: float = 0.2  # share of the steps (or of the minutes) in which a trapezoid comes down
    floor: float = 0.0  # where it comes down to, as a share of the learning rate
    log_every: int = 20
    eval_every: int = 500
    evaluations: int | None = None  # at least so many over the steps, where eval_every gives fewer
    eval_first: bool = False  # also before the first step
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
        if self.steps is not None and self.epochs is not None:
            raise SettingError("steps and epochs are two ways to say the same; leave one out.")
        if self.schedule == "cosine" and self.steps is None and self.epochs is None:
            raise SettingError(
                "A cosine schedule needs a number of steps; give steps or use 'trapezoid'."
            )
        for name in ("log_every", "eval_every", "save_every", "keep"):
            _at_least(name, getattr(self, name), 1)
        for name in ("warmup", "decay", "floor", "max_skips"):
            _at_least(name, getattr(self, name), 0)
        over_zero = "steps minutes epochs least_steps warmup_share patience evaluations"
        for name in over_zero.split():
            if (value := getattr(self, name)) is not None and not value > 0:
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
    compile: bool = False  # the feed-forwards, by torch.compile; slow to begin
    parallel: Parallel = "auto"  # of several processes; see spread.spread
    code_noise: float = 0.0  # share of the codes that are replaced by random ones on the way in
    look_every: int = 20  # steps; then the likeliest five and the ends are looked at, which costs
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    loss: LossSettings = field(default_factory=LossSettings)

    def __post_init__(self) -> None:
        for name in ("budget", "accumulate", "window", "look_every"):
            _at_least(name, getattr(self, name), 1)
        _choice("parallel", self.parallel, ("auto", "ddp", "fsdp"))
        if self.parallel == "fsdp" and self.optimizer.kind == "adamw8bit":
            raise SettingError(
                "Moments of 8 bits cannot be shared out; use the optimizer adamw, or parallel ddp."
            )
        if not 0 <= self.code_noise < 1:
            raise SettingError(
                f"code_noise is {self.code_noise}; it is a share, from 0 to less than 1."
            )


TASKS = (
    "single_speaker_smart_voice",
    "zero_shot_voice_cloning",
    "multi_speaker_smart_voice",
    "multi_speaker_voice_cloning",
)


@dataclass(frozen=True)
class MixtureSettings:
    """Of which conversations the training consists: the tasks by weight, and what may be dropped.

    A task is named as the community's trainers name it. Voice-less tasks have no reference; in the
    cloning ones each voice has a clip, as an earlier turn or in the system message.
    """

    single_speaker_smart_voice: float = 0.5
    zero_shot_voice_cloning: float = 0.5
    multi_speaker_smart_voice: float = 0.0
    multi_speaker_voice_cloning: float = 0.0
    in_system: float = 0.2  # share of the clonings with the references in the system message
    drop_reference: float = 0.1  # share of the clonings that are asked without a voice
    drop_scene: float = 0.1
    max_reference_seconds: float = 10.0  # of every clip that is not the target
    max_speakers: int = 2  # of a dialogue
    speaker_prompt: Literal["none", "description"] = "none"  # of the single voice-less speaker
    loss_on: Literal["target", "all"] = "target"  # the last answer, or the reference turns as well
    replay: float = 0.1  # share of the examples that come from the replayed data, if there are any
    use_delay_pattern: bool | None = None  # None: as the checkpoint says
    seed: int = 0

    def __post_init__(self) -> None:
        for task in TASKS:
            _at_least(task, getattr(self, task), 0)
        if not any(getattr(self, task) for task in TASKS):
            raise SettingError(
                f"All tasks have the weight 0; give one to any of {', '.join(TASKS)}."
            )
        for name in ("in_system", "drop_reference", "drop_scene"):
            if not 0 <= getattr(self, name) <= 1:
                raise SettingError(f"{name} is {getattr(self, name)}; it is a share, from 0 to 1.")
        if not 0 <= self.replay < 1:
            raise SettingError(f"replay is {self.replay}; it is a share, from 0 to less than 1.")
        _at_least("max_reference_seconds", self.max_reference_seconds, 0.2)
        _at_least("seed", self.seed, 0)
        _at_least("max_speakers", self.max_speakers, 2)
        _choice("speaker_prompt", self.speaker_prompt, ("none", "description"))
        _choice("loss_on", self.loss_on, ("target", "all"))

    @classmethod
    def only(cls, task: str, **more: Any) -> MixtureSettings:
        """One task and nothing else."""
        _choice("task", task, TASKS)
        return cls(**{**dict.fromkeys(TASKS, 0.0), task: 1.0, **more})

    @property
    def weights(self) -> dict[str, float]:
        """Of the tasks that are wanted; their sum is 1."""
        found = {task: getattr(self, task) for task in TASKS if getattr(self, task)}
        return {task: weight / sum(found.values()) for task, weight in found.items()}


def _at_least(name: str, value: float, least: float) -> None:
    if not value >= least:
        raise SettingError(f"{name} is {value}; it must be at least {least}.")


def _choice(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise SettingError(f"The {name} is {value!r}; it can be {', '.join(map(repr, known))}.")
