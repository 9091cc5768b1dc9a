"""What is declared, what is pinned and what is imported agree."""

from __future__ import annotations

import re
import sys

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.project.source import ROOT, files, imports

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Where the name to import is not the name to install.
INSTALLED_AS = {
    "pynvml": "nvidia-ml-py",
    "prometheus_client": "prometheus-client",
    "yaml": "pyyaml",
    "pydantic_settings": "pydantic-settings",
    "triton": "torch",  # brings it where it has kernels for a graphics card
}


def declared() -> dict[str, Requirement]:
    extras = PROJECT["optional-dependencies"].values()
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in extra)]
    return {canonicalize_name(Requirement(line).name): Requirement(line) for line in lines}


def pinned() -> list[Requirement]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]


def test_every_pin_lies_in_the_declared_range():
    for pin in pinned():
        (version,) = (item.version for item in pin.specifier)
        name = canonicalize_name(pin.name)
        assert name in declared(), f"constraints.txt pins {name}, which nothing declares"
        assert declared()[name].specifier.contains(version), f"{pin} is outside {declared()[name]}"


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_every_runtime_dependency_has_one_pin_for_each_python(python):
    for line in PROJECT["dependencies"]:
        name = canonicalize_name(Requirement(line).name)
        pins = [
            pin
            for pin in pinned()
            if canonicalize_name(pin.name) == name
            and (pin.marker is None or pin.marker.evaluate({"python_version": python}))
        ]
        assert len(pins) == 1, f"{name} has {len(pins)} pins for Python {python}"


def test_the_package_imports_only_what_it_declares():
    known = {*declared(), "faster-higgs", *map(canonicalize_name, sys.stdlib_module_names)}
    faults = [
        f"src/faster_higgs/{found.file}:{found.line}: {found.head} is not in pyproject.toml"
        for file in files()
        for found in imports(file)
        if found.head not in sys.stdlib_module_names
        and canonicalize_name(INSTALLED_AS.get(found.head, found.head)) not in known
    ]
    assert not faults, "\n".join(faults)


def test_the_pins_name_no_index_and_no_place():
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert not re.search(r"^\s*-|://|@", text, re.MULTILINE)
