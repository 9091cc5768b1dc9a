"""The rules of docs/style.md that a machine can check and ruff does not."""

from __future__ import annotations

import ast
import re

import pytest

from tests.project.source import ROOT, files, part, tree

TEXT = {".py", ".md", ".sh", ".toml", ".txt", ".tsv", ".json", ".jsonl", ".description"}
PLAIN = {"Makefile", "Dockerfile", "LICENSE", "NOTICE", "run"}
# Folders of whoever built this, and a system down to its build.
ONE_MACHINE = re.compile(r"(?<![\w.])/(root|opt|work|tmp|home/\w+|Users/\w+)/|\bLinux-\d")
MAY_NAME_ONE = {"tests/project/test_style.py"}  # its examples
VAGUE = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc", "core"}


def test_every_module_says_what_it_does():
    silent = [
        str(file)
        for file in files()
        if tree(file).body and not (ast.get_docstring(tree(file)) or "").strip()
    ]
    assert not silent, f"no module docstring: {silent}"


def test_files_are_named_for_what_they_hold():
    vague = [str(file) for file in files() if set(re.split(r"[/_.]", str(file))) & VAGUE]
    versioned = [str(file) for file in files() if re.search(r"(_v\d|new_|_old)", file.stem)]
    assert not vague + versioned


def test_only_the_command_line_prints():
    found = [
        f"{file}:{node.lineno}"
        for file in files()
        if part(file) != "cli"
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
    assert not found


def test_no_error_is_swallowed():
    found = [
        f"{file}:{node.lineno}"
        for file in files()
        for node in ast.walk(tree(file))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in ("Exception", "BaseException"))
        and all(isinstance(step, ast.Pass | ast.Continue) for step in node.body)
    ]
    assert not found


def test_settings_are_frozen():
    """A dataclass named for settings cannot change after it was made."""
    found = [
        f"{file}:{node.lineno} {node.name}"
        for file in files()
        for node in ast.walk(tree(file))
        if isinstance(node, ast.ClassDef) and node.name.endswith(("Settings", "Config", "Sampling"))
        if not any("frozen=True" in ast.unparse(decorator) for decorator in node.decorator_list)
    ]
    assert not found


def texts():
    """Every file of the repository that holds text, but for what others put into it."""
    tops = [top for top in ROOT.iterdir() if not top.name.startswith(".") or top.name == ".ci"]
    for top in sorted(tops):
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            if path.is_file() and (path.suffix in TEXT or path.name in PLAIN):
                yield path


def test_the_repository_names_no_one_machine():
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path in texts()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if ONE_MACHINE.search(line) and path.relative_to(ROOT).as_posix() not in MAY_NAME_ONE
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "line",
    [
        "cd /work/corpus",
        '"folder": "/opt/models"',
        "WORK=/tmp/pico",
        "see /home/ann/notes",
        "file:///root/x",
        "Linux-6.1.0-x86_64",
    ],
)
def test_what_names_a_machine_is_known(line):
    assert ONE_MACHINE.search(line)


@pytest.mark.parametrize(
    "line", ["/usr/share/dict", "docs/work/plan.md", "/path/to/python3", "/proc"]
)
def test_what_is_there_on_every_machine_may_be_named(line):
    assert not ONE_MACHINE.search(line)
