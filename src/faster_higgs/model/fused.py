"""A decoding step from codes to scores on a graphics card, in six or seven kernels a layer.

A card that reads a layer in microseconds cannot wait for fifty small operations beside it. The
activations are fp32 throughout, whatever the model's own are. Knows nothing of sampling.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from faster_higgs.model.dual_ffn import DualFFN, Layer, audio_linears
from faster_higgs.model.layers import RMSNorm, stored
from faster_higgs.model.paged import PagedBatch, PagePool
from faster_higgs.native.cuda import FEW_ROWS, CudaKernels, Ready, alike, fits, load
from faster_higgs.native.kernels import COMPILED, Stored


def fused_step(model: DualFFN, pool: PagePool) -> FusedStep | None:
    """None where there are no kernels for this card or these layers."""
    config, keys = model.config, pool.keys[0]
    if config.head_dim % 2 or not fits(keys):
        return None
    blocks = [_block(layer) for layer in model.layers]
    head = stored(model.audio_head)
    kernels = load()
    if kernels is None or head is None or model.norm.weight.dtype not in COMPILED:
        return None
    known = [block for block in blocks if block is not None]
    return FusedStep(kernels, model, known, head) if len(known) == len(blocks) else None


class FusedStep:
    """The weights of a model. A model whose weights are replaced needs a new one.

    Weights that are not packed are multiplied with many rows by torch, which is quicker then.
    """

    def __init__(
        self, kernels: CudaKernels, model: DualFFN, blocks: list[Block], head: Stored
    ) -> None:
        self._kernels, self._model, self._config = kernels, model, model.config
        self._embed, self._rotary = model.embed_audio, model.rotary
        self._blocks, self._head = blocks, head
        self._gains = [*(block.input_gain for block in blocks), _gain(model.norm)]
        packed = all(block.o.bits <= 8 for block in blocks)
        self._few = FEW_ROWS if packed else FEW_ROWS // 2

    def logits(self, columns: Tensor, cache: PagedBatch) -> Tensor:
        """Scores [B, K, V] in fp32 after one more column each, [B, K]."""
        if len(columns) > self._few:
            return self._model.audio_logits(self._model.decode(columns, cache))
        kernels, config = self._kernels, self._config
        x = self._embed(columns).float()
        table, lengths = cache.table.contiguous(), cache.positions + 1
        cosines, sines = self._rotary.table(cache.positions, torch.float32)
        rotary = cosines[:, 0].contiguous(), sines[:, 0].contiguous()
        pages = zip(cache.pool.keys, cache.pool.values, strict=True)
        ready, eps = Ready.of(x, self._gains[0]), config.rms_norm_eps
        for block, pair, next_gain in zip(self._blocks, pages, self._gains[1:], strict=True):
            made = kernels.beside(ready, eps, block.attention)
            queries = kernels.place(made, rotary, pair, table, lengths)
            seen = kernels.paged_attention(queries, *pair, table, lengths).flatten(1)
            ready = kernels.add(seen, block.o, x, block.post_gain)
            inner = kernels.gated(ready, eps, block.gate, block.up)
            ready = kernels.add(inner, block.down, x, next_gain)
        logits = kernels.score(ready, eps, self._head)
        return logits.view(len(columns), config.num_codebooks, config.codebook_size)


class Block(NamedTuple):
    """The audio side of a layer; gains of norms in fp32."""

    input_gain: Tensor
    attention: tuple[Stored, Stored, Stored]  # queries, keys, values
    o: Stored
    post_gain: Tensor
    gate: Stored
    up: Stored
    down: Stored


def _block(layer: nn.Module) -> Block | None:
    assert isinstance(layer, Layer)
    held = [one for one in map(stored, audio_linears(layer)) if one is not None]
    if len(held) < 7:
        return None
    q, k, v, o, gate, up, down = held
    if not (alike(q, k) and alike(q, v) and alike(gate, up)):
        return None
    gains = _gain(layer.audio_input_norm), _gain(layer.audio_post_norm)
    return Block(gains[0], (q, k, v), o, gains[1], gate, up, down)


def _gain(norm: RMSNorm) -> Tensor:
    return norm.weight.detach().float()
