"""Optimisers by their name: AdamW with masters in fp32 where they are needed, or in 8 bits.

Knows nothing of what is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, overload

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.adamw import adamw as step_of_adamw

from faster_higgs.errors import MissingExtra
from faster_higgs.train.config import OptimizerSettings

_TOGETHER = 1 << 26  # numbers whose gradients exist in fp32 at once
_MOMENTS = ("master", "exp_avg", "exp_avg_sq")


def optimizer(model: nn.Module, settings: OptimizerSettings, plus: float = 1.0) -> Optimizer:
    """Over what requires gradients. The B of adapters learns `plus` times as fast.

    Only matrices that are not embeddings decay. Raises MissingExtra.
    """
    groups = grouped(model, settings, plus)
    weights = [weight for group in groups for weight in group["params"]]
    given = {"lr": settings.learning_rate, "betas": settings.betas, "eps": settings.eps}
    if settings.kind == "adamw8bit":
        made: Optimizer = _bitsandbytes().optim.AdamW8bit(groups, **given)
        return made
    if all(weight.dtype == torch.float32 for weight in weights):
        return AdamW(groups, fused=True, **given)  # type: ignore[arg-type]
    return MasterAdamW(groups, **given)


def grouped(model: nn.Module, settings: OptimizerSettings, plus: float) -> list[dict[str, Any]]:
    """Weights by whether they decay, and how fast they learn."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            plain = weight.ndim < 2 or name.startswith("embed_")
            faster = plus if ".lora_B." in name else 1.0
            key = (0.0 if plain else settings.weight_decay, faster)
            groups.setdefault(key, []).append(weight)
    return [
        {"params": weights, "weight_decay": decay, "lr": settings.learning_rate * faster}
        for (decay, faster), weights in groups.items()
    ]


class MasterAdamW(Optimizer):
    """AdamW whose every weight has a master and moments in fp32; the weight is the master rounded.

    Gradients are widened a few weights at a time.
    """

    def __init__(self, params: Any, *, lr: float, betas: tuple[float, float], eps: float) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0})

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        assert closure is None
        for group in self.param_groups:
            for weights in _portions(group["params"]):
                self._step(group, weights)
        return None

    def _step(self, group: dict[str, Any], weights: list[Tensor]) -> None:
        states = [self.state[weight] or self._begin(weight) for weight in weights]
        masters = [state["master"] for state in states]
        step_of_adamw(
            masters,
            [weight.grad.float() for weight in weights if weight.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=True,
            amsgrad=False,
            maximize=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
        )
        for weight, master in zip(weights, masters, strict=True):
            weight.copy_(master)

    def _begin(self, weight: Tensor) -> dict[str, Tensor]:
        master = weight.detach().float().clone()
        state = {
            "step": torch.zeros((), device=weight.device),
            "master": master,
            "exp_avg": torch.zeros_like(master),
            "exp_avg_sq": torch.zeros_like(master),
        }
        self.state[weight] = state
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As any optimiser, but nothing is rounded to the type of the weights."""
        super().load_state_dict(state_dict)
        weights = [weight for group in self.param_groups for weight in group["params"]]
        for number, saved in state_dict["state"].items():
            weight = weights[int(number)]
            for key in _MOMENTS:
                self.state[weight][key] = saved[key].detach().to(weight.device, copy=True)


def _portions(weights: list[Tensor]) -> Iterator[list[Tensor]]:
    portion: list[Tensor] = []
    for weight in weights:
        if weight.grad is None:
            continue
        if portion and sum(w.numel() for w in portion) + weight.numel() > _TOGETHER:
            yield portion
            portion = []
        portion.append(weight)
    if portion:
        yield portion


def _bitsandbytes() -> Any:
    try:
        import bitsandbytes
    except ImportError:
        raise MissingExtra(
            "adamw8bit needs bitsandbytes; install it with `pip install "
            "'faster-higgs[bitsandbytes]'`, or take the optimizer adamw."
        ) from None
    return bitsandbytes
