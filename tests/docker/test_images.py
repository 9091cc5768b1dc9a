"""The Dockerfiles, as far as they can be checked without an engine."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from faster_higgs.cli.main import COMMANDS
from tests.project.source import ROOT

_SCRIPTS = str(Path(sys.executable).parent)
FILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
IGNORED = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
HADOLINT = shutil.which("hadolint", path=os.pathsep.join([_SCRIPTS, os.environ["PATH"]]))
EXTRAS = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def steps(file: Path) -> list[tuple[str, str]]:
    """Each instruction and its words; lines that go on are one."""
    text = re.sub(r"\\\n\s*", "", file.read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.partition(" ")[0], line.partition(" ")[2].strip()) for line in lines]


def words(file: Path, name: str) -> list[str]:
    return [value for step, value in steps(file) if step == name]


@pytest.fixture(params=FILES, ids=lambda file: file.name)
def file(request) -> Path:
    return request.param


def test_there_are_two():
    assert [file.name for file in FILES] == ["runpod.Dockerfile", "server.Dockerfile"]


@pytest.mark.skipif(HADOLINT is None, reason="needs hadolint")
def test_the_linter_is_content(file):
    done = subprocess.run([HADOLINT, str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stdout, done.stdout


def test_what_is_built_on_is_named_exactly(file):
    (base,) = words(file, "FROM")
    assert base == "python:${PYTHON}-slim-bookworm" and "latest" not in file.read_text()
    assert "PYTHON=3.12" in words(file, "ARG")


def test_nobody_is_root(file):
    names = [name for name, _ in steps(file)]
    (user,) = words(file, "USER")
    assert int(user) > 0 and f"--uid {user}" in " ".join(words(file, "RUN"))
    assert names.index("USER") < names.index("CMD") and "HEALTHCHECK" in names


def test_what_is_copied_is_there_and_not_left_out(file):
    for copied in words(file, "COPY"):
        source = copied.split()[0]
        assert (ROOT / source).exists() and f"!{source}" in IGNORED


def test_what_the_build_reads_is_not_left_out():
    needed = ["README.md", "LICENSE", "NOTICE", "hatch_build.py", "pyproject.toml", "src"]
    for name in [*needed, "constraints.txt"]:
        assert (ROOT / name).exists() and f"!{name}" in IGNORED
    assert IGNORED[1] == "*"  # and all else is


def test_the_extra_that_is_installed_exists(file):
    (extra,) = re.findall(r'"/build\[(\w+)\]"', file.read_text(encoding="utf-8"))
    assert re.search(rf"^{extra} = \[", EXTRAS, re.M)


def test_what_is_run_exists(file):
    (command,) = map(json.loads, words(file, "CMD"))
    entry = [json.loads(one) for one in words(file, "ENTRYPOINT")]
    if entry:
        assert entry == [["higgs"]] and command[0] in COMMANDS
        assert "--lan" in command
    else:
        assert command[:2] == ["python", "-m"] and importlib.util.find_spec(command[2])


def test_the_health_of_the_server_is_asked_where_no_key_is_needed():
    (check,) = words(ROOT / "docker" / "server.Dockerfile", "HEALTHCHECK")
    program = json.loads(check[check.index("[") :])
    assert program[:2] == ["python", "-c"] and "/health/live" in program[2]
    compile(program[2], "healthcheck", "exec")
