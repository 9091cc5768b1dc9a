"""Snake and the convolutional halves."""

from __future__ import annotations

import math

import pytest
import torch

from faster_higgs.codec.acoustic import (
    AcousticDecoder,
    AcousticEncoder,
    Snake,
    _FusedSnake,
    decoder_context,
    encoded_length,
)

PUBLISHED = (8, 5, 4, 2, 3)
RATIOS = [PUBLISHED, (3, 2, 4), (2,), (5, 5), (8, 4, 2)]
every_ratio = pytest.mark.parametrize("ratios", RATIOS)


def alphas() -> torch.Tensor:
    return torch.tensor([1.0, -0.5, 1e-3, 2.5], dtype=torch.float64).view(1, 4, 1)


def test_snake_is_its_formula() -> None:
    x, alpha = torch.randn(2, 4, 9, dtype=torch.float64), alphas()
    snake = Snake(4).double()
    with torch.no_grad():
        snake.alpha.copy_(alpha)
        expected = x + torch.sin(alpha * x) ** 2 / (alpha + 1e-9)
        torch.testing.assert_close(snake(x), expected)
    torch.testing.assert_close(snake(x), expected)


def test_the_gradients_of_the_fused_snake_are_right() -> None:
    x = torch.randn(2, 4, 9, dtype=torch.float64, requires_grad=True)
    alpha = torch.tensor([1.0, -0.5, 0.1, 2.5], dtype=torch.float64).view(1, 4, 1)
    assert torch.autograd.gradcheck(_FusedSnake.apply, (x, alpha.requires_grad_()))
    assert torch.autograd.gradcheck(_FusedSnake.apply, (x, alpha.detach()))


def test_snake_trains_in_autocast() -> None:
    snake, x = Snake(3), torch.randn(1, 3, 5, dtype=torch.bfloat16, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        snake(x).sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == torch.bfloat16
    assert snake.alpha.grad is not None


@every_ratio
@torch.no_grad()
def test_a_frame_decodes_to_exactly_one_hop(ratios: tuple[int, ...]) -> None:
    decoder = AcousticDecoder(2 ** (len(ratios) + 1), 3, ratios)
    for frames in (1, 2, 7):
        assert decoder(torch.randn(2, 3, frames)).shape == (2, 1, frames * math.prod(ratios))


@every_ratio
@torch.no_grad()
def test_the_encoded_length_is_foretold(ratios: tuple[int, ...]) -> None:
    encoder = AcousticEncoder(2, 3, ratios)
    hop = math.prod(ratios)
    for samples in (hop, hop + 1, 2 * hop - 1, 3 * hop + hop // 2):
        assert encoder(torch.zeros(1, 1, samples)).shape[-1] == encoded_length(samples, ratios)
    assert encoded_length(0, ratios) == 0


def test_published_decoder_reaches_ten_frames_to_each_side() -> None:
    assert decoder_context(PUBLISHED) == (10, 10)


@every_ratio
@torch.no_grad()
def test_a_frame_is_heard_within_the_context_and_not_beyond(ratios: tuple[int, ...]) -> None:
    decoder = AcousticDecoder(2 ** (len(ratios) + 1), 3, ratios).double()
    for name, parameter in decoder.named_parameters():
        if "weight" in name:
            parameter.normal_(std=1 / math.sqrt(parameter[0].numel()))
    before, after = decoder_context(ratios)
    middle = before + after
    latents = torch.randn(1, 3, 2 * middle + 1, dtype=torch.float64)
    changed = latents.clone()
    changed[..., middle] += 1
    difference = (decoder(latents) - decoder(changed))[0, 0].abs()
    heard = difference.nonzero()[:, 0].div(math.prod(ratios), rounding_mode="floor")
    assert int(heard.min()) == middle - after
    assert int(heard.max()) == middle + before
