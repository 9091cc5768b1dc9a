"""A tiny language model and rows of text and audio for it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from faster_higgs.config import ModelConfig, RopeScaling
from faster_higgs.model.dual_ffn import DualFFN


def tiny_config(**changes: object) -> ModelConfig:
    values = {
        "vocab_size": 50,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10_000.0,
        "rope_scaling": RopeScaling(8.0, 1.0, 4.0, 64),
        "num_codebooks": 3,
        "codebook_size": 18,
        "audio_stream_bos_id": 16,
        "audio_stream_eos_id": 17,
        "audio_out_bos_token_id": 43,
        "audio_out_token_id": 46,
        "audio_in_token_id": 45,
        "audio_eos_token_id": 42,
        "pad_token_id": 31,
        "max_position_embeddings": 512,
    }
    return ModelConfig(**{**values, **changes})  # type: ignore[arg-type]


def tiny_model(seed: int = 0, **changes: object) -> DualFFN:
    """Random weights big enough that a mistake anywhere shows in the result."""
    model = DualFFN(tiny_config(**changes))
    generator = torch.Generator().manual_seed(seed)
    model.initialize(generator, std=0.15)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.uniform_(0.5, 1.5, generator=generator)
    return model


class Rows(NamedTuple):
    """One document: what prefill takes."""

    ids: Tensor
    columns: Tensor
    is_audio: Tensor


def random_rows(config: ModelConfig, length: int, seed: int, audio: float = 0.5) -> Rows:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(config.vocab_size, (length,), generator=generator)
    is_audio = torch.rand(length, generator=generator) < audio
    shape = (int(is_audio.sum()), config.num_codebooks)
    return Rows(ids, torch.randint(config.codebook_size, shape, generator=generator), is_audio)


def split_rows(rows: Rows, at: int) -> tuple[Rows, Rows]:
    columns = int(rows.is_audio[:at].sum())
    return (
        Rows(rows.ids[:at], rows.columns[:columns], rows.is_audio[:at]),
        Rows(rows.ids[at:], rows.columns[columns:], rows.is_audio[at:]),
    )


class Packed(NamedTuple):
    """What train_forward takes."""

    ids: Tensor
    columns: Tensor
    is_audio: Tensor
    segment: Tensor
    positions: Tensor


def pack(documents: list[Rows]) -> Packed:
    return Packed(
        torch.cat([rows.ids for rows in documents]),
        torch.cat([rows.columns for rows in documents]),
        torch.cat([rows.is_audio for rows in documents]),
        torch.cat([torch.full_like(rows.ids, i) for i, rows in enumerate(documents)]),
        torch.cat([torch.arange(len(rows.ids)) for rows in documents]),
    )
