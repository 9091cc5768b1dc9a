"""A tiny model and tiny conversations for the training tests."""

from __future__ import annotations

import torch
from torch import Tensor

from faster_higgs.codec.codec import Codec
from faster_higgs.config import CodecConfig, HubertShape, ModelConfig
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.train.sample import Example, Marks, build

BOOKS, CODES = 4, 16
BOS, EOS = CODES, CODES + 1
HEADER = (1, 2, 3, 4)  # start of header, "assistant", end of header, empty line
EOT, EOM, OUT_BOS, AUDIO_EOS, AUDIO_IN, AUDIO_OUT = 5, 6, 7, 8, 9, 10
WORDS = 11  # ids from here on are text
MARKS = Marks(HEADER, frozenset({EOT, EOM}), AUDIO_IN, AUDIO_OUT, BOS, EOS)


def config(layers: int = 2, width: int = 32) -> ModelConfig:
    return ModelConfig(
        vocab_size=48,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=width // 4,
        rms_norm_eps=1e-5,
        rope_theta=10000.0,
        rope_scaling=None,
        num_codebooks=BOOKS,
        codebook_size=CODES + 2,
        audio_stream_bos_id=BOS,
        audio_stream_eos_id=EOS,
        audio_out_bos_token_id=OUT_BOS,
        audio_out_token_id=AUDIO_OUT,
        audio_in_token_id=AUDIO_IN,
        audio_eos_token_id=AUDIO_EOS,
        pad_token_id=0,
        max_position_embeddings=512,
    )


def model(layers: int = 2, width: int = 32, seed: int = 0, std: float = 0.2) -> DualFFN:
    torch.manual_seed(seed)
    made = DualFFN(config(layers, width))
    made.initialize(torch.Generator().manual_seed(seed), std=std)
    return made


def clip(frames: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(CODES, (BOOKS, frames), generator=generator)


def asks(*words: int) -> list[int]:
    return [1, 11, 3, 4, *words, EOT]


ANSWER = [*HEADER, OUT_BOS, AUDIO_OUT, AUDIO_EOS, EOT]


def words(seed: int) -> list[int]:
    return [WORDS + 1 + seed % 30, WORDS + 1 + (seed // 30) % 30]


def example(frames: int = 5, seed: int = 0, reference: int | None = None) -> Example:
    """A user turn that names `seed`, its answer, and a reference turn before it if wanted."""
    clips = [clip(frames, seed)]
    tokens = [*asks(*words(seed)), *ANSWER]
    if reference is not None:
        clips = [clip(reference, seed + 1000), *clips]
        tokens = [*asks(WORDS), *ANSWER, *tokens]
    return build(tokens, clips, MARKS)


class Conversations:
    """`count` examples of different lengths."""

    def __init__(self, count: int, reference: int | None = None) -> None:
        self.count, self.reference = count, reference

    def __len__(self) -> int:
        return self.count

    def example(self, index: int, epoch: int) -> Example:
        return example(4 + index % 5, index, self.reference)


def codec(training_parts: bool = False, seed: int = 0) -> Codec:
    torch.manual_seed(seed)
    hubert = HubertShape(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8,) * 7,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
    )
    shape = CodecConfig(
        encoder_hidden_size=2,
        decoder_hidden_size=64,
        hidden_size=8,
        codebook_size=CODES,
        codebook_dim=8,
        num_codebooks=BOOKS,
        hubert=hubert,
        acoustic_pad=320,
    )
    return Codec(shape, encoder=True, training_parts=training_parts)
