"""One fine-tuning from its settings: model, data, steps, and what is left at the end.

Knows nothing of the command line.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import torch

from faster_higgs.checkpoint.codec_files import load_codec
from faster_higgs.checkpoint.files import find_codec, resolve
from faster_higgs.data.amounts import counted
from faster_higgs.data.cache import Cache
from faster_higgs.data.record import Split
from faster_higgs.errors import (
    CheckpointError,
    CheckpointNotFound,
    DataError,
    OutputPlaceError,
    SettingError,
)
from faster_higgs.locks import alone_in
from faster_higgs.train import modes
from faster_higgs.train.config import LanguageSettings, RunSettings
from faster_higgs.train.dataset import Dataset, with_replay
from faster_higgs.train.demands import Demands
from faster_higgs.train.journal import Say
from faster_higgs.train.learner import Learner
from faster_higgs.train.lengths import Lengths
from faster_higgs.train.listen import Line, Listener, lines_of
from faster_higgs.train.loop import LanguageTask
from faster_higgs.train.packing import Examples
from faster_higgs.train.results import ABOUT, Results
from faster_higgs.train.run import Outcome, Run
from faster_higgs.train.settings_file import as_yaml, flattened
from faster_higgs.train.state import Checkpoints
from faster_higgs.train.team import ALONE, Team
from faster_higgs.train.tune_config import FREE, TuneSettings

Again = Literal["if any", "resume", "fresh"]


@dataclass(frozen=True)
class Tuned:
    """How it ended, and where the adapter or the model is; None where it was stopped before."""

    outcome: Outcome
    place: Path | None


@dataclass(frozen=True)
class Data:
    """What is learnt, what is held out, what is spoken of it, and the fingerprint of all."""

    train: Examples
    sets: tuple[Dataset, ...]  # of which that is made
    held_out: Examples | None
    lines: list[Line]
    fingerprint: str


def tune(
    settings: TuneSettings,
    folder: Path,
    say: Say,
    again: Again = "if any",
    team: Team = ALONE,
) -> Tuned:
    """Train the model in `folder` as the settings say, and leave the result in settings.out.

    Of a team all members call it; the first one speaks and writes. Raises HiggsError in all its
    kinds.
    """
    results = Results(_out(settings))
    with alone_in(results.folder) if team.leads else nullcontext():
        return _tune(settings, folder, results, say if team.leads else _nothing, again, team)


def _tune(
    settings: TuneSettings, folder: Path, results: Results, say: Say, again: Again, team: Team
) -> Tuned:
    if again == "resume" and Checkpoints(results.folder).find() is None:
        raise CheckpointNotFound(f"There is no checkpoint in '{results.folder}' to resume from.")
    data = _data(settings, folder, say)
    learner = Learner.load(folder, settings)
    for line in modes.table(learner.model).lines():
        say(line)
    training, pace = planned(settings, Lengths.of(data.train, data.sets), say, team.size)
    if team.leads and (again == "fresh" or Checkpoints(results.folder).find() is None):
        results.clear()  # a run that was lost before its first checkpoint leaves things, too
    team.any(False)  # wait for it
    torch.manual_seed(training.seed + team.rank)
    task = LanguageTask(learner.model, data.train, training, held_out=data.held_out, team=team)
    told = {
        "the data": data.fingerprint,
        "the model": learner.fingerprint,
        "batches of a step": training.accumulate * team.size,
    }
    run = Run(
        task,
        pace,
        results.folder,
        say=say,
        identity={**identity(settings), **told},
        listen=_listener(settings, learner, data.lines, results),
        keep_best=lambda step: results.keep_best(learner),
        team=team,
    )
    with _ways_on():
        run.resume_if_any()
    if team.leads:
        _tell_version(results, say)
        about = {"data": data.fingerprint, "model": learner.fingerprint}
        results.open(as_yaml(settings), {**about, "version": _version()})
    with closing(task):
        outcome = run.go()
    place = None
    if outcome.reason != "signal":
        with task.whole():
            place = results.finish(learner) if team.leads else None
    return Tuned(outcome, place)


@contextmanager
def _ways_on() -> Iterator[None]:
    """What cannot be resumed can be begun again: say how."""
    try:
        yield
    except (SettingError, CheckpointError) as error:
        raise type(error)(f"{error} To begin again in this folder, give --fresh.") from error


def identity(settings: TuneSettings) -> dict[str, Any]:
    """The settings that may not change when a run goes on."""
    return {name: value for name, value in flattened(settings).items() if name not in FREE}


def planned(
    settings: TuneSettings, lengths: Lengths, say: Say, members: int = 1
) -> tuple[LanguageSettings, RunSettings]:
    """Settings whose numbers are those of the data: clips to positions, epochs to steps."""
    training, pace = settings.training, settings.run
    if settings.batch_clips is not None:
        budget = max(round(settings.batch_clips * lengths.mean), lengths.longest)
        training = replace(training, budget=budget)
        say(f"{settings.batch_clips} clips a batch are about {budget} positions.")
    if lengths.longest > training.budget:
        raise SettingError(
            f"A conversation of the data may have {lengths.longest:,} positions (that of clip "
            f"{lengths.clip}), and a batch holds {training.budget:,}; give it as many "
            "(--batch-positions), prepare shorter clips, or lower mixture.max_reference_seconds."
        )
    each = epoch(lengths, training, members)
    pace = _paced(pace, each)
    say(
        f"{lengths.count:,} clips, {lengths.mean:.0f} positions each; {counted(each, 'step')} an "
        "epoch" + (f"; {counted(pace.steps, 'step')} in all." if pace.steps else ".")
    )
    return training, pace


def epoch(lengths: Lengths, settings: LanguageSettings, members: int = 1) -> int:
    """Its steps."""
    whole, rest = divmod(lengths.count, settings.window)
    windows = [settings.window] * whole + [rest] * bool(rest)
    batches = sum(math.ceil(size * lengths.mean / settings.budget) for size in windows)
    return max(1, math.ceil(batches / (settings.accumulate * members)))


def _paced(pace: RunSettings, each: int) -> RunSettings:
    """The same in steps alone, of which an epoch has `each`."""
    steps, warmup, eval_every = pace.steps, pace.warmup, pace.eval_every
    if pace.epochs is not None:
        steps = max(1, round(pace.epochs * each), pace.least_steps or 0)
    if pace.warmup_share is not None and steps is not None:
        warmup = min(warmup, round(pace.warmup_share * steps))
    if pace.evaluations is not None and steps is not None:
        eval_every = min(eval_every, max(1, steps // pace.evaluations))
    said = replace(pace, steps=steps, warmup=warmup, eval_every=eval_every, epochs=None)
    return replace(said, warmup_share=None, evaluations=None)


def _out(settings: TuneSettings) -> Path:
    if not settings.out:
        raise SettingError("Say where the results go: --out FOLDER.")
    out = Path(settings.out).expanduser()
    if out.exists() and not out.is_dir():
        raise OutputPlaceError(f"'{out}' is a file; name a folder for the results.")
    return out


def _data(settings: TuneSettings, folder: Path, say: Say) -> Data:
    if not settings.data:
        raise SettingError("Say what to train on: --data FOLDER, made by `higgs prepare`.")
    codec = None if settings.codec is None else resolve(settings.codec)
    demands = Demands.load(folder, codec)
    caches = [Cache(Path(name).expanduser()) for name in (settings.data, *settings.replay_data)]
    train, *replayed = [Dataset(cache, demands, settings.mixture) for cache in caches]
    for note in (*train.notes, *(note for one in replayed for note in one.notes)):
        say(f"Note: {note}")
    if settings.eval_data is not None:
        caches.append(Cache(Path(settings.eval_data).expanduser()))
    own = caches[0] if settings.eval_data is None else caches[-1]
    held_out, lines = _held_out(settings, demands, own)
    if held_out is not None:
        _refuse_heard(held_out, (train, *replayed))
    elif settings.run.patience is not None:
        say("Nothing is held out for validation, so the last step counts as the best.")
    whole = with_replay(train, replayed, settings.mixture)
    sets = (train, *replayed) if settings.mixture.replay else (train,)
    return Data(whole, sets, held_out, lines, " ".join(cache.fingerprint for cache in caches))


def _held_out(
    settings: TuneSettings, demands: Demands, cache: Cache
) -> tuple[Dataset | None, list[Line]]:
    """What is held out and what is spoken of it; of a folder that is there for that, anything."""
    splits: tuple[Split, ...] = ("validation",)
    if settings.eval_data is not None:
        splits = ("validation", "test", "train")
    split = next((split for split in splits if len(cache) and cache.indices(split)), splits[-1])
    if settings.eval_data is None and not (len(cache) and cache.indices(split)):
        return None, []
    held_out = Dataset(cache, demands, settings.mixture, split, held_out=True)
    count = settings.listen
    return held_out, lines_of(cache, demands.wording, count, split) if count else []


def _refuse_heard(held_out: Dataset, learnt: Sequence[Dataset]) -> None:
    """Raises DataError where a clip is learnt and held out, too: its loss would say nothing."""
    known = {digest for one in learnt for digest in one.sounds()}
    if both := sum(digest in known for digest in held_out.sounds()):
        raise DataError(
            f"{both:,} of the {len(held_out):,} clips that are held out in "
            f"'{held_out.cache.folder}' are among those that are learnt; hold out others."
        )


def _listener(
    settings: TuneSettings, learner: Learner, lines: list[Line], results: Results
) -> Listener | None:
    if not lines:
        return None
    place = find_codec(learner.folder) if settings.codec is None else resolve(settings.codec)
    codec = load_codec(place, encoder=False).to(learner.model.norm.weight.device)
    return Listener(learner.model, codec, lines, results.folder)


def _version() -> str:
    """Of the program; a source tree that is not installed has none."""
    try:
        return version("faster-higgs")
    except PackageNotFoundError:
        return "from source"


def _nothing(line: str) -> None:
    """Say nothing."""


def _tell_version(results: Results, say: Say) -> None:
    path = results.folder / ABOUT
    if not path.is_file():
        return
    before = json.loads(path.read_text()).get("version")
    if before != _version():
        say(f"This run was begun with version {before} of the program.")
