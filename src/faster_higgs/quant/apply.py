"""Which linear layers of a model become smaller, and the walk that puts them there.

Embeddings, the audio head and the norms stay as they are: rounding them ends speech at once or
shifts its pitch. Knows nothing of files; whoever loads fills the buffers.
"""

from __future__ import annotations

import re

import torch
from torch import nn

from faster_higgs.errors import SettingError
from faster_higgs.native.cuda import has_fp8
from faster_higgs.quant.linear import Fp8Linear, Int4Linear, Int8Linear, PackedLinear
from faster_higgs.quant.quantization import Precision, Quantization

NO_FP8 = (
    "fp8 needs a graphics card of compute capability 8.9 or newer; take int8 here, or, if the "
    "checkpoint holds fp8, the one it was made from."
)

# What decoding reads, and what only text rows read.
_AUDIO = re.compile(r"layers\.\d+\.(\w+_proj|audio_mlp\.\w+)")
_TEXT = re.compile(r"layers\.\d+\.text_mlp\.\w+|text_head")


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
