"""The files of a model and its codec to the plan they are loaded by. No weight is read.

Knows nothing of how a plan is chosen, nor how devices are asked.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from faster_higgs.checkpoint.choice import Plan, Wish, choose
from faster_higgs.checkpoint.codec_config import StoredCodec, read_settings
from faster_higgs.checkpoint.codec_files import stored_codec
from faster_higgs.checkpoint.codec_layouts import ENCODING, TRAINING, UNUSED
from faster_higgs.checkpoint.load import built, read_config
from faster_higgs.checkpoint.plan import CodecSize, Held, Room, Size
from faster_higgs.checkpoint.quantized import PACKED, Stamp, read_stamp, settled
from faster_higgs.checkpoint.tensors import TensorFiles, open_tensors
from faster_higgs.checkpoint.torch_file import open_torch_file
from faster_higgs.config import EngineConfig
from faster_higgs.native.kernels import find
from faster_higgs.quant.quantization import Quantization

_WIDE = {"F64": 8, "F32": 4}  # bytes of a weight; of all other kinds, 2


def fit(
    model: Path,
    codec: Path,
    devices: Iterable[Room],
    wish: Wish,
    *,
    text_head: bool = False,
) -> Plan:
    """The plan by which the model in a folder is loaded.

    Raises CheckpointError, and SettingError where there is no room for what is wished, or the
    files hold something else.
    """
    size, stamp = _measured(model, codec, text_head)
    if wish.held is not None and stamp is not None:
        wish = replace(wish, held=_held(settled(model, stamp, _quantization(wish.held))))
    plan = choose(size, devices, wish)
    return replace(plan, notes=(*plan.notes, *_lack_of_kernels(plan)))


def _lack_of_kernels(plan: Plan) -> Iterator[str]:
    """That packed weights are slow where nothing multiplies them as they are."""
    found = find()
    if plan.device == "cpu" and plan.held.packs and found.kernels is None:
        yield f"Warning: {plan.held.name} weights are slow here: {found.reason}."


def measure(model: Path, codec: Path, *, text_head: bool = False) -> Size:
    """What there is to load, from a model's folder and its codec's. Raises CheckpointError."""
    return _measured(model, codec, text_head)[0]


def _measured(model: Path, codec: Path, text_head: bool) -> tuple[Size, Stamp | None]:
    files = open_tensors(model)
    data = read_config(model)
    stamp = read_stamp(model, data)
    config, _ = built(model, data, text_head)
    size = Size(
        config,
        _codec_size(codec),
        text_head,
        item=_item(files),
        mapped=not files.pickled,
        packed=_held(stamp.quantization) if stamp else None,
    )
    return size, stamp


def wish_for(quantization: Quantization | None, engine: EngineConfig | None) -> Wish:
    """What is asked for, as plans say it."""
    return Wish(None if quantization is None else _held(quantization), engine=engine)


def _held(quantization: Quantization) -> Held:
    return Held(quantization.audio, quantization.text, quantization.group)


def loading(plan: Plan) -> dict[str, Any]:
    """What `load_model` is told, so that the plan comes true."""
    return {
        "device": plan.device,
        "dtype": torch.float32 if plan.needs.widened else None,
        "quantization": _quantization(plan.held),
    }


def _quantization(held: Held) -> Quantization:
    return Quantization(*held)  # type: ignore[arg-type]


def _item(files: TensorFiles) -> int:
    """Bytes of a weight that is not packed: those of the largest tensor are as all others."""
    whole = [name for name in files.shapes if not name.endswith(PACKED)] or [*files.shapes]
    largest = max(whole, key=lambda name: math.prod(files.shapes[name]))
    path = next(path for path, names in files.files.items() if largest in names)
    if files.pickled:
        return open_torch_file(path)[largest].element_size()
    with safe_open(path, "pt") as file:
        return _WIDE.get(file.get_slice(largest).get_dtype(), 2)


def _codec_size(folder: Path) -> CodecSize:
    stored, table = stored_codec(folder)
    config = stored.config(read_settings(folder), table.name, encoder=False)
    not_decoding = (*ENCODING, *TRAINING, *UNUSED)
    decoder, encoder = (_bytes(stored, out) for out in (not_decoding, (*TRAINING, *UNUSED)))
    return CodecSize.of(config, decoder, encoder)


def _bytes(stored: StoredCodec, unwanted: Sequence[str]) -> int:
    """In float32, of all tensors whose names match none of the patterns."""
    total = 0
    for name, recipe in stored.matched.recipes.items():
        if not any(fnmatchcase(name, pattern) for pattern in unwanted):
            total += 4 * math.prod(recipe.shape(stored.files.shapes))
    return total
