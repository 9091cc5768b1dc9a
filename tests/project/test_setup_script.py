"""scripts/setup.sh makes .venv whole or not at all, as tried with a stand-in for python3."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.project.source import ROOT

# Answers what the script asks of a Python, and notes down each pip install.
STAND_IN = """#!/usr/bin/env bash
case "$*" in
  *version_info*) exit "${OLD:-0}" ;;
  --version) echo "Python 3.8.1" ;;
  *ensurepip*) exit "${NO_VENV:-0}" ;;
  "-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python && echo made >>log ;;
  *"pip install"*) echo "pip ${*: -1}" >>log; sleep "${SLOW:-0}"; exit "${PIP:-0}" ;;
esac
"""


class Clone:
    """A copy of what the script needs, in a folder with a space in its name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "scripts").mkdir(parents=True)
        shutil.copy(ROOT / "scripts" / "setup.sh", folder / "scripts")
        (folder / "pyproject.toml").write_text("one")
        (folder / "constraints.txt").write_text("two")
        python = folder / "python"
        python.write_text(STAND_IN)
        python.chmod(0o755)

    def start(self, extra: str = "", **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", str(self.folder / "scripts" / "setup.sh"), *([extra] if extra else [])],
            env=os.environ | {"PYTHON": str(self.folder / "python")} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
            start_new_session=True,
        )

    def run(self, extra: str = "", **environment: str) -> tuple[int, str]:
        process = self.start(extra, **environment)
        out, told = process.communicate(timeout=30)
        assert out == "", "the caller's stdout must stay clean"
        return process.returncode, told

    @property
    def log(self) -> list[str]:
        path = self.folder / "log"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def clone(tmp_path):
    return Clone(tmp_path / "my clone")


def test_the_first_run_makes_it_and_says_so(clone):
    code, told = clone.run()
    assert code == 0 and "Making .venv" in told and "pip install" in told
    assert clone.log == ["made", "pip ."]


def test_the_second_run_does_and_says_nothing_and_is_quick(clone):
    clone.run()
    begin = time.perf_counter()
    assert clone.run() == (0, "")
    assert time.perf_counter() - begin < 1  # about 0.02 s where nothing else runs
    assert clone.log == ["made", "pip ."]


def test_an_extra_is_added_once_and_holds_the_plain_install(clone):
    clone.run("dev")
    assert clone.run() == (0, "")
    assert clone.run("dev") == (0, "")
    clone.run("serve")
    assert clone.run("dev") == (0, "")
    assert clone.log == ["made", "pip .[dev]", "pip .[serve]"]


@pytest.mark.parametrize("file", ["pyproject.toml", "constraints.txt"])
def test_a_changed_declaration_is_installed_without_starting_over(clone, file):
    clone.run("dev")
    (clone.folder / file).write_text("three")
    clone.run()
    clone.run("dev")
    assert clone.log == ["made", "pip .[dev]", "pip .", "pip .[dev]"]


def test_a_moved_folder_is_made_again(clone):
    clone.run()
    clone.folder = clone.folder.rename(clone.folder.with_name("moved"))
    clone.run()
    assert clone.log == ["made", "pip ."] * 2
    assert clone.run() == (0, "")


def test_a_venv_made_by_hand_is_kept(clone):
    subprocess.run(
        [str(clone.folder / "python"), "-m", "venv", ".venv"], cwd=clone.folder, check=True
    )
    clone.run()
    assert clone.log == ["made", "pip ."]


def test_a_failed_install_is_told_and_tried_again(clone):
    code, told = clone.run(PIP="1")
    assert code == 1 and "could not install everything" in told
    assert clone.run()[0] == 0
    assert clone.log == ["made", "pip .", "pip ."]


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_install_is_not_taken_for_whole(clone, blow):
    process = clone.start(SLOW="30")
    while clone.log != ["made", "pip ."]:
        time.sleep(0.01)
    os.killpg(process.pid, blow)
    process.communicate(timeout=10)
    assert process.returncode != 0
    assert clone.run()[0] == 0
    assert clone.log == ["made", "pip .", "made", "pip ."]


def test_a_venv_whose_python_is_gone_is_made_again(clone):
    clone.run()
    (clone.folder / ".venv" / "bin" / "python").unlink()
    assert clone.run()[0] == 0
    assert clone.log == ["made", "pip ."] * 2


@pytest.mark.skipif(not shutil.which("flock"), reason="two at once are kept apart by flock")
def test_two_at_once_install_once(clone):
    processes = [clone.start(SLOW="0.3") for _ in range(3)]
    assert all(process.wait(30) == 0 for process in processes)
    for process in processes:
        process.communicate()
    assert clone.log == ["made", "pip ."]


def test_a_python_that_is_too_old_is_refused_in_one_sentence(clone):
    code, told = clone.run(OLD="1")
    assert code == 2 and told.count("\n") == 1
    assert "needs Python 3.10 or newer, and here is Python 3.8.1" in told
    assert not (clone.folder / ".venv").exists()


def test_no_python_at_all_is_refused_in_one_sentence(clone):
    code, told = clone.run(PYTHON="no-such-python")
    assert code == 2 and told.count("\n") == 1 and "here is no no-such-python" in told


def test_a_python_without_venv_is_refused_in_one_sentence(clone):
    code, told = clone.run(NO_VENV="1")
    assert code == 2 and told.count("\n") == 1 and "apt install python3-venv" in told
