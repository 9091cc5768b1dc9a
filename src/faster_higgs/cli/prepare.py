"""`higgs prepare`: recordings to training data. Knows nothing of how either is kept."""

# ruff: noqa: RUF009  what is called here returns a dataclass field

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from faster_higgs.cli.command import Command, argument, as_command, flag, option, verbose
from faster_higgs.cli.reading import ReadFlags, read_settings
from faster_higgs.errors import SettingError

if TYPE_CHECKING:
    from faster_higgs.data.crews import Crew
    from faster_higgs.data.moods import Moods
    from faster_higgs.data.pipeline import Progress
    from faster_higgs.data.place import Place
    from faster_higgs.data.plan import PrepareSettings

cleaning = partial(flag, "Sound")
choosing = partial(flag, "Choice")
splitting = partial(flag, "Split")
working = partial(flag, "Work")
TEMPERATURE = "temperature"
OURS = ""  # rules of moods and scenes


@dataclass(frozen=True, kw_only=True)
class PrepareFlags(ReadFlags):
    """What stands on the command line."""

    source: Path | None = argument(
        "SOURCE", "Recordings: a folder, a table, a JSON Lines file.", default=None
    )
    input: Path | None = option("--input", "SOURCE", "The same as SOURCE.")
    out: Path | None = option("--out --output -o", "FOLDER", "Where the training data will be.")
    model: str | None = option(
        "--model --model-path", "MODEL", "Whose codec and tokenizer. [default: the one that speaks]"
    )
    codec: str | None = option("--codec", "CODEC", "Another place of its codec.")
    export_seed: Path | None = option(
        "--export-seed",
        "FOLDER",
        "Also write the clips as sounds, texts and a metadata.json, for older trainers.",
    )
    dry_run: bool = option("--dry-run", None, "Only read the corpus, and tell what is in it.")
    verbose: bool = verbose()

    trim: bool = cleaning("--trim", None, "Cut silence from both ends of every clip.")
    loudness: float | None = cleaning(
        "--loudness", "DB", "Bring all clips to one level: RMS in dBFS (not LUFS), such as -23."
    )
    moods: str | None = cleaning(
        "--moods",
        "[FILE.json]",
        "Guess emotion and scene from the text where no column says them; with a file, by the "
        "rules in it.",
    )

    min_seconds: float | None = choosing("--min-seconds", "S", "Leave out shorter clips.")
    max_seconds: float | None = choosing("--max-seconds", "S", "Leave out longer clips.")
    drop_outliers: bool = choosing(
        "--drop-outliers",
        None,
        "Leave out clips that are clipped, noisy, mostly silent, or too fast or slow for their "
        "text; else they are only counted.",
    )
    keep_duplicates: bool = choosing(
        "--keep-duplicates", None, "Keep a sound, or a text of one speaker, more than once."
    )
    max_samples_per_speaker: int | None = choosing(
        "--max-samples-per-speaker", "N", "Draw so many clips of each speaker, not the first ones."
    )
    balance: str | None = choosing(
        "--balance",
        f"{TEMPERATURE}=T",
        "Draw clips of rare speakers more often: 1 all clips alike, 0 all speakers alike.",
    )

    split_by: str | None = splitting(
        "--split-by", "HOW", "By utterance, or by speaker: no speaker is in two splits."
    )
    validation: float | None = splitting("--validation", "SHARE", "What is not trained on.")
    test: float | None = splitting("--test", "SHARE", "What is not even looked at.")
    seed: int | None = splitting("--seed", "N", "Of everything that is drawn.")

    workers: int | None = working(
        "--workers --max-workers", "N", "Processes. [default: as many as there are processors]"
    )
    device: str = working(
        "--device", "DEVICE", "Where the codec runs: auto, cpu, cuda, cuda:1 ...", "auto"
    )
    batch_seconds: float | None = working(
        "--batch-seconds", "S", "How much sound the codec is given at once."
    )
    ray: str | None = working(
        "--ray", "ADDRESS", "Work on the machines of a Ray cluster; local: on this one."
    )


def command(name: str, help: str) -> Command:
    """The command as the menu takes it."""
    made = as_command(PrepareFlags, run, name, help, facts)
    made.value_if_none = {"--moods": OURS}
    made.is_value = _is_rules
    return made


def _is_rules(word: str) -> bool:
    """Told from a SOURCE; whatever stands behind `--moods=` is one as well."""
    return word.lower().endswith(".json")


def facts() -> Mapping[str, str]:
    """Defaults for the help page, read from where they are written."""
    from faster_higgs.data.measure import Limits
    from faster_higgs.data.place import BATCH_SECONDS
    from faster_higgs.data.split import SplitSettings

    split = SplitSettings()
    return {
        "min_seconds": f"default: {Limits().least_seconds:g}",
        "max_seconds": f"default: {Limits().most_seconds:g}",
        "split_by": f"default: {split.by}",
        "validation": f"default: {split.validation:g}",
        "test": f"default: {split.test:g}",
        "seed": f"default: {split.seed}",
        "batch_seconds": f"default: {BATCH_SECONDS:g}",
    }


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
    out, exported = _out(flags, source), _exported(flags, source)
    place = _place(flags)
    with _bar() as progress, _crews(flags, place.device) as (cleaners, coders):
        desk = Desk(out, cleaners, coders, _tell, progress)
        report, clips = prepare(found, str(source), place, settings, desk)
    _print(report.lines())
    if not report.clips:
        _tell(f"Error: No recording can be used; {out / ROWS} says why, one by one.")
        raise typer.Exit(1)
    if exported is not None:
        from faster_higgs.data.handover import export

        export(clips, exported, str(source))
        print(f"Written for older trainers: {flags.export_seed}")
    print(f"Training data: {out}. Train with it: {_next(flags, out)}")


def _next(flags: PrepareFlags, out: Path) -> str:
    """The command that trains with what was made."""
    words = ["higgs", "train", "--preset", "voice", "--data", str(out)]
    words += ["--out", str(out.with_name(f"{out.name}-voice"))]
    words += [] if flags.model is None else ["--model", flags.model]
    return shlex.join(words)


def settings_of(flags: PrepareFlags) -> PrepareSettings:
    """The same for the pipeline; what is not said is as it has it. Raises InputError."""
    from faster_higgs.data.choose import ChooseSettings
    from faster_higgs.data.clean import CleanSettings
    from faster_higgs.data.measure import Limits
    from faster_higgs.data.plan import PrepareSettings
    from faster_higgs.data.split import SplitSettings

    limits = replace(
        Limits(), **_said(least_seconds=flags.min_seconds, most_seconds=flags.max_seconds)
    )
    seed = _said(seed=flags.seed)
    return PrepareSettings(
        CleanSettings(flags.loudness, flags.trim),
        ChooseSettings(
            limits,
            flags.drop_outliers,
            flags.keep_duplicates,
            flags.max_samples_per_speaker,
            **seed,
        ),
        replace(
            SplitSettings(),
            **seed,
            **_said(
                by=flags.split_by,
                validation=flags.validation,
                test=flags.test,
                temperature=_temperature(flags.balance),
            ),
        ),
        _moods(flags.moods),
    )


def _moods(said: str | None) -> Moods | None:
    from faster_higgs.data.moods import Moods, packaged

    if said is None:
        return None
    return packaged() if said == OURS else Moods.load(Path(said).expanduser())


def _said(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _temperature(said: str | None) -> float | None:
    if said is None:
        return None
    name, _, value = said.partition("=")
    try:
        if name.strip() != TEMPERATURE:
            raise ValueError(name)
        return float(value)
    except ValueError:
        raise SettingError(
            f"--balance takes {TEMPERATURE}=T with T from 0 to 1; found '{said}'."
        ) from None


def _source(flags: PrepareFlags) -> Path:
    given = [path for path in (flags.source, flags.input) if path is not None]
    if len(given) != 1:
        fault = "SOURCE and --input were both given" if given else "No recordings were given"
        raise SettingError(f"{fault}; name them once, as in higgs prepare recordings/ --out data.")
    return given[0].expanduser().resolve()


def _out(flags: PrepareFlags, source: Path) -> Path:
    if flags.out is None:
        raise SettingError("Say where the training data will be, with --out FOLDER.")
    out = flags.out.expanduser().resolve()
    _refuse_inside("--out", out, [source, flags.audio_dir])
    return out


def _exported(flags: PrepareFlags, source: Path) -> Path | None:
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
    return Place(model, codec, _device(flags.device), **_said(batch_seconds=flags.batch_seconds))


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
