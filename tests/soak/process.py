"""The real server in a process of its own: `higgs serve` with pico, on a free port."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.project.source import ROOT


class Server(NamedTuple):
    """One that listens."""

    process: subprocess.Popen[str]
    port: int

    @property
    def rss(self) -> int:
        """Bytes of memory it holds now."""
        (told,) = re.findall(r"VmRSS:\s+(\d+) kB", self._status())
        return int(told) * 1024

    @property
    def threads(self) -> int:
        """How many it has."""
        (told,) = re.findall(r"Threads:\s+(\d+)", self._status())
        return int(told)

    def terminate(self) -> None:
        """The signal that asks for an orderly end."""
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """The end at once."""
        self.process.kill()
        self.process.wait()

    def _status(self) -> str:
        return Path(f"/proc/{self.process.pid}/status").read_text()


@contextmanager
def higgs_serve(folder: Path, **settings: object) -> Iterator[Server]:
    """A server until the block ends; voices are kept in a folder."""
    command = [sys.executable, "-m", "faster_higgs", "serve", "--port", "0", "--ui-port", "0"]
    told = {f"HIGGS_{name.upper()}": str(value) for name, value in settings.items()}
    # Every setting of the machine is left out; caches and the like stay where they are.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HIGGS_")}
    own = {"HIGGS_VOICES": str(folder), "HIGGS_JOBS_DIR": str(folder / "jobs")}
    own |= {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT / "src")}
    environment = kept | own | told
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        assert found, f"{line}{(folder / 'log').read_text()}"
        yield Server(process, int(found[1]))
    finally:
        process.kill()
        process.communicate()
