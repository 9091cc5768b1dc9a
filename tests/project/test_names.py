"""What the package offers: every public name exists, and costs nothing until it is used."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import faster_higgs
from tests.project.source import ROOT


def test_every_public_name_exists():
    assert len(faster_higgs.__all__) == len(set(faster_higgs.__all__))
    for name in faster_higgs.__all__:
        assert getattr(faster_higgs, name) is not None


def test_a_wrong_name_is_an_attribute_error():
    assert not hasattr(faster_higgs, "Hicks")


SLOW = ("torch", "transformers", "tokenizers", "av", "matplotlib")


def loaded_by(program: str) -> set[str]:
    """Which slow libraries are in memory after a program of one line."""
    script = f"import sys\n{program}\nprint('\\n' + ' '.join(sys.modules))"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {*SLOW, "numpy"} & set(done.stdout.splitlines()[-1].split())


def test_importing_the_package_loads_no_slow_library():
    assert not loaded_by("import faster_higgs")


@pytest.mark.parametrize("words", [["--help"], ["say", "--no-such-flag"]])
def test_help_and_refusals_come_without_slow_libraries(words):
    found = loaded_by(f"from faster_higgs.cli.main import main; main({words})")
    assert not found - {"numpy"}
    assert words != ["--help"] or not found


def version() -> str:
    found = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert found
    return found[1]


def test_the_changelog_has_the_version():
    page = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[?([^\]\s]+)", page, re.MULTILINE)
    assert headings[0] == "Unreleased" or headings[0] == version()
    assert version() in headings


def test_the_package_knows_its_version():
    assert faster_higgs.__version__ == version()
