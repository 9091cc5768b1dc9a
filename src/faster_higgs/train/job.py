"""One way to train, as far as memory is concerned: what learns, in which types, in which batches.

Knows nothing of what that takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from faster_higgs.errors import SettingError
from faster_higgs.train.parts import TRAINED
from faster_higgs.train.tune_config import PRESETS, WITH_ADAPTER, Part, TuneSettings

Base = Literal["bf16", "fp32", "int4", "nf4"]
Optimizer = Literal["adamw", "adamw8bit"]


ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
LINEARS: Mapping[Part, tuple[str, ...]] = {
    "attention": ATTENTION,
    "text_ffn": ("text_mlp.gate", "text_mlp.up", "text_mlp.down"),
    "audio_ffn": ("audio_mlp.gate", "audio_mlp.up", "audio_mlp.down"),
}


@dataclass(frozen=True)
class Job:
    """One way to train: `adapters` stand on some parts, others learn `whole`."""

    adapters: tuple[Part, ...] = ("attention", "audio_ffn")
    whole: tuple[Part, ...] = ()
    positions: int = 2048  # of a packed batch
    audio: float = 0.6  # share of them that are columns of sound
    checkpointing: bool = False
    base: Base = "bf16"  # how the weights are held; fp32 is computed under autocast
    adapter: Literal["bf16", "fp32"] = "bf16"
    rank: int = 16
    optimizer: Optimizer = "adamw"
    accumulate: int = 1  # batches that make one step
    gpus: int = 1  # that share weights and state, by FSDP2
    autocast: bool = True  # where the base is fp32

    def __post_init__(self) -> None:
        for name in ("positions", "rank", "accumulate", "gpus"):
            if getattr(self, name) < 1:
                raise SettingError(f"{name} is {getattr(self, name)}; use 1 or more.")
        if not 0 < self.audio <= 1:
            raise SettingError(f"The share of audio is {self.audio}; it lies between 0 and 1.")
        if self.base not in ("bf16", "fp32") and set(self.whole) & set(LINEARS):
            raise SettingError(f"Linear layers that learn cannot be {self.base}; use bf16.")

    @classmethod
    def of(cls, settings: TuneSettings, audio: float = 0.6) -> Job:
        """A fine-tuning as it is set."""
        training, adapter = settings.training, settings.adapter
        whole = adapter.whole if settings.has_adapter else TRAINED[settings.mode]
        if not training.loss.text_weight:
            whole = tuple(part for part in whole if part != "text_head")
        wide = settings.dtype == "float32"
        return cls(
            adapters=adapter.parts if settings.has_adapter else (),
            whole=whole,
            positions=training.budget,
            audio=audio,
            checkpointing=training.checkpointing,
            base=settings.base if settings.mode == "qlora" else "fp32" if wide else "bf16",
            adapter="fp32" if adapter.dtype == "float32" or wide else "bf16",
            rank=adapter.rank,
            optimizer=training.optimizer.kind,
            accumulate=training.accumulate,
            autocast=training.autocast,
        )

    @property
    def item(self) -> int:
        """Bytes of an activation."""
        return 4 if self.base == "fp32" and not self.autocast else 2

    @property
    def stored(self) -> int:
        """Bytes of a weight that is never packed."""
        return 4 if self.base == "fp32" else 2

    @property
    def low(self) -> int:
        """Bytes of an adapter's weight."""
        return 4 if self.adapter == "fp32" or self.base == "fp32" else 2

    def adapts(self, linear: str) -> bool:
        """Whether a linear has an adapter, by the name it has in a layer."""
        return any(linear in LINEARS[part] for part in self.adapters)

    def learns(self, linear: str) -> bool:
        """Whether a linear learns whole."""
        return any(linear in LINEARS.get(part, ()) for part in self.whole)


def presets() -> dict[str, dict[str, Any]]:
    """What learns, by the names of presets and modes."""
    found: dict[str, dict[str, Any]] = {}
    for name, preset in PRESETS.items():
        if preset["mode"] not in WITH_ADAPTER:
            continue
        whole = tuple(preset.get("adapter.whole", ()))
        rank = {"rank": preset["adapter.rank"]}
        found[name] = {"adapters": tuple(preset["adapter.parts"]), "whole": whole, **rank}
    for name, parts in TRAINED.items():
        heard = tuple(part for part in parts if part != "text_head")  # nothing reads it
        found[name] = {"adapters": (), "whole": heard}
    return found
