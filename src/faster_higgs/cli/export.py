"""`higgs export`: a smaller copy of a model. Knows nothing of how weights become smaller."""

# ruff: noqa: RUF009  what is called here returns a dataclass field

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, get_args

from faster_higgs.cli.command import Command, argument, as_command, option, verbose
from faster_higgs.cli.flags import PACKED
from faster_higgs.config import SHARD_BYTES
from faster_higgs.errors import CheckpointNotFound, SettingError
from faster_higgs.quant.quantization import GROUPS, Precision, Quantization

SAME = "same"
ARGUMENTS = "[MODEL] OUT"
SHARDS = "Of a file of weights at most; so much is in memory at a time."


@dataclass(frozen=True)
class ExportFlags:
    """What stands on the command line."""

    places: list[str] = argument(
        ARGUMENTS,
        "A folder or hub id, and a folder that is not there yet. [default: the model that speaks]",
    )
    to: str = option(
        "--to", "PRECISION", "How the weights that make sound are held.", default=MISSING
    )
    text: str | None = option(
        "--text", "PRECISION", "And those that only read text. [default: as --to]"
    )
    shard_size: str | None = option("--shard-size", "SIZE", SHARDS)
    group: int | None = option("--group", "N", "How many weights share a scale in int4.")
    verbose: bool = verbose()


def command(name: str, help: str) -> Command:
    """The command as the menu takes it."""
    made = as_command(ExportFlags, run, name, help, facts)
    made.collect_usage_pieces = _usage  # type: ignore[method-assign]
    return made


def _usage(ctx: Any) -> list[str]:
    """What follows the name on the first line of the help."""
    return ["[OPTIONS]", ARGUMENTS]


def facts() -> Mapping[str, str]:
    """Choices for the help page, read from where they are written."""
    return {
        "to": ", ".join(PACKED),
        "text": f"{', '.join(PACKED)}, or {SAME}: as they are",
        "group": f"{', '.join(map(str, GROUPS))}; default: {Quantization().group}",
        "shard_size": usual_shard(),
    }


def run(flags: ExportFlags) -> None:
    """Write it, and say how large it is and where its codec comes from."""
    if len(flags.places) > 2:
        raise SettingError("Give a model and a folder for the smaller one, or only the folder.")
    from faster_higgs.checkpoint.export import export
    from faster_higgs.cli.loading import model_folder

    *named, out = flags.places
    wish, shard_bytes = _wish(flags), shard_bytes_of(flags.shard_size)
    model = model_folder(named[0] if named else None).folder
    with progress_bar() as progress:
        done = export(model, Path(out).expanduser(), wish, progress, shard_bytes=shard_bytes)
    print(done.folder)
    _tell(
        f"The weights take {_size(done.bytes)}; those of {model} take {_size(done.bytes_before)}."
    )
    if done.left_out:
        _tell(f"Not copied: {', '.join(done.left_out)}.")
    _tell(codec_told(done.folder))
    _tell(f'Hear it: higgs say "Hello." --model {done.folder}')


def _wish(flags: ExportFlags) -> Quantization:
    known = get_args(Precision)  # some of which are refused later, in words of their own
    text = flags.to if flags.text is None else flags.text
    if flags.to not in known or text not in (*known, SAME):
        raise SettingError(
            f"--to is one of {', '.join(PACKED)}, and --text one of these or {SAME}; "
            f"found {flags.to!r} and {text!r}."
        )
    if flags.group is not None and "int4" not in (flags.to, text):
        raise SettingError("--group belongs to int4, and nothing is to be int4; leave it out.")
    group = Quantization().group if flags.group is None else flags.group
    return Quantization(flags.to, None if text == SAME else text, group)  # type: ignore[arg-type]


def usual_shard() -> str:
    """For the help page."""
    return f"default: {_size(SHARD_BYTES)}"


def shard_bytes_of(size: str | None) -> int:
    """Of --shard-size. Raises SettingError."""
    from faster_higgs.cli.precision import bytes_of

    return SHARD_BYTES if size is None else bytes_of(size, "--shard-size")


def codec_told(folder: Path) -> str:
    """How the codec is found, or how to get it."""
    from faster_higgs.checkpoint.files import find_codec

    try:
        codec = find_codec(folder)
    except CheckpointNotFound as error:
        return str(error)
    if codec.parent == folder:
        return "The model's own codec was copied along, as it is."
    return f"The codec stays as it is: the published one, found in {codec}."


@contextmanager
def progress_bar(
    what: str = "M weights", unit: float = 1e6
) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on standard error, if that is a terminal; told of what is done and all of it."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("")

        def show(done: int, total: int) -> None:
            told = f"{done / unit:,.0f} of {total / unit:,.0f} {what}"
            progress.update(task, completed=done, total=total, description=told)

        yield show


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _tell(message: str) -> None:
    print(message, file=sys.stderr)
