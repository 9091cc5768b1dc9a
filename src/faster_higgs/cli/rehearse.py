"""`higgs data rehearse`: flags to a rehearsal. Knows nothing of how it is kept."""

# ruff: noqa: RUF009  what is called here returns a dataclass field

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from faster_higgs.cli.command import argument, option, verbose
from faster_higgs.data.amounts import counted
from faster_higgs.errors import DataError, SettingError


@dataclass(frozen=True, kw_only=True)
class RehearseFlags:
    """What stands on the command line."""

    texts: Path = argument("TEXTS", "A text file, one sentence a line, or a prepared folder.")
    out: Path | None = option("--out -o", "FOLDER", "Where the training data will be.")
    model: str | None = option(
        "--model --model-path", "MODEL", "Who speaks. [default: the model that speaks]"
    )
    voices: str | None = option("--voices", "A,B", "Only these. [default: all it has]")
    limit: int | None = option("--limit", "N", "Say the first so many texts only.")
    seed: int = option("--seed", "N", "Of the first text; the next one has the next.", 0)
    device: str = option("--device", "DEVICE", "auto, cpu, cuda, cuda:1 ...", "auto")
    verbose: bool = verbose()


def run(flags: RehearseFlags) -> None:
    """Speak, and tell by whom how much."""
    if flags.out is None:
        raise SettingError("Where should the training data be? Name a folder with --out.")
    if flags.limit is not None and flags.limit < 1:
        raise SettingError(f"--limit is at least 1; found {flags.limit}.")
    texts = texts_of(flags.texts)[: flags.limit]
    from faster_higgs.checkpoint.files import find_codec
    from faster_higgs.cli.loading import model_folder
    from faster_higgs.data.cache import read_about
    from faster_higgs.data.place import Place
    from faster_higgs.data.rehearse import Rehearsal, rehearse
    from faster_higgs.speech import Higgs

    model = model_folder(flags.model).folder
    named = tuple(name.strip() for name in (flags.voices or "").split(",") if name.strip())
    with Higgs.load(model, device=flags.device) as higgs:
        voices = named or tuple(sorted(voice.name for voice in higgs.voices.list()))
        for name in voices:
            higgs.voices.load(name)
        place = Place(model, find_codec(model))
        spoken = rehearse(higgs, place, Rehearsal(texts, voices, flags.seed), flags.out, _tell)
    print(*(f"{voice}: {counted(count, 'clip')}" for voice, count in spoken.items()), sep="\n")
    if unsaid := read_about(flags.out)["unsaid"]:
        print(f"{unsaid:,} of {len(texts):,} texts were not said to their end, and are left out.")


def texts_of(path: Path) -> tuple[str, ...]:
    """The lines of a file, or what is said in a prepared folder. Raises DataError."""
    if path.is_dir():
        from faster_higgs.data.cache import Cache

        return tuple(dict.fromkeys(Cache(path).column("text")))
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"'{path}' cannot be read as a text file ({error}).") from None
    return tuple(line.strip() for line in lines if line.strip())


def _tell(done: int, total: int) -> None:
    print(f"{done:,} of {total:,} texts", file=sys.stderr)
