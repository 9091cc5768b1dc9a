"""Something that lives in a process of its own, so that its memory can be told from the rest.

Two of them can wait side by side and take turns on the same cores. Knows nothing of models.
"""

from __future__ import annotations

import multiprocessing
import re
import resource
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

from faster_higgs.errors import EngineError, HiggsError

STATUS = Path("/proc/self/status")


class Apart:
    """An object made by `make(*given)` in a fresh process; its methods are called by name."""

    def __init__(self, make: Callable[..., Any], *given: object) -> None:
        fresh = multiprocessing.get_context("spawn")
        self._name = make.__name__
        self._line, theirs = fresh.Pipe()
        self._process = fresh.Process(target=_serve, args=(theirs, make, given), daemon=True)
        self._process.start()
        theirs.close()
        self._answer()  # made

    def __enter__(self) -> Apart:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._line.close()  # it ends at the end of its orders
        self._process.join()

    def ask(self, method: str, *given: object) -> Any:
        """What the method returns there. Raises its HiggsError; EngineError if it is gone."""
        self._line.send((method, given))
        return self._answer()

    @property
    def peak_memory(self) -> int:
        """Bytes that were in memory at the most, mapped files included."""
        return int(self.ask("peak_memory"))

    def _answer(self) -> Any:
        try:
            answer = self._line.recv()
        except EOFError:
            self._process.join()
            code = self._process.exitcode
            raise EngineError(
                f"The process of {self._name} ended by itself (exit code {code}); its own words "
                "are above. If the memory was full, cut the model with --layers."
            ) from None
        if isinstance(answer, HiggsError):
            raise answer
        return answer


def _serve(line: Connection, make: Callable[..., Any], given: tuple[object, ...]) -> None:
    """The other process: answer until nobody asks any more."""
    try:
        made = make(*given)
        line.send(None)
        while True:
            method, asked = line.recv()
            known = peak_memory if method == "peak_memory" else getattr(made, method)
            line.send(known(*asked))
    except (EOFError, KeyboardInterrupt):
        return
    except HiggsError as error:
        line.send(error)


def peak_memory() -> int:
    """Of this process, in bytes. Linux hands a child its parent's in `getrusage`, so not there."""
    if STATUS.exists() and (found := re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text())):
        return 1024 * int(found[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
