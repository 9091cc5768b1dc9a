"""The parts of the model by the names of their weights, and which a mode trains."""

from __future__ import annotations

from collections.abc import Mapping

from faster_higgs.train.tune_config import Mode, Part

PARTS: Mapping[Part, str] = {
    "attention": r"layers\.\d+\.[qkvo]_proj\..+",
    "text_ffn": r"layers\.\d+\.text_mlp\..+",
    "audio_ffn": r"layers\.\d+\.audio_mlp\..+",
    "embed_text": r"embed_text\..+",
    "embed_audio": r"embed_audio\..+",
    "text_head": r"text_head\..+",
    "audio_head": r"audio_head\..+",
    "text_norms": r"layers\.\d+\.text_\w+_norm\..+|norm\..+",
    "audio_norms": r"layers\.\d+\.audio_\w+_norm\..+",
}
"""Full names of weights and buffers; the last norm counts as text, as the original's flags do."""

_AUDIO: tuple[Part, ...] = ("audio_ffn", "embed_audio", "audio_head", "audio_norms")
TRAINED: Mapping[Mode, tuple[Part, ...]] = {
    "full": tuple(PARTS),
    "audio_path": ("attention", *_AUDIO),
    "audio_only": _AUDIO,
}
