"""Small layers with weights in them, and how far two results are apart."""

from __future__ import annotations

import torch

from faster_higgs.quant.linear import Fp8Linear, Int4Linear, Int8Linear

KINDS = (Int8Linear, Int4Linear)  # that the CPU has kernels for
ON_CARDS = (*KINDS, Fp8Linear)
SHAPES = [(8, 5), (40, 17), (136, 33), (256, 640), (1024, 16)]  # inputs, outputs


def filled(kind, inputs, outputs, seed=0, **more):
    weight = torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(seed))
    layer = kind(inputs, outputs, **more)
    for name, value in layer.pack(weight).items():
        setattr(layer, name, value)
    layer._kernels = None  # the torch path, unless a test gives another
    return layer, weight


def activations(rows, inputs, dtype=torch.float32):
    return torch.randn(rows, inputs, generator=torch.Generator().manual_seed(9)).to(dtype)


def distance(found, wanted):
    return float((found.float() - wanted.float()).norm() / wanted.float().norm())
