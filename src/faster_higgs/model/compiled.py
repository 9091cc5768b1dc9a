"""A decoding step from codes to scores in one call of the compiled kernels, on the CPU.

Its activations are fp32 throughout, whatever the model's own are. Knows nothing of sampling.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor, nn

from faster_higgs.model.dual_ffn import DualFFN, Layer, audio_linears
from faster_higgs.model.fused import FusedStep, fused_step
from faster_higgs.model.layers import stored
from faster_higgs.model.paged import PagedBatch, PagePool
from faster_higgs.native.kernels import (
    COMPILED,
    MOST_DIM,
    CBlock,
    CDecode,
    Kernels,
    Stored,
    load,
)


def compiled_step(model: DualFFN, pool: PagePool) -> CompiledStep | FusedStep | None:
    """None where there are no kernels for this machine, this device or these layers."""
    kernels, norm, dim = load(), model.norm.weight, model.config.head_dim
    if norm.is_cuda:
        return fused_step(model, pool)
    if kernels is None or not norm.is_cpu or norm.dtype not in COMPILED:
        return None
    linears = [model.audio_head, *(one for layer in model.layers for one in audio_linears(layer))]
    held = map(stored, linears)
    if dim > MOST_DIM or dim % 2 or any(one is None or one.is_fp8 for one in held):
        return None
    return CompiledStep(kernels, model, pool)


class CompiledStep:
    """The weights of a model and the pages of a pool by their addresses, which it keeps alive.

    A model whose weights are replaced needs a new one.
    """

    def __init__(self, kernels: Kernels, model: DualFFN, pool: PagePool) -> None:
        config, norm = model.config, model.norm.weight
        self._kernels, self._config, self._rotary = kernels, config, model.rotary
        self._dtype = norm.dtype
        self._held: list[object] = []
        blocks = [
            self._block(*one) for one in zip(model.layers, pool.keys, pool.values, strict=True)
        ]
        self._blocks = (CBlock * len(blocks))(*blocks)
        self._memory = torch.empty(0, dtype=torch.uint8)
        self._job = CDecode(
            layers=len(blocks),
            books=config.num_codebooks,
            entries=config.codebook_size,
            width=config.hidden_size,
            heads=config.num_attention_heads,
            groups=config.num_key_value_heads,
            dim=config.head_dim,
            bf16=norm.dtype == torch.bfloat16,
            cache_bf16=pool.keys[0].dtype == torch.bfloat16,
            eps=config.rms_norm_eps,
            blocks=ctypes.addressof(self._blocks),
            embedding=self._numbers(model.embed_audio.weight),
            norm=self._numbers(norm),
            head=self._weight(model.audio_head).in_c(),
        )

    def logits(self, columns: Tensor, cache: PagedBatch) -> Tensor:
        """Scores [B, K, V] in fp32 after one more column each, [B, K]."""
        rows, books = columns.shape
        assert books == self._config.num_codebooks and columns.dtype == torch.int64
        assert cache.table.dtype == torch.int32
        columns, table = columns.contiguous(), cache.table.contiguous()
        lengths = (cache.positions + 1).int()
        cosines, sines = self._rotary.table(cache.positions, torch.float32)
        logits = torch.empty(rows, books, self._config.codebook_size)
        job = self._job
        job.rows, job.pages = table.shape
        job.columns, job.table = columns.data_ptr(), table.data_ptr()
        job.lengths, job.logits = lengths.data_ptr(), logits.data_ptr()
        job.cosines, job.sines = cosines.data_ptr(), sines.data_ptr()
        if (needed := self._kernels.decode_memory(job)) > len(self._memory):
            self._memory = torch.empty(needed, dtype=torch.uint8)
        job.memory = self._memory.data_ptr()
        self._kernels.decode(job)
        return logits

    def _block(self, layer: nn.Module, keys: Tensor, values: Tensor) -> CBlock:
        assert isinstance(layer, Layer)
        self._held += [keys, values]
        weights = [self._weight(one) for one in audio_linears(layer)]
        q, k, v, _, gate, up, down = weights
        # Those that read the same activations read them in one layout.
        assert q.kind == k.kind == v.kind and gate.kind == up.kind and gate.outputs == down.inputs
        assert keys.is_contiguous() and values.is_contiguous() and keys.dtype == values.dtype
        return CBlock(
            self._numbers(layer.audio_input_norm.weight),
            self._numbers(layer.audio_post_norm.weight),
            *(weight.in_c() for weight in weights),
            keys.data_ptr(),
            values.data_ptr(),
        )

    def _weight(self, linear: nn.Module) -> Stored:
        weight = stored(linear)
        assert weight is not None
        self._held.append(weight)
        return weight

    def _numbers(self, values: Tensor) -> int:
        self._held.append(values)
        assert values.dtype == self._dtype and values.is_contiguous()
        return values.data_ptr()
