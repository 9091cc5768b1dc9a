"""Listeners of this project's engine: each in a thread of its own, hearing samples as they come.

They are served as `Higgs` serves them: the engine writes in its own thread, and one decoder decodes
for all who wait. Knows nothing of what is asked for, nor of what the figures should be.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, NamedTuple

import torch
from torch import nn

from benchmarks.contestants import planned
from benchmarks.weights import codec_folder
from faster_higgs.checkpoint.codec_files import load_codec
from faster_higgs.checkpoint.fit import loading
from faster_higgs.checkpoint.load import load_model
from faster_higgs.codec.stream import SharedDecoder
from faster_higgs.config import PAGE, EngineConfig
from faster_higgs.engine.engine import Engine
from faster_higgs.engine.kv_cache import pages_for
from faster_higgs.engine.worker import Worker
from faster_higgs.errors import EngineError
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.prompt.template import Prompt
from faster_higgs.sampling import Sampling

EDGES = 2 * PAGE  # positions of a clip's first and last columns, and of a page that is not full
WARM_UPS = 2  # a tensor that grows in the first makes the engine record its steps anew
# Random weights might end a clip anywhere, or go in circles. It is the same work as ever.
ENDLESS: dict[str, Any] = {"temperature": 1.0, "top_k": 8, "ras_repeats": 0}


class Heard(NamedTuple):
    """What one listener got; times are those of `time.perf_counter`."""

    asked: float
    pieces: tuple[tuple[float, int], ...]  # when they were there, and how many samples

    @property
    def first(self) -> float:
        """Seconds from asking to the first samples."""
        return self.pieces[0][0] - self.asked

    @property
    def end(self) -> float:
        """When all was there."""
        return self.pieces[-1][0]

    @property
    def samples(self) -> int:
        """All of them."""
        return sum(count for _, count in self.pieces)

    def underrun(self, rate: int) -> float:
        """Seconds in all that a player stood still which began with the first samples."""
        begin, known, most = self.pieces[0][0], 0, 0.0
        for when, count in self.pieces:
            most = max(most, when - (begin + known / rate))
            known += count
        return most


class Service:
    """The engine and the codec on one device. Raises SettingError where there is no room."""

    def __init__(self, settings: Any, engine: EngineConfig) -> None:
        plan = planned(settings, engine)
        self.config, model = load_model(settings.model, text_head=False, **loading(plan))
        endless(model)
        folder = codec_folder(settings.folder, tiny=settings.tiny)
        codec = load_codec(folder, device=plan.device, encoder=False)
        self.rate, self.hop = codec.sample_rate, codec.hop
        self._decoder, self._worker = SharedDecoder(codec), Worker(Engine(model, plan.engine))

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.close()

    def gather(
        self, prompts: Sequence[Prompt], frames: int, arrivals: Sequence[float] | None = None
    ) -> list[Heard]:
        """What listeners hear who come so many seconds from now; without `arrivals`, at once.

        Raises EngineError for a clip that has not so many frames.
        """
        begin = time.perf_counter()

        def listen(prompt: Prompt, delay: float) -> Heard:
            time.sleep(max(0.0, begin + delay - time.perf_counter()))
            return self._listen(prompt, frames)

        with ThreadPoolExecutor(len(prompts)) as pool:
            try:
                heard = list(pool.map(listen, prompts, arrivals or [0.0] * len(prompts)))
            except torch.OutOfMemoryError as error:
                raise EngineError(
                    f"The card's memory was full with {len(prompts)} streams; ask for fewer."
                ) from error
        if wrong := [one for one in heard if one.samples != frames * self.hop]:
            raise EngineError(
                f"{len(wrong)} of {len(heard)} clips have not the {frames} frames that were asked "
                f"for, the first of them {wrong[0].samples / self.hop:g}."
            )
        return heard

    def _listen(self, prompt: Prompt, frames: int) -> Heard:
        """As `Higgs` goes from frames to samples."""
        limit = frames + self.config.num_codebooks + 1  # columns of a clip that is cut
        sampling = Sampling(**ENDLESS, seed=0, max_new_tokens=limit)
        asked, pieces = time.perf_counter(), list[tuple[float, int]]()
        with (
            closing(self._worker.frames(prompt, sampling)) as events,
            closing(self._decoder.stream()) as stream,
        ):
            for event in events:
                for samples in stream.decode(event.frames, last=event.result is not None):
                    pieces.append((time.perf_counter(), len(samples)))
        return Heard(asked, tuple(pieces))


def endless(model: DualFFN) -> None:
    """Let no clip end before its limit: the score of the end is none of the best few."""
    weight = model.audio_head.weight.detach().clone()  # not the file's own, which may be mapped
    weight[model.config.audio_stream_eos_id] = 0  # of the first codebook, which ends a clip
    model.audio_head.weight = nn.Parameter(weight, requires_grad=False)


def engine_for(streams: int, positions: int, shared: int = 0) -> EngineConfig:
    """An engine of so many streams at once, of so many positions each beside those they share."""
    pages = streams * pages_for(positions + EDGES) + pages_for(shared)
    waiting = max(streams, EngineConfig().max_waiting)
    return EngineConfig(slots=streams, positions=pages * PAGE, max_waiting=waiting)


def percentile(values: Sequence[float], percent: float) -> float:
    """The least of the values that so many percent of them do not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]
