"""Where a request ends: the model's positions, the tokens to stop at, the memory it may take."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch import Tensor

from faster_higgs.config import PAGE
from faster_higgs.engine.engine import Engine, EngineConfig
from faster_higgs.engine.request import Finish, RequestFailed
from faster_higgs.engine.scheduler import Job, Scheduler
from faster_higgs.errors import SettingError
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.prompt.template import Prompt
from faster_higgs.sampling import Rules
from tests.engine.conftest import CONFIG
from tests.engine.test_engine import LIVELY, run, spoken

POSITIONS = 60
SHORTEST = CONFIG.num_codebooks + 2  # steps of a clip of one frame
ENDLESS = replace(LIVELY, max_new_tokens=4000)


@pytest.fixture(scope="module")
def short() -> DualFFN:
    network = DualFFN(replace(CONFIG, max_position_embeddings=POSITIONS))
    network.initialize(torch.Generator().manual_seed(3), std=0.3)
    return network.eval()


@pytest.fixture
def lengths(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many positions were in use, after every step."""
    seen: list[int] = []
    advanced = Scheduler.advanced

    def counted(scheduler: Scheduler, job: Job, positions: int) -> None:
        advanced(scheduler, job, positions)
        seen.append(job.table.length)

    monkeypatch.setattr(Scheduler, "advanced", counted)
    return seen


def of_length(positions: int, forced: bool = True) -> Prompt:
    return Prompt((2,) * (positions - 1) + ((60,) if forced else (3,)), ())


def test_no_request_runs_past_the_models_positions(short: DualFFN, lengths: list[int]) -> None:
    finishes = set()
    for rules in get_args(Rules):
        for seed in range(6):
            for forced in (True, False):
                sampling = replace(ENDLESS, rules=rules, seed=seed)
                finishes.add(spoken(short, of_length(45, forced), sampling)[1].finish)
    assert max(lengths) <= POSITIONS
    assert Finish.LENGTH in finishes


def test_guarded_speech_that_fills_the_model_ends_in_whole_frames(short: DualFFN) -> None:
    cut = 0
    for seed in range(12):
        frames, result = spoken(short, of_length(45), replace(ENDLESS, seed=seed))
        assert int(frames.max()) < CONFIG.num_codes
        if result.finish is Finish.LENGTH:
            cut += 1
            assert result.segments[0].shape[1] <= POSITIONS - 45
            assert frames.shape[1] == result.segments[0].shape[1] - CONFIG.num_codebooks - 1
    assert cut


def test_a_prompt_that_leaves_no_room_for_sound_is_refused(short: DualFFN) -> None:
    frames, _ = spoken(short, of_length(POSITIONS - SHORTEST), ENDLESS)
    assert frames.shape[1] == 1
    for length in (POSITIONS - SHORTEST + 1, POSITIONS, POSITIONS + 9):
        with pytest.raises(SettingError, match=f"{length} of the model's {POSITIONS} positions"):
            Engine(short).add(of_length(length), ENDLESS)


def test_the_end_of_a_clip_can_be_stopped_at(model: DualFFN, prompt: Prompt) -> None:
    for seed in range(8):
        engine = Engine(model)
        sampling = replace(LIVELY, rules="original", seed=seed, max_new_tokens=200)
        number = engine.add(prompt, sampling, [CONFIG.audio_eos_token_id])
        _, result = run(engine)[number]
        assert result.finish is Finish.STOP
        assert result.text_ids == (CONFIG.audio_out_token_id, CONFIG.audio_eos_token_id)


def test_a_request_takes_pages_as_it_goes_and_gives_them_back(
    model: DualFFN, prompt: Prompt
) -> None:
    engine = Engine(model, EngineConfig(slots=2, positions=20 * PAGE))
    engine.add(prompt, ENDLESS)
    taken = []
    while not engine.idle:
        engine.step()
        taken.append(20 - engine.free_pages)
    assert taken[0] == 1 and taken[-1] == 0
    steps = range(len(taken) - 1)
    assert all(taken[i + 1] - taken[i] in (0, 1) for i in steps[:-1])


@pytest.mark.parametrize("rules", get_args(Rules))
def test_events_tell_what_was_written_as_it_was_written(model: DualFFN, rules: Rules) -> None:
    for seed in range(6):
        engine = Engine(model)
        engine.add(Prompt((2, 3), ()), replace(LIVELY, rules=rules, seed=seed))
        events = []
        while not engine.idle:
            events += engine.step()
        written = [one for event in events for one in event.written]
        columns = [one for one in written if isinstance(one, Tensor)]
        result = events[-1].result
        assert result is not None
        assert tuple(one for one in written if isinstance(one, int)) == result.text_ids
        if columns:
            assert torch.equal(torch.stack(columns, 1), torch.cat(result.segments, 1))


def test_a_request_that_does_not_fit_the_memory_fails_alone(
    model: DualFFN, prompt: Prompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, _ = spoken(model, prompt, LIVELY)
    engine = Engine(model)
    big = engine.add(of_length(100), LIVELY)
    small = engine.add(prompt, LIVELY)
    refuse_long(monkeypatch, 50)
    with pytest.raises(RequestFailed) as failed:
        engine.step()
    assert failed.value.request == big
    assert isinstance(failed.value.__cause__, torch.OutOfMemoryError)
    assert torch.equal(run(engine)[small][0], alone)


def refuse_long(monkeypatch: pytest.MonkeyPatch, longest: int) -> None:
    """Prompts of more positions than this do not fit the memory."""
    prefill = DualFFN.prefill

    def limited(model: DualFFN, ids: Tensor, *rest: Tensor) -> Tensor:
        if len(ids) > longest:
            raise torch.OutOfMemoryError("tried to allocate 20 GiB")
        return prefill(model, ids, *rest)

    monkeypatch.setattr(DualFFN, "prefill", limited)
