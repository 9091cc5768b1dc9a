"""What the environment says to `higgs serve` beside its settings; and what it says in vain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from faster_higgs.errors import SettingError

if TYPE_CHECKING:
    from faster_higgs.cli.serve import ServeFlags

# By flag: our own name, and the one that another server for this model has.
FLAGS: Mapping[str, tuple[str, ...]] = {
    "model": ("HIGGS_AUDIO_MODEL_ID",),  # HIGGS_MODEL is read by every command
    "audio_tokenizer": ("HIGGS_AUDIO_TOKENIZER", "HIGGS_AUDIO_AUDIO_TOKENIZER_ID"),
    "device": ("HIGGS_DEVICE", "HIGGS_AUDIO_DEVICE"),
    "precision": ("HIGGS_PRECISION",),
    "max_memory": ("HIGGS_MAX_MEMORY",),
    "context": ("HIGGS_CONTEXT",),
}
ELSEWHERE = ("HIGGS_MODEL", "HIGGS_VOICES")  # read by all commands
# Known, but of no use here.
IDLE = {
    "HIGGS_AUDIO_TOKENIZER_ID": "the text tokenizer comes with the model",
    "HIGGS_AUDIO_TORCH_DTYPE": "weights are as in the files; HIGGS_PRECISION makes them smaller",
}
_NEUTRAL = ("", "auto")


def completed(flags: ServeFlags, environment: Mapping[str, str]) -> ServeFlags:
    """The flags, and what the environment says where they say nothing. Raises SettingError."""
    told: dict[str, Any] = {}
    for name, variables in FLAGS.items():
        found = next((v for v in variables if environment.get(v)), None)
        if found is None or getattr(flags, name) not in (None, "auto"):
            continue
        told[name] = environment[found]
        if name == "context":
            if not told[name].isdecimal():
                raise SettingError(f"{found} is '{told[name]}'; use a number.")
            told[name] = int(told[name])
    if environment.get("HIGGS_MODEL"):
        told.pop("model", None)
    return replace(flags, **told)


def in_vain(environment: Mapping[str, str]) -> list[str]:
    """A sentence for each variable that looks like ours and changes nothing."""
    from faster_higgs.server.settings import PREFIX, ServerSettings

    known = [*ServerSettings.variables(), *ELSEWHERE, *sum(FLAGS.values(), ())]
    notes = []
    for name in sorted(environment):
        if name in IDLE and environment[name] not in _NEUTRAL:
            notes.append(f"Warning: {name} has no effect: {IDLE[name]}.")
        elif name.startswith(PREFIX) and name not in known and name not in IDLE:
            near = get_close_matches(name, known, 1)
            meant = f"; did you mean {near[0]}?" if near else "."
            notes.append(f"Warning: there is no setting {name}{meant}")
    return notes
