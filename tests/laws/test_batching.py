"""A request's codes are its own: together = alone, interrupted = undisturbed, shared = afresh.

And recorded = plain; where there is no card, steps of the same sizes stand in for recorded ones.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from faster_higgs.config import PAGE, EngineConfig
from faster_higgs.delay import unwrap
from faster_higgs.engine.engine import Engine
from faster_higgs.engine.graphs import Graphs, Recorded, Size
from faster_higgs.engine.request import Finish, Request, RequestFailed, Result
from faster_higgs.engine.runner import Runner
from faster_higgs.engine.scheduler import BATCH, INTERACTIVE, Job, Scheduler, Step
from faster_higgs.errors import QueueFull, SettingError
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.model.paged import PagedBatch, gathered_attention
from faster_higgs.prompt.expand import expand
from faster_higgs.prompt.template import Prompt
from faster_higgs.sampling import Sampling
from tests.engine.conftest import CONFIG

LIVELY = Sampling(temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=40)
VOICE = Prompt((2, 3, 61, 59, 4, 60), (torch.arange(4 * 40).view(4, 40) % 16,))


@pytest.fixture(scope="module")
def model() -> DualFFN:
    network = DualFFN(CONFIG)
    network.initialize(torch.Generator().manual_seed(3), std=0.3)
    return network.eval()


def requests() -> list[tuple[Prompt, Sampling]]:
    """Prompts with and without clips, speech and text, every rule and many settings."""
    prompts = [Prompt((2, 3, 4, 60), ()), VOICE, Prompt((2, 3), ()), Prompt((7,) * 50 + (60,), ())]
    changes: list[dict[str, Any]] = [
        {},
        {"temperature": 0.3, "top_k": 5},
        {"temperature": 0.0, "ras_window": 0},
        {"top_p": 0.8, "min_p": 0.05, "ras_window": 3, "ras_repeats": 1},
        {"rules": "original", "max_new_tokens": 60},
        {"rules": "transformers", "max_new_tokens": 25},
        {"ras_window": 100, "ras_repeats": 1, "max_new_tokens": 60},
    ]
    return [
        (prompts[i % len(prompts)], replace(LIVELY, seed=i, **changes[i % len(changes)]))
        for i in range(16)
    ]


def answers(engine: Engine, most: int = 5000) -> dict[int, tuple[Tensor, Result]]:
    """Every request to its end; each is answered once, and all pages are free then."""
    frames: dict[int, list[Tensor]] = {}
    results: dict[int, Result] = {}
    for _ in range(most):
        if engine.idle:
            break
        for event in engine.step():
            assert event.request not in results, "news of a request that is over"
            frames.setdefault(event.request, []).append(event.frames)
            if event.result is not None:
                results[event.request] = event.result
    assert engine.idle
    return {n: (torch.cat(frames[n], dim=1), results[n]) for n in results}


def alone(model: DualFFN, asked: list[tuple[Prompt, Sampling]]) -> list[tuple[Tensor, Result]]:
    out = []
    for prompt, sampling in asked:
        engine = Engine(model)
        number = engine.add(prompt, sampling)
        out.append(answers(engine)[number])
    return out


def same(one: tuple[Tensor, Result], two: tuple[Tensor, Result]) -> bool:
    return (
        torch.equal(one[0], two[0])
        and one[1].finish is two[1].finish
        and one[1].text_ids == two[1].text_ids
        and all(map(torch.equal, one[1].segments, two[1].segments))
    )


CONFIGS = {
    "all at once": EngineConfig(slots=16),
    "three at a time": EngineConfig(slots=3),
    "prompts in small pieces": EngineConfig(slots=16, chunk=7),
    "too few pages": EngineConfig(slots=16, positions=8 * PAGE, chunk=24),
}


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("name", CONFIGS)
def test_together_is_alone(model: DualFFN, name: str, behind: bool) -> None:
    """Also when a step begins before the one before it is known."""
    asked = requests()
    engine = Engine(model, CONFIGS[name], behind=behind)
    numbers = [engine.add(*one) for one in asked]
    together = answers(engine)
    for number, expected in zip(numbers, alone(model, asked), strict=True):
        assert same(together[number], expected)
    assert engine.free_pages == -(-CONFIGS[name].positions // PAGE)


def test_too_few_pages_do_interrupt(model: DualFFN, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted: list[Job] = []
    plan = Scheduler.plan

    def noted(scheduler: Scheduler) -> Step:
        step = plan(scheduler)
        interrupted.extend(step.preempted)
        return step

    monkeypatch.setattr(Scheduler, "plan", noted)
    engine = Engine(model, CONFIGS["too few pages"])
    for one in requests():
        engine.add(*one)
    answers(engine)
    assert interrupted


def test_who_joins_later_changes_nothing(model: DualFFN) -> None:
    asked = requests()[:6]
    engine = Engine(model)
    numbers, told = [], {}
    for one in asked:
        numbers.append(engine.add(*one))
        for _ in range(5):
            for event in engine.step():
                told.setdefault(event.request, []).append(event)
    while not engine.idle:
        for event in engine.step():
            told.setdefault(event.request, []).append(event)
    for number, expected in zip(numbers, alone(model, asked), strict=True):
        frames = torch.cat([event.frames for event in told[number]], dim=1)
        assert same((frames, told[number][-1].result), expected)


def test_a_known_voice_is_read_once_and_sounds_the_same(
    model: DualFFN, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    prefill = DualFFN.prefill

    def counted(model: DualFFN, ids: Tensor, *rest: Any) -> Tensor:
        read.append(len(ids))
        return prefill(model, ids, *rest)

    monkeypatch.setattr(DualFFN, "prefill", counted)
    other = Prompt((*VOICE.ids[:-2], 9, 9, 60), VOICE.clips)
    asked = [(VOICE, replace(LIVELY, seed=1)), (other, replace(LIVELY, seed=2))]
    expected = alone(model, asked)
    engine = Engine(model)
    read.clear()
    for one, afresh in zip(asked, expected, strict=True):
        number = engine.add(*one)
        assert same(answers(engine)[number], afresh)
    shared = (2 + 45 + 1) // PAGE * PAGE  # two ids, the clip's columns and their end
    assert read == [len(VOICE), len(other) - shared]


def test_a_request_that_reaches_the_end_of_the_cache_ends_with_length(model: DualFFN) -> None:
    endless = replace(LIVELY, max_new_tokens=100_000)
    small = EngineConfig(slots=2, positions=PAGE)
    finishes = set()
    for seed in range(8):
        engine = Engine(model, small)
        number = engine.add(Prompt((2, 3, 4, 60), ()), replace(endless, seed=seed))
        _, result = answers(engine)[number]
        finishes.add(result.finish)
        assert len(result.segments[0].T) + 4 <= PAGE
    assert Finish.LENGTH in finishes


def test_a_full_queue_says_so(model: DualFFN) -> None:
    engine = Engine(model, EngineConfig(slots=1, max_waiting=2))
    for seed in range(3):
        engine.add(VOICE, replace(LIVELY, seed=seed))
    with pytest.raises(QueueFull, match="2"):
        engine.add(VOICE, LIVELY)
    assert len(answers(engine)) == 3
    engine.add(VOICE, LIVELY)


def test_a_request_that_comes_too_late_is_told_so(model: DualFFN) -> None:
    engine = Engine(model, EngineConfig(slots=1))
    first = engine.add(VOICE, replace(LIVELY, seed=1), deadline=time.monotonic() + 60)
    late = engine.add(VOICE, replace(LIVELY, seed=2), deadline=time.monotonic() - 1)
    told = answers(engine)
    assert told[late][1].finish is Finish.DEADLINE
    assert told[first][1].finish is not Finish.DEADLINE


def test_whoever_waits_for_an_answer_goes_before_whoever_does_not(model: DualFFN) -> None:
    engine = Engine(model, EngineConfig(slots=1))
    order: list[int] = []
    slow = [engine.add(VOICE, replace(LIVELY, seed=i), priority=BATCH) for i in range(2)]
    engine.step()
    quick = engine.add(VOICE, replace(LIVELY, seed=7), priority=INTERACTIVE)
    while not engine.idle:
        order += [event.request for event in engine.step() if event.result is not None]
    assert order == [quick, *slow]


def test_settings_of_an_engine_that_make_no_sense_are_refused() -> None:
    with pytest.raises(SettingError, match="slots is 0"):
        EngineConfig(slots=0)


class Padded(Graphs):
    """Stands in for recorded steps: fills batches up as they do, and holds on to the same tensors.

    A replay runs the step again and writes what comes of it to where it was at first.
    """

    def _record(self, rows: Tensor, size: Size) -> Recorded:
        outputs, known = self._step(rows, size.pages, size.window), self._known()

        def replay() -> None:
            assert self._known() == known, "a recorded step knows tensors by their addresses"
            for out, new in zip(outputs, self._step(rows, size.pages, size.window), strict=True):
                out.copy_(new)

        return Recorded(replay, rows, outputs)

    def _known(self) -> list[int]:
        slots = self._step.__self__.slots  # type: ignore[attr-defined]
        states = (slots, slots.clocks, slots.sampling)
        values = [value for state in states for value in vars(state).values()]
        return [value.data_ptr() for value in values if isinstance(value, Tensor)]


def recorded(model: DualFFN, config: EngineConfig = EngineConfig()) -> Engine:
    """As on a card, but for the card."""
    engine = Engine(model, config, behind=True)
    runner = engine._runner
    runner._compiled = None
    runner._graphs = Padded(runner._write, runner.slots.nobodys, runner.device)
    with torch.inference_mode():
        runner._graphs.warm(config.slots, config.positions // PAGE)
    return engine


@pytest.mark.parametrize("name", CONFIGS)
def test_recorded_is_plain(model: DualFFN, name: str) -> None:
    asked = requests()
    engine = recorded(model, CONFIGS[name])
    numbers = [engine.add(*one) for one in asked]
    told = answers(engine)
    for number, expected in zip(numbers, alone(model, asked), strict=True):
        assert same(told[number], expected)


def endless() -> DualFFN:
    """A model that ends no clip by itself."""
    network = DualFFN(CONFIG)
    network.initialize(torch.Generator().manual_seed(3), std=0.3)
    head = network.audio_head
    network.audio_head = nn.Linear(head.in_features, head.out_features)
    bias = torch.zeros(head.out_features)
    bias[CONFIG.audio_stream_eos_id] = -50
    network.audio_head.load_state_dict({"weight": head.weight, "bias": bias})
    return network.eval()


def test_long_clips_are_the_same_recorded_and_told_while_they_are_written() -> None:
    """Three in batches of four: nobody's row takes part in more steps than it has places."""
    model, frames = endless(), 300
    ends = frames + CONFIG.num_codebooks + 1
    engine = recorded(model)
    for turn in range(2):
        long = replace(LIVELY, seed=turn, max_new_tokens=ends, ras_repeats=1)
        asked = [(VOICE, replace(long, ras_window=window)) for window in (0, 7, 1000)]
        numbers = [engine.add(*one) for one in asked]
        told = answers(engine)
        for number, expected in zip(numbers, alone(model, asked), strict=True):
            assert same(told[number], expected)
            codes, result = told[number]
            assert torch.equal(codes, unwrap(result.segments[0]))
            assert codes.shape[1] == frames
    slots = engine._runner.slots
    assert slots.position[slots.nobodys] == 0


def test_all_that_is_usual_is_recorded_before_it_is_asked_for(model: DualFFN) -> None:
    engine = recorded(model)
    graphs = engine._runner._graphs
    assert graphs is not None
    known = set(graphs._recorded)
    assert {size.rows for size in known} == {1, 2, 4, 8, 16}
    assert {size.pages for size in known} == {16, 32, 64}
    for prompt, sampling in requests():
        engine.add(prompt, replace(sampling, ras_window=7))
    answers(engine)
    assert set(graphs._recorded) == known


def test_the_rows_are_sent_again_only_when_others_are_served(model: DualFFN) -> None:
    engine = Engine(model)
    engine.add(VOICE, LIVELY)
    engine.step()
    engine.step()
    rows = engine._runner._rows
    engine.step()
    assert engine._runner._rows is rows
    engine.add(VOICE, LIVELY)
    engine.step()
    engine.step()
    assert engine._runner._rows.tolist() == [0, 1]


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_whatever_comes_everyone_is_answered_once(data: st.DataObject) -> None:
    """Arrivals, aborts and failures in any order."""
    few = EngineConfig(slots=3, positions=8 * PAGE, chunk=20)
    engine = Engine(_shared_model(), few, behind=data.draw(st.booleans()))
    asked, told, failed = set(), set(), set()
    moves = st.sampled_from(["add", "add", "abort", "fail", "break", "step", "step", "step"])
    for move in data.draw(st.lists(moves, max_size=25)):
        if move == "add":
            prompt, sampling = data.draw(st.sampled_from(requests()[:6]))
            limit = data.draw(st.integers(8, 30))
            number = engine.add(prompt, replace(sampling, max_new_tokens=limit))
            asked.add(number)
        elif move == "abort" and asked:
            engine.abort(data.draw(st.sampled_from(sorted(asked))))
        elif move == "fail":
            failed |= _failing_step(engine, "prefill", told, asked)
        elif move == "break":
            failed |= _failing_step(engine, "_write", told, asked)
        else:
            _step(engine, told)
    while not engine.idle:
        _step(engine, told)
    assert told | failed == asked
    assert not told & failed
    assert engine.free_pages == 8


def _step(engine: Engine, told: set[int]) -> None:
    for event in engine.step():
        assert event.request not in told
        if event.result is not None:
            told.add(event.request)


def _failing_step(engine: Engine, part: str, told: set[int], asked: set[int]) -> set[int]:
    """A step of which this part fails; the requests that did not survive it."""

    def fail(*_: Any) -> None:
        raise torch.OutOfMemoryError("tried to allocate 20 GiB")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Runner, part, fail)
        try:
            _step(engine, told)
        except RequestFailed as failed:
            return {failed.request}
        except torch.OutOfMemoryError:
            engine.clear()  # as whoever runs it does
            return asked - told
    return set()


def _shared_model(made: list[DualFFN] = []) -> DualFFN:  # noqa: B006
    if not made:
        made.append(DualFFN(CONFIG))
        made[0].initialize(torch.Generator().manual_seed(3), std=0.3)
        made[0].eval()
    return made[0]


class Watch(TorchDispatchMode):
    """Notes what reads a number back, what has a shape that only the data know, and what moves."""

    TELLTALE = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "item", "bincount")

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func)
        masks = [a for a in args if isinstance(a, (list, tuple))] if "index" in name else []
        by_mask = any(
            isinstance(one, Tensor) and one.dtype == torch.bool for mask in masks for one in mask
        )
        out = func(*args, **(kwargs or {}))
        places = {one.device for one in (*args[:2], out) if isinstance(one, Tensor)}
        moves = "copy" in name and len(places) > 1
        if by_mask or moves or any(part in name for part in self.TELLTALE):
            self.noted.append(name)
        return out


@pytest.mark.parametrize("compiled", [False, True])
def test_a_step_reads_nothing_back_and_has_no_shape_that_depends_on_data(
    model: DualFFN, compiled: bool
) -> None:
    engine = Engine(model)
    if not compiled:  # every device but this one, and this one without a compiler
        engine._runner._compiled = None
    for prompt, sampling in requests():
        engine.add(prompt, sampling)
    for _ in range(4):
        engine.step()
    runner = engine._runner
    with Watch() as watch:
        runner.step(range(4), reach=80)
    assert watch.noted == []
    with Watch() as control:
        torch.ones(3)[torch.tensor([True, False, True])].sum().item()
    assert len(control.noted) == 2


def nowhere() -> Runner:
    """A model and the state of requests on a device that has no numbers to read back."""
    return Runner(DualFFN(CONFIG).to("meta"), pages=8, slots=4)


def test_a_step_works_on_numbers_that_nobody_can_read() -> None:
    """Whatever would have to wait for the device fails here: tolist, numpy, cpu, a branch."""
    runner, rows = nowhere(), torch.arange(4, device="meta")
    with torch.inference_mode(), Watch() as watch:
        columns, endings, done = runner._write(rows, pages=4, window=7)
    assert watch.noted == []
    assert columns.shape == (4, CONFIG.num_codebooks) and endings.shape == done.shape == (4,)
    for wait in (Tensor.tolist, Tensor.cpu, Tensor.numpy, Tensor.item, bool):
        with pytest.raises((RuntimeError, NotImplementedError, TypeError)):
            wait(done[0])
    with Watch() as control:
        torch.zeros(3).to("meta")
    assert control.noted


def test_a_prompt_is_read_and_a_request_put_into_its_row_without_waiting() -> None:
    runner = nowhere()
    request = Request(1, VOICE, expand(VOICE, CONFIG), LIVELY, CONFIG, True, 40)
    runner.prefill(request, [2, 0, 5, 1], 0, len(VOICE))
    assert request.hidden is not None
    assert request.hidden.untyped_storage().nbytes() == 4 * CONFIG.hidden_size
    request.open_segment()
    runner.slots.put(2, request, len(VOICE), [2, 0, 5, 1])
    runner.slots.add_page(2, [2, 0, 5, 1, 7])


def test_attention_over_pages_sees_what_was_written_and_no_more() -> None:
    generator = torch.Generator().manual_seed(0)
    pool = DualFFN(CONFIG).new_pool(9)
    for part in (*pool.keys, *pool.values):
        part.normal_(generator=generator)
    queries = torch.randn(2, 2, 16, generator=generator)
    keys, values = (torch.randn(2, 1, 16, generator=generator) for _ in range(2))
    table = torch.tensor([[3, 1, 7], [2, 8, 8]], dtype=torch.int32)
    positions = torch.tensor([37, 5], dtype=torch.int32)
    out = PagedBatch(pool, table, positions).attend(0, queries, keys, values)
    for row in _expected(pool.keys[0], pool.values[0], table, positions, queries):
        torch.testing.assert_close(out[row[0]], row[1])
    plain = gathered_attention(queries, pool.keys[0], pool.values[0], table, positions + 1)
    torch.testing.assert_close(out, plain)


def _expected(
    keys: Tensor, values: Tensor, table: Tensor, positions: Tensor, queries: Tensor
) -> Iterator[tuple[int, Tensor]]:
    for b, last in enumerate(positions.tolist()):
        places = [(int(table[b, p // PAGE]), p % PAGE) for p in range(last + 1)]
        k = torch.stack([keys[page, 0, at] for page, at in places])
        v = torch.stack([values[page, 0, at] for page, at in places])
        yield b, (queries[b] @ k.T / 4).softmax(-1) @ v
