"""docs/cli.md is what the commands say of themselves."""

from __future__ import annotations

import importlib.util

from tests.project.source import ROOT


def test_the_page_is_up_to_date():
    path = ROOT / "scripts" / "cli_page.py"
    spec = importlib.util.spec_from_file_location("cli_page", path)
    assert spec and spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    written = script.PAGE.read_text(encoding="utf-8")
    assert written == script.page(), "run `python scripts/cli_page.py`"
