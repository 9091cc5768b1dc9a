"""Every command of the README runs, with the small model and in a folder of its own."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.project.source import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
# Run by people and machines, but not from inside the suite, and why.
NOT_HERE = {
    "./run_tests.sh": "it is what runs this",
    "./run_server.sh": "it answers until it is stopped; tests/cli/test_serve.py runs what it runs",
    "git clone": "needs the network",
    "cd": "moves the reader",
    "pip install": "needs the network",
    "higgs prepare": "needs recordings; tests/cli/test_prepare.py has some",
    "higgs train": "takes its time; tests/cli/test_train.py takes a few steps",
    "higgs download": "needs the network and 12 GB",
}


def commands() -> list[str]:
    blocks = re.findall(r"^```(?:sh|bash|console)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    lines = [line.removeprefix("$ ").strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def words(command: str) -> list[str]:
    return shlex.split(command, comments=True)


SCRIPTS = [
    *("run_tts.sh", "run_server.sh", "run_tests.sh", "scripts/setup.sh", ".ci/run"),
    *("train_vietnamese.sh", "merge_model.sh", "generate.sh"),
]


def test_the_first_screen_holds_the_two_commands():
    first = "\n".join(README.splitlines()[:40])
    assert "./run_tts.sh" in first and "./run_tests.sh" in first


@pytest.mark.parametrize("command", commands())
def test_a_command_of_the_readme_runs(command, tmp_path):
    if any(command.startswith(start) for start in NOT_HERE):
        return
    tool, *rest = words(command)
    if tool == "./run_tts.sh":
        tool, rest = "higgs", ["say", *rest]
    assert tool == "higgs", f"teach this test how to run `{command}`"
    done = subprocess.run(
        [sys.executable, "-m", "faster_higgs", *rest],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_can_be_run(script):
    assert os.access(ROOT / script, os.X_OK)
    done = subprocess.run(["bash", "-n", str(ROOT / script)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_links_of_the_documents_lead_somewhere():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
    for page in pages:
        for link in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
            if "://" not in link:
                target = Path(page.parent, link)
                assert target.exists(), f"{page.relative_to(ROOT)} links to {link}"
