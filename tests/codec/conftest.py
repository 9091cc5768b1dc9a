"""A codec small enough to run in milliseconds, with the published ratios and every feature."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from faster_higgs.codec.codec import Codec
from faster_higgs.config import CodecConfig, HubertShape

TINY = CodecConfig(
    encoder_hidden_size=2,
    decoder_hidden_size=32,
    hidden_size=6,
    codebook_size=20,
    codebook_dim=4,
    num_codebooks=3,
    hubert=HubertShape(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        conv_dim=(8,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    ),
    acoustic_pad=320,
)


@torch.no_grad()
def loud(codec: Codec) -> Codec:
    """With samples of the size of speech, so that a tolerance means something."""
    codes = torch.randint(codec.config.codebook_size, (codec.num_codebooks, 30))
    for module in (codec.acoustic_decoder.first, *codec.acoustic_decoder.blocks):
        for name, parameter in module.named_parameters():
            if name.endswith("alpha"):
                parameter.uniform_(-2, 2)
    codec.acoustic_decoder.last.weight.div_(codec.decode(codes).std() * 3)
    return codec


@pytest.fixture(scope="session")
def codec() -> Codec:
    torch.manual_seed(7)
    return loud(Codec(TINY, training_parts=True).eval())


@pytest.fixture(scope="session")
def decoder() -> Codec:
    """Decode only, with wide frames of context: other ratios."""
    torch.manual_seed(8)
    return loud(Codec(replace(TINY, ratios=(3, 2, 4)), encoder=False).eval())
