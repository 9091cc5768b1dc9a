"""A folder to a language model that is ready to run.

Knows nothing of hub names (files.py finds the folder) and nothing of prompts.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from faster_higgs.checkpoint.layouts import LANGUAGE_MODEL
from faster_higgs.checkpoint.tensors import choose_layout, fill, open_tensors
from faster_higgs.config import CodecConfig, ModelConfig
from faster_higgs.errors import CheckpointError, CheckpointNotFound
from faster_higgs.model.dual_ffn import DualFFN

CONFIG = "config.json"


def load_model(
    folder: Path | str,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    text_head: bool = True,
) -> tuple[ModelConfig, DualFFN]:
    """The model in `folder`, either published layout; each tensor placed or an error naming it.

    `dtype` None keeps what is stored. On the CPU an uncast weight is the mapped file itself, so
    loading takes no time and processes share the memory.
    """
    folder = Path(folder)
    files = open_tensors(folder)
    layout = choose_layout(files, LANGUAGE_MODEL)
    config = ModelConfig.from_json(read_config(folder))
    with torch.device("meta"):
        model = DualFFN(config, text_head)
    unwanted = () if text_head else ("text_head.weight",)
    fill(model, files, layout, device=device, dtype=dtype, unwanted=unwanted)
    return config, model


def refuse_other_codec(model: ModelConfig, codec: CodecConfig) -> None:
    """Raises CheckpointError when the codes of `model` are not those of `codec`."""
    if (model.num_codebooks, model.num_codes) != (codec.num_codebooks, codec.codebook_size):
        raise CheckpointError(
            f"The model speaks {model.num_codebooks} codebooks of {model.num_codes} codes and the "
            f"codec has {codec.num_codebooks} of {codec.codebook_size}; "
            "give the codec that belongs to the model."
        )


def read_config(folder: Path) -> dict[str, object]:
    """The config.json in `folder`."""
    path = folder / CONFIG
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointNotFound(f"The checkpoint folder '{folder}' has no {CONFIG}.") from None
    except ValueError as error:
        raise CheckpointError(f"The file '{path}' is not JSON ({error}).") from None
    if not isinstance(data, dict):
        raise CheckpointError(f"The file '{path}' is not the config of a model.")
    return data
