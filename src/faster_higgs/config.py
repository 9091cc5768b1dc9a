"""What a checkpoint says about itself, and what an operator says about serving it.

Knows nothing of files or tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from faster_higgs.dialects import read, write
from faster_higgs.errors import CheckpointError, SettingError

Layout = Literal["original", "transformers"]

PAGE = 16  # positions in a page of the cache
SHARD_BYTES = 1_000_000_000  # of a file of weights; so much is in memory while it is written


@dataclass(frozen=True)
class RopeScaling:
    """Llama-3 frequency scaling. Two published spellings describe the same function."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: int

    @property
    def unstretched(self) -> float:
        """Positions before the scaling, the same in both spellings."""
        return self.original_max_position_embeddings / self.low_freq_factor


@dataclass(frozen=True)
class ModelConfig:
    """The language model. `codebook_size` counts codes and the two stream tokens, as tables do."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    rms_norm_eps: float
    rope_theta: float
    rope_scaling: RopeScaling | None
    num_codebooks: int
    codebook_size: int
    audio_stream_bos_id: int
    audio_stream_eos_id: int
    audio_out_bos_token_id: int
    audio_out_token_id: int
    audio_in_token_id: int
    audio_eos_token_id: int
    pad_token_id: int
    max_position_embeddings: int
    text_input: Literal["text", "phonemes"] = "text"

    @property
    def num_codes(self) -> int:
        """Entries of one codebook that are sound."""
        return min(self.audio_stream_bos_id, self.audio_stream_eos_id)

    @property
    def use_delay_pattern(self) -> bool:
        """Always: a checkpoint without it is refused when its config is read."""
        return True

    @property
    def positions(self) -> int:
        """How many positions a request may take: prompt and answer together.

        `max_position_embeddings`, unless that is less than the model had before its rope was
        stretched: such a length is advice that no weight knows of (lm.md, a).
        """
        rope = self.rope_scaling
        if rope is None or self.max_position_embeddings >= rope.unstretched:
            return self.max_position_embeddings
        return int(rope.factor * rope.original_max_position_embeddings)

    def __post_init__(self) -> None:
        if self.text_input not in ("text", "phonemes"):
            raise CheckpointError(
                f"The config's text_input is {self.text_input!r}; this version knows 'text' and "
                "'phonemes'."
            )
        if self.num_attention_heads % self.num_key_value_heads:
            raise CheckpointError(
                f"The config asks for {self.num_attention_heads} attention heads over "
                f"{self.num_key_value_heads} key/value heads, which do not divide; "
                "the config.json does not belong to a Higgs Audio v2 model."
            )
        if max(self.audio_stream_bos_id, self.audio_stream_eos_id) >= self.codebook_size:
            raise CheckpointError(
                f"The config's stream tokens {self.audio_stream_bos_id} and "
                f"{self.audio_stream_eos_id} lie outside its codebooks of {self.codebook_size} "
                "entries; check codebook_size in config.json."
            )

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ModelConfig:
        """Either published dialect. Raises CheckpointError naming a missing or unsupported key."""
        fields = read(data)
        scaling = fields.pop("rope_scaling")
        return cls(**fields, rope_scaling=RopeScaling(**scaling) if scaling else None)

    def to_json(self, layout: Layout) -> dict[str, Any]:
        """The config in the published dialect of `layout`; from_json(to_json(x)) = x."""
        return write(asdict(self), layout)


@dataclass(frozen=True)
class HubertShape:
    """The semantic branch's HuBERT where it decides shapes; else HuBERT-base (codec.md, a)."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    conv_dim: tuple[int, ...]
    num_conv_pos_embeddings: int = 128
    num_conv_pos_embedding_groups: int = 16


@dataclass(frozen=True)
class CodecConfig:
    """The codec. The loader reads widths from tensor shapes, and from config.json the rest.

    `acoustic_pad` zeros go on each side when the branches' lengths differ: 320 in the original
    layout, 480 in the transformers one.
    """

    encoder_hidden_size: int  # width after the acoustic encoder's first convolution
    decoder_hidden_size: int  # width after the acoustic decoder's first convolution
    hidden_size: int  # D, the acoustic latent
    codebook_size: int
    codebook_dim: int
    num_codebooks: int
    hubert: HubertShape
    acoustic_pad: int
    ratios: tuple[int, ...] = (8, 5, 4, 2, 3)
    sample_rate: int = 24_000
    semantic_sample_rate: int = 16_000
    semantic_blocks: int = 2

    @property
    def hop(self) -> int:
        """Samples of one frame."""
        hop = 1
        for ratio in self.ratios:
            hop *= ratio
        return hop

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.sample_rate / self.hop


@dataclass(frozen=True)
class EngineConfig:
    """What an operator says about serving many requests at once."""

    slots: int = 16  # requests that are written together
    positions: int = 16_384  # of the cache, shared by all; 41 s of sound take 1,024
    chunk: int = 512  # positions of prompts that are read between two steps
    max_waiting: int = 256

    def __post_init__(self) -> None:
        for name in ("slots", "positions", "chunk", "max_waiting"):
            if getattr(self, name) < 1:
                raise SettingError(f"{name} is {getattr(self, name)}; use 1 or more.")
