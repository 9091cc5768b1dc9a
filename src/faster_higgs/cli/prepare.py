"""`higgs prepare`: recordings to training data. Knows nothing of how either is kept."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from faster_higgs.cli.command import Command, as_command
from faster_higgs.cli.prepare_flags import OURS, PrepareFlags, facts, given, settings_of
from faster_higgs.cli.reading import read_settings
from faster_higgs.errors import SettingError

if TYPE_CHECKING:
    from faster_higgs.data.crews import Crew
    from faster_higgs.data.pipeline import Progress
    from faster_higgs.data.place import Place


def command(name: str, help: str) -> Command:
    """The command as the menu takes it."""
    made = as_command(PrepareFlags, run, name, help, facts)
    made.value_if_none = {"--moods": OURS}
    made.is_value = _is_rules
    return made


def _is_rules(word: str) -> bool:
    """Told from a SOURCE; whatever stands behind `--moods=` is one as well."""
    return word.lower().endswith(".json")


def run(flags: PrepareFlags) -> None:
    """Make it, and tell what became of the recordings; status 1 when none can be used."""
    from faster_higgs.data.pipeline import Desk, prepare
    from faster_higgs.data.readers import recordings
    from faster_higgs.data.report import ROWS

    source, settings = _source(flags), settings_of(flags)
    found = recordings(source, read_settings(flags))
    if flags.dry_run:
        from faster_higgs.data.survey import survey

        _print(survey(found, settings))
        return
    out, older = _out(flags, source), _older(flags, source)
    place = _place(flags)
    with _bar() as progress, _crews(flags, place.device) as (cleaners, coders):
        desk = Desk(out, cleaners, coders, _tell, progress, older)
        report = prepare(found, str(source), place, settings, desk)
    _print(report.lines())
    if not report.clips:
        _tell(f"Error: No recording can be used; {out / ROWS} says why, one by one.")
        raise typer.Exit(1)
    if older is not None:
        print(f"Written for older trainers: {flags.export_seed}")
    print(f"Training data: {out}. Train with it: {_next(flags, out)}")


def _next(flags: PrepareFlags, out: Path) -> str:
    """The command that trains with what was made."""
    words = ["higgs", "train", "--preset", "voice", "--data", str(out)]
    words += ["--out", str(out.with_name(f"{out.name}-voice"))]
    words += [] if flags.model is None else ["--model", flags.model]
    return shlex.join(words)


def _source(flags: PrepareFlags) -> Path:
    named = [path for path in (flags.source, flags.input) if path is not None]
    if len(named) != 1:
        fault = "SOURCE and --input were both given" if named else "No recordings were given"
        raise SettingError(f"{fault}; name them once, as in higgs prepare recordings/ --out data.")
    return named[0].expanduser().resolve()


def _out(flags: PrepareFlags, source: Path) -> Path:
    if flags.out is None:
        raise SettingError("Say where the training data will be, with --out FOLDER.")
    out = flags.out.expanduser().resolve()
    _refuse_inside("--out", out, [source, flags.audio_dir])
    return out


def _older(flags: PrepareFlags, source: Path) -> Path | None:
    """Where the older trainers' folder will be; a place that is taken is told before any work."""
    from faster_higgs.data.seed_layout import refuse_taken

    if flags.export_seed is None:
        return None
    folder = flags.export_seed.expanduser().resolve()
    _refuse_inside("--export-seed", folder, [source, flags.audio_dir, flags.out])
    refuse_taken(folder)
    return folder


def _refuse_inside(flag: str, place: Path, folders: Sequence[Path | None]) -> None:
    """Recordings would be more at every run, and what lies in --out is kept in order there."""
    for folder in filter(None, folders):
        inner = folder.expanduser().resolve()
        if place == inner or inner in place.parents:
            raise SettingError(f"{flag} {place} lies in {folder}; give a folder beside it.")


def _place(flags: PrepareFlags) -> Place:
    from faster_higgs.checkpoint import files
    from faster_higgs.cli.loading import model_folder
    from faster_higgs.data.place import Place

    model = model_folder(flags.model).folder
    codec = files.find_codec(model) if flags.codec is None else files.resolve(flags.codec)
    return Place(model, codec, _device(flags.device), **given(batch_seconds=flags.batch_seconds))


def _device(name: str) -> str:
    """A graphics card where there is one that is exact, else the processor."""
    from faster_higgs.device import named

    devices = [device.name for device in named(name)]
    return next((one for one in devices if name != "auto" or one != "mps"), "cpu")


@contextmanager
def _crews(flags: PrepareFlags, device: str) -> Iterator[tuple[Crew, Crew]]:
    """Who cleans, and who codes: one process for a card, else as many as clean."""
    from faster_higgs.data.crews import Alone, OnRay, Processes, processors

    workers = processors() if flags.workers is None else flags.workers
    if workers < 1:
        raise SettingError(f"--workers is {workers}; use 1 or more.")
    if flags.ray is not None:
        yield OnRay(flags.ray), OnRay(flags.ray, graphics=device != "cpu")
        return
    with Processes(workers) if workers > 1 else nullcontext(Alone()) as crew:
        yield crew, crew if device == "cpu" else Alone(one_thread=False)


@contextmanager
def _bar() -> Iterator[Progress]:
    """A bar on standard error for each step, if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    tasks = {}
    with Progress(*columns, TimeElapsedColumn(), Remaining(), console=Console(stderr=True)) as bar:

        def show(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=done, total=total)

        yield show


def _print(lines: Iterator[str]) -> None:
    for line in lines:
        print(line)


def _tell(message: str) -> None:
    print(message, file=sys.stderr)
