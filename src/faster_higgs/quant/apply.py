"""Which linear layers of a model become smaller, and the walk that puts them there.

Embeddings, the audio head and the norms stay as they are: rounding them ends speech at once or
shifts its pitch. Knows nothing of files; whoever loads fills the buffers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn

from faster_higgs.errors import SettingError
from faster_higgs.native.cuda import has_fp8
from faster_higgs.quant.linear import GROUPS, Fp8Linear, Int4Linear, Int8Linear, PackedLinear

Precision = Literal["int8", "int4", "fp8"]
Host = Literal["host"]

NO_FP8 = (
    "fp8 needs a graphics card of compute capability 8.9 or newer; take int8 here, or, if the "
    "checkpoint holds fp8, the one it was made from."
)

# What decoding reads, and what only text rows read.
_AUDIO = re.compile(r"layers\.\d+\.(\w+_proj|audio_mlp\.\w+)")
_TEXT = re.compile(r"layers\.\d+\.text_mlp\.\w+|text_head")


@dataclass(frozen=True)
class Quantization:
    """How weights are held; None leaves them as loaded.

    `audio` is for attention and the audio feed-forward, `text` for the text feed-forward and the
    text head. The text side on the `host` is as loaded here; who runs the model streams it.
    """

    audio: Precision | None = None
    text: Precision | Host | None = None
    group: int = GROUPS[0]  # weights that share a scale in int4

    def __post_init__(self) -> None:
        allowed = (None, *get_args(Precision))
        if self.audio not in allowed or self.text not in (*allowed, *get_args(Host)):
            raise SettingError(
                f"Weights are held as int8, int4 or fp8, the text side also on the host; "
                f"found audio {self.audio!r}, text {self.text!r}."
            )
        if self.group not in GROUPS:
            sizes = ", ".join(map(str, sorted(GROUPS)))
            raise SettingError(f"The group of int4 is one of {sizes}; found {self.group!r}.")


def precision_of(name: str, quantization: Quantization) -> Precision | None:
    """How the linear layer of that name is to be held."""
    if _AUDIO.fullmatch(name):
        return quantization.audio
    if _TEXT.fullmatch(name) and quantization.text != "host":
        return quantization.text
    return None


def refuse_without_fp8(quantization: Quantization, device: torch.device | str) -> None:
    """Raises SettingError for fp8 on a device that has none."""
    if "fp8" in (quantization.audio, quantization.text) and not has_fp8(device):
        raise SettingError(NO_FP8)


def swap(model: nn.Module, quantization: Quantization) -> None:
    """Put smaller layers in place of linear ones; weights that are there are packed.

    A layer on meta becomes one on meta, whose buffers the loader fills.
    """
    linears = [
        (name, found) for name, found in model.named_modules() if isinstance(found, nn.Linear)
    ]
    for name, linear in linears:
        precision = precision_of(name, quantization)
        if precision is not None:
            model.set_submodule(name, _smaller(linear, precision, quantization.group))


def _smaller(linear: nn.Linear, precision: Precision, group: int) -> PackedLinear:
    assert linear.bias is None, "the model's layers have no bias"
    with linear.weight.device:
        packed = _empty(linear.in_features, linear.out_features, precision, group)
    if not linear.weight.is_meta:
        for name, value in packed.pack(linear.weight).items():
            setattr(packed, name, value)
    return packed


def _empty(inputs: int, outputs: int, precision: Precision, group: int) -> PackedLinear:
    if precision == "int4":
        return Int4Linear(inputs, outputs, group)
    return Fp8Linear(inputs, outputs) if precision == "fp8" else Int8Linear(inputs, outputs)
