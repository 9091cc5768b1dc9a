"""The engine in its thread: nobody waits for a step, nothing outlives its owner."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from faster_higgs.engine.engine import Engine
from faster_higgs.engine.request import FrameEvent
from faster_higgs.engine.runner import Runner
from faster_higgs.engine.worker import Worker
from faster_higgs.errors import Aborted, EngineError, SettingError
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.model.paged import PagedBatch
from faster_higgs.prompt.template import Prompt
from faster_higgs.sampling import Sampling
from tests.engine.test_limits import of_length, refuse_long

LIVELY = Sampling(temperature=1.0, top_k=0, top_p=1.0, seed=7, max_new_tokens=60)


class Slow(Engine):
    """Its first step goes on until it is let go."""

    def __init__(self, model: DualFFN) -> None:
        super().__init__(model)
        self.begun, self.let_go = threading.Event(), threading.Event()

    def step(self) -> list[FrameEvent]:
        self.begun.set()
        assert self.let_go.wait(20)
        return super().step()


def returns(call: Callable[[], object]) -> bool:
    """Whether a call comes back by itself."""
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(5)
    return not thread.is_alive()


def test_nobody_who_asks_or_leaves_waits_for_a_step(model: DualFFN, prompt: Prompt) -> None:
    engine = Slow(model)
    worker = Worker(engine)
    streams = [worker.frames(prompt, replace(LIVELY, seed=seed)) for seed in range(2)]
    seen: list[FrameEvent] = []
    asking = [threading.Thread(target=lambda s=s: seen.append(next(s))) for s in streams]
    asking[0].start()
    assert engine.begun.wait(5)
    try:
        asking[1].start()
        engine.let_go.set()
        for thread in asking:
            thread.join(10)
        engine.begun.clear()
        engine.let_go.clear()
        assert engine.begun.wait(5)
        assert all(returns(stream.close) for stream in streams)
    finally:
        engine.let_go.set()
    assert len(seen) == 2
    worker.close()


def test_a_request_that_cannot_be_served_harms_no_other(model: DualFFN, prompt: Prompt) -> None:
    worker = Worker(Engine(model))
    stream = worker.frames(prompt, LIVELY)
    first = next(stream)
    clip = torch.zeros(3, 5, dtype=torch.long)  # the model has four codebooks
    with pytest.raises(SettingError, match="codes have shape"):
        list(worker.frames(Prompt((2, 61, 60), (clip,)), LIVELY))
    with pytest.raises(SettingError, match="places for clips"):
        list(worker.frames(Prompt((2, 61, 60), ()), LIVELY))
    rest = list(stream)
    alone = list(worker.frames(prompt, LIVELY))
    worker.close()
    assert torch.equal(
        torch.cat([event.frames for event in (first, *rest)], dim=1),
        torch.cat([event.frames for event in alone], dim=1),
    )


class Permitted(Engine):
    """Makes a step when it may, and counts them."""

    def __init__(self, model: DualFFN) -> None:
        super().__init__(model)
        self.steps, self.permits = 0, threading.Semaphore(0)

    def step(self) -> list[FrameEvent]:
        self.permits.acquire()
        self.steps += 1
        return super().step()


def test_what_is_stopped_from_another_thread_ends_within_two_steps(
    model: DualFFN, prompt: Prompt
) -> None:
    engine, stops = Permitted(model), list[Callable[[], None]]()
    worker = Worker(engine)
    stream = worker.frames(prompt, LIVELY, on_stop=stops.append)
    engine.permits.release(20)
    next(stream)
    while engine.steps < 20:
        time.sleep(0.001)
    stops[0]()
    engine.permits.release(100)
    with pytest.raises(Aborted):
        list(stream)
    while not engine.idle:
        time.sleep(0.001)
    assert engine.steps <= 22
    worker.close()


def test_closing_ends_what_is_in_flight_with_an_error(model: DualFFN, prompt: Prompt) -> None:
    worker = Worker(engine := Slow(model))
    engine.let_go.set()
    stream = worker.frames(prompt, replace(LIVELY, rules="transformers", max_new_tokens=100_000))
    next(stream)
    engine.let_go.clear()  # a random model may end soon
    closing = threading.Timer(0.1, engine.let_go.set)
    closing.start()
    worker.close()
    worker.close()
    with pytest.raises(EngineError, match="unloaded while"):
        list(stream)


def test_a_worker_that_nobody_holds_lets_go_of_the_model(model: DualFFN, prompt: Prompt) -> None:
    engine = Engine(model)
    worker = Worker(engine)
    list(worker.frames(prompt, LIVELY))
    thread, forgotten = worker.thread, weakref.ref(engine)
    del engine, worker
    gc.collect()
    assert thread is not None
    thread.join(5)
    assert not thread.is_alive()
    gc.collect()
    assert forgotten() is None


FULL = [
    torch.OutOfMemoryError("tried to allocate 20 GiB"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
]


@pytest.mark.parametrize("error", FULL)
def test_a_full_memory_is_told_in_a_sentence_and_given_back(
    model: DualFFN, prompt: Prompt, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    taken = []

    def scores(runner: Runner, columns: Tensor, cache: PagedBatch) -> Tensor:
        taken.append(weakref.ref(cache))
        raise error

    monkeypatch.setattr(Runner, "_scores", scores)
    worker = Worker(Engine(model))
    with pytest.raises(EngineError, match="ran out of memory") as told:
        list(worker.frames(prompt, LIVELY))
    worker.close()
    assert told.value.__cause__ is error
    gc.collect()
    assert [cache() for cache in taken] == [None]


class Gathering(Engine):
    """Begins when two requests are there."""

    def __init__(self, model: DualFFN) -> None:
        super().__init__(model)
        self.first, self.second = threading.Event(), threading.Event()

    def add(
        self, prompt: Prompt, sampling: Sampling, stop_ids: Iterable[int] = (), **more: Any
    ) -> int:
        number = super().add(prompt, sampling, stop_ids, **more)
        (self.second if self.first.is_set() else self.first).set()
        return number

    def step(self) -> list[FrameEvent]:
        return super().step() if self.second.is_set() else []


def test_a_prompt_that_does_not_fit_the_memory_harms_nobody_who_waits(
    model: DualFFN, prompt: Prompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_long(monkeypatch, 50)
    engine = Gathering(model)
    worker = Worker(engine)
    faults: list[EngineError] = []

    def ask_too_much() -> None:
        with pytest.raises(EngineError) as told:
            list(worker.frames(of_length(100), LIVELY))
        faults.append(told.value)

    thread = threading.Thread(target=ask_too_much)
    thread.start()
    assert engine.first.wait(5)
    events = list(worker.frames(prompt, LIVELY))
    thread.join(5)
    worker.close()
    assert events[-1].result is not None
    assert "memory" in str(faults[0])
