"""What training takes of memory: the formula against autograd, and against a process."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from benchmarks.train_memory import MOST, PROCESSOR, SCALED, TINY
from faster_higgs.checkpoint.plan import PUBLISHED
from faster_higgs.errors import HiggsError, SettingError
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.train import memory
from faster_higgs.train import probe as probe_module
from faster_higgs.train.activations import activations
from faster_higgs.train.job import Job
from faster_higgs.train.memory import counts, estimate, trainable
from faster_higgs.train.memory_choice import BUDGETS, Lengths, Wish, choose
from faster_higgs.train.modes import part_of
from faster_higgs.train.parts import TRAINED
from faster_higgs.train.probe import Noise, _held, _saved, _task, model, probe
from faster_higgs.train.tune_config import PRESETS, TuneSettings

GB = 10**9
FULL = PUBLISHED.model
ODD = replace(
    TINY, hidden_size=48, num_attention_heads=6, num_key_value_heads=2, num_hidden_layers=3
)
PRECISE: dict[str, dict[str, Any]] = {
    "bf16": {},
    "wide adapters": {"adapter": "fp32"},
    "fp32": {"base": "fp32", "autocast": False},
    "autocast": {"base": "fp32"},
}


def learning() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, preset in PRESETS.items():
        whole = preset.get("adapter.whole", ())
        if preset["mode"] == "lora":
            yield name, {"adapters": preset["adapter.parts"], "whole": whole, "rank": 4}
    for name, parts in TRAINED.items():
        whole = tuple(part for part in parts if part != "text_head")
        yield name, {"adapters": (), "whole": whole}


WAYS = dict(learning())


@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "again"])
@pytest.mark.parametrize("precise", PRECISE)
@pytest.mark.parametrize("way", WAYS)
def test_the_formula_is_what_autograd_keeps_to_the_byte(way, precise, checkpointing):
    some = {**WAYS[way], **PRECISE[precise]}
    for config, positions, audio in ((TINY, 96, 0.5), (ODD, 80, 0.75)):
        job = Job(**some, positions=positions, audio=audio, checkpointing=checkpointing)
        assert activations(config, job) == _saved(_task(config, job, "cpu"))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("precise", ["bf16", "autocast"])
def test_weights_gradients_and_moments_are_what_a_step_leaves(way, precise):
    job = Job(**WAYS[way], **PRECISE[precise], positions=64)
    task = _task(TINY, job, "cpu")
    task.step(0)
    held, expected = _held(task), estimate(TINY, job)
    assert held["weights"] == expected.parts["weights"]
    assert held["gradients"] == memory.gradients(TINY, job)
    tensors = sum(len(state) for state in task.optimizer.state.values())
    assert 0 <= held["optimiser"] - memory.moments(TINY, job) <= 4 * tensors  # the steps' numbers
    learns = sum(w.numel() for w in task.model.parameters() if w.requires_grad)
    assert learns == trainable(TINY, job)


def test_parts_are_counted_as_the_model_has_them():
    with torch.device("meta"):
        weights = DualFFN(FULL).named_parameters()
    found = dict.fromkeys(counts(FULL), 0)
    for name, weight in weights:
        found[part_of(name)] += weight.numel()
    assert found == counts(FULL)


def test_a_batch_of_noise_has_the_positions_and_the_sound_that_were_asked_for():
    job = Job(positions=700, audio=0.6)
    task = _task(TINY, job, "cpu")
    batch = task.packer.next()
    assert batch.num_positions == 700
    assert len(batch.columns) == round(0.6 * 700)
    assert len(Noise(TINY, job)) == 2


@pytest.mark.parametrize(
    ("some", "gibibytes"),
    [
        ({"base": "nf4", "checkpointing": True}, 5.4),
        ({"base": "nf4"}, 11.5),
        ({"checkpointing": True}, 12.6),
        ({"checkpointing": True, "positions": 8192}, 14.7),
        ({"positions": 1024}, 15.3),
        ({}, 18.8),
        ({"positions": 4096, "rank": 64}, 27.5),
        ({**WAYS["audio_only"], "optimizer": "adamw8bit", "checkpointing": True}, 20.5),
        ({**WAYS["audio_path"], "optimizer": "adamw8bit", "checkpointing": True}, 23.3),
        ({**WAYS["full"], "optimizer": "adamw8bit", "checkpointing": True}, 33.2),
        ({**WAYS["full"], "checkpointing": True}, 86.3),
        ({**WAYS["full"], "checkpointing": True, "gpus": 2}, 44.5),
        ({**WAYS["full"], "checkpointing": True, "gpus": 8}, 12.6),
    ],
    ids=str,
)
def test_the_full_model_takes_about_what_others_worked_out(some, gibibytes):
    """Their formula is of another implementation, and rounder."""
    assert estimate(FULL, Job(**some)).total / 2**30 == pytest.approx(gibibytes, rel=0.12)


def test_what_is_chosen_fits_and_the_best_comes_first():
    voice = Job()
    for size in (8, 10, 12, 16, 20, 24, 32, 48):
        found = choose(FULL, voice, size * GB)
        if found is None:
            assert size < 14
            continue
        assert estimate(FULL, found).total <= size * GB
        assert found.positions * found.accumulate == BUDGETS[0]
    roomy = choose(FULL, voice, 200 * GB)
    assert roomy == replace(voice, positions=BUDGETS[0], checkpointing=False)
    close = choose(FULL, voice, 16 * GB)
    assert close is not None and close.checkpointing and close.optimizer == "adamw"


def test_what_is_said_is_not_chosen_otherwise():
    wish = Wish(positions=3000, checkpointing=True, optimizer="adamw8bit")
    found = choose(FULL, Job(), 80 * GB, wish)
    assert found is not None
    said = (found.positions, found.checkpointing, found.optimizer)
    assert said == (3000, True, "adamw8bit")
    assert choose(FULL, Job(), 80 * GB, Wish(positions=3000), longest=3001) is None


def test_a_job_is_what_the_settings_say():
    job = Job.of(TuneSettings())
    assert (job.checkpointing, job.accumulate, job.base) == (True, 2, "bf16")
    assert Job.of(TuneSettings(mode="qlora")).base == "int4"
    assert "text_head" not in Job.of(TuneSettings(mode="full")).whole
    assert Job.of(TuneSettings(dtype="float32")).low == 4


def test_lengths_are_those_of_whole_conversations():
    lengths = Lengths.of([100, 300, 50], [20, 40, 10], books=8, heard=250)
    assert lengths.clips == 3
    assert lengths.longest == (300 + 9 + 40) + (100 + 9 + 20) + 80
    assert lengths.shortest == 50 + 9 + 10 + 80
    assert math.isclose(lengths.audio, 477 / (477 + 70 + 240))


def test_nonsense_is_refused():
    with pytest.raises(SettingError, match="positions is 0"):
        Job(positions=0)
    with pytest.raises(SettingError, match="cannot be int4"):
        Job(**WAYS["full"], base="int4")
    with pytest.raises(SettingError, match="bf16 or fp32"):
        probe(TINY, Job(base="nf4"), "cpu")


def test_a_probe_that_fails_says_why(monkeypatch):
    monkeypatch.setattr(probe_module, "asdict", lambda thing: {"rope_scaling": None})
    with pytest.raises(HiggsError, match=r"The two steps on cpu did not work: .*argument"):
        probe(TINY, Job(), "cpu")


def test_a_fresh_process_measures_its_parts():
    job = Job(**WAYS["full"], positions=96, checkpointing=True)
    found = probe(TINY, job, "cpu", threads=1)
    assert found.parts["activations"] == activations(TINY, job)
    assert found.parts["weights"] == estimate(TINY, job).parts["weights"]
    assert found.seconds > 0


@pytest.mark.slow
@pytest.mark.parametrize("way", PROCESSOR)
def test_estimates_are_within_a_tenth_of_what_a_process_takes(way):
    job = Job(**{"positions": 1024, **PROCESSOR[way]})
    found = probe(SCALED, job, "cpu", threads=1)
    assert estimate(SCALED, job).expected("cpu") == pytest.approx(found.peak, rel=MOST)


def test_the_probe_trains_what_the_job_says():
    made = model(TINY, Job(**WAYS["language"]), "cpu")
    learns = {part_of(name) for name, weight in made.named_parameters() if weight.requires_grad}
    assert learns == {"attention", "text_ffn", "audio_ffn", "embed_audio", "audio_head"}
