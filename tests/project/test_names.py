"""What the package offers: every public name exists, is said once, and costs nothing until it is used."""

from __future__ import annotations

import re
import subprocess
import sys

import faster_higgs
from tests.project.source import ROOT


def test_every_public_name_exists():
    assert len(faster_higgs.__all__) == len(set(faster_higgs.__all__))
    for name in faster_higgs.__all__:
        assert getattr(faster_higgs, name) is not None


def test_a_wrong_name_is_an_attribute_error():
    assert not hasattr(faster_higgs, "Hicks")


def test_importing_the_package_loads_no_slow_library():
    program = (
        "import sys, faster_higgs\n"
        "slow = {'torch', 'numpy', 'transformers', 'tokenizers', 'av'} & set(sys.modules)\n"
        "sys.exit(f'loaded at import: {sorted(slow)}' if slow else 0)\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT / "src", check=False)
    assert done.returncode == 0, done.stderr


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
