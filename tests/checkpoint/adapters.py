"""Random adapters of a model, and the tiny model as transformers has it, for PEFT to adapt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from faster_higgs.checkpoint.adapter import Adapter, AdapterConfig, folded
from faster_higgs.checkpoint.save import save_model
from faster_higgs.model.dual_ffn import DualFFN
from tests.model.tiny_model import Rows, random_rows, tiny_config

_PARTS = ("q_proj", "o_proj", "text_mlp.gate", "audio_mlp.down", "audio_mlp.up")
_WHOLE = ("embed_audio.weight", "audio_head.weight", "norm.weight")


def an_adapter(
    model: DualFFN, seed: int = 0, *, rank: int = 4, odd_rank: int | None = None, **told: object
) -> Adapter:
    """A change of every target big enough to be seen, and of two whole tensors."""
    generator = torch.Generator().manual_seed(seed)
    config = AdapterConfig(rank, 6.0, **told)  # type: ignore[arg-type]

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) * 0.2

    pairs, magnitudes = {}, {}
    layers = range(model.config.num_hidden_layers)
    for path in (f"layers.{n}.{part}" for n in layers for part in _PARTS):
        out, inputs = model.get_submodule(path).weight.shape  # type: ignore[union-attr, misc]
        own = odd_rank if odd_rank and path.endswith("o_proj") else rank
        pairs[path] = drawn(own, int(inputs)), drawn(int(out), own)
        if config.use_dora:
            magnitudes[path] = drawn(int(out)).abs() + 0.5
    values = model.state_dict()
    replaced = {name: values[name] + drawn(*values[name].shape) for name in _WHOLE}
    return Adapter(config, pairs, magnitudes, replaced)


def with_adapter(model: DualFFN, adapter: Adapter, factor: float = 1.0) -> DualFFN:
    """The model with `adapter` folded into its weights."""
    values = model.state_dict().items()
    model.load_state_dict({name: folded(name, v, adapter, factor) for name, v in values})
    return model


def as_theirs(model: DualFFN, folder: Path) -> Any:
    """The same weights in transformers' class."""
    from transformers import HiggsAudioV2ForConditionalGeneration

    save_model(model, model.config, folder, "transformers")
    return HiggsAudioV2ForConditionalGeneration.from_pretrained(folder, use_text_head=True).eval()


def plain_rows() -> Rows:
    """Rows without the ids that stand for audio."""
    rows = random_rows(tiny_config(), 30, 1)
    return rows._replace(ids=rows.ids % 40)


@torch.no_grad()
def our_logits(model: DualFFN) -> Tensor:
    """Of `plain_rows`, as [T, K * V]."""
    hidden = model.prefill(*plain_rows(), model.new_cache())
    return model.audio_logits(hidden).flatten(-2)


@torch.no_grad()
def their_logits(theirs: Any) -> Tensor:
    """The same."""
    config = tiny_config()
    ids, columns, is_audio = plain_rows()
    found = theirs(
        input_ids=ids.masked_fill(is_audio, config.audio_out_token_id)[None],
        audio_input_ids=columns[None],
        audio_input_ids_mask=torch.ones(1, len(columns), dtype=torch.bool),
    )
    logits: Tensor = found.logits[0].float()
    return logits
