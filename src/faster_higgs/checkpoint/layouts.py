"""The language model's two published tables of tensor names. Data only.

Neither is native: our own module names are the right-hand side of both.
"""

from __future__ import annotations

from faster_higgs.checkpoint.layout import Layout, Merge, stacked

_LAYER = (
    ("self_attn.q_proj", "q_proj"),
    ("self_attn.k_proj", "k_proj"),
    ("self_attn.v_proj", "v_proj"),
    ("self_attn.o_proj", "o_proj"),
    ("mlp.gate_proj", "text_mlp.gate"),
    ("mlp.up_proj", "text_mlp.up"),
    ("mlp.down_proj", "text_mlp.down"),
    ("audio_mlp.gate_proj", "audio_mlp.gate"),
    ("audio_mlp.up_proj", "audio_mlp.up"),
    ("audio_mlp.down_proj", "audio_mlp.down"),
    ("input_layernorm", "text_input_norm"),
    ("post_attention_layernorm", "text_post_norm"),
    ("audio_input_layernorm", "audio_input_norm"),
    ("audio_post_attention_layernorm", "audio_post_norm"),
)


def _body(prefix: str, embed_audio: str) -> tuple[tuple[str, str], ...]:
    layers = (
        (f"{prefix}layers.{{n}}.{stored}.weight", f"layers.{{n}}.{ours}.weight")
        for stored, ours in _LAYER
    )
    return (
        (f"{prefix}embed_tokens.weight", "embed_text.weight"),
        (f"{prefix}{embed_audio}.weight", "embed_audio.weight"),
        (f"{prefix}norm.weight", "norm.weight"),
        *layers,
    )


_ORIGINAL_HEADS = (
    ("audio_decoder_proj.text_lm_head.weight", "text_head.weight"),
    ("audio_decoder_proj.audio_lm_head.weight", "audio_head.weight"),
)
_TRANSFORMERS_HEADS = (
    ("text_lm_head.weight", "text_head.weight"),
    ("audio_lm_head.weight", "audio_head.weight"),
)

# Fine-tuned originals keep the rows they did not train apart from those they did.
_SPLIT = tuple(
    Merge((f"{part}_frozen.weight", f"{part}_trainable.weight"), "weight", stacked)
    for part in ("embedding", "linear")
)

# Left in some files by the code that wrote them; they follow from the config or are not used.
_IGNORED = (r"rotary_emb\.(original_)?inv_freq$", r"(^|\.)audio_codebook_weights$")

ORIGINAL = Layout(
    name="original",
    kind="language model",
    marks=(r"^audio_codebook_embeddings\.",),
    names=(*_body("", "audio_codebook_embeddings"), *_ORIGINAL_HEADS),
    also=_TRANSFORMERS_HEADS,
    merges=_SPLIT,
    ignored=_IGNORED,
)

TRANSFORMERS = Layout(
    name="transformers",
    kind="language model",
    marks=(r"^embed_audio_tokens\.",),
    names=(*_body("model.", "embed_audio_tokens.embed_audio_tokens"), *_TRANSFORMERS_HEADS),
    also=_ORIGINAL_HEADS,
    merges=_SPLIT,
    ignored=(*_IGNORED, r"audio_tokens_offsets$"),
)

LANGUAGE_MODEL = (ORIGINAL, TRANSFORMERS)
