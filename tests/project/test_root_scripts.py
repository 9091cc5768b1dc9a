"""The scripts at the root hand on what they are given, word for word."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.project.source import ROOT

ODD = "a b'c\"d$(touch x)`e`\\n*ü\n"

# Notes down the arguments of each call; as `prepare`, leaves what the real one leaves.
STAND_IN = """#!/usr/bin/env python3
import json, pathlib, sys
log = pathlib.Path(sys.argv[0]).parents[2] / "log"
log.open("a").write(json.dumps(sys.argv[1:]) + "\\n")
sys.exit(3 if "fail" in sys.argv else 0)
"""


class Clone:
    """A copy of the scripts, in a folder with a space in its name, with a stand-in for higgs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "scripts").mkdir(parents=True)
        (folder / ".venv" / "bin").mkdir(parents=True)
        (folder / "scripts" / "setup.sh").write_text('echo "${1:-run}" >>"${0%/*}/../extras"\n')
        for name in ("train_vietnamese.sh", "merge_model.sh", "generate.sh"):
            shutil.copy(ROOT / name, folder)
        higgs = folder / ".venv" / "bin" / "higgs"
        higgs.write_text(STAND_IN)
        higgs.chmod(0o755)

    def run(self, script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.folder / script), *map(str, arguments)],
            cwd=self.folder.parent,
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def calls(self) -> list[list[str]]:
        log = self.folder / "log"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    @property
    def extras(self) -> list[str]:
        return (self.folder / "extras").read_text().split()


@pytest.fixture
def clone(tmp_path):
    return Clone(tmp_path / "my clone")


def test_merging_hands_on_everything(clone):
    given = ["--base_model_path", ODD, "--lora_path", "-x", "--output_path=o o", ""]
    assert clone.run("merge_model.sh", *given).returncode == 0
    assert clone.calls == [["merge", *given]] and clone.extras == ["run"]
    assert clone.run("merge_model.sh", "--help").returncode == 0
    assert clone.calls[1:] == [["merge", "--help"]]


def test_generating_says_the_text(clone, tmp_path):
    given = ["--model_path", ODD, "--text", f"-{ODD}", "--output_path", "o o.wav", "--seed", 1]
    assert clone.run("generate.sh", *given).returncode == 0
    rest = ["--model", ODD, "--output_path", "o o.wav", "--seed", "1"]
    assert clone.calls == [["say", *rest, "--", f"-{ODD}"]] and clone.extras == ["run"]
    clone.run("generate.sh", f"--text={ODD}", f"--model-path={ODD}")
    clone.run("generate.sh", "--help")
    assert clone.calls[1:] == [["say", "--model", ODD, "--", ODD], ["say", "--help"]]
    assert not (tmp_path / "x").exists()


def test_generating_with_the_folder_of_a_training_puts_its_adapter_on_the_base(clone, tmp_path):
    (tmp_path / "run 1" / "adapter").mkdir(parents=True)
    (tmp_path / "run 1" / "adapter" / "adapter_config.json").touch()
    clone.run("generate.sh", "--model_path", "run 1", "--text", "Xin chào")
    assert clone.calls == [["say", "--adapter", "run 1", "--", "Xin chào"]]


def test_training_prepares_a_corpus_once(clone, tmp_path):
    corpus = tmp_path / ODD.strip()
    corpus.mkdir()
    given = [corpus, "--out", "o o", "--model_path=m", "--epochs", 3, "--train_data_dirs", "y"]
    assert clone.run("train_vietnamese.sh", *given).returncode == 0
    prepare = ["prepare", str(corpus), "--out", "o o/data", "--language", "vi", "--model", "m"]
    train = ["train", "--preset", "language", "--data", "o o/data", "--out", "o o", "--model", "m"]
    train += ["--epochs", "3", "--train_data_dirs", "y"]
    assert clone.calls == [prepare, train] and clone.extras == ["train"]
    (tmp_path / "o o" / "data").mkdir(parents=True)
    (tmp_path / "o o" / "data" / "dataset.json").touch()
    again = clone.run("train_vietnamese.sh", *given)
    assert again.returncode == 0 and "is there already" in again.stderr
    assert clone.calls[2:] == [train]
    clone.run("train_vietnamese.sh", "--train_data_dir", "o o/data", "--output_dir=p")
    assert clone.calls[3:] == [[*train[:3], "--data", "o o/data", "--out", "p"]]


def test_training_stops_where_preparing_did(clone, tmp_path):
    (tmp_path / "fail").mkdir()
    assert clone.run("train_vietnamese.sh", "fail").returncode == 3
    assert len(clone.calls) == 1


@pytest.mark.parametrize(
    ("script", "given", "told"),
    [
        ("train_vietnamese.sh", [], "Name the data"),
        ("train_vietnamese.sh", ["--epochs", "3"], "Name the data"),
        ("train_vietnamese.sh", ["no where"], "no folder or file 'no where'"),
        ("train_vietnamese.sh", ["--out"], "--out needs a value"),
        ("generate.sh", ["--text"], "--text needs a value"),
    ],
)
def test_what_is_missing_is_told_in_one_line(clone, script, given, told):
    done = clone.run(script, *given)
    assert done.returncode == 2 and told in done.stderr and done.stderr.count("\n") == 1
    assert clone.calls == [] and not (clone.folder / "extras").exists()


def test_help_of_training_is_that_of_the_command(clone):
    done = clone.run("train_vietnamese.sh", "--help")
    assert done.returncode == 0 and done.stdout.startswith("Usage: ./train_vietnamese.sh DATA")
    assert clone.calls == [["train", "--help"]]
