"""`higgs memory`: what a training run takes of a card, and how to train on the one that is here.

Knows nothing of how it is worked out.
"""

# ruff: noqa: RUF009  what is called here returns a dataclass field

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from faster_higgs.cli.command import Command, as_command, option, verbose
from faster_higgs.errors import SettingError

if TYPE_CHECKING:
    from faster_higgs.config import ModelConfig
    from faster_higgs.train.memory import Estimate, Job
    from faster_higgs.train.memory_choice import Lengths, Wish
    from faster_higgs.train.probe import Measured

CHECKPOINTING = {"auto": None, "on": True, "off": False}
REFERENCE = 250  # frames of a clip that gives the voice, at most


@dataclass(frozen=True)
class MemoryFlags:
    """What stands on the command line."""

    gpu: str = option(
        "--gpu",
        "SIZE",
        "The memory there is, as in 24GB. [default: auto, what is free here]",
        "auto",
    )
    preset: str = option("--preset", "PRESET", "What learns.", "voice")
    base: str = option("--base", "KIND", "How the model's weights are held.", "bf16")
    model: str | None = option(
        "--model", "MODEL", "A folder or hub id. [default: the full model, which need not be here]"
    )
    data: Path | None = option("--data", "DIR", "A prepared folder, for how long its clips are.")
    batch_positions: int | None = option(
        "--batch-positions", "N", "Positions of a batch. [default: the most that fit]"
    )
    checkpointing: str = option(
        "--checkpointing", "on|off|auto", "Whether activations are computed again.", "auto"
    )
    optimizer: str = option("--optimizer", "KIND", "Which one.", "auto")
    rank: int | None = option("--rank", "N", "Of adapters. [default: the preset's]")
    gpus: int = option("--gpus", "N", "Cards that share weights and state. [default: 1]", 1)
    table: bool = option("--table", None, "Print which card is enough for what, as markdown.")
    probe: bool = option(
        "--probe", None, "Train two steps with random weights, and compare. Of pico by default."
    )
    json: bool = option("--json", None, "For machines.")
    verbose: bool = verbose()


def command(name: str, help: str) -> Command:
    """The command as the menu takes it."""
    return as_command(MemoryFlags, run, name, help, facts)


def facts() -> Mapping[str, str]:
    """Choices for the help page, read from where they are written."""
    from typing import get_args

    from faster_higgs.train.memory import Base, Optimizer

    return {
        "preset": f"{', '.join(_presets())}; default: voice",
        "base": f"{', '.join(get_args(Base))}; default: bf16",
        "optimizer": f"auto, {', '.join(get_args(Optimizer))}; default: auto",
    }


def run(flags: MemoryFlags) -> None:
    """Tell what it takes; status 1 when it does not fit."""
    if flags.table:
        print("\n".join(table()))
        return
    config, lengths, wish = _config(flags), _lengths(flags), _wish(flags)
    job, room = _job(flags, lengths), _room(flags)
    found = _chosen(config, job, room, wish, lengths)
    fits = found is not None
    found = found or _smallest(job, wish, lengths)
    if flags.probe:
        _probe(flags, config, found, room)
        return
    told = Told(flags, config, found, room, fits, lengths)
    print(json.dumps(told.to_json(), indent=2) if flags.json else "\n".join(told.lines()))
    if not fits:
        raise typer.Exit(1)


@dataclass(frozen=True)
class Told:
    """One way to train, and whether there is room for it."""

    flags: MemoryFlags
    config: ModelConfig
    job: Job
    room: int
    fits: bool
    lengths: Lengths | None

    def lines(self) -> Iterator[str]:
        """For people."""
        from faster_higgs.train.memory import counts, estimate, trainable

        made, job = estimate(self.config, self.job), self.job
        whole = sum(counts(self.config).values())
        learns = trainable(self.config, job)
        beside = f"the model has {whole / 1e6:,.1f} M."
        yield f"{self.flags.preset}: {learns / 1e6:,.1f} M learn; {beside}"
        yield from _data_lines(self.lengths, job)
        yield ""
        yield from _parts(made)
        yield ""
        yield f"The most is taken at {made.moment}, of steps of {told_way(job)}."
        left = self.room - made.total
        free = f"of {_gb(self.room)}"
        if self.fits:
            yield f"That fits: {_gb(left)} {free} stay free. To train so:"
            yield f"  {_settings(job)}"
            return
        yield f"That is {_gb(-left)} more than there is, {free}. {self._advice()}"

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        from dataclasses import asdict

        from faster_higgs.train.memory import estimate, trainable

        made = estimate(self.config, self.job)
        return {
            "job": asdict(self.job),
            "trainable": trainable(self.config, self.job),
            "parts": {**made.parts, "context": made.context, "reserve": made.reserve},
            "moment": made.moment,
            "total": made.total,
            "room": self.room,
            "fits": self.fits,
            "lengths": asdict(self.lengths) if self.lengths else None,
        }

    def _advice(self) -> str:
        """What would fit, if anything does."""
        from faster_higgs.train.memory_choice import Wish, choose

        free = Wish()
        least = self.lengths.longest if self.lengths else 1
        if choose(self.config, self.job, self.room, free, least):
            return "It fits if the batch, checkpointing and the optimizer are left to be chosen."
        four = replace(self.job, base="int4") if self.job.adapters else None
        if four and choose(self.config, four, self.room, free, least):
            return "With --base int4 it fits."
        if not self.job.adapters:
            return "Train an adapter (--preset voice), or share the work: --gpus 2."
        return "Take a larger card, or share the work: --gpus 2."


def told_way(job: Job) -> str:
    """The choices in words."""
    batches = "1 batch" if job.accumulate == 1 else f"{job.accumulate} batches"
    kept = "with" if job.checkpointing else "without"
    return f"{batches} of {job.positions:,} positions, {kept} checkpointing, {job.optimizer}"


def _settings(job: Job) -> str:
    kept = str(job.checkpointing).lower()
    return (
        f"--set training.budget={job.positions} --set training.accumulate={job.accumulate} "
        f"--set training.checkpointing={kept} --set training.optimizer.kind={job.optimizer}"
    )


def _parts(made: Estimate) -> Iterator[str]:
    rows = {**made.parts, "reserve": made.reserve, "context": made.context, "together": made.total}
    yield f"{'':<12}{'GB':>8}{'GiB':>8}"
    for name, size in rows.items():
        yield f"{name:<12}{size / 1e9:>8.2f}{size / 2**30:>8.2f}"


def _data_lines(lengths: Lengths | None, job: Job) -> Iterator[str]:
    if lengths is None:
        return
    each = max(1, job.positions // lengths.middle)
    yield (
        f"{lengths.clips:,} clips: conversations of {lengths.shortest:,} to {lengths.longest:,} "
        f"positions, most near {lengths.middle:,}; about {each} in a batch. "
        f"{lengths.audio:.0%} is sound."
    )


def _probe(flags: MemoryFlags, config: ModelConfig, job: Job, room: int) -> None:
    """Two steps, beside what was expected of them."""
    import torch

    from faster_higgs.train.memory import estimate
    from faster_higgs.train.probe import probe

    made = estimate(config, job)
    if made.total > room:
        raise SettingError(
            f"Two steps would take {_gb(made.total)}, and there are {_gb(room)}; probe a smaller "
            "batch (--batch-positions) or model (--model)."
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found = probe(config, job, device)
    if flags.json:
        told: dict[str, Any] = {"device": device, "estimate": dict(made.parts)}
        told["estimated"] = made.expected(device)
        print(json.dumps({**told, **vars(found)}, indent=2))
        return
    print("\n".join(compared(made, found, device, job)))


def compared(made: Estimate, found: Measured, device: str, job: Job) -> Iterator[str]:
    """The estimate beside what was measured."""
    yield f"Two steps of {told_way(job)} on {device}; MB:"
    yield f"{'':<12}{'estimated':>10}{'measured':>10}"
    for name, size in made.parts.items():
        told = f"{found.parts[name] / 1e6:>10,.1f}" if name in found.parts else ""
        yield f"{name:<12}{size / 1e6:>10,.1f}{told}"
    expected = made.expected(device)
    if expected > made.peak:
        yield f"{'libraries':<12}{(expected - made.peak) / 1e6:>10,.1f}"
    yield f"{'together':<12}{expected / 1e6:>10,.1f}{found.peak / 1e6:>10,.1f}"
    yield f"The estimate is off by {expected / found.peak - 1:+.1%}."
    yield (
        f"At {made.moment}; gradients and activations are measured where each is largest. "
        f"A step took {found.seconds:.2f} s."
    )


def table() -> list[str]:
    """Which card is enough for what, as markdown: the full model, 60 % of the positions sound."""
    from faster_higgs.checkpoint.plan import PUBLISHED
    from faster_higgs.train.memory import Job, estimate

    lines = ["| what | positions of a batch | needs, GiB | card |", "|---|---|---|---|"]
    for name, preset, sizes, more in ROWS:
        for positions in sizes:
            job = Job(**_presets()[preset], **more, positions=positions)
            size = estimate(PUBLISHED.model, job).total / 2**30
            card = next((f"{card} GB" for card in CARDS if size <= card * USABLE), "none")
            lines.append(f"| {name} | {positions:,} | {size:.1f} | {card} |")
    return lines


CARDS = (6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 80, 96, 141, 192)  # GiB
AGAIN, EIGHT = {"checkpointing": True}, {"optimizer": "adamw8bit"}
USABLE = 0.97  # the rest of a card shows the desktop, or is the driver's
ROWS: tuple[tuple[str, str, tuple[int, ...], dict[str, Any]], ...] = (
    ("voice, base of 4 bits, checkpointing", "voice", (2048,), {"base": "int4", **AGAIN}),
    ("voice, base of 4 bits", "voice", (2048,), {"base": "int4"}),
    ("voice, checkpointing", "voice", (2048, 8192), AGAIN),
    ("voice", "voice", (1024, 2048, 4096), {}),
    ("language, checkpointing", "language", (2048,), AGAIN),
    ("language", "language", (2048,), {}),
    ("audio_only, 8-bit, checkpointing", "audio_only", (2048,), {**EIGHT, **AGAIN}),
    ("audio_path, 8-bit, checkpointing", "audio_path", (2048,), {**EIGHT, **AGAIN}),
    ("full, 8-bit, checkpointing", "full", (2048,), {**EIGHT, **AGAIN}),
    ("full, checkpointing", "full", (2048,), AGAIN),
    ("full, checkpointing, each of 2 cards", "full", (2048,), {"gpus": 2, **AGAIN}),
    ("full, checkpointing, each of 8 cards", "full", (2048,), {"gpus": 8, **AGAIN}),
    ("full, 8-bit, checkpointing, each of 2 cards", "full", (2048,), {"gpus": 2, **EIGHT, **AGAIN}),
)


def _presets() -> dict[str, dict[str, Any]]:
    """What learns, by the names of presets and modes."""
    from faster_higgs.train.parts import TRAINED
    from faster_higgs.train.tune_config import PRESETS, WITH_ADAPTER

    found: dict[str, dict[str, Any]] = {}
    for name, preset in PRESETS.items():
        if preset["mode"] not in WITH_ADAPTER:
            continue
        whole = tuple(preset.get("adapter.whole", ()))
        rank = {"rank": preset["adapter.rank"]}
        found[name] = {"adapters": tuple(preset["adapter.parts"]), "whole": whole, **rank}
    for name, parts in TRAINED.items():
        heard = tuple(part for part in parts if part != "text_head")  # nothing reads it
        found[name] = {"adapters": (), "whole": heard}
    return found


def _config(flags: MemoryFlags) -> ModelConfig:
    from faster_higgs.checkpoint.files import PACKAGED
    from faster_higgs.checkpoint.load import read_config
    from faster_higgs.checkpoint.plan import PUBLISHED
    from faster_higgs.cli.loading import model_folder
    from faster_higgs.config import ModelConfig

    if flags.model is None and not flags.probe:
        return PUBLISHED.model
    folder = model_folder(flags.model).folder if flags.model else PACKAGED
    return ModelConfig.from_json(read_config(folder))


def _job(flags: MemoryFlags, lengths: Lengths | None) -> Job:
    from typing import get_args

    from faster_higgs.train.memory import Base, Job

    presets = _presets()
    if flags.preset not in presets:
        raise SettingError(f"--preset is '{flags.preset}'; use one of {', '.join(presets)}.")
    if flags.base not in get_args(Base):
        raise SettingError(f"--base is '{flags.base}'; use one of {', '.join(get_args(Base))}.")
    made: dict[str, Any] = presets[flags.preset]
    if flags.rank is not None:
        if not made["adapters"]:
            raise SettingError(f"--rank is for adapters; '{flags.preset}' has none.")
        made["rank"] = flags.rank
    if lengths:
        made["audio"] = lengths.audio
    return Job(**made, base=flags.base, gpus=flags.gpus)  # type: ignore[arg-type]


def _wish(flags: MemoryFlags) -> Wish:
    from typing import get_args

    from faster_higgs.train.memory import Optimizer
    from faster_higgs.train.memory_choice import Wish

    if flags.checkpointing not in CHECKPOINTING:
        raise SettingError(f"--checkpointing is '{flags.checkpointing}'; use on, off or auto.")
    kinds = get_args(Optimizer)
    if flags.optimizer not in ("auto", *kinds):
        raise SettingError(
            f"--optimizer is '{flags.optimizer}'; use one of auto, {', '.join(kinds)}."
        )
    if flags.batch_positions is not None and flags.batch_positions < 1:
        raise SettingError(f"--batch-positions is {flags.batch_positions}; use 1 or more.")
    kind: Any = None if flags.optimizer == "auto" else flags.optimizer
    return Wish(flags.batch_positions, CHECKPOINTING[flags.checkpointing], kind)


def _lengths(flags: MemoryFlags) -> Lengths | None:
    if flags.data is None:
        return None
    from faster_higgs.data.cache import Cache
    from faster_higgs.errors import DataError
    from faster_higgs.train.memory_choice import Lengths

    cache = Cache(flags.data.expanduser(), verify=False)
    if not len(cache):
        raise DataError(f"'{flags.data}' has no clips; prepare some recordings first.")
    texts = [len(tokens) for tokens in cache.column("tokens")]
    return Lengths.of(cache.column("frames"), texts, cache.books, REFERENCE)


def _room(flags: MemoryFlags) -> int:
    """Bytes."""
    from faster_higgs.cli.precision import bytes_of
    from faster_higgs.device import devices

    if flags.gpu != "auto":
        return bytes_of(flags.gpu, "--gpu")
    here = next(devices())
    if here.free is None:
        raise SettingError(f"{here.name} does not tell its memory; give it, as in --gpu 24GB.")
    return here.free + here.own


def _chosen(
    config: ModelConfig, job: Job, room: int, wish: Wish, lengths: Lengths | None
) -> Job | None:
    from faster_higgs.train.memory_choice import choose

    longest = lengths.longest if lengths else 1
    if wish.positions is not None and wish.positions < longest:
        raise SettingError(
            f"--batch-positions is {wish.positions}, and the longest conversation of the data "
            f"takes {longest}; use so many or more."
        )
    return choose(config, job, room, wish, longest)


def _smallest(job: Job, wish: Wish, lengths: Lengths | None) -> Job:
    """The last resort that was tried."""
    from faster_higgs.train.memory_choice import ways

    longest = lengths.longest if lengths else 1
    *_, last = (way for way in ways(job, wish) if way.positions >= longest)
    return last


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
