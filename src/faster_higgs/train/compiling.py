"""Feed-forwards by torch.compile, where a compiler is there.

Attention stays as it is: what it goes by changes with every batch. Knows nothing of training.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable

from torch import nn

from faster_higgs.errors import SettingError
from faster_higgs.model.layers import GatedMLP


def compiled(layers: Iterable[nn.Module]) -> None:
    """They are compiled when they first run. Raises SettingError where no compiler is."""
    if not any(map(shutil.which, ("g++", "clang++", "c++"))):
        raise SettingError(
            "compile needs a C++ compiler, and none of g++ and clang++ is there; "
            "install one, or leave compile away."
        )
    for layer in layers:
        for part in layer.modules():
            if isinstance(part, GatedMLP):
                part.compile(dynamic=True)
