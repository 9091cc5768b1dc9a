"""The tiny model as transformers has it, so that PEFT can put adapters on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from faster_higgs.checkpoint.save import save_model
from faster_higgs.model.dual_ffn import DualFFN
from tests.model.tiny_model import Rows, random_rows, tiny_config


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
