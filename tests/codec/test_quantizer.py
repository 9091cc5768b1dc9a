"""The residual quantiser, and its training step against a slow one written from its definition."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from faster_higgs.codec.quantizer import Quantizer

WIDTH, CODEBOOKS, ENTRIES, DIM = 10, 3, 8, 4


def quantizer(seed: int = 0, codebooks: int = CODEBOOKS) -> Quantizer:
    torch.manual_seed(seed)
    made = Quantizer(WIDTH, codebooks, ENTRIES, DIM)
    for layer in made.first():
        layer.embed.normal_()
        layer.embed_avg.copy_(layer.embed * 5)
        layer.cluster_size.fill_(5)
        layer.inited.fill_(1)
    return made


def latents(frames: int = 30, seed: int = 1) -> Tensor:
    return torch.randn(2, WIDTH, frames, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_each_codebook_codes_what_the_ones_before_left_over() -> None:
    made, x = quantizer(), latents()
    codes, residual = made.encode(x), x.mT
    for index, layer in enumerate(made.first()):
        distance = torch.cdist(layer.project_in(residual), layer.embed)
        torch.testing.assert_close(codes[:, index], distance.argmin(-1))
        residual = residual - layer.decode(codes[:, index])
    torch.testing.assert_close(made.decode(codes), x - residual.mT)


@torch.no_grad()
def test_fewer_codebooks_are_the_sum_of_the_first() -> None:
    made = quantizer()
    codes = made.encode(latents())
    fewer = quantizer(codebooks=2)
    fewer.load_state_dict({k: v for k, v in made.state_dict().items() if "layers.2" not in k})
    torch.testing.assert_close(made.decode(codes[:, :2]), fewer.decode(codes[:, :2]))


@torch.no_grad()
def test_batched_is_alone() -> None:
    made, x = quantizer(), latents()
    assert torch.equal(made.encode(x)[1:], made.encode(x[1:]))


def test_a_training_step_follows_its_definition() -> None:
    made, x = quantizer(), latents().requires_grad_()
    before = copy.deepcopy(made.state_dict())
    step = made.train_step(x)
    assert torch.equal(step.codes, quantizer().encode(x.detach()))
    torch.testing.assert_close(step.quantized, quantizer().decode(step.codes))
    for index, layer in enumerate(made.first()):
        was = {k.split(".")[-1]: v for k, v in before.items() if f"layers.{index}." in k}
        quantized_so_far = quantizer().decode(step.codes[:, :index]) if index else 0
        vectors = layer.project_in((x - quantized_so_far).mT).flatten(0, 1).detach()
        won = torch.nn.functional.one_hot(step.codes[:, index].flatten(), ENTRIES).float()
        size = 0.99 * was["cluster_size"] + 0.01 * won.sum(0)
        total = 0.99 * was["embed_avg"] + 0.01 * won.t() @ vectors
        smooth = (size + 1e-5) / (size.sum() + ENTRIES * 1e-5) * size.sum()
        torch.testing.assert_close(layer.cluster_size, size)
        torch.testing.assert_close(layer.embed_avg, total)
        torch.testing.assert_close(layer.embed, total / smooth[:, None])


def test_projections_learn_and_codebooks_do_not() -> None:
    made, x = quantizer(), latents().requires_grad_()
    step = made.train_step(x)
    (step.commitment + step.quantized.square().sum()).backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    for layer in made.first():
        for parameter in layer.parameters():
            assert parameter.grad is not None
            assert parameter.grad.abs().sum() > 0
        assert not layer.embed.requires_grad


def test_a_step_of_some_layers_leaves_the_others_alone() -> None:
    made = quantizer()
    step = made.train_step(latents(), n_layers=2)
    assert step.codes.shape == (2, 2, 30)
    assert torch.equal(made.first()[2].embed, quantizer().first()[2].embed)
    torch.testing.assert_close(step.quantized, quantizer().decode(step.codes))


def test_an_entry_that_wins_too_little_moves_to_a_vector_of_the_batch() -> None:
    made, x = quantizer(codebooks=1), latents()
    layer = made.first()[0]
    layer.embed[3] = 1e3
    layer.cluster_size[3] = 2.0  # falls below two with the next step
    size, average = 0.99 * 2.0, 0.99 * layer.embed_avg[3].clone()
    made.train_step(x, generator=torch.Generator().manual_seed(5))
    vectors = layer.project_in(x.mT).flatten(0, 1)
    assert bool((vectors - layer.embed[3]).abs().sum(-1).min() < 1e-5)
    torch.testing.assert_close(layer.cluster_size[3], torch.tensor(size))
    torch.testing.assert_close(layer.embed_avg[3], average)


def test_a_new_codebook_starts_at_the_centres_of_its_first_batch() -> None:
    torch.manual_seed(0)
    made = Quantizer(WIDTH, 1, 2, DIM)
    layer = made.first()[0]
    with torch.no_grad():
        layer.project_in.weight.zero_()[:, :DIM] = torch.eye(DIM)
        layer.project_in.bias.zero_()
    noise = torch.randn(1, WIDTH, 40, generator=torch.Generator().manual_seed(2)) * 0.01
    noise[..., :25] += 3
    noise[..., 25:] -= 3
    layer.start(noise[0].t()[:, :DIM], torch.Generator().manual_seed(3))
    centres = {round(float(centre.mean())) for centre in layer.embed}
    assert centres == {3, -3}
    assert sorted(layer.cluster_size.tolist()) == [15, 25]
    assert torch.equal(layer.embed, layer.embed_avg)
    layer.start(torch.zeros(5, DIM))
    assert {round(float(centre.mean())) for centre in layer.embed} == centres


def test_equal_generators_give_equal_codebooks() -> None:
    made = [Quantizer(WIDTH, CODEBOOKS, ENTRIES, DIM) for _ in range(2)]
    made[1].load_state_dict(made[0].state_dict())
    for one in made:
        one.train_step(latents(3), generator=torch.Generator().manual_seed(9))
    for name, value in made[0].state_dict().items():
        assert torch.equal(value, made[1].state_dict()[name])
