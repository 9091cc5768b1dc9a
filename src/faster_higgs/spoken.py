"""A speech as it comes out: pieces while it is made, parts and samples when it is whole.

Knows nothing of models: what a checkpoint asks for is a small file beside it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from faster_higgs.audio.levels import Samples
from faster_higgs.audio.save import save
from faster_higgs.delivery import Utterance
from faster_higgs.engine.request import Finish, Result
from faster_higgs.errors import CheckpointError, NoAudio


@dataclass(frozen=True)
class Piece:
    """The next samples [n] of a speech; an utterance's last has its result and codes [K, F]."""

    utterance: Utterance
    samples: Samples
    result: Result | None = None
    codes: Tensor | None = None


@dataclass(frozen=True)
class Part:
    """One utterance of a finished speech: where it lies, in seconds, and how it ended."""

    text: str
    begin: float
    end: float
    finish: Finish


@dataclass(frozen=True)
class Speech:
    """A finished speech: samples [S] in float32, the seed that makes it again, its utterances."""

    samples: Samples
    rate: int
    seed: int
    parts: tuple[Part, ...]

    @property
    def seconds(self) -> float:
        """Length."""
        return len(self.samples) / self.rate

    @property
    def finish(self) -> Finish:
        """How it ended: "stop", or the reason of the first utterance that ended otherwise."""
        return next((p.finish for p in self.parts if p.finish is not Finish.STOP), Finish.STOP)

    def save(self, path: str | Path, format: str | None = None) -> None:
        """Write a sound file, the format by its suffix; whole or not at all.

        Raises OutputError, SettingError.
        """
        save(path, self.samples, format=format, rate=self.rate)


@dataclass(frozen=True)
class Manners:
    """What a checkpoint's speech.json asks for.

    `voices` speak the texts that name none; `max_words` is how much is said at once.
    """

    voices: tuple[str, ...] = ()
    max_words: int | None = None

    @classmethod
    def load(cls, folder: Path) -> Manners:
        """Without a speech.json nothing is asked for. Raises CheckpointError if it is broken."""
        path = folder / "speech.json"
        if not path.is_file():
            return cls()
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            found = None
        if not _well_formed(found):
            raise CheckpointError(f"{path} cannot be read; download the checkpoint again.")
        return cls(tuple(found.get("voices", ())), found.get("max_words"))


def _well_formed(found: Any) -> bool:
    if not isinstance(found, dict):
        return False
    voices, words = found.get("voices", []), found.get("max_words", 1)
    named = isinstance(voices, list) and all(isinstance(voice, str) for voice in voices)
    return named and isinstance(words, int) and words >= 1


def no_audio(result: Result, codebooks: int) -> NoAudio:
    """The error for an answer in which there is nothing to hear."""
    if result.finish is Finish.LENGTH and result.segments:
        steps = result.segments[-1].shape[1]
        return NoAudio(
            f"The limit of {steps} steps leaves no room for any sound; "
            f"set max_new_tokens to {codebooks + 2} or more."
        )
    return NoAudio(
        "The model answered without any sound; try another seed or a higher temperature."
    )
