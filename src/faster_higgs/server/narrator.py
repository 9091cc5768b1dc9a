"""What a job says, made utterance by utterance, in a thread.

Knows nothing of queues, nor of what may be asked of a job.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from faster_higgs.audio.levels import Samples
from faster_higgs.audio.save import save
from faster_higgs.audio.shape import Shape
from faster_higgs.delivery import Delivery, Utterance
from faster_higgs.errors import Aborted, HiggsError, NoAudio, QueueFull
from faster_higgs.prompt.plain import bytes_of, codes_of, voice_of_plain, voice_to_plain
from faster_higgs.prompt.voices import Voice
from faster_higgs.sampling import Sampling
from faster_higgs.server.desk import OnStop
from faster_higgs.server.errors import Refusal
from faster_higgs.server.shelf import Damaged, Record, Reel, Row, Shelf, Tape
from faster_higgs.speech import Higgs
from faster_higgs.spoken import Piece

ATTEMPTS = 4  # at an utterance in which there is nothing to hear
ANEW = 0x85EBCA6B  # what the seed of another attempt differs by
BUSY = 1.0  # seconds to wait while others fill the engine's queue


class Progress(NamedTuple):
    """Utterances that are finished, and their samples."""

    utterances: int
    samples: int


class Ask(NamedTuple):
    """What is spoken. The voices are there as they were when the job was asked for."""

    text: str
    voices: Sequence[Voice] | None
    sampling: Sampling
    delivery: Delivery

    def plain(self) -> dict[str, Any]:
        """As JSON can hold it."""
        voices = None if self.voices is None else [voice_to_plain(one) for one in self.voices]
        told = {"sampling": asdict(self.sampling), "delivery": asdict(self.delivery)}
        return {"text": self.text, "voices": voices, **told}

    @classmethod
    def of_plain(cls, kept: Mapping[str, Any]) -> Ask:
        """The same again. Raises Damaged."""
        try:
            voices = kept["voices"]
            return cls(
                kept["text"],
                None if voices is None else [voice_of_plain(one) for one in voices],
                Sampling(**kept["sampling"]),
                Delivery(**kept["delivery"]),
            )
        except (KeyError, TypeError, ValueError, HiggsError):
            raise Damaged("What was asked cannot be read by this version.") from None


def narrated(
    higgs: Higgs, shelf: Shelf, record: Record, file: Path, on_stop: OnStop, note: str = ""
) -> Generator[Progress]:
    """Make what is missing of a job, then the whole file; how far it is, after each utterance."""
    ask, reel = Ask.of_plain(shelf.ask(record.id)), shelf.reel(record.id)
    plan = higgs.plan(ask.text, ask.voices, ask.delivery)
    _check_plan(plan, record, reel)
    yield Progress(len(reel.rows), reel.samples)
    stopped = threading.Event()
    on_stop(stopped.set)
    with reel.growing() as tape:
        speaker = _Speaker(higgs, ask, record, reel, tape)
        yield from speaker.speak(len(plan), on_stop, stopped)
    sound = _until(stopped, shelf.reel(record.id).sound())
    save(file, sound, format=record.format, rate=record.rate, note=note)


class _Speaker:
    """Adds the utterances of a job to its tape, one after the other."""

    def __init__(self, higgs: Higgs, ask: Ask, record: Record, reel: Reel, tape: Tape) -> None:
        self._higgs, self._ask, self._record, self._tape = higgs, ask, record, tape
        self._said = [None if one is None else codes_of(*one) for one in reel.remembered()]
        self._samples = reel.samples

    def speak(self, total: int, on_stop: OnStop, stopped: threading.Event) -> Generator[Progress]:
        """All that is missing. One without any sound is tried again with other random numbers."""
        attempt = 0
        while len(self._said) < total:
            try:
                for progress in self._go_on(attempt, on_stop):
                    yield progress
                    if attempt:
                        break
                attempt = 0
            except NoAudio:
                attempt += 1
                if attempt == ATTEMPTS:
                    raise
            except QueueFull:
                if stopped.wait(BUSY):
                    raise

    def _go_on(self, attempt: int, on_stop: OnStop) -> Generator[Progress]:
        text, voices, sampling, delivery = self._ask
        if attempt:
            seed = ((sampling.seed or 0) + attempt * ANEW) % 2**62
            sampling = replace(sampling, seed=seed)
        pieces = self._higgs.pieces(
            text, voices, sampling, delivery, said=tuple(self._said), on_stop=on_stop
        )
        with closing(pieces):
            heard, begin, shape = list[Samples](), 0, None
            for piece in pieces:
                if piece.is_pause:
                    heard.append(self._silence(len(piece.samples) / self._higgs.rate))
                    continue
                if shape is None:
                    shape, begin = self._shape(), sum(map(len, heard))
                heard.append(shape.feed(piece.samples))
                if piece.result is not None:
                    self._add(piece, [*heard, shape.finish()], begin)
                    heard, shape = [], None
                    yield Progress(len(self._said), self._samples)

    def _shape(self) -> Shape:
        return Shape(self._higgs.rate, speed=self._record.speed, to=self._record.rate)

    def _silence(self, seconds: float) -> Samples:
        return np.zeros(round(seconds * self._record.rate), np.float32)

    def _add(self, piece: Piece, heard: Sequence[Samples], begin: int) -> None:
        """An utterance that begins so far in what is heard, and the silence wanted after it."""
        assert piece.result is not None
        utterance, codes, start = piece.utterance, piece.remembered, self._samples
        sound = np.concatenate([*heard, self._silence(utterance.after)])
        row = Row(
            utterance.text,
            start + begin,
            start + sum(map(len, heard)),
            start + len(sound),
            piece.result.finish.value,
            None if codes is None else (codes.shape[0], codes.shape[1]),
            utterance.speaker,
        )
        self._tape.add(row, sound, b"" if codes is None else bytes_of(codes))
        self._said.append(codes)
        self._samples = row.until


def _check_plan(plan: Sequence[Utterance], record: Record, reel: Reel) -> None:
    """Raises Refusal where this version would not go on as the job began."""
    same = all(one.text == row.text for one, row in zip(plan, reel.rows, strict=False))
    if len(plan) != record.utterances or not same:
        raise Refusal(
            409,
            "The text is cut into other utterances than when the job began; ask for a new job.",
            "plan_changed",
        )


def _until(stopped: threading.Event, sound: Iterator[Samples]) -> Iterator[Samples]:
    for samples in sound:
        if stopped.is_set():
            raise Aborted("The job was stopped.")
        yield samples
