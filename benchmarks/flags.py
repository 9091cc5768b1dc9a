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

from benchmarks.weights import PACKED, PRECISIONS, model_folder, packed_folder, scratch
from faster_higgs.errors import SettingError

MEMORY = 2_000_000_000  # bytes that are read to know the bandwidth
TINY_MEMORY = 4_000_000


class Flags(argparse.ArgumentParser):
    """A command line with the shared flags; `about` is its help."""

    def __init__(self, about: str, *, precision: bool = True) -> None:
        form = argparse.RawDescriptionHelpFormatter
        super().__init__(description=about, formatter_class=form)
        self.add = self.add_argument
        self.add("--json", type=Path, help="where the result is written")
        self.add("--folder", type=Path, default=scratch(), help="of weights; default: %(default)s")
        self.add("--layers", type=int, default=28, help="of the model; default: %(default)s")
        self.add("--model", type=Path, help="other weights for ours")
        if precision:
            self.add("--precision", choices=PRECISIONS, required=True, help="of our weights")
        self.add("--tiny", action="store_true", help="a model of a few thousand weights, to try")


def read_flags(flags: Flags, arguments: Sequence[str] | None) -> Any:
    """What was asked, with the folders of weights, which are written if they are not there."""
    found = flags.parse_args(arguments)
    if found.tiny:
        found.folder = Path(tempfile.gettempdir()) / "faster-higgs-tiny"
    found.rival_model = model_folder(found.folder, found.layers, tiny=found.tiny)
    found.model = found.model or found.rival_model
    if getattr(found, "precision", None) in PACKED and found.model == found.rival_model:
        found.model = packed_folder(found.model, found.precision)
    config = json.loads((found.model / "config.json").read_text())
    found.layers = config["num_hidden_layers"]
    held = config.get("quantization", {}).get("audio") or "bf16"
    if held != getattr(found, "precision", held):
        raise SettingError(f"'{found.model}' holds {held}; give --precision {held}.")
    found.memory = TINY_MEMORY if found.tiny else MEMORY
    return found
