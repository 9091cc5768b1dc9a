"""What an operator says about fine-tuning: presets, modes, adapters; every default is written here.

Knows nothing of tensors, nor of how settings are written down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from faster_higgs.errors import SettingError
from faster_higgs.train.config import (
    LanguageSettings,
    MixtureSettings,
    OptimizerSettings,
    RunSettings,
)

Mode = Literal["lora", "qlora", "full", "audio_path", "audio_only"]
Part = Literal[
    "attention", "text_ffn", "audio_ffn", "embed_text", "embed_audio", "text_head", "audio_head",
    "text_norms", "audio_norms",
]  # fmt: skip
Beginning = Literal["default", "gaussian", "orthogonal", "pissa", "pissa_niter_16", "olora"]
WITH_ADAPTER: tuple[Mode, ...] = ("lora", "qlora")


@dataclass(frozen=True)
class AdapterSettings:
    """Low-rank pairs on linear layers.

    `parts` get pairs, `whole` are trained as they are and stand in the adapter's file. `dtype` auto
    is that of the base: pairs of 16 bits have masters in fp32 in the optimiser, and keep a third
    less memory for the backward pass than pairs in fp32 on a base of 16 bits.
    """

    parts: tuple[Part, ...] = ("attention", "audio_ffn")
    whole: tuple[Part, ...] = ()
    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    rslora: bool = False  # scale alpha / sqrt(rank) in place of alpha / rank
    dora: bool = False  # a learnt length for every row
    init: Beginning = "default"  # pissa and olora: from the weights themselves
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"

    def __post_init__(self) -> None:
        if self.rank < 1 or not self.alpha > 0:
            raise SettingError(
                f"rank must be at least 1 and alpha above 0; found {self.rank} and {self.alpha}."
            )
        if not 0 <= self.dropout < 1:
            raise SettingError(f"dropout is {self.dropout}; it is a share, from 0 to less than 1.")
        linear = ("attention", "text_ffn", "audio_ffn")
        if wrong := [part for part in self.parts if part not in linear] or not self.parts:
            raise SettingError(
                f"Pairs stand on one or more of {', '.join(linear)}; found {wrong or 'none'}."
            )
        if both := set(self.parts) & set(self.whole):
            raise SettingError(f"{', '.join(sorted(both))} cannot be in parts and in whole too.")


@dataclass(frozen=True)
class TuneSettings:
    """One fine-tuning.

    lora: pairs beside frozen weights. qlora: the frozen linear layers have 4 bits, as `base` says.
    full: every weight. audio_path: attention and all that only audio goes through. audio_only: the
    same without attention.
    """

    model: str | None = None  # a folder or hub id; None: the model that speaks
    data: str = ""  # a folder of `higgs prepare`
    eval_data: str | None = None  # another one, whose clips are held out
    replay_data: tuple[str, ...] = ()  # others, of which a share is heard beside the data
    codec: str | None = None  # the model's own if it is None
    out: str = ""
    mode: Mode = "lora"
    base: Literal["int4", "nf4"] = "int4"  # of qlora; nf4 needs bitsandbytes
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"  # auto: 16 bits on a card, else as saved
    listen: int = 4  # held-out texts that are spoken at every evaluation
    batch_clips: int | None = None  # about so many clips a batch, in place of training.budget
    adapter: AdapterSettings = field(default_factory=AdapterSettings)
    training: LanguageSettings = field(
        default_factory=lambda: LanguageSettings(
            accumulate=2, checkpointing=True, optimizer=OptimizerSettings(learning_rate=1e-4)
        )
    )
    mixture: MixtureSettings = field(default_factory=MixtureSettings)
    run: RunSettings = field(
        default_factory=lambda: RunSettings(
            epochs=3,
            least_steps=300,
            schedule="cosine",
            warmup_share=0.03,
            floor=0.1,
            log_every=10,
            eval_every=100,
            evaluations=10,
            eval_first=True,
            save_every=200,
            patience=5,
        )
    )

    def __post_init__(self) -> None:
        if self.listen < 0:
            raise SettingError(f"listen is {self.listen}; it must be at least 0.")
        if self.batch_clips is not None and self.batch_clips < 1:
            raise SettingError(f"batch_clips is {self.batch_clips}; it must be at least 1.")
        if self.replay_data and not self.mixture.replay:
            raise SettingError("Of replay_data nothing is heard: mixture.replay is 0.")
        made = self.adapter
        if self.mode == "qlora" and made.init in ("pissa", "pissa_niter_16", "olora"):
            raise SettingError(
                f"init {made.init} changes the base, which has 4 bits here; use 'default'."
            )
        if self.mode == "qlora" and self.base == "int4" and made.dora:
            raise SettingError("dora needs a base of nf4 or whole weights; set base to nf4.")

    @property
    def has_adapter(self) -> bool:
        """Whether what is made is an adapter, not a model."""
        return self.mode in WITH_ADAPTER


PRESETS: Mapping[str, Mapping[str, Any]] = {
    "voice": {"mode": "lora", "adapter.parts": ("attention", "audio_ffn"), "adapter.rank": 16},
    "language": {
        "mode": "lora",
        "adapter.parts": ("attention", "text_ffn", "audio_ffn"),
        "adapter.whole": ("embed_audio", "audio_head"),
        "adapter.rank": 32,
    },
    "light": {"mode": "lora", "adapter.parts": ("attention",), "adapter.rank": 16},
    "full": {"mode": "full"},
    "audio_path": {"mode": "audio_path"},
    "audio_only": {"mode": "audio_only"},
}
"""What each preset changes of the defaults, by full name."""

OF_RUN = "run.steps run.minutes run.epochs run.log_every run.eval_every run.save_every".split()
FREE = frozenset(
    {
        *OF_RUN,
        "run.evaluations",
        "run.save_minutes",
        "run.keep",
        "run.patience",
        "run.non_finite",
        "run.max_skips",
    }
    | {"model", "data", "eval_data", "replay_data", "codec", "out", "device", "listen"}
    | {"run.least_steps", "run.eval_first"}
    | {"training.parallel", "training.compile", "training.accumulate"}
)
"""What may change when a run goes on; model and data are told apart by what is in them, and a step
by its batches, whoever reads them."""


def completed(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """`chosen` by full name, with what follows from it where nothing is said."""
    values = dict(chosen)
    mode = values.get("mode", TuneSettings.mode)
    rank = int(values.get("adapter.rank", AdapterSettings.rank))
    spread = values.get("adapter.rslora", False)
    values.setdefault("adapter.alpha", 2.0 * (rank**0.5 if spread else rank))
    values.setdefault("mixture.seed", values.get("training.seed", 0))
    if "run.warmup" in values:
        values.setdefault("run.warmup_share", None)
    if "run.eval_every" in values:
        values.setdefault("run.evaluations", None)
    ends = [values.get(f"run.{name}") is not None for name in ("steps", "minutes", "epochs")]
    if any(ends):
        values.setdefault("run.epochs", None)
        values.setdefault("run.least_steps", None)
    if ends == [False, True, False]:
        values.setdefault("run.schedule", "trapezoid")
    if mode not in WITH_ADAPTER:
        rate = 1e-5
    elif "audio_ffn" in _parts(values) and "text_ffn" not in _parts(values) and rank <= 16:
        rate = 2e-4
    else:
        rate = 1e-4
    values.setdefault("training.optimizer.learning_rate", rate)
    return values


def _parts(values: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(values.get("adapter.parts", AdapterSettings.parts))
