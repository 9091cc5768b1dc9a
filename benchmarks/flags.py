"""The flags that all benchmarks of the full-size model share, and the checkpoints they mean.

Knows nothing of what is measured.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.weights import MODEL, PRECISIONS, model_folder, packed_folder, scratch
from faster_higgs.device import named
from faster_higgs.errors import SettingError

MEMORY = 2_000_000_000  # bytes that are read to know the bandwidth
TINY_MEMORY = 4_000_000
ON_CARDS = (*PRECISIONS, "fp8")


class Flags(argparse.ArgumentParser):
    """A command line with the shared flags; `about` is its help. `device`: it is for cards."""

    def __init__(self, about: str, *, precision: bool = True, device: bool = False) -> None:
        form = argparse.RawDescriptionHelpFormatter
        super().__init__(description=about, formatter_class=form)
        self.add = self.add_argument
        self.defaults: list[tuple[str, Any, Any]] = []
        self.add("--json", type=Path, help="where the result is written")
        self.add("--folder", type=Path, default=scratch(), help="of weights; default: %(default)s")
        self.add("--layers", type=int, default=28, help="of the model; default: %(default)s")
        self.add("--model", type=Path, help="other weights for ours")
        if precision:
            known = ON_CARDS if device else PRECISIONS
            self.add("--precision", choices=known, required=True, help="of our weights")
        if device:
            self.sized("device", "cuda", "cpu", told="cpu, cuda or cuda:N")
        self.add("--tiny", action="store_true", help="a model of a few thousand weights, to try")

    def sized(self, name: str, whole: Any, tiny: Any, *, told: str, **kind: Any) -> None:
        """A flag with another default for --tiny."""
        self.add(f"--{name}", help=f"{told}; default: {whole}, with --tiny {tiny}", **kind)
        self.defaults.append((name, whole, tiny))


def read_flags(flags: Flags, arguments: Sequence[str] | None) -> Any:
    """What was asked, with the folders of weights, which are written if they are not there."""
    found = flags.parse_args(arguments)
    for name, whole, tiny in flags.defaults:
        if getattr(found, name) is None:
            setattr(found, name, tiny if found.tiny else whole)
    if hasattr(found, "device"):
        found.device = device_named(found.device)  # before anything is written
    if found.tiny:
        found.folder = Path(tempfile.gettempdir()) / "faster-higgs-tiny"
    found.rival_model = model_folder(found.folder, found.layers, tiny=found.tiny)
    found.model = found.model or found.rival_model
    if getattr(found, "precision", "bf16") != "bf16" and found.model == found.rival_model:
        found.model = packed_folder(found.model, found.precision)
    config = json.loads((found.model / "config.json").read_text())
    found.layers = config["num_hidden_layers"]
    held = config.get("quantization", {}).get("audio") or "bf16"
    if held != getattr(found, "precision", held):
        raise SettingError(f"'{found.model}' holds {held}; give --precision {held}.")
    found.memory = TINY_MEMORY if found.tiny else MEMORY
    return found


def device_named(name: str) -> str:
    """Its whole name. Raises SettingError for one that is not there."""
    if not name.startswith(("cpu", "cuda")):
        raise SettingError(f"--device is '{name}'; use cpu, cuda or cuda:N.")
    return next(named(name)).name


def judged(settings: Any, must: float | None) -> float | None:
    """What has to be reached on a card by the whole model; None of anything else."""
    whole = not settings.tiny and settings.layers == MODEL.num_hidden_layers
    return must if whole and settings.device.startswith("cuda") else None
