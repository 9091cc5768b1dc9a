"""The rules of docs/style.md that a machine can check and ruff does not."""

from __future__ import annotations

import ast
import re

from tests.project.source import ROOT, files, part, tree

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


def test_the_repository_names_no_one_machine():
    places = re.compile(r"(?<![\w./])/(root|home/\w+|Users/\w+)/")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for folder in ("src", "docs", "scripts", "recipes", "evals", "benchmarks")
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in (".py", ".md", ".sh", ".toml", ".txt") and path.is_file()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if places.search(line)
    ]
    assert not found, "\n".join(found)
