"""The codec's two published tables of tensor names, and weight norm in its two spellings.

Neither table is native: our own module names are the right-hand side of both. Knows no files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from faster_higgs.checkpoint.layout import Layout, Merge

# Higgs v3 carries the same codec inside its own checkpoint.
EMBEDDED = "tied.embedding.modality_embeddings.0.model."

Names = tuple[tuple[str, str], ...]

# The original wraps convolutions wider than one once more.
_WRAPPED, _PLAIN = ".conv", ""

_PROJECTIONS: Names = (
    ("{n}.project_in.{rest}", "{n}.project_in.{rest}"),
    ("{n}.project_out.{rest}", "{n}.project_out.{rest}"),
)

# One residual unit of the acoustic halves: original, transformers, ours.
_UNIT = (
    ("0", "snake1", "snake_in"),
    ("1", "conv1", "wide"),
    ("2", "snake2", "snake_out"),
    ("3", "conv2", "narrow"),
)
_UNITS = range(3)


def codec_layouts(blocks: int = 5) -> tuple[Layout, Layout]:
    """Both layouts; `blocks` is the number of ratios, which the original's numbering depends on."""
    original = Layout(
        name="original",
        kind="codec",
        marks=(r"^quantizer\.vq\.",),
        names=_original(blocks),
        merges=_WEIGHT_NORM,
        prefix=EMBEDDED,
    )
    transformers = Layout(
        name="transformers",
        kind="codec",
        marks=(r"^quantizer\.quantizers\.",),
        names=_TRANSFORMERS,
        merges=_WEIGHT_NORM,
        prefix=EMBEDDED,
    )
    return original, transformers


def _under(stored: str, ours: str, names: Names) -> Names:
    return tuple((stored + theirs, ours + own) for theirs, own in names)


def _semantic(inner: str) -> Names:
    blocks = (
        (f"conv_blocks.{{n}}.res_units.{{m}}.conv1{inner}.{{rest}}", "units.{m}.wide.{rest}"),
        ("conv_blocks.{n}.res_units.{m}.conv2.{rest}", "units.{m}.narrow.{rest}"),
        (f"conv_blocks.{{n}}.conv{inner}.{{rest}}", "conv.{rest}"),
    )
    shared = _under("", "blocks.{n}.", blocks)
    encoder = (*shared, (f"conv{inner}.{{rest}}", "first.{rest}"))
    ends = ((f"conv1{inner}.{{rest}}", "first.{rest}"), (f"conv2{inner}.{{rest}}", "last.{rest}"))
    return (
        *_under("encoder_semantic.", "semantic_encoder.", encoder),
        *_under("decoder_semantic.", "semantic_decoder.", (*shared, *ends)),
    )


def _original(blocks: int) -> Names:
    encoder: list[tuple[str, str]] = [("block.0.{rest}", "first.{rest}")]
    decoder: list[tuple[str, str]] = [("model.0.{rest}", "first.{rest}")]
    for block in range(blocks):
        for unit in _UNITS:
            for theirs, _, own in _UNIT:
                target = f"blocks.{block}.units.{unit}.{own}.{{rest}}"
                encoder.append((f"block.{block + 1}.block.{unit}.block.{theirs}.{{rest}}", target))
                decoder.append(
                    (f"model.{block + 1}.block.{unit + 2}.block.{theirs}.{{rest}}", target)
                )
        encoder += [
            (f"block.{block + 1}.block.3.{{rest}}", f"blocks.{block}.snake.{{rest}}"),
            (f"block.{block + 1}.block.4.{{rest}}", f"blocks.{block}.down.{{rest}}"),
        ]
        decoder += [
            (f"model.{block + 1}.block.0.{{rest}}", f"blocks.{block}.snake.{{rest}}"),
            (f"model.{block + 1}.block.1.{{rest}}", f"blocks.{block}.up.{{rest}}"),
        ]
    for stem, half in (("block", encoder), ("model", decoder)):
        half += [
            (f"{stem}.{blocks + 1}.{{rest}}", "snake.{rest}"),
            (f"{stem}.{blocks + 2}.{{rest}}", "last.{rest}"),
        ]
    return (
        *_under("encoder.", "acoustic_encoder.", tuple(encoder)),
        *_under("decoder_2.", "acoustic_decoder.", tuple(decoder)),
        *_semantic(_WRAPPED),
        *_under("quantizer.vq.layers.", "quantizer.layers.", _PROJECTIONS),
        ("quantizer.vq.layers.{n}._codebook.{rest}", "quantizer.layers.{n}.{rest}"),
        ("fc_prior.{rest}", "fc_prior.{rest}"),
        ("fc_post1.{rest}", "fc_post_semantic.{rest}"),
        ("fc_post2.{rest}", "fc_post_acoustic.{rest}"),
        ("semantic_model.{rest}", "semantic_model.{rest}"),
    )


def _acoustic_half(resampling: str, ours: str) -> Names:
    units = tuple(
        (
            f"block.{{n}}.res_unit{unit + 1}.{theirs}.{{rest}}",
            f"blocks.{{n}}.units.{unit}.{own}.{{rest}}",
        )
        for unit in _UNITS
        for _, theirs, own in _UNIT
    )
    return (
        *units,
        ("block.{n}.snake1.{rest}", "blocks.{n}.snake.{rest}"),
        (f"block.{{n}}.{resampling}.{{rest}}", f"blocks.{{n}}.{ours}.{{rest}}"),
        ("conv1.{rest}", "first.{rest}"),
        ("snake1.{rest}", "snake.{rest}"),
        ("conv2.{rest}", "last.{rest}"),
    )


_TRANSFORMERS: Names = (
    *_under("acoustic_encoder.", "acoustic_encoder.", _acoustic_half("conv1", "down")),
    *_under("acoustic_decoder.", "acoustic_decoder.", _acoustic_half("conv_t1", "up")),
    *_semantic(_PLAIN),
    *_under("quantizer.quantizers.", "quantizer.layers.", _PROJECTIONS),
    ("quantizer.quantizers.{n}.codebook.{rest}", "quantizer.layers.{n}.{rest}"),
    ("fc.{rest}", "fc_prior.{rest}"),
    ("fc1.{rest}", "fc_post_semantic.{rest}"),
    ("fc2.{rest}", "fc_post_acoustic.{rest}"),
    ("semantic_model.{rest}", "semantic_model.{rest}"),
)

# Our names of what only encoding needs, of what only training needs, and of what nothing needs.
ENCODING = ("acoustic_encoder.*", "semantic_model.*", "semantic_encoder.*", "fc_prior.*")
TRAINING = ("semantic_decoder.*", "fc_post_semantic.*")
UNUSED = ("semantic_model.masked_spec_embed",)  # belongs to HuBERT's own training


def folded(pieces: Sequence[Tensor]) -> Tensor:
    """The weight of weight norm's g and v: g v / |v|, the norm over every axis where g has size 1.

    The norm is summed in double and rounded to v's own type, so that `unfolded` weights come back
    bit for bit: there g is the same number and the factor exactly one.
    """
    g, v = pieces
    if v.is_meta:  # only the shape is asked for, and arithmetic here would import torch's compiler
        g.expand_as(v)
        return v
    return v * (g / _norm(v, [axis for axis in range(v.dim()) if g.shape[axis] == 1]))


def unfolded(weight: Tensor, kept: int) -> tuple[Tensor, Tensor]:
    """A g and v that fold to `weight`, with one g for each index of the axis `kept`.

    v is the weight itself and g its norm; where the weight is zero, v is one and g zero.
    """
    g = _norm(weight, [axis for axis in range(weight.dim()) if axis != kept])
    return g, torch.where(g == 0, torch.ones_like(weight).copysign(weight), weight)


def _norm(v: Tensor, axes: list[int]) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(v, dim=axes, keepdim=True, dtype=torch.float64)
    return norm.to(v.dtype)


_G_AND_V = (".weight_g", ".weight_v")
_PARAMETRIZED = (".parametrizations.weight.original0", ".parametrizations.weight.original1")
_WEIGHT_NORM = tuple(Merge(pieces, ".weight", folded) for pieces in (_G_AND_V, _PARAMETRIZED))


class Unfold(NamedTuple):
    """Stored names to be written in two pieces, and the axis that keeps its g."""

    pattern: str
    pieces: tuple[str, str]
    kept: int


_HUBERT = Unfold(r"^semantic_model\.encoder\.pos_conv_embed\.conv\.weight$", _PARAMETRIZED, 2)

# What each layout stores under weight norm.
UNFOLDED: dict[str, tuple[Unfold, ...]] = {
    "original": (Unfold(r"^(encoder|decoder_2)\..*\.weight$", _G_AND_V, 0), _HUBERT),
    "transformers": (_HUBERT,),
}
