"""What the benchmarks of training share: conversations of the seed corpus's lengths, and a model.

Knows nothing of clocks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from benchmarks.weights import MODEL
from faster_higgs.config import ModelConfig
from faster_higgs.testing import tiny_config
from faster_higgs.train.sample import Example, Marks, build

TEXT = 72  # positions around the sound of a clip: system, headers, transcript
SECONDS = 3.95  # of a clip of the seed corpus, the mean
SPREAD = 0.45  # of their logarithms
LONGEST = 14.0  # seconds
FRAMES_PER_SECOND = 25
HEADER = (1, 2, 3, 4)
END = 5
SPECIAL = (
    *("pad_token_id", "audio_out_bos_token_id", "audio_out_token_id", "audio_in_token_id"),
    "audio_eos_token_id",
)
WORDS = 16  # ids from here on are text


def scaled(layers: int, width: int) -> ModelConfig:
    """The published proportions, smaller; the heads keep their size."""
    share = width / MODEL.hidden_size
    return replace(
        MODEL,
        hidden_size=width,
        intermediate_size=round(MODEL.intermediate_size * share),
        num_hidden_layers=layers,
        num_attention_heads=max(1, round(MODEL.num_attention_heads * share)),
        num_key_value_heads=max(1, round(MODEL.num_key_value_heads * share)),
    )


def shape(tiny: bool, layers: int, width: int, vocabulary: int) -> ModelConfig:
    """`scaled`, or what tests use; of the vocabulary its end is kept, with the special tokens."""
    if tiny:
        return tiny_config()
    model = scaled(layers, width)
    ids = {name: getattr(model, name) - model.vocab_size + vocabulary for name in SPECIAL}
    return replace(model, vocab_size=vocabulary, **ids)


@dataclass(frozen=True)
class Clips:
    """`count` conversations with random codes, as long as those of the seed corpus."""

    config: ModelConfig
    count: int
    seed: int = 0

    def __len__(self) -> int:
        return self.count

    def example(self, index: int, epoch: int) -> Example:
        """One, the same in every epoch."""
        config = self.config
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + index)
        seconds = SECONDS * math.exp(
            SPREAD * float(torch.randn((), generator=generator)) - SPREAD**2 / 2
        )
        frames = round(FRAMES_PER_SECOND * min(seconds, LONGEST))
        codes = torch.randint(config.num_codes, (config.num_codebooks, frames), generator=generator)
        turn = (*HEADER, config.audio_out_bos_token_id, config.audio_out_token_id)
        end = (config.audio_eos_token_id, END)
        words = torch.randint(
            WORDS, 64, (TEXT - len(turn) - len(end) - 5,), generator=generator
        ).tolist()
        return build([1, 6, 3, 4, *words, END, *turn, *end], [codes], marks(config))


def marks(config: ModelConfig) -> Marks:
    """What tells turns and clips apart, in these conversations."""
    return Marks(
        HEADER,
        frozenset({END}),
        config.audio_in_token_id,
        config.audio_out_token_id,
        config.audio_stream_bos_id,
        config.audio_stream_eos_id,
    )


def padded(examples: Sequence[Example], pad: int) -> dict[str, torch.Tensor]:
    """Examples one a row, filled up to the longest, as the model class of transformers takes it."""
    pad_rows = torch.nn.utils.rnn.pad_sequence

    def rows(tensors: list[torch.Tensor], value: int) -> torch.Tensor:
        return pad_rows(tensors, batch_first=True, padding_value=value)

    heard = [torch.ones(len(one.columns), dtype=torch.bool) for one in examples]
    return {
        "input_ids": rows([one.ids for one in examples], pad),
        "attention_mask": rows([torch.ones(len(one), dtype=torch.long) for one in examples], 0),
        "audio_input_ids": rows([one.columns for one in examples], 0),
        "audio_input_ids_mask": rows(heard, 0),
        "audio_labels": rows([one.audio_labels for one in examples], -100),
    }
