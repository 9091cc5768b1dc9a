"""A folder to a language model that is ready to run.

Knows nothing of hub names (files.py finds the folder) and nothing of prompts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from faster_higgs.checkpoint.adapted import adapted, refuse_packed
from faster_higgs.checkpoint.folding import Weighted
from faster_higgs.checkpoint.layout import Layout, match
from faster_higgs.checkpoint.layouts import LANGUAGE_MODEL
from faster_higgs.checkpoint.quantized import CONFIG, check, read_stamp, settled, with_packed
from faster_higgs.checkpoint.targets import packing, place, targets_of
from faster_higgs.checkpoint.tensors import TensorFiles, choose_layout, finished, open_tensors
from faster_higgs.config import CodecConfig, ModelConfig
from faster_higgs.errors import CheckpointError, CheckpointNotFound
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.quant.apply import precision_of, refuse_without_fp8, swap
from faster_higgs.quant.host import keep_text_on_host
from faster_higgs.quant.quantization import GROUPS, Quantization

LAYOUTS = tuple(map(with_packed, LANGUAGE_MODEL))

_SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "num_codebooks",
    "codebook_size",
    "max_position_embeddings",
)


def load_model(
    folder: Path | str,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    text_head: bool = True,
    quantization: Quantization | None = None,
    adapters: Sequence[Weighted] = (),
) -> tuple[ModelConfig, DualFFN]:
    """The model in `folder`, either published layout; each tensor placed or an error naming it.

    `dtype` None keeps what is stored; it casts all that is not packed. On the CPU an uncast weight
    of a safetensors file is the mapped file itself, so loading takes no time and processes share
    the memory. `quantization` None takes the weights as the folder has them; else each is packed
    when it arrives, so that never more than one whole layer is in memory beside the packed ones.
    `adapters` are folded in before that; what they do not touch is as without them.
    Raises CheckpointError, CheckpointNotFound, SettingError.
    """
    folder = Path(folder)
    files = open_tensors(folder)
    layout = choose_layout(files, LAYOUTS)
    data = read_config(folder)
    stamp = read_stamp(folder, data)
    if adapters and stamp is not None:
        refuse_packed(stamp)
    held = settled(folder, stamp, quantization)
    refuse_without_fp8(held, device)
    config, model = built(folder, data, text_head)
    shrink(model, held, files, layout, device)
    targets = targets_of(model, device, dtype)
    if stamp is None:
        targets = packing(targets, model, device, mapped=not files.pickled)
    else:
        check(stamp, files.files)
    targets = adapted(targets, adapters)
    place(model, finished(files, layout, targets, () if text_head else ("text_head.*",)))
    return config, model


def built(folder: Path, data: Mapping[str, Any], text_head: bool) -> tuple[ModelConfig, DualFFN]:
    """The config in `folder` and its model, still without weights. Raises CheckpointError."""
    try:
        config = ModelConfig.from_json(data)
        _refuse_sizes(config)
        with torch.device("meta"):
            return config, DualFFN(config, text_head)
    except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise CheckpointError(
            f"No model can be built from the {CONFIG} in '{folder}' ({reason}); "
            f"use the {CONFIG} that came with the weights."
        ) from None


def shrink(
    model: DualFFN,
    quantization: Quantization,
    files: TensorFiles,
    layout: Layout,
    device: torch.device | str,
) -> None:
    """Put smaller layers, still without weights, into a model that has none either.

    Raises CheckpointError for weights that cannot be packed, SettingError.
    """
    for name, linear in model.named_modules():
        if not isinstance(linear, nn.Linear) or precision_of(name, quantization) is None:
            continue
        if linear.in_features % min(GROUPS):
            raise CheckpointError(
                f"The tensor {layout.stored(name + '.weight')} in '{files.folder}' has "
                f"{linear.in_features} inputs, which is no multiple of {min(GROUPS)}, so this "
                "model cannot be quantised; use it as it is."
            )
    swap(model, quantization)
    if quantization.text == "host":
        keep_text_on_host(model, device)


def _refuse_sizes(config: ModelConfig) -> None:
    for name in _SIZES:
        if (found := getattr(config, name)) < 1:
            raise CheckpointError(
                f"The {CONFIG} sets {name} to {found}; it must be 1 or more. "
                f"Use the {CONFIG} that came with the weights."
            )


def refuse_other_codec(model: ModelConfig, codec: CodecConfig) -> None:
    """Raises CheckpointError when the codes of `model` are not those of `codec`."""
    if (model.num_codebooks, model.num_codes) != (codec.num_codebooks, codec.codebook_size):
        raise CheckpointError(
            f"The model speaks {model.num_codebooks} codebooks of {model.num_codes} codes and the "
            f"codec has {codec.num_codebooks} of {codec.codebook_size}; "
            "give the codec that belongs to the model."
        )


def holds_text_head(folder: Path) -> bool:
    """Whether the checkpoint has the head; the transformers library saves it only when asked."""
    files = open_tensors(folder)
    layout = choose_layout(files, LAYOUTS)
    held = match(layout, files.shapes).recipes
    return "text_head.weight" in held or "text_head.codes" in held


def count_weights(folder: Path, text_head: bool = False) -> int:
    """Weights of the model in `folder`, packed or not. Raises CheckpointError."""
    shapes = open_tensors(folder).shapes
    if any(name.endswith(".codes") for name in shapes):  # of which several weights share a byte
        _, model = built(folder, read_config(folder), text_head)
        return sum(weight.numel() for weight in model.parameters())
    return sum(math.prod(s) for n, s in shapes.items() if text_head or "text_lm_head" not in n)


def read_config(folder: Path) -> dict[str, object]:
    """The config.json in `folder`."""
    path = folder / CONFIG
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointNotFound(f"The checkpoint folder '{folder}' has no {CONFIG}.") from None
    except OSError as error:
        raise CheckpointError(f"The file '{path}' cannot be read: {error}.") from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"The file '{path}' is not JSON ({error}).") from None
    if not isinstance(data, dict):
        raise CheckpointError(f"The file '{path}' is not the config of a model.")
    return data
