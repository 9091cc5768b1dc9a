"""A tiny random model whose prompts are easy to write by hand."""

from __future__ import annotations

import pytest
import torch

from faster_higgs.config import ModelConfig
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.prompt.template import Prompt

CONFIG = ModelConfig(
    vocab_size=64,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=16,
    rms_norm_eps=1e-5,
    rope_theta=10_000.0,
    rope_scaling=None,
    num_codebooks=4,
    codebook_size=18,
    audio_stream_bos_id=16,
    audio_stream_eos_id=17,
    audio_out_bos_token_id=60,
    audio_out_token_id=62,
    audio_in_token_id=61,
    audio_eos_token_id=59,
    pad_token_id=1,
    max_position_embeddings=512,
)


@pytest.fixture(scope="session")
def model() -> DualFFN:
    network = DualFFN(CONFIG)
    network.initialize(torch.Generator().manual_seed(3), std=0.3)
    return network.eval()


@pytest.fixture
def prompt() -> Prompt:
    return Prompt((2, 3, 4, 60), ())
