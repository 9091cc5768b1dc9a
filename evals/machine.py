"""What was measured with: machine, versions, model; and how soon a fresh process has spoken."""

from __future__ import annotations

import hashlib
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

from faster_higgs.errors import EngineError

ROOT = Path(__file__).parents[1]
PACKAGES = (
    *("faster-higgs", "torch", "numpy", "transformers", "tokenizers", "soxr"),
    *("pocketsphinx", "jiwer", "resemblyzer"),
)


def machine() -> dict[str, str | int | float]:
    """Processor, cores, memory in GB, kind of system: nothing that names one machine."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": _processor(),
        "cores": os.cpu_count() or 0,
        "ram_gb": round(memory / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Of Python and of every package that matters to the figures, as far as it is installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """The commit of this repository; empty outside of one."""
    git = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(git, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def fingerprint(folder: Path) -> str:
    """Of a checkpoint: every file with its name, but for Python's own."""
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix not in (".py", ".pyc"):
            whole.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
            whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()[:16]


def cold_start(folder: Path, tries: int = 3) -> float:
    """Seconds from the command to a short sentence in a file, the median. Raises EngineError."""
    return round(statistics.median(_say(folder) for _ in range(tries)), 2)


def _say(folder: Path) -> float:
    with tempfile.TemporaryDirectory() as place:
        sound = Path(place) / "hello.wav"
        command = [sys.executable, "-m", "faster_higgs", "say", "Hello world.", "-o", str(sound)]
        begin = time.perf_counter()
        done = subprocess.run(
            command, env={**os.environ, "HIGGS_MODEL": str(folder)}, capture_output=True, text=True
        )
        seconds = time.perf_counter() - begin
        if done.returncode or not sound.is_file():
            why = (done.stderr.strip().splitlines() or ["it wrote no file"])[-1].removeprefix(
                "Error: "
            )
            raise EngineError(f"`higgs say` failed: {why} Leave it out with --skip cold-start.")
        return seconds


def _processor() -> str:
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
