"""Full-size checkpoints with random weights, written once; speed does not depend on what they say.

    python benchmarks/weights.py                 # the published shapes: 11.5 GB, and the codec
    python benchmarks/weights.py --layers 8      # the language model cut to its first layers
    python benchmarks/weights.py --to int4       # the language model rounded as well

Knows nothing of what is measured with them.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from faster_higgs.checkpoint.codec_files import save_codec
from faster_higgs.checkpoint.export import export
from faster_higgs.checkpoint.layouts import TRANSFORMERS
from faster_higgs.checkpoint.plan import PUBLISHED
from faster_higgs.codec.codec import Codec
from faster_higgs.config import CodecConfig, HubertShape, ModelConfig
from faster_higgs.errors import HiggsError, SettingError
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.quant.quantization import Quantization
from faster_higgs.testing import TINY_CODEC, tiny_config

MODEL = PUBLISHED.model
CODEC = CodecConfig(
    encoder_hidden_size=64,
    decoder_hidden_size=1024,
    hidden_size=256,
    codebook_size=1024,
    codebook_dim=64,
    num_codebooks=8,
    hubert=HubertShape(
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
        conv_dim=(512,) * 7,
    ),
    acoustic_pad=480,
)
SHARD = 5_000_000_000  # bytes
BLOCK = 8_388_593  # random numbers that are repeated; a prime, so that no two rows are alike
SCALE = 0.02

PACKED = ("int8", "int4")
PRECISIONS = ("bf16", *PACKED)

Shapes = dict[str, tuple[int, ...]]


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 when all is there."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flag = parser.add_argument
    flag("--folder", type=Path, default=scratch(), help="where to; default: %(default)s")
    flag("--layers", type=int, default=28, help="of the language model; default: %(default)s")
    flag("--tiny", action="store_true", help="both shapes of a few thousand weights, for tests")
    flag("--to", choices=PACKED, nargs="*", default=(), help="precisions to round to")
    found = parser.parse_args(arguments)
    try:
        model = model_folder(found.folder, found.layers, tiny=found.tiny)
        print(model, *(packed_folder(model, precision) for precision in found.to), sep="\n")
        print(codec_folder(found.folder, tiny=found.tiny))
    except HiggsError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def scratch() -> Path:
    """Where the weights are kept between benchmarks."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "faster-higgs" / "benchmarks"


def model_folder(folder: Path, layers: int = 28, *, tiny: bool = False) -> Path:
    """The language model in the transformers layout; only what is missing is written."""
    if not 1 <= layers <= MODEL.num_hidden_layers:
        raise SettingError(f"--layers is {layers}; use 1 to {MODEL.num_hidden_layers}.")
    config = tiny_config() if tiny else replace(MODEL, num_hidden_layers=layers)
    place = folder / ("tiny" if tiny else f"model-{layers}")
    write_model(config, place)
    return place


def packed_folder(model: Path, precision: str) -> Path:
    """The model in that folder, rounded, in a folder beside it; nothing is done if it is there."""
    place = model.with_name(f"{model.name}-{precision}")
    if not place.exists():
        export(model, place, Quantization(audio=precision, text=precision))
    return place


def codec_folder(folder: Path, *, tiny: bool = False) -> Path:
    """The codec in the transformers layout; nothing is written if it is there."""
    place = folder / ("tiny-codec" if tiny else "codec")
    if not (place / "config.json").exists():
        torch.manual_seed(0)
        codec = Codec(TINY_CODEC if tiny else CODEC, training_parts=True).eval()
        place.mkdir(parents=True, exist_ok=True)
        save_codec(codec, place, "transformers")
    return place


def write_model(config: ModelConfig, folder: Path, shard_bytes: int = SHARD) -> None:
    """A shard at a time, and the config last: with it the folder is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    shards = _shards(_shapes(config), shard_bytes)
    names = [f"model-{i:05d}-of-{len(shards):05d}.safetensors" for i in range(1, len(shards) + 1)]
    block = _random_block()
    for name, shapes in zip(names, shards, strict=True):
        _write_shard(folder / name, shapes, block)
    place = {key: name for name, shapes in zip(names, shards, strict=True) for key in shapes}
    total = sum(_bytes(shape) for shapes in shards for shape in shapes.values())
    index = {"metadata": {"total_size": total}, "weight_map": place}
    _write_json(folder / "model.safetensors.index.json", index)
    _write_json(folder / "generation_config.json", _generation(config))
    _write_json(folder / "config.json", {**config.to_json("transformers"), "dtype": "bfloat16"})


def _shapes(config: ModelConfig) -> Shapes:
    """What is stored, by its published name."""
    with torch.device("meta"):
        weights = DualFFN(config).state_dict()
    return {TRANSFORMERS.stored(name): tuple(value.shape) for name, value in weights.items()}


def _generation(config: ModelConfig) -> dict[str, int | bool]:
    return {
        "bos_token_id": 1,
        "eos_token_id": config.pad_token_id,
        "pad_token_id": config.pad_token_id,
        "ras_win_len": 7,
        "ras_win_max_num_repeat": 2,
        "use_text_head": True,
    }


def _shards(shapes: Shapes, limit: int) -> list[Shapes]:
    shards: list[Shapes] = [{}]
    size = 0
    for name, shape in shapes.items():
        if shards[-1] and size + _bytes(shape) > limit:
            shards.append({})
            size = 0
        shards[-1][name] = shape
        size += _bytes(shape)
    return shards


def _write_shard(path: Path, shapes: Shapes, block: Tensor) -> None:
    """The file format of safetensors: length of the header, header, numbers."""
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + _bytes(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    text += b" " * (-len(text) % 8)
    if path.exists() and path.stat().st_size == 8 + len(text) + end:
        return
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for shape in shapes.values():
            for piece in _numbers(shape, block):
                file.write(piece.view(torch.uint8).numpy())
    os.replace(part, path)


def _numbers(shape: tuple[int, ...], block: Tensor) -> Iterator[Tensor]:
    """The weights of one tensor in pieces: ones for a norm, else the block over and over."""
    left = math.prod(shape)
    if len(shape) == 1:
        yield torch.ones(left, dtype=torch.bfloat16)
        return
    while left:
        piece = block[:left]
        left -= len(piece)
        yield piece


def _random_block() -> Tensor:
    numbers = torch.empty(BLOCK).normal_(0, SCALE, generator=torch.Generator().manual_seed(0))
    return numbers.bfloat16()


def _bytes(shape: tuple[int, ...]) -> int:
    return 2 * math.prod(shape)


def _write_json(path: Path, data: Mapping[str, object]) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    os.replace(part, path)


if __name__ == "__main__":
    sys.exit(main())
