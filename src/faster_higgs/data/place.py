"""Where a checkpoint's codec and wording are, and where the codec is to run. Loads neither."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from faster_higgs.errors import SettingError

BATCH_SECONDS = 60.0  # of sound that is coded at once


@dataclass(frozen=True)
class Place:
    """Where a checkpoint's codec and wording are, and where the codec is to run."""

    model: Path
    codec: Path
    device: str = "cpu"
    batch_seconds: float = BATCH_SECONDS

    def __post_init__(self) -> None:
        if not 0 < self.batch_seconds < math.inf:
            raise SettingError(
                f"The codec cannot be given {self.batch_seconds:g} s of sound at once; use "
                f"--batch-seconds {BATCH_SECONDS:g}, or less where memory is short."
            )
