"""The flags of `higgs prepare`, and what they say to the pipeline. Knows nothing of its steps."""

# ruff: noqa: RUF009  what is called here returns a dataclass field

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faster_higgs.cli.command import argument, flag, option, verbose
from faster_higgs.cli.reading import ReadFlags
from faster_higgs.errors import SettingError

if TYPE_CHECKING:
    from faster_higgs.data.moods import Moods
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


def settings_of(flags: PrepareFlags) -> PrepareSettings:
    """The same for the pipeline; what is not said is as it has it. Raises InputError."""
    from faster_higgs.data.choose import ChooseSettings
    from faster_higgs.data.clean import CleanSettings
    from faster_higgs.data.measure import Limits
    from faster_higgs.data.plan import PrepareSettings
    from faster_higgs.data.split import SplitSettings

    limits = replace(
        Limits(), **given(least_seconds=flags.min_seconds, most_seconds=flags.max_seconds)
    )
    seed = given(seed=flags.seed)
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
            **given(
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


def given(**values: Any) -> dict[str, Any]:
    """What is said of these."""
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
