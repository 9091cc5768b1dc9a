"""Faster Higgs: speech from text with Higgs Audio v2.

The way from text to sound, in five stages, each a folder:

    1 text/     text to utterances
    2 prompt/   utterance and voice to prompt
    3 engine/   prompts to frames
    4 codec/    codes and samples, both ways
    5 audio/    samples and bytes, both ways

`speech.py` walks it. Public names are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from faster_higgs.delivery import Delivery
    from faster_higgs.errors import HiggsError
    from faster_higgs.prompt.voices import Voice
    from faster_higgs.sampling import Sampling
    from faster_higgs.speech import Higgs
    from faster_higgs.spoken import Speech

__version__ = "0.1.0"

_HOMES = {
    "Delivery": "faster_higgs.delivery",
    "Higgs": "faster_higgs.speech",
    "HiggsError": "faster_higgs.errors",
    "Sampling": "faster_higgs.sampling",
    "Speech": "faster_higgs.spoken",
    "Voice": "faster_higgs.prompt.voices",
}
__all__ = ["Delivery", "Higgs", "HiggsError", "Sampling", "Speech", "Voice"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'faster_higgs' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
