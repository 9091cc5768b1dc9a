"""Milliseconds of the host in one step of many requests, where model and codec cost nothing.

    python benchmarks/host_cost.py --json benchmarks/results/host_cost.json

benchmarks/README.md tells what is measured.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from torch import Tensor

from benchmarks.listeners import EDGES, engine_for
from benchmarks.report import carry_out, limit
from faster_higgs.codec.stream import SharedDecoder, StreamDecoder
from faster_higgs.config import PAGE
from faster_higgs.engine.engine import Engine
from faster_higgs.engine.request import FrameEvent
from faster_higgs.engine.runner import Drawn, Runner
from faster_higgs.engine.worker import Worker
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.prompt.template import Prompt
from faster_higgs.sampling import Sampling
from faster_higgs.testing import FakeCodec, tiny_config

MOST = 10  # milliseconds; 256 streams could then make 1,000 seconds of sound a second
JUDGED = 256  # requests at once
STEP, DECODING = 0.02, 0.005  # seconds of a device that the host waits for
WARM = 40  # steps until every request is in the midst of its blocks
CONFIG = tiny_config()


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flag = parser.add_argument
    flag("--json", type=Path, help="where the result is written")
    flag("--requests", type=int, nargs="+", help="at once; default: 1 16 64 256, with --tiny 1 4")
    flag("--rounds", type=int, default=3, help="of each number; default: %(default)s")
    flag("--tiny", action="store_true", help="few requests and steps, to try")
    return carry_out(lambda: parser.parse_args(arguments), measured, rows)


def measured(settings: argparse.Namespace) -> dict[str, Any]:
    """The figures of so many requests as were asked for."""
    requests = settings.requests or ([1, 4] if settings.tiny else [1, 16, 64, JUDGED])
    return measure(requests, 10 if settings.tiny else 150, settings.rounds)


def measure(requests: Sequence[int], steps: int, rounds: int) -> dict[str, Any]:
    """One number of requests after the other; the medians."""
    found = {str(n): point([once(n, steps) for _ in range(rounds)]) for n in requests}
    return {"steps": steps, "must": MOST, "requests": found}


def point(rounds: Sequence[tuple[float, float, float]]) -> dict[str, Any]:
    """Medians: the engine, the decoder, and all that is done where listeners are threads."""
    engine, decoder, threads = (statistics.median(part) for part in zip(*rounds, strict=True))
    return {"engine_ms": engine, "decoder_ms": decoder, "threads_ms": threads, "rounds": rounds}


def once(requests: int, steps: int) -> tuple[float, float, float]:
    """Milliseconds a step that a processor worked, not those it waited."""
    engine, decoder = in_turns(requests, steps)
    return 1000 * engine / steps, 1000 * decoder / steps, 1000 * in_threads(requests, steps) / steps


def in_turns(requests: int, steps: int) -> tuple[float, float]:
    """Seconds of the engine and of the decoder, both in this thread."""
    now = 0.0  # as if a step took its time; what is decoded depends on it
    engine, decoder = _Engine(requests, steps), StreamDecoder(_Codec(), clock=lambda: now)
    for _ in range(requests):
        engine.add(*asked(steps))
    spent = [0.0, 0.0]
    for step in range(WARM + steps):
        begin = time.thread_time()
        events = engine.step()
        between = time.thread_time()
        for event in events:
            decoder.push(event.request, event.frames, last=event.result is not None)
            list(decoder.pull())
        now += STEP
        if step >= WARM:
            spent = [spent[0] + between - begin, spent[1] + time.thread_time() - between]
    return spent[0], spent[1]


def in_threads(requests: int, steps: int) -> float:
    """Seconds of all threads, one of them for each listener, as `Higgs` has them."""
    engine, decoder = _Engine(requests, steps, STEP), SharedDecoder(_Codec(DECODING))
    worker = Worker(engine)

    def listen(_: int) -> None:
        with closing(worker.frames(*asked(steps))) as events, closing(decoder.stream()) as stream:
            for event in events:
                stream.decode(event.frames, last=event.result is not None)

    with ThreadPoolExecutor(requests) as pool:
        list(pool.map(listen, range(requests)))
    worker.close()
    return engine.spent


def asked(steps: int) -> tuple[Prompt, Sampling]:
    """A short prompt and a clip that lasts longer than what is measured."""
    prompt = Prompt((0, CONFIG.audio_out_bos_token_id), ())
    return prompt, Sampling(max_new_tokens=WARM + steps + EDGES - PAGE)


class _Engine(Engine):
    """Its columns were drawn before, and prompts are read in no time."""

    def __init__(self, requests: int, steps: int, seconds: float = 0.0) -> None:
        config = engine_for(requests, WARM + steps + EDGES)
        model = DualFFN(CONFIG, text_head=False)
        super().__init__(model, config, behind=True)
        self._runner = _Runner(model, config.positions // PAGE, requests)
        self._pause, self._through = seconds, 0.0
        self._stamps = list[float]()
        self._end = WARM + steps

    @property
    def spent(self) -> float:
        """Seconds of all threads in the steps that are measured."""
        return self._stamps[self._end] - self._stamps[WARM]

    def step(self) -> list[FrameEvent]:
        """As ever, when the device is through with the one before."""
        self._stamps.append(time.process_time())
        time.sleep(max(0.0, self._through - time.perf_counter()))
        self._through = time.perf_counter() + self._pause
        return super().step()


class _Runner(Runner):
    """Draws nothing."""

    def prefill(self, *_: Any) -> None:
        """Nothing is read."""

    def step(self, slots: Sequence[int], reach: int) -> Drawn:
        """Some codes, of clips that go on."""
        columns = torch.randint(CONFIG.num_codes, (len(slots), CONFIG.num_codebooks))
        going_on = torch.zeros(len(slots), dtype=torch.long)
        return Drawn(columns, going_on - 1, going_on)


class _Codec(FakeCodec):
    """Silent, and as far-sighted as the published one."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self._seconds = seconds

    @property
    def context(self) -> int:
        """Frames to each side."""
        return 10

    def decode(self, codes: Tensor) -> Tensor:
        """Silence [B, S]."""
        time.sleep(self._seconds)
        return torch.zeros(()).expand(codes.shape[0], codes.shape[-1] * self.hop)


def rows(result: dict[str, Any]) -> list[tuple[object, ...]]:
    """The table."""
    parts = ("engine_ms", "decoder_ms", "threads_ms")
    return [("requests", "engine, ms", "decoder, ms", "in threads, ms", "")] + [
        (n, *(one[part] for part in parts), verdict(int(n), one["threads_ms"]))
        for n, one in result["requests"].items()
    ]


def verdict(requests: int, spent: float) -> str:
    """What is printed beside what has to stay small."""
    return limit(spent, MOST) if requests == JUDGED else ""


if __name__ == "__main__":
    sys.exit(main())
