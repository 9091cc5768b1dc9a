"""One fine-tuning from its settings: model, data, steps, and what is left at the end.

Knows nothing of the command line.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch

from faster_higgs.data.cache import Cache
from faster_higgs.data.record import Split
from faster_higgs.errors import CheckpointNotFound, OutputPlaceError, SettingError
from faster_higgs.train import modes
from faster_higgs.train.config import LanguageSettings, RunSettings
from faster_higgs.train.dataset import Dataset, with_replay
from faster_higgs.train.demands import Demands
from faster_higgs.train.journal import Journal, Say
from faster_higgs.train.learner import Learner
from faster_higgs.train.loop import LanguageTask
from faster_higgs.train.packing import Examples
from faster_higgs.train.results import ABOUT, Results
from faster_higgs.train.run import Outcome, Run
from faster_higgs.train.settings_file import as_yaml, flattened
from faster_higgs.train.state import Checkpoints
from faster_higgs.train.tune_config import FREE, TuneSettings

Again = Literal["if any", "resume", "fresh"]
Listen = Callable[[int, Journal], None]
_SAMPLE = 256  # examples whose lengths stand for all


@dataclass(frozen=True)
class Tuned:
    """How it ended, and where the adapter or the model is; None where it was stopped before."""

    outcome: Outcome
    place: Path | None


@dataclass(frozen=True)
class Lengths:
    """Positions of examples, by a sample of them."""

    count: int
    mean: float
    longest: int

    @classmethod
    def of(cls, examples: Examples) -> Lengths:
        every = max(1, len(examples) // _SAMPLE)
        found = [len(examples.example(i, 0)) for i in range(0, len(examples), every)]
        return cls(len(examples), sum(found) / len(found), max(found))

    def steps(self, settings: LanguageSettings) -> int:
        """Of one epoch."""
        whole, rest = divmod(self.count, settings.window)
        windows = [settings.window] * whole + [rest] * bool(rest)
        batches = sum(math.ceil(size * self.mean / settings.budget) for size in windows)
        return max(1, math.ceil(batches / settings.accumulate))


def tune(
    settings: TuneSettings,
    folder: Path,
    say: Say,
    again: Again = "if any",
    listening: Callable[[Learner, Examples | None], Listen] | None = None,
) -> Tuned:
    """Train the model in `folder` as the settings say, and leave the result in settings.out.

    Raises HiggsError in all its kinds.
    """
    results = Results(_out(settings))
    found = Checkpoints(results.folder).find()
    if again == "resume" and found is None:
        raise CheckpointNotFound(f"There is no checkpoint in '{results.folder}' to resume from.")
    train, held_out, data = _examples(settings, folder, say)
    learner = Learner.load(folder, settings)
    for line in modes.table(learner.model).lines():
        say(line)
    training, pace = planned(settings, Lengths.of(train), say)
    if again == "fresh":
        results.clear()
    torch.manual_seed(training.seed)
    task = LanguageTask(learner.model, train, training, held_out=held_out)
    run = Run(
        task,
        pace,
        results.folder,
        say=say,
        identity={**identity(settings), "the data": data, "the model": learner.fingerprint},
        listen=listening(learner, held_out) if listening else None,
        keep_best=lambda step: results.keep_best(learner),
    )
    run.resume_if_any()
    about = {"data": data, "model": learner.fingerprint, "version": version("faster-higgs")}
    _tell_version(results, say)
    results.open(as_yaml(settings), about)
    outcome = run.go()
    if outcome.reason == "signal":
        return Tuned(outcome, None)
    return Tuned(outcome, results.finish(learner))


def identity(settings: TuneSettings) -> dict[str, Any]:
    """The settings that may not change when a run goes on."""
    return {name: value for name, value in flattened(settings).items() if name not in FREE}


def planned(
    settings: TuneSettings, lengths: Lengths, say: Say
) -> tuple[LanguageSettings, RunSettings]:
    """Settings whose numbers are those of the data: clips to positions, epochs to steps."""
    training, pace = settings.training, settings.run
    if settings.batch_clips is not None:
        budget = max(round(settings.batch_clips * lengths.mean), math.ceil(1.5 * lengths.longest))
        training = replace(training, budget=budget)
        say(f"{settings.batch_clips} clips a batch are about {budget} positions.")
    each = lengths.steps(training)
    steps = pace.steps
    if pace.epochs is not None:
        steps = max(1, round(pace.epochs * each))
    warmup = pace.warmup
    if pace.warmup_share is not None and steps is not None:
        warmup = min(warmup, round(pace.warmup_share * steps))
    say(
        f"{lengths.count:,} clips, {lengths.mean:.0f} positions each; {each:,} steps an epoch"
        + (f"; {steps:,} steps in all." if steps else ".")
    )
    return training, replace(pace, steps=steps, epochs=None, warmup=warmup, warmup_share=None)


def _out(settings: TuneSettings) -> Path:
    if not settings.out:
        raise SettingError("Say where the results go: --out FOLDER.")
    out = Path(settings.out).expanduser()
    if out.exists() and not out.is_dir():
        raise OutputPlaceError(f"'{out}' is a file; name a folder for the results.")
    return out


def _examples(
    settings: TuneSettings, folder: Path, say: Say
) -> tuple[Examples, Examples | None, str]:
    """What is learnt, what is held out, and the fingerprint of both."""
    if not settings.data:
        raise SettingError("Say what to train on: --data FOLDER, made by `higgs prepare`.")
    demands = Demands.load(folder, None if settings.codec is None else Path(settings.codec))
    caches = [Cache(Path(name).expanduser()) for name in (settings.data, *settings.replay_data)]
    train, *replayed = [Dataset(cache, demands, settings.mixture) for cache in caches]
    for note in train.notes:
        say(f"Note: {note}")
    held_cache, fingerprints = caches[0], [cache.fingerprint for cache in caches]
    split: Split = "validation"
    if settings.eval_data is not None:
        held_cache = Cache(Path(settings.eval_data).expanduser())
        fingerprints.append(held_cache.fingerprint)
        split = next(s for s in ("validation", "test", "train") if _any(held_cache, s))
    held_out = None
    if _any(held_cache, split):
        held_out = Dataset(held_cache, demands, settings.mixture, split)
    elif settings.run.patience is not None:
        say("Nothing is held out for validation, so the last step counts as the best.")
    return with_replay(train, replayed, settings.mixture), held_out, " ".join(fingerprints)


def _any(cache: Cache, split: str) -> bool:
    return bool(len(cache)) and bool(cache.indices(split))  # type: ignore[arg-type]


def _tell_version(results: Results, say: Say) -> None:
    path = results.folder / ABOUT
    if not path.is_file():
        return
    before = json.loads(path.read_text()).get("version")
    if before != version("faster-higgs"):
        say(f"This run was begun with version {before} of the program.")
