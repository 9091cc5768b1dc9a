"""How long a request may be, and how much memory is taken for it."""

from __future__ import annotations

import pytest
import torch

from faster_higgs.config import RopeScaling
from faster_higgs.model.attention import GROWTH, KVCache
from tests.model.tiny_model import tiny_config

ORIGINAL = RopeScaling(32.0, 1.0, 4.0, 8192)
TRANSFORMERS = RopeScaling(32.0, 0.125, 0.5, 1024)


@pytest.mark.parametrize(
    ("rope", "said", "positions"),
    [
        (None, 400, 400),
        (ORIGINAL, 131_072, 131_072),  # as published, though the rope would reach twice as far
        (TRANSFORMERS, 131_072, 131_072),
        (TRANSFORMERS, 2048, 32_768),  # the class default, below what the rope started from
        (RopeScaling(8.0, 1.0, 4.0, 64), 512, 512),
    ],
)
def test_positions_are_what_the_config_says_unless_that_is_mere_advice(
    rope: RopeScaling | None, said: int, positions: int
) -> None:
    config = tiny_config(rope_scaling=rope, max_position_embeddings=said)
    assert config.positions == positions


def test_both_spellings_of_a_rope_start_from_the_same_length() -> None:
    assert ORIGINAL.unstretched == TRANSFORMERS.unstretched == 8192


def rows(first: int, count: int) -> torch.Tensor:
    return torch.arange(first, first + count, dtype=torch.float)[None, :, None]


def test_a_full_cache_grows_by_a_bounded_step_and_keeps_what_it_holds() -> None:
    cache = KVCache(torch.zeros(1), layers=2, kv_heads=1, head_dim=1, capacity=5000)
    for first, count in ((0, 5000), (5000, 1), (5001, GROWTH + 500)):
        cache.reserve(count)
        for layer in range(2):
            keys, values = cache.append(layer, rows(first, count), -rows(first, count))
            assert torch.equal(keys, rows(0, first + count))
            assert torch.equal(values, -keys)
        cache.advance(count)
        assert cache.length <= cache.capacity <= cache.length + GROWTH
