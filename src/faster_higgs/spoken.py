"""A speech as it comes out: pieces while it is made, parts and samples when it is whole.

Knows nothing of models: what a checkpoint asks for is a small file beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from faster_higgs.audio.levels import Samples
from faster_higgs.audio.save import save
from faster_higgs.delivery import Utterance
from faster_higgs.engine.request import Finish, Result
from faster_higgs.errors import CheckpointError, DeadlinePassed, NoAudio, VoiceError
from faster_higgs.prompt.voices import Voice
from faster_higgs.text.tags import SPEAKER

WHOLE = (
    Finish.STOP,
    Finish.SILENCE,
)  # ends of an utterance that was not broken off, the graver last


@dataclass(frozen=True)
class Piece:
    """The next samples [n] of a speech; an utterance's last has its result and codes [K, F].

    A pause is silence that was asked for, before or after an utterance.
    """

    utterance: Utterance
    samples: Samples
    result: Result | None = None
    codes: Tensor | None = None
    heard: int = 0  # positions of its prompt that are sound
    is_pause: bool = False

    @property
    def remembered(self) -> Tensor | None:
        """The codes of an utterance that came to its end: one broken off is no example."""
        over = self.result is not None and self.result.finish in WHOLE
        return self.codes if over else None


def last_piece(
    utterance: Utterance,
    samples: Samples,
    codes: Tensor,
    *,
    finish: str = "stop",
    seed: int | None = None,
    prompt_tokens: int = 0,
) -> Piece:
    """The end of an utterance that was not made by the engine here."""
    result = Result(Finish(finish), seed or 0, prompt_tokens, (), ())
    return Piece(utterance, samples, result, codes)


def pause(utterance: Utterance, seconds: float, rate: int) -> Iterator[Piece]:
    """Silence that was asked for, if it was."""
    if seconds:
        yield Piece(utterance, np.zeros(round(seconds * rate), np.float32), is_pause=True)


@dataclass(frozen=True)
class Part:
    """One utterance of a finished speech: where it lies, in seconds, and how it ended."""

    text: str
    begin: float
    end: float
    finish: Finish
    speaker: str | None = None  # of a text with several


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
    def said(self) -> Samples:
        """The samples without the pauses that were asked for."""
        ends = [(round(part.begin * self.rate), round(part.end * self.rate)) for part in self.parts]
        return np.concatenate([self.samples[:0], *(self.samples[at:end] for at, end in ends)])

    @property
    def finish(self) -> Finish:
        """How it ended: the first reason that is neither "stop" nor "silence", if there is one."""
        return max((part.finish for part in self.parts), key=_gravity, default=Finish.STOP)

    def save(self, path: str | Path, format: str | None = None) -> None:
        """Write a sound file, the format by its suffix; whole or not at all.

        Raises OutputError, SettingError.
        """
        save(path, self.samples, format=format, rate=self.rate)


@dataclass
class Gathering:
    """Pieces as they come, put together to a speech."""

    rate: int
    samples: list[Samples] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    length: int = 0  # samples so far
    begin: int = 0  # samples before the utterance that is heard

    def add(self, piece: Piece) -> Part | None:
        """Keep a piece; the part it ended, if it did."""
        self.samples.append(piece.samples)
        self.length += len(piece.samples)
        if piece.is_pause:
            self.begin = self.length
        if piece.result is None:
            return None
        utterance, times = piece.utterance, (self.begin / self.rate, self.length / self.rate)
        part = Part(utterance.text, *times, piece.result.finish, utterance.speaker)
        self.parts.append(part)
        self.begin = self.length
        return part

    def speech(self, seed: int) -> Speech:
        """All that was gathered."""
        samples = np.concatenate([np.zeros(0, np.float32), *self.samples])
        return Speech(samples, self.rate, seed, tuple(self.parts))


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


def voice_of(name: str, ends: Sequence[Piece]) -> Voice:
    """A voice that speaks as these utterances do, by their last pieces.

    Raises VoiceError when several speak in them, or not all was said.
    """
    said = [piece.utterance for piece in ends]
    if len({one.speaker for one in said}) > 1 or any(len(one.tags) > 1 for one in said):
        raise VoiceError("Several speak in it; a voice is one speaker's.")
    codes = [piece.remembered for piece in ends]
    whole = [one for one in codes if one is not None]
    if not whole or len(whole) < len(codes):
        raise VoiceError("It was broken off, so its text is not what is heard; speak it again.")
    text = " ".join(SPEAKER.sub("", one.text).strip() for one in said)
    return Voice(name, torch.cat(whole, dim=1), text)


def _gravity(finish: Finish) -> int:
    return WHOLE.index(finish) if finish in WHOLE else len(WHOLE)


def _well_formed(found: Any) -> bool:
    if not isinstance(found, dict):
        return False
    voices, words = found.get("voices", []), found.get("max_words", 1)
    named = isinstance(voices, list) and all(isinstance(voice, str) for voice in voices)
    return named and isinstance(words, int) and words >= 1


def no_audio(result: Result, codebooks: int) -> NoAudio | DeadlinePassed:
    """The error for an answer in which there is nothing to hear."""
    if result.finish is Finish.DEADLINE:
        return DeadlinePassed(
            "The deadline passed before the first frame was ready; "
            "give it more time, or ask again when fewer others speak."
        )
    if result.finish is Finish.LENGTH and result.segments:
        steps = result.segments[-1].shape[1]
        return NoAudio(
            f"The limit of {steps} steps leaves no room for any sound; "
            f"set max_new_tokens to {codebooks + 2} or more."
        )
    return NoAudio(
        "The model answered without any sound; try another seed or a higher temperature."
    )
