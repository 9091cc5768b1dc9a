"""A model to a folder, in either published layout; load(save(x)) = x bit for bit.

Knows nothing of training state or adapters.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from faster_higgs.checkpoint.layouts import LANGUAGE_MODEL
from faster_higgs.checkpoint.quantized import CONFIG, PACKED
from faster_higgs.checkpoint.replacing import replacing
from faster_higgs.checkpoint.tensors import INDEX, SAFETENSORS
from faster_higgs.config import SHARD_BYTES, Layout, ModelConfig
from faster_higgs.errors import CheckpointError
from faster_higgs.model.dual_ffn import DualFFN


def save_model(
    model: DualFFN,
    config: ModelConfig,
    folder: Path | str,
    layout: Layout = "transformers",
    *,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Weights and config.json under the published names of `layout`.

    Raises CheckpointError for packed weights.
    """
    if any(name.endswith(PACKED) for name in model.state_dict()):
        raise CheckpointError(
            "Packed weights have no place in the published layouts; export the model they were "
            "made from."
        )
    table = next(table for table in LANGUAGE_MODEL if table.name == layout)
    tensors = {table.stored(name): value for name, value in model.state_dict().items()}
    dtype = str(model.norm.weight.dtype).removeprefix("torch.")
    write_checkpoint(
        folder, tensors, {**config.to_json(layout), "dtype": dtype}, shard_bytes=shard_bytes
    )


def write_checkpoint(
    folder: Path | str,
    tensors: Mapping[str, Tensor],
    config: Mapping[str, Any],
    *,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """`tensors` as safetensors beside config.json; the old files stay until all is written.

    Other files in the folder (tokenizer, voices) are left alone.
    """
    folder = Path(folder)
    shards = _shards(tensors, shard_bytes)
    names = shard_names(len(shards))
    with replacing(folder, "checkpoint") as partial:
        for name, shard in zip(names, shards, strict=True):
            on_host = {key: value.detach().cpu().contiguous() for key, value in shard.items()}
            save_file(on_host, partial(name), metadata={"format": "pt"})
        if len(shards) > 1:
            held = dict(zip(names, shards, strict=True))
            size = sum(value.nbytes for value in tensors.values())
            partial(INDEX).write_text(index(held, size))
        partial(CONFIG).write_text(json.dumps(config, indent=2) + "\n")
    for stale in _weights_in(folder):
        if stale.name not in (*names, *([INDEX] if len(shards) > 1 else [])):
            stale.unlink()


def _shards(tensors: Mapping[str, Tensor], limit: int) -> list[dict[str, Tensor]]:
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, value in tensors.items():
        if shards[-1] and size + value.nbytes > limit:
            shards.append({})
            size = 0
        shards[-1][name] = value
        size += value.nbytes
    return shards


def shard_names(count: int) -> list[str]:
    """The published names of so many files of weights."""
    if count == 1:
        return [SAFETENSORS]
    return [f"model-{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1)]


def index(held: Mapping[str, Iterable[str]], size: int) -> str:
    """What the file beside several shards says: which one holds which tensor, and all the bytes."""
    place = {tensor: name for name, tensors in held.items() for tensor in tensors}
    return json.dumps({"metadata": {"total_size": size}, "weight_map": place}, indent=2) + "\n"


def _weights_in(folder: Path) -> list[Path]:
    sharded = folder.glob("model-*-of-*.safetensors")
    return [path for path in (folder / INDEX, folder / SAFETENSORS, *sharded) if path.exists()]
