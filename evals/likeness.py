"""Whose voice is it: how alike a clip is to each voice's own clips. Knows nothing of words."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import soxr
from numpy.typing import NDArray

Samples = NDArray[np.float32]
Voices = Mapping[str, Sequence[Samples]]  # clips of each
Embed = Callable[[Samples, int], NDArray[np.float32] | None]

RATE = 16_000

# What the voices say for their centroids: none of it is in a test or in the corpus.
OTHER_SENTENCES = """The parking lot behind the cinema is always full on weekends.
Nobody wanted to sit in the front row, so we did.
My grandfather still keeps his tools in a wooden box.
Would it help if we started an hour earlier?
A thin layer of dust covered every shelf in the attic.
They argued about the map until it was too dark to read it.
Please remind me to water the plants before we go.
The sailors tied the boat to the pier and climbed ashore.
It sounds simple, but hardly anyone finishes the puzzle.
Her suitcase was so heavy that two people had to lift it.
We drove through three small towns without seeing anyone.
Which song did they play at the very end of the evening?
The painter mixed a little white into the dark green.
If the weather holds, the harvest should be done by Friday.""".splitlines()


class Likeness:
    """Cosines of a clip to the mean of each voice's clips."""

    def __init__(self, voices: Voices, rate: int, embed: Embed | None = None) -> None:
        self._embed = embed or resemblyzer()
        self._centroids = {name: self._centre(clips, rate) for name, clips in voices.items()}

    def __call__(self, samples: Samples, rate: int) -> dict[str, float]:
        """By voice; empty for a clip without sound."""
        found = self._embed(samples, rate)
        if found is None:
            return {}
        return {name: round(float(found @ centre), 4) for name, centre in self._centroids.items()}

    def _centre(self, clips: Sequence[Samples], rate: int) -> NDArray[np.float32]:
        found = [one for one in (self._embed(clip, rate) for clip in clips) if one is not None]
        centre = np.mean(found, axis=0)
        return np.asarray(centre / np.linalg.norm(centre), np.float32)


def resemblyzer() -> Embed:
    """Embeddings of length 1 by resemblyzer's own network."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its voice detector imports pkg_resources
        from resemblyzer import VoiceEncoder, preprocess_wav
    encoder = VoiceEncoder("cpu", verbose=False)

    def embed(samples: Samples, rate: int) -> NDArray[np.float32] | None:
        if not samples.size or not np.abs(samples).max() > 1e-4:
            return None
        sound = soxr.resample(samples, rate, RATE)
        voiced = preprocess_wav(sound)  # cuts silence, of a very short clip perhaps everything
        return np.asarray(encoder.embed_utterance(voiced if voiced.size else sound), np.float32)

    return embed
