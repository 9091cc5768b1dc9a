"""A speech while it is made: gathers its pieces for the report, and passes them on.

Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from faster_higgs.audio.checks import Report, examine
from faster_higgs.audio.levels import Samples
from faster_higgs.cli.progress import Bar
from faster_higgs.delivery import Utterance
from faster_higgs.engine.request import Finish
from faster_higgs.spoken import Part, Piece, Speech


@dataclass
class Take:
    """One run of `higgs say`."""

    rate: int
    seed: int
    plan: Sequence[Utterance]
    say: Callable[[str], None]
    pieces: list[Samples] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    elapsed: float = 0.0

    def listen(self, pieces: Iterable[Piece], bar: Bar) -> Iterator[Samples]:
        """The samples of each piece, remembered."""
        ready = 0
        for piece in pieces:
            ready += len(piece.samples)
            self.pieces.append(piece.samples)
            bar.add(len(piece.samples) / self.rate, ends_utterance=piece.result is not None)
            if piece.result is not None:
                self._end_part(piece.utterance.text, ready / self.rate, piece.result.finish)
            yield piece.samples
        self.elapsed = bar.elapsed

    def _end_part(self, text: str, end: float, finish: Finish) -> None:
        begin = self.parts[-1].end if self.parts else 0.0
        self.parts.append(Part(text, begin, end, finish))
        done = f"[{len(self.parts)}/{len(self.plan)}]"
        self.say(f"{done} {end - begin:.2f} s, {finish.value}: {text}")

    @cached_property
    def speech(self) -> Speech:
        """What was made, once all of it is."""
        import numpy as np

        samples = np.concatenate([np.zeros(0, np.float32), *self.pieces])
        return Speech(samples, self.rate, self.seed, tuple(self.parts))

    @cached_property
    def report(self) -> Report:
        """The sound, examined."""
        speech = self.speech
        text = " ".join(part.text for part in speech.parts)
        return examine(speech.samples, self.rate, finish_reason=speech.finish.value, text=text)

    @property
    def voice(self) -> str:
        """Who speaks, in words."""
        names = dict.fromkeys(v.name for u in self.plan for v in u.setting.voices)
        return ", ".join(names) or "chosen by the model"

    @property
    def real_time_factor(self) -> float:
        """Seconds of work for a second of audio."""
        seconds = self.speech.seconds
        return self.elapsed / seconds if seconds else 0.0

    def last_line(self) -> str:
        """What makes this speech again, and how it ended if that was not the usual end."""
        finish = self.speech.finish
        end = "" if finish is Finish.STOP else f", finish reason: {finish.value}"
        return f"Seed: {self.seed}, voice: {self.voice}{end}"

    def to_json(self) -> dict[str, Any]:
        """The run for machines."""
        speech = self.speech
        return {
            "seed": self.seed,
            "voice": self.voice,
            "finish_reason": speech.finish.value,
            "seconds": round(self.elapsed, 3),
            "real_time_factor": round(self.real_time_factor, 4),
            "utterances": [
                {
                    "text": p.text,
                    "begin": round(p.begin, 3),
                    "end": round(p.end, 3),
                    "finish_reason": p.finish.value,
                }
                for p in speech.parts
            ],
            "audio": self.report.to_json(),
        }
