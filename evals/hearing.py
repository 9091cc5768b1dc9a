"""The ear of the evaluations: speech to words, and how many are wrong. Does not know who spoke."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from multiprocessing import get_context

import numpy as np
import soxr
from numpy.typing import NDArray

Samples = NDArray[np.float32]

RATE = 16_000
PEAK = 0.7
PAD = 0.2  # seconds of silence on each side
NOISE = 1e-4  # standard deviation; digital silence confuses the recogniser
ROUNDS = 1000  # of the bootstrap

# Two spellings of one sound become one, in what was said and in what was heard alike.
SPELLINGS = {"mr": "mister", "mrs": "missus", "dr": "doctor", "ok": "okay", "gray": "grey"}


class Ear:
    """pocketsphinx as it comes: its own acoustic model, dictionary and language model.

    What it hears in a clip does not depend on the clips before.
    """

    def __init__(self) -> None:
        from pocketsphinx import Decoder

        self._decoder = Decoder(loglevel="FATAL")

    def __call__(self, samples: Samples, rate: int) -> str:
        """The words, as the recogniser writes them; nothing when it hears none."""
        self._decoder.start_utt()
        self._decoder.process_raw(for_the_ear(samples, rate), full_utt=True)
        self._decoder.end_utt()
        found = self._decoder.hyp()
        return found.hypstr if found else ""


class Ears:
    """Several of them, each in a process of its own. With 0 workers it is one, in this process."""

    def __init__(self, workers: int) -> None:
        spawn = get_context("spawn")  # torch's threads do not survive a fork
        self._pool = (
            ProcessPoolExecutor(workers, spawn, _leave_interrupts_to_the_caller)
            if workers
            else None
        )

    def __enter__(self) -> Ears:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def __call__(self, clips: Sequence[Samples], rate: int) -> list[str]:
        """What is heard in each clip, in order."""
        listen = map if self._pool is None else self._pool.map
        return list(listen(_hear, clips, [rate] * len(clips)))


def _leave_interrupts_to_the_caller() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@cache
def _ear() -> Ear:
    return Ear()


def _hear(samples: Samples, rate: int) -> str:
    return _ear()(samples, rate)


def for_the_ear(samples: Samples, rate: int) -> bytes:
    """16-bit samples at 16 kHz; level, silence around and a little noise alike for every clip."""
    sound = soxr.resample(samples if samples.size else np.zeros(rate), rate, RATE)
    sound = np.pad(sound * (PEAK / max(1e-6, float(np.abs(sound).max()))), round(PAD * RATE))
    sound = sound + np.random.default_rng(0).normal(0.0, NOISE, len(sound))
    return (sound.clip(-1, 1) * 32767).astype("<i2").tobytes()


def plain(text: str) -> str:
    """The form in which texts are compared: lower case, letters and apostrophes only.

    The recogniser writes "p.m." and "nasa" where a text has "P M" and "N A S A", so letters in a
    row are one word.
    """
    lower = text.lower().replace("’", "'").replace("e-mail", "email").replace(".'", "'")
    words = (word.strip("'") for word in re.sub(r"[^a-z']", " ", lower).split())
    return " ".join(SPELLINGS.get(word, word) for word in _joined(words))


def _joined(words: Iterator[str]) -> Iterator[str]:
    for single, run in groupby(filter(None, words), key=lambda word: len(word) == 1):
        found = list(run)
        yield from ["".join(found)] if single and not {"a", "i"}.issuperset(found) else found


@dataclass(frozen=True)
class Score:
    """Errors in percent, of all sentences together. `low` to `high` is where the word errors would
    lie with 95 % of other draws of sentences."""

    wer: float
    cer: float
    low: float
    high: float


def score(said: Sequence[str], heard: Sequence[str]) -> Score:
    """How much of what was said is heard otherwise, both in the form of `plain`."""
    import jiwer

    cer = jiwer.process_characters(list(said), list(heard)).cer
    each = [jiwer.process_words(s, h) for s, h in zip(said, heard, strict=True)]
    wrong = np.array([one.substitutions + one.deletions + one.insertions for one in each])
    words = np.array([len(s.split()) for s in said])
    drawn = np.random.default_rng(0).integers(len(words), size=(ROUNDS, len(words)))
    low, high = np.percentile(wrong[drawn].sum(1) / words[drawn].sum(1), [2.5, 97.5])
    return Score(*(round(100 * float(v), 2) for v in (wrong.sum() / words.sum(), cer, low, high)))
