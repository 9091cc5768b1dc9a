"""On a GPU: recorded steps write what plain ones write, and memory is given back."""

from __future__ import annotations

import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from faster_higgs.codec.codec import Codec
from faster_higgs.engine.engine import Engine
from faster_higgs.engine.graphs import bucket
from faster_higgs.engine.request import Request
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.prompt.expand import expand
from faster_higgs.prompt.template import Prompt
from faster_higgs.sampling import Sampling
from faster_higgs.testing import CODEBOOKS, TINY_CODEC
from tests.engine.conftest import CONFIG
from tests.laws.test_batching import answers, requests, same

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture
def on_gpu() -> DualFFN:
    network = DualFFN(CONFIG)
    network.initialize(torch.Generator().manual_seed(3), std=0.3)
    return network.eval().cuda()


@pytest.mark.gpu
@needs_gpu
def test_recorded_steps_write_what_plain_ones_write(on_gpu: DualFFN) -> None:
    told = []
    for recorded in (True, False):
        engine = Engine(on_gpu)
        if not recorded:
            engine._runner._graphs = None
        numbers = [engine.add(*one) for one in requests()]
        done = answers(engine)
        told.append([done[number] for number in numbers])
    assert all(same(*pair) for pair in zip(*told, strict=True))


@pytest.mark.gpu
@needs_gpu
def test_an_engine_gives_its_memory_back(on_gpu: DualFFN) -> None:
    def used() -> int:
        gc.collect()
        torch.cuda.empty_cache()
        return torch.cuda.memory_reserved()

    before = used()
    for _ in range(50):
        engine = Engine(on_gpu)
        engine.add(*requests()[0])
        answers(engine)
        del engine
    assert used() - before < 50e6


@pytest.mark.gpu
@needs_gpu
def test_rows_that_fill_a_batch_up_do_so_for_as_long_as_they_must(on_gpu: DualFFN) -> None:
    """Nobody's row takes part in every step of three requests, and no page is ever given to it."""
    engine, frames = Engine(on_gpu), 0
    for turn in range(8):
        for seed in range(3):
            lively = Sampling(temperature=1.0, seed=10 * turn + seed, max_new_tokens=100)
            engine.add(Prompt((2, 3, 4, 60), ()), lively)
        frames += sum(one.shape[1] for one, _ in answers(engine).values())
    assert frames > 0


@pytest.mark.gpu
@needs_gpu
def test_steps_are_recorded_while_another_thread_decodes_sound(on_gpu: DualFFN) -> None:
    codec = Codec(TINY_CODEC, encoder=False).eval().cuda()
    over = threading.Event()

    def decode() -> int:
        frames = 1
        while not over.is_set():  # longer each time, so that memory is taken anew
            frames += len(codec.decode(torch.zeros(CODEBOOKS, frames, dtype=torch.long))) > 0
        return frames

    with ThreadPoolExecutor(1) as pool:
        decoded = pool.submit(decode)
        try:
            for _ in range(5):
                engine = Engine(on_gpu)
                for one in requests():
                    engine.add(*one)
                answers(engine)
        finally:
            over.set()
        assert decoded.result() > 1


@pytest.mark.gpu
@needs_gpu
def test_the_host_waits_for_nothing_while_it_begins_work(on_gpu: DualFFN) -> None:
    engine = Engine(on_gpu)
    runner, (prompt, sampling) = engine._runner, requests()[1]
    request = Request(1, prompt, expand(prompt, CONFIG), sampling, CONFIG, True, 40)
    pages = list(range(8))
    for once_more in (False, True):  # at first memory is taken, which may wait
        torch.cuda.set_sync_debug_mode("error" if once_more else "default")
        try:
            runner.prefill(request, pages, 0, len(prompt))
            request.open_segment()
            runner.slots.put(3, request, len(prompt), pages)
            runner.slots.add_page(3, pages)
            drawn = [runner.step([3], len(prompt) + count) for count in (1, 2)]
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert drawn[-1].read()[0].shape == (1, CONFIG.num_codebooks)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_a_second_card_writes_what_the_first_one_writes(on_gpu: DualFFN) -> None:
    told = []
    for name in ("cuda:0", "cuda:1"):
        engine = Engine(on_gpu.to(name))
        numbers = [engine.add(*one) for one in requests()]
        done = answers(engine)
        told.append([done[number] for number in numbers])
    assert all(same(*pair) for pair in zip(*told, strict=True))


def test_a_batch_is_filled_up_by_less_than_half() -> None:
    for count in range(1, 300):
        assert count <= bucket(count) < max(2 * count, 2)
    assert len({bucket(count) for count in range(1, 257)}) == 11
