"""higgs memory: the table of a run, what is chosen, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from faster_higgs.checkpoint.load import read_config
from faster_higgs.checkpoint.plan import PUBLISHED
from faster_higgs.cli import main as cli
from faster_higgs.cli.memory_table import table
from faster_higgs.cli.memory_told import compared
from faster_higgs.config import ModelConfig
from faster_higgs.train.job import Job
from faster_higgs.train.memory import Estimate, weights
from faster_higgs.train.probe import Measured
from tests.data.tiny import PICO, tiny_cache, tiny_clips
from tests.train.tiny_cache import prepared

PAGE = Path(__file__).parents[2] / "docs" / "tuning.md"


def ask(capsys: pytest.CaptureFixture[str], *flags: str) -> tuple[int, str, str]:
    code = cli.main(["memory", *flags])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_the_parts_add_up_and_the_choice_is_told(capsys):
    code, out, _ = ask(capsys, "--gpu", "24GB")
    assert code == 0
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.count(".") == 2}
    sizes = {name: float(row[0]) for name, row in rows.items() if len(row) == 2}
    assert sum(sizes.values()) - sizes["together"] == pytest.approx(sizes["together"], abs=0.04)
    assert "24.3 M learn" in out and "training.checkpointing=false" in out


def test_what_does_not_fit_says_what_would(capsys):
    code, out, _ = ask(capsys, "--gpu", "10GB")
    assert code == 1 and "With --base int4 it fits." in out
    code, out, _ = ask(
        capsys, "--gpu", "24GB", "--batch-positions", "8192", "--checkpointing", "off"
    )
    assert code == 1 and "left to be chosen" in out
    code, out, _ = ask(capsys, "--gpu", "16GB", "--preset", "full")
    assert code == 1 and "Train an adapter" in out


def test_for_machines_it_is_bytes(capsys):
    code, out, _ = ask(capsys, "--gpu", "16GB", "--preset", "language", "--rank", "8", "--json")
    found = json.loads(out)
    assert code == 0 and found["fits"] and found["job"]["rank"] == 8
    assert sum(found["parts"].values()) == found["total"] <= found["room"]


def test_lengths_come_from_the_data(capsys, tmp_path):
    data = tiny_cache(tmp_path / "data")
    code, out, _ = ask(capsys, "--gpu", "24GB", "--data", str(data))
    assert code == 0 and out.splitlines()[1].startswith("24 clips: conversations of ")
    code, _, err = ask(capsys, "--gpu", "24GB", "--data", str(data), "--batch-positions", "99")
    assert code == 2 and "longest conversation" in err
    long = [replace(c, codes=torch.cat([c.codes] * 700, dim=1)) for c in tiny_clips(3)]
    data = prepared(tmp_path / "long", made=long)
    code, _, err = ask(capsys, "--gpu", "24GB", "--data", str(data))
    assert code == 2 and "more than the largest batch that is tried" in err
    assert ask(capsys, "--gpu", "24GB", "--data", str(data), "--batch-positions", "30000")[0] == 0


def test_the_model_is_the_one_that_is_named_or_it_is_said_which_was_assumed(capsys, tmp_path):
    full, own = tiny_cache(tmp_path / "full"), prepared(tmp_path / "own")
    for data, more, model, name in (
        (full, (), PUBLISHED.model, "; the full model, which is assumed without --model, has"),
        (own, (), config(PICO), "; pico, which is assumed without --model, has"),
        (own, ("--model", str(PICO)), config(PICO), f"; the model in {PICO} has"),
    ):
        flags = ("--gpu", "24GB", "--data", str(data), *more)
        _, out, _ = ask(capsys, *flags)
        assert name in out.splitlines()[0]
        found = json.loads(ask(capsys, *flags, "--json")[1])
        assert found["model"]["hidden_size"] == model.hidden_size
        assert found["parts"]["weights"] == weights(model, Job(rank=found["job"]["rank"]))


def config(folder: Path) -> ModelConfig:
    return ModelConfig.from_json(read_config(folder))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--gpu", "big"), "--gpu is 'big'; write a size"),
        (("--preset", "tenor"), "--preset is 'tenor'; use one of voice, language, light"),
        (("--base", "int3"), "--base is 'int3'"),
        (("--checkpointing", "maybe"), "use on, off or auto"),
        (("--optimizer", "sgd"), "--optimizer is 'sgd'"),
        (("--batch-positions", "0"), "--batch-positions is 0"),
        (("--preset", "full", "--rank", "8"), "'full' has none"),
        (("--preset", "full", "--base", "int4"), "cannot be int4"),
        (("--gpus", "0"), "gpus is 0"),
        (("--data", "nowhere"), "no prepared data set"),
        (("--probe", "--gpu", "1MB"), "Two steps would take"),
    ],
)
def test_nonsense_is_one_sentence(flags, said, capsys):
    code, _, err = ask(capsys, *(("--gpu", "24GB") if "--gpu" not in flags else ()), *flags)
    assert code == 2 and said in err and err.count("\n") == 1


def test_the_page_has_the_table_of_today(capsys):
    code, out, _ = ask(capsys, "--table")
    assert code == 0 and out.splitlines() == table()
    assert out in PAGE.read_text(encoding="utf-8")


def test_a_probe_stands_beside_its_estimate():
    made = Estimate("the loss", {"weights": 80_000_000, "logits": 20_000_000})
    found = Measured({"weights": 81_000_000}, peak=125_000_000, seconds=1.5)
    lines = list(compared(made, found, "cpu", Job()))
    assert lines[2].split() == ["weights", "80.0", "81.0"]
    assert lines[3].split() == ["logits", "20.0"]
    assert "off by +0.0%" in lines[-2]
