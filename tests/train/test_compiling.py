"""Compiled feed-forwards train as plain ones, and a missing compiler is told."""

from __future__ import annotations

import shutil

import pytest

import tiny_training as tiny
from faster_higgs.errors import SettingError
from faster_higgs.train import compiling
from faster_higgs.train.config import LanguageSettings
from faster_higgs.train.loop import LanguageTask


def losses(compile: bool) -> list[float]:
    settings = LanguageSettings(budget=60, window=4, compile=compile)
    task = LanguageTask(tiny.model(), tiny.Conversations(9), settings)
    return [task.step(step)["loss"] for step in range(3)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch, at its own code
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_compiled_feed_forwards_train_as_plain_ones() -> None:
    assert losses(True) == pytest.approx(losses(False), rel=1e-4)


def test_without_a_compiler_compile_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling.shutil, "which", lambda name: None)
    with pytest.raises(SettingError, match="needs a C\\+\\+ compiler"):
        losses(True)
