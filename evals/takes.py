"""A sentence in all its sounds: pico's take, a clone's, the teacher's, that one through the codec.

Knows nothing of files or figures.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evals.likeness import OTHER_SENTENCES, Likeness
from evals.summary import Clip, Row
from faster_higgs.audio.levels import trailing_silence
from faster_higgs.errors import GenerationError, TextError, VoiceError
from faster_higgs.prompt.voices import Voice
from faster_higgs.sampling import Sampling
from faster_higgs.speech import Higgs
from recipes.pico.voices import RATE, TEACHERS, speak

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Task:
    """A sentence to be spoken: as written, as said, by whom, with which random numbers.

    `cloned`: a second time too, by a clone of the voice.
    """

    text: str
    spoken: str
    voice: str
    seed: int
    cloned: bool = False


@dataclass(frozen=True)
class Judges:
    """Who makes and judges the sounds. None leaves a part out."""

    hear: Callable[[Sequence[Samples], int], list[str]]
    teach: Callable[[str, str], Samples] | None
    likeness: Likeness | None
    codec: bool = True
    clones: Mapping[str, Voice] = field(default_factory=dict)

    def alike(self, samples: Samples) -> dict[str, float]:
        """To each voice, where that is measured."""
        return self.likeness(samples, RATE) if self.likeness else {}


@dataclass(frozen=True)
class _Take:
    samples: Samples
    finish: str
    compute: float

    def ending(self) -> dict[str, Any]:
        """What a row says of it."""
        tail = trailing_silence(self.samples, RATE)
        return {"finish": self.finish, "compute": self.compute, "tail": tail}


def teacher(text: str, voice: str) -> Samples:
    """The synthesiser the voice was learned from, as in the corpus: [S]. Raises TextError."""
    try:
        return speak(text, TEACHERS[voice]).samples
    except (ValueError, subprocess.CalledProcessError):
        raise TextError(f"flite finds nothing to say in '{text}'; take the sentence out.") from None


def likeness(voices: Sequence[str], avoid: set[str]) -> Likeness:
    """To the teachers of these voices, saying none of the sentences in `avoid`."""
    others = [text for text in OTHER_SENTENCES if text not in avoid]
    return Likeness({voice: [teacher(text, voice) for text in others] for voice in voices}, RATE)


def clones(higgs: Higgs, names: Sequence[str]) -> dict[str, Voice]:
    """The shipped voices as a user makes them, from their clips. Raises VoiceError without one."""
    return {name: _clone(higgs, name) for name in names}


def _clone(higgs: Higgs, name: str) -> Voice:
    sound = higgs.voices.find(name).sound
    if sound is None:
        raise VoiceError(f"The voice '{name}' has no clip; leave clones out with --skip clone.")
    return higgs.clone(sound, higgs.voices.load(name).transcript, name)


def warm_up(higgs: Higgs, voices: Sequence[str]) -> None:
    """Once by every voice, so that no take pays for what is loaded on first use."""
    for voice in voices:
        with suppress(GenerationError):
            higgs.speak("Good morning.", voice, Sampling(seed=0))


def rows(tasks: Sequence[Task], higgs: Higgs | None, judges: Judges) -> Iterator[Row]:
    """The tasks done: first every sound is made, nothing beside it, then all are heard at once."""
    takes = [_take(higgs, task, task.voice) if higgs else None for task in tasks]
    sounds: list[dict[str, Samples]] = []
    for task, take in zip(tasks, takes, strict=True):
        made = {"take": take.samples} if take else {}
        if task.cloned and higgs:
            made["clone"] = _take(higgs, task, judges.clones[task.voice]).samples
        if judges.teach:
            made["teacher"] = judges.teach(task.spoken, task.voice)
        if judges.codec and higgs and "teacher" in made:
            made["codec"] = higgs.decode(higgs.encode(made["teacher"]))
        sounds.append(made)
    heard = iter(judges.hear([sound for made in sounds for sound in made.values()], RATE))
    for task, take, made in zip(tasks, takes, sounds, strict=True):
        clips = {
            kind: Clip(len(sound) / RATE, next(heard), judges.alike(sound))
            for kind, sound in made.items()
        }
        row = Row(task.text, task.spoken, task.voice, task.seed, clips)
        yield row if take is None else replace(row, **take.ending())


def _take(higgs: Higgs, task: Task, voice: str | Voice) -> _Take:
    """With the shipped default sampling; an answer without sound is a take too, an empty one."""
    begin = time.perf_counter()
    try:
        speech = higgs.speak(task.text, voice, Sampling(seed=task.seed))
    except GenerationError:
        return _Take(np.zeros(0, np.float32), "no_audio", time.perf_counter() - begin)
    return _Take(speech.samples, speech.finish.value, time.perf_counter() - begin)
