"""A folder to a language model that is ready to run.

Knows nothing of hub names (files.py finds the folder) and nothing of prompts.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch

from faster_higgs.checkpoint.layout import match
from faster_higgs.checkpoint.layouts import LANGUAGE_MODEL
from faster_higgs.checkpoint.tensors import choose_layout, fill, open_tensors
from faster_higgs.config import CodecConfig, ModelConfig
from faster_higgs.errors import CheckpointError, CheckpointNotFound
from faster_higgs.model.dual_ffn import DualFFN

CONFIG = "config.json"

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
) -> tuple[ModelConfig, DualFFN]:
    """The model in `folder`, either published layout; each tensor placed or an error naming it.

    `dtype` None keeps what is stored. On the CPU an uncast weight of a safetensors file is the
    mapped file itself, so loading takes no time and processes share the memory.
    Raises CheckpointError, CheckpointNotFound.
    """
    folder = Path(folder)
    files = open_tensors(folder)
    layout = choose_layout(files, LANGUAGE_MODEL)
    config, model = _built(folder, text_head)
    unwanted = () if text_head else ("text_head.weight",)
    fill(model, files, layout, device=device, dtype=dtype, unwanted=unwanted)
    return config, model


def _built(folder: Path, text_head: bool) -> tuple[ModelConfig, DualFFN]:
    """The config in `folder` and its model, still without weights."""
    try:
        config = ModelConfig.from_json(read_config(folder))
        _refuse_sizes(config)
        with torch.device("meta"):
            return config, DualFFN(config, text_head)
    except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise CheckpointError(
            f"No model can be built from the {CONFIG} in '{folder}' ({reason}); "
            f"use the {CONFIG} that came with the weights."
        ) from None


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
    layout = choose_layout(files, LANGUAGE_MODEL)
    return "text_head.weight" in match(layout, files.shapes).recipes


def count_weights(folder: Path, text_head: bool = False) -> int:
    """Weights of the model in `folder`, by names and shapes alone. Raises CheckpointError."""
    shapes = open_tensors(folder).shapes
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
