"""The DualFFN transformer: shared attention, one feed-forward for text rows and one for audio rows.

Knows nothing of files, requests or what the codes sound like. Inside a forward pass the text rows
come first and the audio rows after them, so that each modality's half is a slice; attention puts
the rows in order of position and back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Sequence
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from faster_higgs.config import ModelConfig
from faster_higgs.model.attention import (
    Attend,
    DecodeCache,
    KVCache,
    PrefillCache,
    prefill_attend,
)
from faster_higgs.model.layers import (
    ColumnEmbedding,
    GatedMLP,
    Linear,
    RMSNorm,
    Rotary,
    rotate,
    table,
)
from faster_higgs.model.packed import AttentionWatch, packed_attend
from faster_higgs.model.paged import PagePool
from faster_higgs.native.kernels import exact_activations

RotaryTable = tuple[Tensor, Tensor]


class Layer(nn.Module):
    """One block. Rows before `n_text` are text, the rest audio; a side without rows is not read."""

    def __init__(self, config: ModelConfig, index: int) -> None:
        super().__init__()
        self.index = index
        self.head_dim = config.head_dim
        width, inner, eps = config.hidden_size, config.intermediate_size, config.rms_norm_eps
        heads = config.num_attention_heads * config.head_dim
        kv_heads = config.num_key_value_heads * config.head_dim
        self.q_proj = Linear(width, heads)
        self.k_proj = Linear(width, kv_heads)
        self.v_proj = Linear(width, kv_heads)
        self.o_proj = Linear(heads, width)
        self.text_mlp = GatedMLP(width, inner)
        self.audio_mlp = GatedMLP(width, inner)
        self.text_input_norm = RMSNorm(width, eps)
        self.text_post_norm = RMSNorm(width, eps)
        self.audio_input_norm = RMSNorm(width, eps)
        self.audio_post_norm = RMSNorm(width, eps)

    def forward(self, x: Tensor, n_text: int, table: RotaryTable, attend: Attend) -> Tensor:
        normed = _by_side(x, n_text, self.text_input_norm, self.audio_input_norm)
        x = x + self._attention(normed, table, attend)
        return x + _by_side(x, n_text, self._text_ffn, self._audio_ffn)

    def _attention(self, x: Tensor, table: RotaryTable, attend: Attend) -> Tensor:
        heads = (-1, self.head_dim)
        queries = rotate(self.q_proj(x).unflatten(-1, heads), table)  # [T, H, d]
        keys = rotate(self.k_proj(x).unflatten(-1, heads), table)  # [T, G, d]
        values = self.v_proj(x).unflatten(-1, heads)
        out: Tensor = self.o_proj(attend(self.index, queries, keys, values).flatten(-2))
        return out

    def _text_ffn(self, x: Tensor) -> Tensor:
        out: Tensor = self.text_mlp(self.text_post_norm(x))
        return out

    def _audio_ffn(self, x: Tensor) -> Tensor:
        out: Tensor = self.audio_mlp(self.audio_post_norm(x))
        return out


def audio_linears(layer: nn.Module) -> list[nn.Module]:
    """What decoding reads of a layer, in the order in which it is read."""
    assert isinstance(layer, Layer)
    mlp = layer.audio_mlp
    attention = [layer.q_proj, layer.k_proj, layer.v_proj, layer.o_proj]
    return [*attention, mlp.gate, mlp.up, mlp.down]


def _by_side(
    x: Tensor, n_text: int, text: Callable[[Tensor], Tensor], audio: Callable[[Tensor], Tensor]
) -> Tensor:
    """`text` of the rows before `n_text`, `audio` of the rest."""
    if n_text == 0:
        return audio(x)
    if n_text == len(x):
        return text(x)
    return torch.cat((text(x[:n_text]), audio(x[n_text:])))


def _sides_first(is_audio: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """The order that puts text rows before audio rows, and the one that undoes it."""
    # Elsewhere the host would have to wait for the answer.
    assert not is_audio.is_cpu or int(is_audio.sum()) == len(columns), "a column for each audio row"
    order = torch.argsort(is_audio, stable=True)
    return order, torch.argsort(order)


def _narrowed(x: Tensor) -> Tensor:
    """Under autocast the residual stream is narrow too: a training step takes a third less time."""
    device = x.device.type
    return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x


class DualFFN(nn.Module):
    """Ids and columns to hidden states to logits. Only generating text needs the `text_head`."""

    def __init__(self, config: ModelConfig, text_head: bool = True) -> None:
        super().__init__()
        width, books = config.hidden_size, config.num_codebooks
        self.config = config
        self.embed_text = nn.Embedding(
            config.vocab_size, width, _weight=table(config.vocab_size, width)
        )
        self.embed_audio = ColumnEmbedding(books, config.codebook_size, width)
        self.layers = nn.ModuleList(Layer(config, i) for i in range(config.num_hidden_layers))
        self.norm = RMSNorm(width, config.rms_norm_eps)
        if text_head:
            self.text_head = Linear(width, config.vocab_size)
        self.audio_head = Linear(width, books * config.codebook_size)
        self.rotary = Rotary(config)

    def new_cache(self, capacity: int = 256) -> KVCache:
        """An empty cache with the model's dtype and device."""
        config = self.config
        return KVCache(
            self.norm.weight,
            config.num_hidden_layers,
            config.num_key_value_heads,
            config.head_dim,
            capacity,
        )

    def new_pool(self, pages: int) -> PagePool:
        """An empty pool with the model's dtype and device."""
        config = self.config
        return PagePool(
            self.norm.weight,
            config.num_hidden_layers,
            config.num_key_value_heads,
            config.head_dim,
            pages,
        )

    @torch.no_grad()
    def prefill(
        self,
        ids: Tensor,
        columns: Tensor,
        is_audio: Tensor,
        cache: PrefillCache,
        as_decoding: bool = False,
    ) -> Tensor:
        """Hidden states [T, D] of rows that continue `cache`; `columns` [A, K] fill the audio rows.

        The id of an audio row is not read. `as_decoding`: a few rows are rounded beside packed
        weights, as when they are written; else what is read does not depend on the portions.
        """
        rows = len(ids)
        order, back = _sides_first(is_audio, columns)
        cache.reserve(rows)
        positions = cache.length + order
        with nullcontext() if as_decoding else exact_activations():
            hidden = self._run(
                self._embed(ids[order], columns),
                positions,
                rows - len(columns),
                prefill_attend(cache, back, order, mixed=0 < len(columns) < rows),
            )
        cache.advance(rows)
        return hidden[back]

    @torch.no_grad()
    def decode(self, columns: Tensor, cache: DecodeCache) -> Tensor:
        """Hidden states [B, D] after one more column each, [B, K]; no text weight is read."""
        hidden = self._run(self.embed_audio(columns), cache.positions, 0, cache.attend)
        cache.advance()
        return hidden

    def train_forward(
        self,
        ids: Tensor,
        columns: Tensor,
        is_audio: Tensor,
        segment: Tensor,
        positions: Tensor,
        checkpointing: bool = False,
        watch: AttentionWatch | None = None,
        lengths: Sequence[int] = (),
    ) -> Tensor:
        """Hidden states [T, D] of packed documents; `segment` [T] numbers the document of each row.

        `lengths` are the documents' in their order; not given, a device is asked and waited for.
        `checkpointing` keeps only each layer's input for the backward pass, the rest runs again.
        """
        order, back = _sides_first(is_audio, columns)
        by_document = torch.argsort(segment, stable=True)
        lengths = lengths or torch.unique(segment, return_counts=True)[1].tolist()
        attend = packed_attend(back[by_document], by_document.argsort()[order], lengths, watch)
        x = _narrowed(self._embed(ids[order], columns))
        recomputed = set(range(len(self.layers))) if checkpointing else set()
        if watch is not None:
            recomputed.discard(watch.layer)  # a second run would report its maps twice
        n_text = len(ids) - len(columns)
        return self._run(x, positions[order], n_text, attend, recomputed)[back]

    def text_logits(self, hidden: Tensor) -> Tensor:
        """[.., vocab] in fp32."""
        logits: Tensor = self.text_head(hidden)
        return logits.float()

    def audio_logits(self, hidden: Tensor) -> Tensor:
        """[.., K, V] in fp32."""
        logits: Tensor = self.audio_head(hidden)
        books, size = self.config.num_codebooks, self.config.codebook_size
        return logits.float().view(*hidden.shape[:-1], books, size)

    @torch.no_grad()
    def initialize(self, generator: torch.Generator | None = None, std: float = 0.02) -> None:
        """Fresh weights for training from nothing; what writes to the residual starts smaller."""
        inner = std / math.sqrt(2 * self.config.num_hidden_layers)
        for name, weight in self.named_parameters():
            if weight.ndim == 1:
                weight.fill_(1)
            else:
                ends_block = name.endswith(("o_proj.weight", "down.weight"))
                weight.normal_(0, inner if ends_block else std, generator=generator)

    def _embed(self, ids: Tensor, columns: Tensor) -> Tensor:
        """Text rows first: embeddings of the first ids, then those of `columns`."""
        n_text = len(ids) - len(columns)
        sides = []
        if n_text:
            sides.append(self.embed_text(ids[:n_text]))
        if len(columns):
            sides.append(self.embed_audio(columns))
        return torch.cat(sides)

    def _run(
        self,
        x: Tensor,
        positions: Tensor,
        n_text: int,
        attend: Attend,
        recomputed: Container[int] = (),
    ) -> Tensor:
        """All layers and the final norm; the activations of `recomputed` layers are not kept."""
        table = self.rotary.table(positions, x.dtype)
        for index, layer in enumerate(self.layers):
            call = partial(checkpoint, layer, use_reentrant=False) if index in recomputed else layer
            x = call(x, n_text, table, attend)
        out: Tensor = self.norm(x)
        return out
