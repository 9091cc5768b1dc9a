"""What an evaluation is asked to do, and whether the tools for it are here. Runs nothing."""

from __future__ import annotations

import argparse
import importlib.util
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from faster_higgs.checkpoint.files import PACKAGED, resolve
from faster_higgs.errors import MissingExtra, SettingError

PARTS = ("model", "teacher", "codec", "clone", "similarity", "dialogue", "cold-start")
PACKAGES = {  # by the module they are known by
    "pocketsphinx": "pocketsphinx",
    "jiwer": "jiwer",
    "resemblyzer": "resemblyzer",
    "pkg_resources": "setuptools<81",
}


@dataclass(frozen=True)
class RunSettings:
    """What is spoken by whom, and where the result goes. Raises SettingError at contradictions."""

    sentences: Path
    json: Path
    voices: tuple[str, ...] = ()  # none: all that are shipped
    limit: int | None = None
    seed: int = 0
    workers: int = 2
    model: str | None = None  # none: the pico inside the package
    skip: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if unknown := sorted(self.skip.difference(PARTS)):
            raise SettingError(f"--skip knows no {', '.join(unknown)}; use {', '.join(PARTS)}.")
        if "teacher" in self.skip and not self.skip >= {"codec", "similarity"}:
            raise SettingError(
                "Codec and similarity need the teacher; use --skip teacher,codec,similarity."
            )
        if self.skip >= {"model", "teacher"}:
            raise SettingError("Without model and teacher there is nothing to hear; skip one.")
        if self.workers < 0 or (self.limit is not None and self.limit < 1):
            raise SettingError("--workers must be 0 or more, --limit 1 or more.")

    @property
    def folder(self) -> Path | None:
        """The checkpoint; none when no model speaks. Raises CheckpointNotFound."""
        if "model" in self.skip:
            return None
        return resolve(self.model) if self.model else PACKAGED


def read_flags(about: str, arguments: Sequence[str] | None) -> RunSettings:
    """The command line; `about` is its help. Raises SettingError."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flag = parser.add_argument
    flag("--sentences", type=Path, required=True, help="a text file, one sentence a line")
    flag("--json", type=Path, required=True, help="where the result is written")
    flag("--voices", type=_names, default=(), help="A,B; default: all that are shipped")
    flag("--limit", type=int, help="only the first N sentences")
    flag("--seed", type=int, default=0, help="of the first sentence; the next one has the next")
    flag("--workers", type=int, default=2, help="processes that listen; 0: this one; default: 2")
    flag("--model", help="a checkpoint folder; default: the pico inside the package")
    flag("--skip", type=_names, default=(), help=f"parts to leave out: {','.join(PARTS)}")
    found = vars(parser.parse_args(arguments))
    return RunSettings(**{**found, "skip": frozenset(found["skip"])})


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def check_tools(skip: frozenset[str]) -> None:
    """All that is needed is here. Raises MissingExtra with a line for each that is not."""
    missing = []
    if "teacher" not in skip and shutil.which("flite") is None:
        missing.append("flite, the teachers' synthesiser, is missing: `apt-get install flite`.")
    wanted = {"pocketsphinx", "jiwer"} if "similarity" in skip else PACKAGES
    missing += [
        f"{package} is missing: `pip install 'faster-higgs[eval]'`."
        for module, package in PACKAGES.items()
        if module in wanted and importlib.util.find_spec(module) is None
    ]
    if missing:
        raise MissingExtra("\n".join(missing))
