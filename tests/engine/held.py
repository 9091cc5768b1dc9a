"""Steps that are counted, and held back until whoever leaves has left."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from faster_higgs.engine.request import Request


class Held:
    """Counts the steps of every request; the first request waits after `most` for `go`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
        self.steps: Counter[int] = Counter()
        self.go = threading.Event()
        count = Request._count

        def counted(request: Request) -> None:
            if len(self.steps) == 1 and self.steps[request.id] == most:
                assert self.go.wait(20)
            self.steps[request.id] += 1
            count(request)

        monkeypatch.setattr(Request, "_count", counted)
