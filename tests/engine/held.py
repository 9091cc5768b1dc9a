"""Steps that are counted, and held back until whoever leaves has left."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from faster_higgs.engine.request import Request
from faster_higgs.engine.runner import Runner


class Held:
    """Counts the steps of every request; the first request waits after `most` for `go`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
        self.steps: Counter[int] = Counter()
        self.go = threading.Event()
        advance = Runner.advance

        def counted(runner: Runner, request: Request) -> None:
            if len(self.steps) == 1 and self.steps[request.id] == most:
                assert self.go.wait(20)
            self.steps[request.id] += 1
            advance(runner, request)

        monkeypatch.setattr(Runner, "advance", counted)
