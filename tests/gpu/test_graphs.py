"""On a GPU: recorded steps write what plain ones write, and memory is given back."""

from __future__ import annotations

import gc

import pytest
import torch

from faster_higgs.engine.engine import Engine
from faster_higgs.engine.graphs import bucket
from faster_higgs.model.dual_ffn import DualFFN
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


def test_a_batch_is_filled_up_by_less_than_half() -> None:
    for count in range(1, 300):
        assert count <= bucket(count) < max(2 * count, 2)
    assert len({bucket(count) for count in range(1, 257)}) == 11
