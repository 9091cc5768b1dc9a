"""A benchmark is run in this process, on an idle machine, with files of its own."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from benchmarks import report

FACTS = {"machine", "versions", "commit", "date", "threads", "busy", "device", "card"}


@pytest.fixture(autouse=True)
def idle_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(report, "busy", lambda: 0.0)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def run(module: ModuleType, tmp_path: Path, *flags: str) -> dict[str, Any]:
    """What a benchmark of the tiny model writes."""
    path = tmp_path / "results" / "found.json"
    assert module.main(["--tiny", "--rounds", "1", "--json", str(path), *flags]) == 0
    found: dict[str, Any] = json.loads(path.read_text())
    assert set(found) >= FACTS
    return found
