"""How weights may be held in fewer bits, as it is asked for. Knows no tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from faster_higgs.errors import SettingError

Precision = Literal["int8", "int4", "fp8"]
Host = Literal["host"]
GROUPS = (128, 64, 32, 16, 8)  # weights that may share a scale in int4


@dataclass(frozen=True)
class Quantization:
    """How weights are held; None leaves them as loaded.

    `audio` is for attention and the audio feed-forward, `text` for the text feed-forward and the
    text head. The text side on the `host` is as loaded here; who runs the model streams it.
    """

    audio: Precision | None = None
    text: Precision | Host | None = None
    group: int = GROUPS[0]  # weights that share a scale in int4

    def __post_init__(self) -> None:
        allowed = (None, *get_args(Precision))
        if self.audio not in allowed or self.text not in (*allowed, *get_args(Host)):
            raise SettingError(
                f"Weights are held as int8, int4 or fp8, the text side also on the host; "
                f"found audio {self.audio!r}, text {self.text!r}."
            )
        if self.group not in GROUPS:
            sizes = ", ".join(map(str, sorted(GROUPS)))
            raise SettingError(f"The group of int4 is one of {sizes}; found {self.group!r}.")
