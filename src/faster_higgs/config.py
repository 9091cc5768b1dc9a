"""What a checkpoint says about itself. Knows nothing of files, tensors or requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from faster_higgs.errors import CheckpointError

Layout = Literal["original", "transformers"]


@dataclass(frozen=True)
class RopeScaling:
    """Llama-3 frequency scaling. Two published spellings describe the same function."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: int


@dataclass(frozen=True)
class ModelConfig:
    """The language model. `codebook_size` counts the codes and the two stream tokens, as the tables do."""

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

    def __post_init__(self) -> None:
        if self.num_attention_heads % self.num_key_value_heads:
            raise CheckpointError(
                f"The config asks for {self.num_attention_heads} attention heads over {self.num_key_value_heads} "
                "key/value heads, which do not divide; the config.json does not belong to a Higgs Audio v2 model."
            )
        if max(self.audio_stream_bos_id, self.audio_stream_eos_id) >= self.codebook_size:
            raise CheckpointError(
                f"The config's stream tokens {self.audio_stream_bos_id} and {self.audio_stream_eos_id} lie outside "
                f"its codebooks of {self.codebook_size} entries; check codebook_size in config.json."
            )

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ModelConfig:
        """Either published dialect. Raises CheckpointError naming the key that is missing or unsupported."""
        try:
            return _from_original(data) if "text_config" in data else _from_transformers(data)
        except KeyError as missing:
            raise CheckpointError(
                f"The model's config.json lacks {missing}; it is not the config of a Higgs Audio v2 language model."
            ) from None

    def to_json(self, layout: Layout) -> dict[str, Any]:
        """The config in the published dialect of `layout`; from_json(to_json(x)) = x."""
        return _to_original(self) if layout == "original" else _to_transformers(self)


# Features of the original code that no published checkpoint uses. A config that turns one on is refused.
_UNSUPPORTED: dict[str, Any] = {
    "audio_decoder_proj_num_layers": 0,
    "audio_embed_avg": False,
    "encode_whisper_embed": False,
    "use_audio_out_embed_projector": False,
    "use_audio_out_self_attention": False,
    "use_rq_transformer": False,
    "use_delay_pattern": True,
    "encode_audio_in_tokens": True,
    "attention_bias": False,
    "mlp_bias": False,
    "hidden_act": "silu",
}


def _refuse_unsupported(data: Mapping[str, Any]) -> None:
    for key, supported in _UNSUPPORTED.items():
        found = data.get(key, supported)
        if (found or 0) != (supported or 0):
            raise CheckpointError(
                f"The config sets {key} to {found!r}; only {supported!r} is supported."
            )


def _rope(data: Mapping[str, Any] | None) -> RopeScaling | None:
    kind = (data or {}).get("rope_type", "default")
    if data is None or kind == "default":
        return None
    if kind != "llama3":
        raise CheckpointError(
            f"The config asks for rope type {kind!r}; only 'llama3' and 'default' are supported."
        )
    return RopeScaling(
        float(data["factor"]),
        float(data["low_freq_factor"]),
        float(data["high_freq_factor"]),
        int(data["original_max_position_embeddings"]),
    )


def _backbone(data: Mapping[str, Any]) -> dict[str, Any]:
    heads = int(data["num_attention_heads"])
    return {
        "vocab_size": int(data["vocab_size"]),
        "hidden_size": int(data["hidden_size"]),
        "intermediate_size": int(data["intermediate_size"]),
        "num_hidden_layers": int(data["num_hidden_layers"]),
        "num_attention_heads": heads,
        "num_key_value_heads": int(data.get("num_key_value_heads") or heads),
        "head_dim": int(data.get("head_dim") or data["hidden_size"] // heads),
        "rms_norm_eps": float(data["rms_norm_eps"]),
        "max_position_embeddings": int(data.get("max_position_embeddings", 2048)),
    }


def _from_original(data: Mapping[str, Any]) -> ModelConfig:
    text = data["text_config"]
    _refuse_unsupported(data)
    _refuse_unsupported(text)
    layers = list(range(int(text["num_hidden_layers"])))
    if list(data.get("audio_dual_ffn_layers", layers)) != layers:
        raise CheckpointError(
            "The config gives a second feed-forward to some layers only (audio_dual_ffn_layers); every layer must have one."
        )
    return ModelConfig(
        **_backbone(text),
        rope_theta=float(text["rope_theta"]),
        rope_scaling=_rope(text.get("rope_scaling")),
        num_codebooks=int(data["audio_num_codebooks"]),
        codebook_size=int(data["audio_codebook_size"]) + 2,
        audio_stream_bos_id=int(data["audio_stream_bos_id"]),
        audio_stream_eos_id=int(data["audio_stream_eos_id"]),
        audio_out_bos_token_id=int(data["audio_out_bos_token_id"]),
        audio_out_token_id=int(data["audio_out_token_idx"]),
        audio_in_token_id=int(data["audio_in_token_idx"]),
        audio_eos_token_id=int(data["audio_eos_token_id"]),
        pad_token_id=int(data["pad_token_id"]),
        text_input=data.get("text_input", "text"),
    )


def _from_transformers(data: Mapping[str, Any]) -> ModelConfig:
    _refuse_unsupported(data)
    rope = data["rope_parameters"]
    audio_out, audio_out_bos = int(data["audio_token_id"]), int(data["audio_bos_token_id"])
    bos, eos = int(data["audio_stream_bos_id"]), int(data["audio_stream_eos_id"])
    return ModelConfig(
        **_backbone(data),
        rope_theta=float(rope["rope_theta"]),
        rope_scaling=_rope(rope),
        num_codebooks=int(data["num_codebooks"]),
        # Converted checkpoints count the stream tokens, the class default does not (lm.md, section a).
        codebook_size=max(int(data["codebook_size"]), bos + 1, eos + 1),
        audio_stream_bos_id=bos,
        audio_stream_eos_id=eos,
        audio_out_bos_token_id=audio_out_bos,
        audio_out_token_id=audio_out,
        # This dialect has no input clips and no closing token; both sit beside their partners in the tokenizer.
        audio_in_token_id=int(data.get("audio_in_token_id", audio_out - 1)),
        audio_eos_token_id=int(data.get("audio_eos_token_id", audio_out_bos - 1)),
        pad_token_id=int(data["pad_token_id"]),
        text_input=data.get("text_input", "text"),
    )


def _backbone_json(config: ModelConfig) -> dict[str, Any]:
    plain = asdict(config)
    keys = ["vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "rms_norm_eps", "max_position_embeddings"]
    return {
        **{key: plain[key] for key in keys},
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
    }


def _rope_json(config: ModelConfig) -> dict[str, Any]:
    return (
        {"rope_type": "llama3", **asdict(config.rope_scaling)}
        if config.rope_scaling
        else {"rope_type": "default"}
    )


def _extension(config: ModelConfig) -> dict[str, Any]:
    return {} if config.text_input == "text" else {"text_input": config.text_input}


def _to_original(config: ModelConfig) -> dict[str, Any]:
    return {
        "model_type": "higgs_audio",
        "architectures": ["HiggsAudioModel"],
        "text_config": {
            "model_type": "llama",
            **_backbone_json(config),
            "rope_theta": config.rope_theta,
            "rope_scaling": _rope_json(config) if config.rope_scaling else None,
            "tie_word_embeddings": False,
        },
        "audio_adapter_type": "dual_ffn_fast_forward",
        "audio_dual_ffn_layers": list(range(config.num_hidden_layers)),
        "audio_ffn_hidden_size": config.hidden_size,
        "audio_ffn_intermediate_size": config.intermediate_size,
        "encode_whisper_embed": False,
        "encode_audio_in_tokens": True,
        "skip_audio_tower": True,
        "use_delay_pattern": True,
        "audio_num_codebooks": config.num_codebooks,
        "audio_codebook_size": config.codebook_size - 2,
        "audio_stream_bos_id": config.audio_stream_bos_id,
        "audio_stream_eos_id": config.audio_stream_eos_id,
        "audio_in_token_idx": config.audio_in_token_id,
        "audio_out_token_idx": config.audio_out_token_id,
        "audio_out_bos_token_id": config.audio_out_bos_token_id,
        "audio_eos_token_id": config.audio_eos_token_id,
        "pad_token_id": config.pad_token_id,
        "hidden_size": config.hidden_size,
        **_extension(config),
    }


def _to_transformers(config: ModelConfig) -> dict[str, Any]:
    return {
        "model_type": "higgs_audio_v2",
        "architectures": ["HiggsAudioV2ForConditionalGeneration"],
        **_backbone_json(config),
        "rope_parameters": {"rope_theta": config.rope_theta, **_rope_json(config)},
        "tie_word_embeddings": False,
        "num_codebooks": config.num_codebooks,
        "codebook_size": config.codebook_size,
        "audio_token_id": config.audio_out_token_id,
        "audio_bos_token_id": config.audio_out_bos_token_id,
        "audio_delay_token_id": config.audio_out_bos_token_id + 1,
        "audio_in_token_id": config.audio_in_token_id,
        "audio_eos_token_id": config.audio_eos_token_id,
        "audio_stream_bos_id": config.audio_stream_bos_id,
        "audio_stream_eos_id": config.audio_stream_eos_id,
        "pad_token_id": config.pad_token_id,
        **_extension(config),
    }


@dataclass(frozen=True)
class HubertShape:
    """The semantic branch's HuBERT, as far as it decides shapes; the rest is HuBERT-base (codec.md, section a)."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    conv_dim: tuple[int, ...]
    num_conv_pos_embeddings: int = 128
    num_conv_pos_embedding_groups: int = 16


@dataclass(frozen=True)
class CodecConfig:
    """The codec. Widths are read from tensor shapes by the loader; only what shapes cannot say comes from config.json."""

    encoder_hidden_size: int  # width after the acoustic encoder's first convolution
    decoder_hidden_size: int  # width after the acoustic decoder's first convolution
    hidden_size: int  # D, the acoustic latent
    codebook_size: int
    codebook_dim: int
    num_codebooks: int
    hubert: HubertShape
    acoustic_pad: (
        int  # zeros on each side when the branches' lengths differ: 320 original, 480 transformers
    )
    ratios: tuple[int, ...] = (8, 5, 4, 2, 3)
    sample_rate: int = 24_000
    semantic_sample_rate: int = 16_000
    semantic_blocks: int = field(default=2)

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
