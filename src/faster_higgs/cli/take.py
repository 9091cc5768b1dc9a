"""A speech while it is made: gathers its pieces for the report, and passes them on.

Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

from faster_higgs.audio.checks import Report, examine
from faster_higgs.audio.levels import Samples
from faster_higgs.cli.progress import Bar
from faster_higgs.delivery import Utterance
from faster_higgs.engine.request import Finish
from faster_higgs.spoken import Gathering, Piece, Speech


@dataclass
class Take:
    """One run of `higgs say`."""

    rate: int
    seed: int
    plan: Sequence[Utterance]
    say: Callable[[str], None]
    gathered: Gathering = field(init=False)
    elapsed: float = 0.0

    def __post_init__(self) -> None:
        self.gathered = Gathering(self.rate)

    def listen(self, pieces: Iterable[Piece], bar: Bar) -> Iterator[Samples]:
        """The samples of each piece, remembered."""
        for piece in pieces:
            part = self.gathered.add(piece)
            bar.add(len(piece.samples) / self.rate, ends_utterance=part is not None)
            if part is not None:
                done = f"[{len(self.gathered.parts)}/{len(self.plan)}]"
                self.say(f"{done} {part.end - part.begin:.2f} s, {part.finish.value}: {part.text}")
            yield piece.samples
        self.elapsed = bar.elapsed

    @cached_property
    def speech(self) -> Speech:
        """What was made, once all of it is."""
        return self.gathered.speech(self.seed)

    @cached_property
    def report(self) -> Report:
        """The sound, examined; pauses that were asked for are no fault."""
        speech = self.speech
        text = " ".join(part.text for part in speech.parts)
        told = partial(examine, rate=self.rate, finish_reason=speech.finish.value, text=text)
        return replace(told(speech.samples), findings=told(speech.said).findings)

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
