"""The model that is tuned, made ready for its mode: loaded, frozen where it should be, with pairs.

Knows nothing of data or of how training goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from faster_higgs.checkpoint.fingerprint import fingerprint
from faster_higgs.checkpoint.folding import Adapter, AdapterConfig
from faster_higgs.checkpoint.load import load_model, read_config
from faster_higgs.checkpoint.quantized import read_stamp
from faster_higgs.config import ModelConfig
from faster_higgs.device import named
from faster_higgs.errors import CheckpointError, SettingError
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.quant.quantization import Quantization
from faster_higgs.train import lora, modes
from faster_higgs.train.tune_config import TuneSettings


@dataclass(frozen=True)
class Learner:
    """A model ready to be trained, and what is needed to write down what it learns."""

    folder: Path
    config: ModelConfig
    model: DualFFN
    settings: TuneSettings
    begun: lora.Begun
    fingerprint: str

    @classmethod
    def load(cls, folder: Path, settings: TuneSettings) -> Learner:
        """The model in `folder`. Raises CheckpointError, MissingExtra, SettingError."""
        _refuse(folder, settings)
        device, dtype = _place(settings)
        four_bits = settings.mode == "qlora"
        nf4 = four_bits and settings.base == "nf4"
        config, model = load_model(
            folder,
            device="cpu" if nf4 else device,
            dtype=dtype,
            text_head=settings.training.loss.text_weight > 0,
            quantization=Quantization("int4", "int4") if four_bits and not nf4 else None,
        )
        if nf4:
            lora.pack_nf4(model, device, model.norm.weight.dtype)
            model.to(device)
        begun: lora.Begun = {}
        if settings.has_adapter:
            begun = lora.put(model, settings.adapter, settings.training.seed)
        else:
            modes.free(model, settings)
        return cls(folder, config, model, settings, begun, fingerprint(folder))

    def adapter(self) -> Adapter:
        """What was learnt, on the model as it was."""
        about = AdapterConfig(1, 1.0, base=str(self.folder), fingerprint=self.fingerprint)
        return lora.lifted(self.model, self.settings.adapter, about, self.begun)


def _place(settings: TuneSettings) -> tuple[torch.device, torch.dtype | None]:
    device = torch.device(next(named(settings.device)).name)
    if settings.dtype != "auto":
        return device, getattr(torch, settings.dtype)
    return device, None if device.type == "cpu" else torch.bfloat16


def _refuse(folder: Path, settings: TuneSettings) -> None:
    packed = read_stamp(folder, read_config(folder)) is not None
    if packed and not (settings.mode == "qlora" and settings.base == "int4"):
        raise CheckpointError(
            f"The weights in '{folder}' are packed, and mode {settings.mode} needs whole ones; "
            "give the model they were made from, or take the mode qlora with a base of int4."
        )
    if "text_head" in settings.adapter.whole and not settings.training.loss.text_weight:
        raise SettingError(
            "text_head learns from the loss of the text, which counts nothing here; set "
            "training.loss.text_weight, or take text_head out of adapter.whole."
        )
