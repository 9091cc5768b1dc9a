"""Where a model runs and in which precision. Knows nothing of models."""

from __future__ import annotations

import torch

from faster_higgs.errors import SettingError


def choose_device(name: str) -> tuple[torch.device, torch.dtype]:
    """The device of a name, "auto" being the fastest, and the precision of a model on it.

    Raises SettingError when the device is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise SettingError(_unknown(name)) from None
    here = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": torch.backends.mps.is_available()}
    if device.type not in here:
        raise SettingError(_unknown(name))
    if not here[device.type]:
        raise SettingError(
            f"No {device.type.upper()} device is at hand; use --device cpu, "
            f"or install torch with {device.type.upper()}."
        )
    if (device.index or 0) >= here[device.type]:
        raise SettingError(
            f"There is no device '{name}': this machine has {here[device.type]} of that kind, "
            "counted from 0."
        )
    return device, torch.float32 if device.type == "cpu" else torch.bfloat16


def _unknown(name: str) -> str:
    return f"There is no device '{name}'; use auto, cpu, cuda, cuda:N or mps."
