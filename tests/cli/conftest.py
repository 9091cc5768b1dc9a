"""The command line in a folder of its own, with the fake model or a tiny one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from faster_higgs import speech
from faster_higgs.checkpoint import files
from faster_higgs.checkpoint.choice import Wish, plans
from faster_higgs.checkpoint.plan import PUBLISHED
from faster_higgs.cli import loading
from faster_higgs.cli.main import main
from faster_higgs.device import Device
from faster_higgs.testing import FakeHiggs, tiny_checkpoint, tiny_config


class Ended(NamedTuple):
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line on standard error that tells what was wrong."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("Error: "), self.err
        return lines[0].removeprefix("Error: ")


Run = Callable[..., Ended]
ROOM = Device("cpu", "x", None, None)  # where the fake model runs


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that commands run in; the user's voices are in mine/."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HIGGS_VOICES", str(tmp_path / "mine"))
    return folder


@pytest.fixture
def run(here: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line in this process."""

    def call(*arguments: object) -> Ended:
        code = main([str(argument) for argument in arguments])
        return Ended(code, *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with random weights."""
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every model is the fake one. The folder holds its voices alice and bob."""
    folder = tmp_path / "model"
    with FakeHiggs() as made:
        shutil.copytree(made.folder, folder)
    (folder / "config.json").write_text(json.dumps(tiny_config().to_json("transformers")))
    monkeypatch.setattr(speech, "Higgs", FakeHiggs)
    default = files.DefaultModel(folder, packaged=True)
    monkeypatch.setattr(files, "default_model", lambda: default)
    monkeypatch.setattr(loading, "plan_for", lambda *_, **__: next(plans(PUBLISHED, ROOM, Wish())))
    return folder


@pytest.fixture
def spoken(fake: Path, run: Run) -> Run:
    """`higgs say` with the fake model."""
    return lambda *arguments: run("say", *arguments)
