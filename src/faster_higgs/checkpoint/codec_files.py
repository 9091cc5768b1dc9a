"""A codec from a folder, and into one, in either published layout. Knows no stored name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from faster_higgs.checkpoint.codec_config import StoredCodec, config_files, read_settings
from faster_higgs.checkpoint.codec_layouts import (
    EMBEDDED,
    ENCODING,
    TRAINING,
    UNFOLDED,
    UNUSED,
    codec_layouts,
    unfolded,
)
from faster_higgs.checkpoint.layout import Layout as Table
from faster_higgs.checkpoint.layout import match
from faster_higgs.checkpoint.replacing import replacing
from faster_higgs.checkpoint.tensors import (
    INDEX,
    PICKLE,
    SAFETENSORS,
    TensorFiles,
    choose_layout,
    fill,
    open_tensors,
)
from faster_higgs.codec.codec import Codec
from faster_higgs.config import CodecConfig, Layout
from faster_higgs.errors import CheckpointError, OutputError

# One published repository has a language model under the name of the other file.
_PREFER = (PICKLE, INDEX, SAFETENSORS)


def load_codec(
    folder: Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    encoder: bool = True,
    training_parts: bool = False,
) -> Codec:
    """The codec in `folder`, whichever its layout; strict both ways about the parts asked for."""
    stored, table = stored_codec(folder)
    config = stored.config(read_settings(folder), table.name, encoder)
    codec = _built(config, folder, encoder, training_parts)
    unwanted = UNUSED + (() if encoder else ENCODING) + (() if training_parts else TRAINING)
    fill(codec, stored.files, table, device=device, dtype=dtype, unwanted=unwanted)
    return codec.eval()


def stored_codec(folder: Path) -> tuple[StoredCodec, Table]:
    """What is known of the codec in `folder` before a weight is read, and the table it follows."""
    files = _embedded(open_tensors(folder, prefer=_PREFER))
    table = choose_layout(files, codec_layouts())
    table = next(one for one in codec_layouts(_blocks(files, table)) if one.name == table.name)
    return StoredCodec(files, match(table, files.shapes)), table


def _built(config: CodecConfig, folder: Path, encoder: bool, training_parts: bool) -> Codec:
    """The codec without weights."""
    try:
        with torch.device("meta"):
            return Codec(config, encoder=encoder, training_parts=training_parts)
    except (ArithmeticError, IndexError, RuntimeError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise CheckpointError(
            f"The tensors in '{folder}' are not those of a whole codec ({reason}); "
            "download it again."
        ) from None


def save_codec(codec: Codec, folder: Path, layout: Layout) -> None:
    """Write weights and configs of `layout`; loading them gives the same weights bit for bit.

    The original layout has weight norm: each weight is stored as its own v beside its norm g.
    """
    table = next(one for one in codec_layouts(len(codec.config.ratios)) if one.name == layout)
    _refuse_other_weights(folder, before=PICKLE if layout == "original" else SAFETENSORS)
    tensors = dict(_stored(codec, table))
    configs = config_files(codec.config, layout)
    with replacing(folder, "codec") as partial:
        if layout == "original":
            torch.save(tensors, partial(PICKLE))
        else:
            save_file(tensors, partial(SAFETENSORS), metadata={"format": "pt"})
        for name, data in configs.items():
            partial(name).write_text(json.dumps(data, indent=2) + "\n")


def _refuse_other_weights(folder: Path, before: str) -> None:
    """Raises OutputError for weights that would be read in place of `before`."""
    for name in _PREFER[: _PREFER.index(before)]:
        if (folder / name).exists():
            raise OutputError(
                f"'{folder}' already holds a {name}, which would be read in place of the new file; "
                "give an empty folder."
            )


def _embedded(files: TensorFiles) -> TensorFiles:
    """Only the codec's tensors, where a larger model carries it."""
    if not any(name.startswith(EMBEDDED) for name in files.shapes):
        return files
    held = {
        path: [name for name in names if name.startswith(EMBEDDED)]
        for path, names in files.files.items()
    }
    shapes = {name: shape for name, shape in files.shapes.items() if name.startswith(EMBEDDED)}
    return replace(files, files=held, shapes=shapes)


def _blocks(files: TensorFiles, table: Table) -> int:
    """Upsampling blocks: the original numbers its last layers after them."""
    pattern = re.compile(r"decoder_2\.model\.(\d+)\.block\.1\.|acoustic_decoder\.block\.(\d+)\.")
    found = (pattern.match(table.strip(name)) for name in files.shapes)
    return len({one[1] or one[2] for one in found if one})


def _stored(codec: Codec, table: Table) -> Iterator[tuple[str, Tensor]]:
    for ours, value in codec.state_dict().items():
        name, weight = table.stored(ours), value.detach().cpu().contiguous()
        unfold = next((u for u in UNFOLDED[table.name] if re.search(u.pattern, name)), None)
        if unfold is None:
            yield name, weight
            continue
        for ending, piece in zip(unfold.pieces, unfolded(weight, unfold.kept), strict=True):
            yield name.removesuffix(".weight") + ending, piece
