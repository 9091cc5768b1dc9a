"""Which model and which voices a command works with. The only place that reads HIGGS_VOICES."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from faster_higgs.checkpoint import files
from faster_higgs.errors import CheckpointNotFound, SettingError, VoiceError
from faster_higgs.prompt.voices import VoiceStore

if TYPE_CHECKING:
    from torch import Tensor

    from faster_higgs.checkpoint.choice import Plan, Wish

PICO_NOTE = (
    "Speaking with pico, the small model inside this package: no other is on this machine. "
    "`higgs download` fetches the full one."
)


def model_folder(name: str | None, revision: str | None = None) -> files.DefaultModel:
    """The model that was asked for, else the default one. Raises CheckpointError."""
    if name is None:
        if revision is not None:
            raise SettingError("--revision belongs to a hub id; name it with --model.")
        return files.default_model()
    return files.DefaultModel(files.resolve(name, revision), packaged=False)


def plan_for(
    model: Path, codec: str | None, device: str, wish: Wish, *, text_head: bool = False
) -> Plan:
    """How and where a model will be loaded. Raises CheckpointError, SettingError."""
    from faster_higgs.checkpoint.fit import fit
    from faster_higgs.device import named

    codec_folder = files.find_codec(model) if codec is None else files.resolve(codec)
    return fit(model, codec_folder, named(device), wish, text_head=text_head)


def voice_folders(
    given: Path | None = None,
    environment: Mapping[str, str] = os.environ,
    platform: str = sys.platform,
) -> list[Path]:
    """The user's folders of voices; the first may be written."""
    if given is not None:
        return [given]
    named = [part for part in environment.get("HIGGS_VOICES", "").split(os.pathsep) if part]
    if named:
        return [Path(part).expanduser() for part in named]
    return [data_folder(environment, platform) / "voices"]


def data_folder(environment: Mapping[str, str] = os.environ, platform: str = sys.platform) -> Path:
    """Where what a user makes is kept."""
    if platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "faster-higgs"
    if platform == "win32":
        return (
            Path(environment.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
            / "faster-higgs"
        )
    return (
        Path(environment.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "faster-higgs"
    )


def named_voices(model: Path | None, own: Sequence[Path], codec: str = "") -> VoiceStore:
    """Voices by name, without an encoder: to list, show, remove, and to tell a wrong name early.

    `codec` is the fingerprint of the one whose codes are wanted.
    """

    def refuse(clip: Path) -> NoReturn:
        raise VoiceError(f"{clip} has to be encoded first; use the voice once with `higgs say`.")

    return VoiceStore([*own, *([model / "voices"] if model else [])], refuse, codec)


def encoding_voices(model: Path, own: Sequence[Path]) -> VoiceStore:
    """Voices with the model's codec, which is all that adding one needs."""
    import torch

    from faster_higgs.audio.reference import read_clip
    from faster_higgs.checkpoint.codec_files import load_codec
    from faster_higgs.speech import fingerprint

    codec = load_codec(files.find_codec(model), encoder=True)

    def encode(clip: Path) -> Tensor:
        return codec.encode(torch.from_numpy(read_clip(clip, codec.sample_rate)))

    return VoiceStore([*own, model / "voices"], encode, fingerprint(codec))


def shipped_model() -> Path | None:
    """The default model's folder, if there is a model."""
    try:
        return files.default_model().folder
    except CheckpointNotFound:
        return None
