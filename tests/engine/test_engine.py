"""Requests in, frames out: what callers may rely on, whoever else is served."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch import Tensor

from faster_higgs.config import EngineConfig
from faster_higgs.delay import Columns, unwrap
from faster_higgs.engine.engine import Engine
from faster_higgs.engine.guard import LONGEST_PERIOD, PATIENCE, goes_in_circles
from faster_higgs.engine.request import Finish, FrameEvent, Result
from faster_higgs.engine.worker import Worker
from faster_higgs.errors import EngineError, SettingError
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.prompt.template import Prompt
from faster_higgs.sampling import Rules, Sampling
from tests.engine.conftest import CONFIG
from tests.engine.held import Held

LIVELY = Sampling(temperature=1.0, top_k=0, top_p=1.0, seed=7, max_new_tokens=60)


def run(engine: Engine) -> dict[int, tuple[Tensor, Result]]:
    """All requests to their end: frames and result of each."""
    frames: dict[int, list[Tensor]] = {}
    results: dict[int, Result] = {}
    while not engine.idle:
        for event in engine.step():
            frames.setdefault(event.request, []).append(event.frames)
            if event.result is not None:
                results[event.request] = event.result
    return {n: (torch.cat(frames[n], dim=1), results[n]) for n in results}


def spoken(model: DualFFN, prompt: Prompt, sampling: Sampling) -> tuple[Tensor, Result]:
    engine = Engine(model)
    number = engine.add(prompt, sampling)
    return run(engine)[number]


def test_released_frames_are_the_whole_clip_realigned(model: DualFFN, prompt: Prompt) -> None:
    for seed in range(12):
        frames, result = spoken(model, prompt, replace(LIVELY, seed=seed))
        whole = unwrap(result.segments[0])[:, : frames.shape[1]]
        assert torch.equal(frames, whole)


def test_guarded_speech_holds_codes_only(model: DualFFN, prompt: Prompt) -> None:
    for seed in range(12):
        frames, result = spoken(model, prompt, replace(LIVELY, seed=seed))
        assert frames.shape[1] >= 1
        assert int(frames.max()) < model.config.num_codes
        assert result.finish in (Finish.STOP, Finish.LENGTH)


def test_a_request_cut_by_the_limit_says_so_and_ends_in_whole_frames(
    model: DualFFN, prompt: Prompt
) -> None:
    for limit in (12, 13, 20):
        frames, result = spoken(model, prompt, replace(LIVELY, max_new_tokens=limit, seed=1))
        if result.finish is Finish.LENGTH:
            books = model.config.num_codebooks
            assert result.segments[0].shape[1] <= limit
            assert frames.shape[1] == result.segments[0].shape[1] - books - 1
            break
    else:
        pytest.fail("no limit cut the speech")


def test_the_books_tell_what_was_done(model: DualFFN, prompt: Prompt) -> None:
    engine = Engine(model)
    assert engine.stats().steps == engine.stats().mean_batch == 0
    for seed in (1, 2):
        engine.add(prompt, replace(LIVELY, seed=seed))
    assert engine.stats().waiting == 2
    engine.step()
    assert engine.stats().running >= 1 and engine.stats().pages_used > 0
    frames = run(engine)
    told = engine.stats()
    assert (told.running, told.waiting, told.pages_used, told.admitted) == (0, 0, 0, 2)
    assert told.columns >= sum(one.shape[1] for one, _ in frames.values())
    assert told.step_seconds > 0 and 1 < told.mean_batch <= 2


def test_neighbours_do_not_change_a_request(model: DualFFN, prompt: Prompt) -> None:
    alone, _ = spoken(model, prompt, LIVELY)
    engine = Engine(model)
    engine.add(prompt, replace(LIVELY, seed=99))
    middle = engine.add(prompt, LIVELY)
    engine.add(Prompt((5, 60), ()), LIVELY)
    assert torch.equal(run(engine)[middle][0], alone)


def test_a_seed_makes_speech_again_and_another_does_not(model: DualFFN, prompt: Prompt) -> None:
    first, _ = spoken(model, prompt, LIVELY)
    again, _ = spoken(model, prompt, LIVELY)
    other, _ = spoken(model, prompt, replace(LIVELY, seed=8))
    assert torch.equal(first, again)
    assert first.shape != other.shape or not torch.equal(first, other)


def test_a_missing_seed_is_reported_and_makes_the_same_speech(
    model: DualFFN, prompt: Prompt
) -> None:
    frames, result = spoken(model, prompt, replace(LIVELY, seed=None))
    again, _ = spoken(model, prompt, replace(LIVELY, seed=result.seed))
    assert torch.equal(frames, again)


def test_an_aborted_request_ends_with_the_next_step(model: DualFFN, prompt: Prompt) -> None:
    engine = Engine(model)
    number, other = engine.add(prompt, LIVELY), engine.add(prompt, LIVELY)
    engine.step()
    engine.abort(number)
    results = run(engine)
    assert results[number][1].finish is Finish.ABORTED
    assert results[other][1].finish is not Finish.ABORTED


def test_a_prompt_longer_than_the_model_is_refused(model: DualFFN) -> None:
    with pytest.raises(SettingError, match="600 of the model's 512 positions") as told:
        Engine(model).add(Prompt((2,) * 600, ()), LIVELY)
    assert "--context" not in str(told.value)


def test_a_prompt_longer_than_a_small_cache_is_refused_with_what_would_help(model: DualFFN) -> None:
    small = Engine(model, EngineConfig(positions=64))
    with pytest.raises(SettingError, match=r"63 of the cache's 64 positions.*with --context"):
        small.add(Prompt((2,) * 63, ()), LIVELY)


def test_text_without_a_text_head_is_refused_in_a_sentence(prompt: Prompt) -> None:
    deaf = DualFFN(CONFIG, text_head=False)
    deaf.initialize(torch.Generator().manual_seed(0))
    with pytest.raises(SettingError, match="text head"):
        Engine(deaf).add(Prompt((2, 3), ()), LIVELY)


def test_without_a_text_head_forced_speech_ends_with_its_clip(prompt: Prompt) -> None:
    deaf = DualFFN(CONFIG, text_head=False)
    deaf.initialize(torch.Generator().manual_seed(3), std=0.3)
    for rules in get_args(Rules):
        frames, result = spoken(deaf.eval(), prompt, replace(LIVELY, rules=rules, seed=2))
        assert result.finish is Finish.STOP
        assert len(result.segments) == 1
        assert frames.shape[1]


def test_clips_that_do_not_fit_are_refused_when_they_are_handed_in(model: DualFFN) -> None:
    clip = torch.zeros(3, 5, dtype=torch.long)  # the model has four codebooks
    with pytest.raises(SettingError, match="codes have shape"):
        Engine(model).add(Prompt((2, 61, 60), (clip,)), LIVELY)
    with pytest.raises(SettingError, match="places for clips"):
        Engine(model).add(Prompt((2, 61, 60), ()), LIVELY)


def test_text_never_writes_into_a_slot_that_was_not_opened(model: DualFFN) -> None:
    for rules in ("guarded", "original"):
        for seed in range(8):
            sampling = replace(LIVELY, rules=rules, seed=seed, max_new_tokens=40)
            _, result = spoken(model, Prompt((2, 3), ()), sampling)
            opened = list(result.text_ids).count(CONFIG.audio_out_token_id)
            assert opened == len(result.segments)
            assert CONFIG.audio_in_token_id not in result.text_ids


def test_the_worker_gives_what_the_engine_gives(model: DualFFN, prompt: Prompt) -> None:
    alone, _ = spoken(model, prompt, LIVELY)
    worker = Worker(Engine(model))
    events = list(worker.frames(prompt, LIVELY))
    worker.close()
    assert torch.equal(torch.cat([event.frames for event in events], dim=1), alone)
    assert [event.result is None for event in events[:-1]] == [True] * (len(events) - 1)


def test_dropping_a_workers_iterator_frees_the_engine(
    model: DualFFN, prompt: Prompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, whole = spoken(model, prompt, LIVELY)
    assert whole.segments[0].shape[1] > 20  # so that it matters whether the rest is spoken
    held = Held(monkeypatch, most=10)
    worker = Worker(Engine(model))
    stream = worker.frames(prompt, LIVELY)
    next(stream)
    stream.close()
    held.go.set()
    rest = list(worker.frames(prompt, replace(LIVELY, seed=8)))
    worker.close()
    assert rest[-1].result is not None
    assert min(held.steps) == 1
    assert held.steps[1] <= 11


def test_a_broken_step_reaches_whoever_waits(model: DualFFN, prompt: Prompt) -> None:
    class Broken(Engine):
        def step(self) -> list[FrameEvent]:
            raise EngineError("out of memory")

    worker = Worker(Broken(model))
    with pytest.raises(EngineError, match="out of memory"):
        list(worker.frames(prompt, LIVELY))
    worker.close()


def test_a_closed_worker_refuses_work(model: DualFFN, prompt: Prompt) -> None:
    worker = Worker(Engine(model))
    worker.close()
    with pytest.raises(EngineError, match="unloaded"):
        list(worker.frames(prompt, LIVELY))


def columns(codes: list[int]) -> Columns:
    made = Columns(books=4)
    for code in codes:
        made.append(torch.tensor([code, code + 1, 0, 0]))
    return made


def test_circles_are_found_and_speech_is_not_taken_for_one() -> None:
    start = list(range(100, 100 + LONGEST_PERIOD))
    for period in (1, 3, LONGEST_PERIOD):
        loop = [i % period for i in range(PATIENCE + LONGEST_PERIOD + 5)]
        codes = start + loop
        ends = range(len(codes) - 4, len(codes) + 1)
        assert any(goes_in_circles(columns(codes[:n])) for n in ends)
    varied = [(i * i) % 97 for i in range(200)]
    assert not any(goes_in_circles(columns(varied[:n])) for n in range(200))


def test_a_model_in_a_type_without_kernels_speaks_too(prompt: Prompt) -> None:
    half = DualFFN(CONFIG)
    half.initialize(torch.Generator().manual_seed(3), std=0.3)
    assert spoken(half.half().eval(), prompt, LIVELY)[0].shape[1]
