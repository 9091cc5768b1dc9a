"""The two published dialects of a model's config.json, and what they mean to `ModelConfig`.

Knows only the names and their plain values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from faster_higgs.errors import CheckpointError

Fields = dict[str, Any]
"""The fields of `ModelConfig` by name, with `rope_scaling` a mapping or None."""

# Features of the original code that no published checkpoint uses; a config with one is refused.
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


def read(data: Mapping[str, Any]) -> Fields:
    """The fields of a config.json. Raises CheckpointError for what is missing or unsupported."""
    try:
        return _from_original(data) if "text_config" in data else _from_transformers(data)
    except KeyError as missing:
        raise CheckpointError(
            f"The model's config.json lacks {missing}; "
            "it is not the config of a Higgs Audio v2 language model."
        ) from None
    except (AttributeError, TypeError, ValueError, ZeroDivisionError) as error:
        raise CheckpointError(
            f"The model's config.json holds a value of the wrong kind ({error}); "
            "use the config.json that came with the weights."
        ) from None


def _refuse_unsupported(data: Mapping[str, Any]) -> None:
    for key, supported in _UNSUPPORTED.items():
        found = data.get(key, supported)
        if (found or 0) != (supported or 0):
            raise CheckpointError(
                f"The config sets {key} to {found!r}; only {supported!r} is supported."
            )


def _rope(data: Mapping[str, Any] | None) -> dict[str, float] | None:
    kind = (data or {}).get("rope_type", "default")
    if data is None or kind == "default":
        return None
    if kind != "llama3":
        raise CheckpointError(
            f"The config asks for rope type {kind!r}; only 'llama3' and 'default' are supported."
        )
    return {
        "factor": float(data["factor"]),
        "low_freq_factor": float(data["low_freq_factor"]),
        "high_freq_factor": float(data["high_freq_factor"]),
        "original_max_position_embeddings": int(data["original_max_position_embeddings"]),
    }


# Our names of the transformer's sizes are the published ones.
_SIZES = "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads".split()
_MAY_BE_LEFT_OUT = "num_key_value_heads head_dim rms_norm_eps max_position_embeddings".split()

# Our name of a number, its key in the original's dialect, and its key in that of transformers.
_NUMBERS = [
    ("num_codebooks", "audio_num_codebooks", "num_codebooks"),
    ("audio_stream_bos_id", "audio_stream_bos_id", "audio_stream_bos_id"),
    ("audio_stream_eos_id", "audio_stream_eos_id", "audio_stream_eos_id"),
    ("audio_out_bos_token_id", "audio_out_bos_token_id", "audio_bos_token_id"),
    ("audio_out_token_id", "audio_out_token_idx", "audio_token_id"),
    ("audio_in_token_id", "audio_in_token_idx", "audio_in_token_id"),
    ("audio_eos_token_id", "audio_eos_token_id", "audio_eos_token_id"),
    ("pad_token_id", "pad_token_id", "pad_token_id"),
]
_ORIGINAL = {ours: key for ours, key, _ in _NUMBERS}
_TRANSFORMERS = {ours: key for ours, _, key in _NUMBERS}


def _numbers(data: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, int]:
    return {ours: int(data[theirs]) for ours, theirs in names.items()}


def _backbone(data: Mapping[str, Any]) -> Fields:
    sizes = _numbers(data, {name: name for name in _SIZES})
    heads = sizes["num_attention_heads"]
    return {
        **sizes,
        "num_key_value_heads": int(data.get("num_key_value_heads") or heads),
        "head_dim": int(data.get("head_dim") or sizes["hidden_size"] // heads),
        "rms_norm_eps": float(data["rms_norm_eps"]),
        "max_position_embeddings": int(data.get("max_position_embeddings", 2048)),
    }


def _from_original(data: Mapping[str, Any]) -> Fields:
    text = data["text_config"]
    _refuse_unsupported(data)
    _refuse_unsupported(text)
    layers = list(range(int(text["num_hidden_layers"])))
    if list(data.get("audio_dual_ffn_layers", layers)) != layers:
        raise CheckpointError(
            "The config gives a second feed-forward to some layers only (audio_dual_ffn_layers); "
            "every layer must have one."
        )
    return {
        **_backbone(text),
        **_numbers(data, _ORIGINAL),
        "rope_theta": float(text["rope_theta"]),
        "rope_scaling": _rope(text.get("rope_scaling")),
        "codebook_size": int(data["audio_codebook_size"]) + 2,
        "text_input": data.get("text_input", "text"),
    }


def _from_transformers(data: Mapping[str, Any]) -> Fields:
    _refuse_unsupported(data)
    # This dialect has no input clips and no closing token; in the tokenizer both sit beside
    # their partners.
    beside = {
        "audio_in_token_id": int(data["audio_token_id"]) - 1,
        "audio_eos_token_id": int(data["audio_bos_token_id"]) - 1,
    }
    numbers = _numbers({**beside, **data}, _TRANSFORMERS)
    rope = data["rope_parameters"]
    last = max(numbers["audio_stream_bos_id"], numbers["audio_stream_eos_id"])
    return {
        **_backbone(data),
        **numbers,
        "rope_theta": float(rope["rope_theta"]),
        "rope_scaling": _rope(rope),
        # Converted checkpoints count the stream tokens, the class default does not (lm.md, a).
        "codebook_size": max(int(data["codebook_size"]), last + 1),
        "text_input": data.get("text_input", "text"),
    }


def write(fields: Fields, layout: str) -> dict[str, Any]:
    """The config.json of `layout`; reading it gives the fields again."""
    return _to_original(fields) if layout == "original" else _to_transformers(fields)


def _numbers_json(fields: Fields, names: Mapping[str, str]) -> dict[str, int]:
    return {theirs: fields[ours] for ours, theirs in names.items()}


def _backbone_json(fields: Fields) -> dict[str, Any]:
    return {
        **{name: fields[name] for name in (*_SIZES, *_MAY_BE_LEFT_OUT)},
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
    }


def _rope_json(fields: Fields) -> dict[str, Any]:
    scaling = fields["rope_scaling"]
    return {"rope_type": "llama3", **scaling} if scaling else {"rope_type": "default"}


def _extension(fields: Fields) -> dict[str, str]:
    return {} if fields["text_input"] == "text" else {"text_input": fields["text_input"]}


def _to_original(fields: Fields) -> dict[str, Any]:
    return {
        "model_type": "higgs_audio",
        "architectures": ["HiggsAudioModel"],
        "text_config": {
            "model_type": "llama",
            **_backbone_json(fields),
            "rope_theta": fields["rope_theta"],
            "rope_scaling": _rope_json(fields) if fields["rope_scaling"] else None,
            "tie_word_embeddings": False,
        },
        "audio_adapter_type": "dual_ffn_fast_forward",
        "audio_dual_ffn_layers": list(range(fields["num_hidden_layers"])),
        "audio_ffn_hidden_size": fields["hidden_size"],
        "audio_ffn_intermediate_size": fields["intermediate_size"],
        "encode_whisper_embed": False,
        "encode_audio_in_tokens": True,
        "skip_audio_tower": True,
        "use_delay_pattern": True,
        **_numbers_json(fields, _ORIGINAL),
        "audio_codebook_size": fields["codebook_size"] - 2,
        "hidden_size": fields["hidden_size"],
        **_extension(fields),
    }


def _to_transformers(fields: Fields) -> dict[str, Any]:
    return {
        "model_type": "higgs_audio_v2",
        "architectures": ["HiggsAudioV2ForConditionalGeneration"],
        **_backbone_json(fields),
        "rope_parameters": {"rope_theta": fields["rope_theta"], **_rope_json(fields)},
        "tie_word_embeddings": False,
        **_numbers_json(fields, _TRANSFORMERS),
        "codebook_size": fields["codebook_size"],
        "audio_delay_token_id": fields["audio_out_bos_token_id"] + 1,
        **_extension(fields),
    }
