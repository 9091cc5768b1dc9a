"""How many operations training takes, and how many a card can do. Knows nothing of clocks."""

from __future__ import annotations

from collections.abc import Mapping

from faster_higgs.config import ModelConfig
from faster_higgs.model.dual_ffn import DualFFN

PEAKS: Mapping[str, float] = {
    "RTX 3090": 71e12,
    "RTX 4090": 165e12,
    "RTX 5090": 210e12,
    "A10": 125e12,
    "A100": 312e12,
    "H100": 989e12,
    "H200": 989e12,
    "L4": 121e12,
    "L40S": 362e12,
    "V100": 125e12,
}
"""Dense 16-bit operations a second with fp32 sums, by what the names of cards hold."""


def peak_of(card: str) -> float | None:
    """Operations a second by the card's name; the longest name of the table in it counts."""
    known = [name for name in PEAKS if name in card]
    return PEAKS[max(known, key=len)] if known else None


def operations(
    config: ModelConfig, *, learns: bool, recomputed: bool = False, head: bool = True
) -> float:
    """Of one audio position in a training step; attention's scores, under 2 %, are left out.

    `learns`: the matrices themselves are trained, not only pairs beside them. `recomputed`: with
    checkpointing, whose second forward pass the share of a card's best (MFU) does not count. A
    position of text goes through no `head`.
    """
    heads = config.num_attention_heads + config.num_key_value_heads
    layer = config.hidden_size * (2 * heads * config.head_dim + 3 * config.intermediate_size)
    codes = config.hidden_size * config.num_codebooks * config.codebook_size * head
    passes = 2 + learns + recomputed
    return 2.0 * passes * (config.num_hidden_layers * layer + codes)


def of_layers(model: DualFFN) -> float:
    """What the layers take of any position in a step, by what of them learns."""
    named = model.layers.named_parameters()
    learns = any(w.requires_grad and w.ndim == 2 and "lora_" not in name for name, w in named)
    return operations(model.config, learns=learns, head=False)
