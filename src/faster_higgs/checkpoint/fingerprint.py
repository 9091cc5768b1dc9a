"""Which weights a model has, told by a few of each; what an adapter remembers of its base.

Knows nothing of adapters.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors import safe_open

from faster_higgs.checkpoint.layout import match
from faster_higgs.checkpoint.load import LAYOUTS
from faster_higgs.checkpoint.tensors import choose_layout, open_tensors

_NUMBERS = 64  # of the first row of each matrix


def fingerprint(folder: Path) -> str:
    """The same for either layout, and for copies in bf16 and in fp32; with or without text head.

    Empty where nothing can be told: weights that are packed, or in a torch file. Raises
    CheckpointError.
    """
    files = open_tensors(folder)
    recipes = match(choose_layout(files, LAYOUTS), files.shapes).recipes
    if files.pickled or any(name.endswith(".codes") for name in recipes):
        return ""
    wanted = {
        recipe.sources[0]: name
        for name, recipe in recipes.items()
        if len(files.shapes[recipe.sources[0]]) == 2 and not name.startswith("text_head.")
    }
    parts = {}
    for path, held in files.files.items():
        with safe_open(path, "pt") as file:
            for stored in wanted.keys() & held:
                row = file.get_slice(stored)[0:1].flatten()[:_NUMBERS]
                parts[wanted[stored]] = row.bfloat16().view(torch.int16).numpy().tobytes()
    found = hashlib.sha256()
    for name in sorted(parts):
        found.update(name.encode() + parts[name])
    return found.hexdigest()[:16]
