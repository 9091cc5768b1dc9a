"""Low-rank adapters on the model: peft puts them there, here is said where and how they are kept.

Knows nothing of files, data or optimisers.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from faster_higgs.checkpoint.folding import Adapter, AdapterConfig
from faster_higgs.errors import MissingExtra
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.quant.apply import precision_of
from faster_higgs.quant.linear import PackedLinear
from faster_higgs.quant.quantization import Quantization
from faster_higgs.train.modes import is_pair, part_of
from faster_higgs.train.optimizers import bitsandbytes
from faster_higgs.train.parts import PARTS
from faster_higgs.train.tune_config import AdapterSettings

NAME = "default"  # of the adapter, to peft
Begun = Mapping[str, tuple[Tensor, Tensor]]
"""The pairs that were taken out of the weights at the start, by path."""


def targets(model: nn.Module, settings: AdapterSettings) -> list[str]:
    """Full paths of the linear layers that get a pair."""
    patterns = [PARTS[part] for part in settings.parts]
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, PackedLinear))
        and any(re.fullmatch(pattern, f"{name}.weight") for pattern in patterns)
    ]


def put(model: DualFFN, settings: AdapterSettings, seed: int = 0) -> Begun:
    """Freeze the model, and put pairs on it; parts named `whole` learn as they are.

    peft must not choose the type of the pairs: it makes them fp32 beside 16 bits, and then a copy
    of every input in fp32 is kept for the backward pass.
    """
    peft = _peft()
    config = peft.LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        use_rslora=settings.rslora,
        use_dora=settings.dora,
        init_lora_weights=True if settings.init == "default" else settings.init,
        target_modules=targets(model, settings),
    )
    config._register_custom_module({PackedLinear: peft.tuners.lora.Linear})
    with torch.random.fork_rng(), warnings.catch_warnings(), _known_to_peft(model):
        warnings.simplefilter("ignore")  # of a config that is not transformers'
        torch.manual_seed(seed)
        peft.inject_adapter_in_model(config, model, NAME)
    own = model.norm.weight.dtype
    dtype = own if settings.dtype == "auto" else getattr(torch, settings.dtype)
    for name, weight in model.named_parameters():
        if is_pair(name):
            weight.data = weight.data.to(model.norm.weight.device, dtype)
        weight.requires_grad_(is_pair(name) or part_of(name) in settings.whole)
    taken = settings.init in ("pissa", "pissa_niter_16", "olora")
    return {path: _pair(module, clone=True) for path, module in _paired(model)} if taken else {}


def lifted(
    model: nn.Module, settings: AdapterSettings, base: AdapterConfig, begun: Begun
) -> Adapter:
    """What was trained, as it is written; `base` names the model it belongs to.

    Pairs that began as a part of the weights are written with that part subtracted, so that the
    adapter stands on the model as it was.
    """
    config = replace(
        base,
        rank=settings.rank,
        alpha=settings.alpha,
        use_rslora=settings.rslora,
        use_dora=settings.dora,
        dropout=settings.dropout,
    )
    pairs = {path: _pair(module) for path, module in _paired(model)}
    if begun:
        pairs = {path: _without(pair, begun[path]) for path, pair in pairs.items()}
        config = replace(
            config, rank=2 * config.rank, alpha=config.alpha * 2 ** (0.5 if settings.rslora else 1)
        )
    magnitudes = {
        path: module.lora_magnitude_vector[NAME].weight
        for path, module in _paired(model)
        if settings.dora
    }
    whole = {
        name: weight
        for name, weight in model.named_parameters()
        if weight.requires_grad and not is_pair(name)
    }
    return Adapter(config, pairs, magnitudes, whole)


def pack_nf4(model: nn.Module, device: torch.device | str, dtype: torch.dtype) -> None:
    """Put bitsandbytes' 4-bit layers in place of those in the layers; each is packed alone."""
    small = bitsandbytes("A base of nf4").nn
    wanted = Quantization("int4", "int4")
    linears = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and precision_of(name, wanted) and name != "text_head"
    ]
    for name, linear in linears:
        with torch.device("meta"):
            packed = small.Linear4bit(
                linear.in_features, linear.out_features, False, dtype, True, "nf4"
            )
        packed.weight = small.Params4bit(
            linear.weight.detach().to(dtype).contiguous(), False, quant_type="nf4"
        )
        model.set_submodule(name, packed.to(device))


@contextmanager
def _known_to_peft(model: nn.Module) -> Iterator[None]:
    """peft asks a layer without weights for `qweight`, to see where it is."""
    packed = [module for module in model.modules() if isinstance(module, PackedLinear)]
    for module in packed:
        object.__setattr__(module, "qweight", module.codes)
    yield
    for module in packed:
        object.__delattr__(module, "qweight")


def _paired(model: nn.Module) -> Iterator[tuple[str, Any]]:
    return ((name, m) for name, m in model.named_modules() if NAME in getattr(m, "lora_A", ()))


def _pair(module: Any, clone: bool = False) -> tuple[Tensor, Tensor]:
    pair = (module.lora_A[NAME].weight.detach(), module.lora_B[NAME].weight.detach())
    return (pair[0].cpu().clone(), pair[1].cpu().clone()) if clone else pair


def _without(pair: tuple[Tensor, Tensor], begun: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    (down, up), (down0, up0) = pair, begun
    return torch.cat((down, down0.to(down))), torch.cat((up, -up0.to(up)), 1)


def _peft() -> Any:
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # peft wakes it; it misses kernels
    try:
        import peft
    except ImportError:
        raise MissingExtra(
            "Adapters need peft; install the extra with `pip install 'faster-higgs[train]'`."
        ) from None
    return peft
