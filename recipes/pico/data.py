"""Reading the spoken corpus: shards of int16 samples and a line of facts per utterance.

Knows nothing of models.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

PHONES = """
    pau aa ae ah ao aw ax axr ay b ch d dh eh er ey f g hh ih iy jh k l m n ng ow oy p r s sh t
    th uh uw v w y z zh
""".split()
FRAME = 960


@dataclass(frozen=True)
class Utterance:
    """One spoken sentence and where its samples lie."""

    shard: Path
    text: str
    voice: str
    at: int
    samples: int
    phones: list[tuple[str, float]]

    @property
    def frames(self) -> int:
        """Length in codec frames."""
        return self.samples // FRAME

    def phone_at(self, seconds: np.ndarray) -> np.ndarray:
        """Index into PHONES at each time."""
        ends = np.array([end for _, end in self.phones])
        at = np.minimum(np.searchsorted(ends, seconds, side="right"), len(ends) - 1)
        return np.array([PHONES.index(name) for name, _ in self.phones])[at]


class Corpus:
    """All finished shards of a folder, in order; every 50th utterance is for validation."""

    def __init__(self, folder: Path) -> None:
        self.utterances = [
            Utterance(path.with_suffix(".npy"), **json.loads(line))
            for path in sorted(folder.glob("*.jsonl"))
            for line in path.read_text().splitlines()
        ]
        self._open: dict[Path, np.ndarray] = {}

    def pcm(self, utterance: Utterance) -> np.ndarray:
        """int16 [S] at 24 kHz, read when it is used."""
        if utterance.shard not in self._open:
            self._open[utterance.shard] = np.load(utterance.shard, mmap_mode="c")
        return self._open[utterance.shard][utterance.at : utterance.at + utterance.samples]

    def samples(self, utterance: Utterance) -> np.ndarray:
        """float32 [S] at 24 kHz."""
        return self.pcm(utterance).astype(np.float32) / 32767

    @cached_property
    def training(self) -> list[int]:
        """Indices that may be trained on."""
        return [i for i in range(len(self.utterances)) if i % 50]

    @cached_property
    def validation(self) -> list[int]:
        """Indices held out."""
        return list(range(0, len(self.utterances), 50))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A place to write to, which takes `path`'s name when all is written."""
    part = path.with_name(f"{path.name}.part")
    yield part
    part.replace(path)
