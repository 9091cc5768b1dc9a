"""What a run tells of itself: every figure, its place among the curves, and a line for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_training as tiny
from faster_higgs.checkpoint.plan import PUBLISHED
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.train import figures, flops
from faster_higgs.train.config import LanguageSettings, RunSettings
from faster_higgs.train.journal import Journal
from faster_higgs.train.loop import LanguageTask
from faster_higgs.train.run import Run

FLAT = {
    *("loss", "loss_audio", "gradient_norm", "weight_norm", "learning_rate", "fill"),
    *("positions_per_second", "clips_per_second", "audio_s_per_second", "waiting_share"),
    *("operations_per_second", "memory_peak_gb", "rate_factor", "skipped_steps"),
    *(f"loss_codebook_{k}" for k in range(tiny.BOOKS)),
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    folder, lines = tmp_path_factory.mktemp("run"), list[str]()
    task = LanguageTask(tiny.model(), tiny.Conversations(6), LanguageSettings(budget=60))
    pace = RunSettings(steps=4, warmup=0, log_every=2, eval_every=100)
    Run(task, pace, folder, say=lines.append).go()
    return folder, lines


def test_every_figure_is_written_flat(ran):
    rows = [json.loads(line) for line in (ran[0] / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4]
    assert rows[0].keys() >= FLAT
    assert 0 < rows[0]["fill"] <= 1 and 0 <= rows[0]["waiting_share"] < 1
    assert rows[1]["learning_rate"] < LanguageSettings().optimizer.learning_rate
    assert rows[0]["memory_peak_gb"] > 0.05


def test_curves_stand_beside_their_like(ran):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    curves = EventAccumulator(str(ran[0] / "curves"))
    curves.Reload()
    assert set(curves.Tags()["scalars"]) >= {figures.tag(name) for name in FLAT}
    assert {"loss/total", "loss/codebook_0", "speed/clips_per_second"} <= set(
        curves.Tags()["scalars"]
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("loss", "loss/total"),
        ("loss_text", "loss/text"),
        ("eval_loss_audio", "held_out/loss_audio"),
        ("accuracy_codebook_7", "accuracy/codebook_7"),
        ("waiting_share", "speed/waiting_share"),
        ("mfu", "speed/mfu"),
        ("memory_peak_gb", "memory/peak_gb"),
        ("gpu_load", "card/load"),
        ("learning_rate", "step/learning_rate"),
    ],
)
def test_a_figure_has_its_place(name, expected):
    assert figures.tag(name) == expected


def test_the_line_is_for_people(tmp_path, monkeypatch):
    lines: list[str] = []
    journal = Journal(tmp_path, lines.append)
    monkeypatch.setattr(journal, "_since", journal._since - 2)
    monkeypatch.setattr(figures, "of_machine", lambda device: {"memory_peak_gb": 3.14})
    journal.add({"loss": 4.2131, "num_clips": 62.0, "num_audio_s": 5.0, "num_positions": 9.0})
    journal.flush(120, {}, figures.left(725), 2000)
    assert lines == [
        "step 120/2,000  loss 4.213  31 clips/s  2.5 s of sound/s  12 min left  3.1 GB"
    ]


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(4.4, "4 s left"), (89, "89 s left"), (725, "12 min left"), (9000, "2 h 30 min left")],
)
def test_time_is_told_in_what_people_count(seconds, told):
    assert figures.left(seconds) == told


def test_a_sound_is_drawn(tmp_path):
    shown: list[tuple[str, Any]] = []

    class Board:
        def add_image(self, name: str, pixels: Any, step: int, dataformats: str) -> None:
            shown.append((name, pixels.shape))

    journal = Journal(tmp_path, lambda line: None)
    journal._board, journal._draws = Board(), True
    journal.picture(3, "a", torch.sin(torch.arange(4800) / 10), 24_000)
    ((name, shape),) = shown
    assert name == "a" and shape[2] == 3 and shape[0] > 100


def test_cards_are_known_by_the_longest_name():
    assert flops.peak_of("NVIDIA L40S") == 362e12
    assert flops.peak_of("NVIDIA A100-SXM4-40GB") == 312e12
    assert flops.peak_of("NVIDIA A10G") == 125e12
    assert flops.peak_of("a card of tomorrow") is None


def test_operations_are_two_for_each_weight_that_is_read_and_pass():
    with torch.device("meta"):
        model = DualFFN(PUBLISHED.model)
    read = 704_643_072 + 2_113_929_216  # attention, and one side's feed-forward
    assert flops.of_layers(model) == 6 * read
    model.requires_grad_(False)
    assert flops.of_layers(model) == 4 * read


def test_the_norm_is_of_what_learns():
    one, two = torch.nn.Parameter(torch.tensor([3.0])), torch.nn.Parameter(torch.tensor([4.0]))
    told = figures.of_step([torch.optim.SGD([one, two], lr=0.5)])
    assert told == {"learning_rate": 0.5, "weight_norm": pytest.approx(5.0)}
