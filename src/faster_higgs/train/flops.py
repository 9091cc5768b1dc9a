"""How many operations training takes, and how many a card can do. Knows nothing of clocks."""

from __future__ import annotations

from collections.abc import Mapping

from faster_higgs.config import ModelConfig

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


def operations(config: ModelConfig, *, learns: bool, recomputed: bool = False) -> float:
    """Of one audio position in a training step; attention's scores, under 2 %, are left out.

    `learns`: the matrices themselves are trained, not only pairs beside them. `recomputed`: with
    checkpointing, whose second forward pass the share of a card's best (MFU) does not count.
    """
    heads = config.num_attention_heads + config.num_key_value_heads
    layer = config.hidden_size * (2 * heads * config.head_dim + 3 * config.intermediate_size)
    head = config.hidden_size * config.num_codebooks * config.codebook_size
    passes = 2 + learns + recomputed
    return 2.0 * passes * (config.num_hidden_layers * layer + head)
