"""`higgs memory`: what a training run takes of a card, and how to train on the one that is here.

Knows nothing of how it is worked out.
"""

# ruff: noqa: RUF009  what is called here returns a dataclass field

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from faster_higgs.cli.command import Command, as_command, option, verbose
from faster_higgs.cli.memory_told import Model, Told, compared, gb
from faster_higgs.errors import SettingError

if TYPE_CHECKING:
    from faster_higgs.config import ModelConfig
    from faster_higgs.train.job import Job
    from faster_higgs.train.memory_choice import Lengths, Wish

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
        "--model",
        "MODEL",
        "A folder or hub id. [default: pico for data made for it, else the full model]",
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

    from faster_higgs.train.job import Base, Optimizer, presets

    return {
        "preset": f"{', '.join(presets())}; default: voice",
        "base": f"{', '.join(get_args(Base))}; default: bf16",
        "optimizer": f"auto, {', '.join(get_args(Optimizer))}; default: auto",
    }


def run(flags: MemoryFlags) -> None:
    """Tell what it takes; status 1 when it does not fit."""
    if flags.table:
        from faster_higgs.cli.memory_table import table

        print("\n".join(table()))
        return
    model, lengths, wish = _model(flags), _lengths(flags), _wish(flags)
    job, room = _job(flags, lengths), _room(flags)
    found = _chosen(model.config, job, room, wish, lengths)
    fits = found is not None
    found = found or _smallest(job, wish, lengths)
    if flags.probe:
        _probe(flags, model.config, found, room)
        return
    told = Told(flags.preset, model, found, room, fits, lengths)
    print(json.dumps(told.to_json(), indent=2) if flags.json else "\n".join(told.lines()))
    if not fits:
        raise typer.Exit(1)


def _probe(flags: MemoryFlags, config: ModelConfig, job: Job, room: int) -> None:
    """Two steps, beside what was expected of them."""
    import torch

    from faster_higgs.train.memory import estimate
    from faster_higgs.train.probe import probe

    made = estimate(config, job)
    if made.total > room:
        raise SettingError(
            f"Two steps would take {gb(made.total)}, and there are {gb(room)}; probe a smaller "
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


def _model(flags: MemoryFlags) -> Model:
    """The one that is named, else the one that the data are for, else the full one."""
    from faster_higgs.checkpoint.files import PACKAGED
    from faster_higgs.checkpoint.load import read_config
    from faster_higgs.checkpoint.plan import PUBLISHED
    from faster_higgs.cli.loading import model_folder
    from faster_higgs.config import ModelConfig

    if flags.model:
        config = ModelConfig.from_json(read_config(model_folder(flags.model).folder))
        return Model(f"the model in {flags.model}", config, flags.model)
    pico = ModelConfig.from_json(read_config(PACKAGED))
    if flags.probe or (flags.data and _is_for_pico(flags.data, pico)):
        return Model("pico, which is assumed without --model,", pico)
    return Model("the full model, which is assumed without --model,", PUBLISHED.model)


def _is_for_pico(data: Path, config: ModelConfig) -> bool:
    """Whether a prepared folder is worded as pico reads."""
    from faster_higgs.checkpoint.files import PACKAGED
    from faster_higgs.data.cache import read_about
    from faster_higgs.data.wording import Wording

    about = read_about(data.expanduser())
    return bool(about["text"]["fingerprint"] == Wording.load(PACKAGED, config).fingerprint)


def _job(flags: MemoryFlags, lengths: Lengths | None) -> Job:
    from typing import get_args

    from faster_higgs.train.job import Base, Job, presets

    known = presets()
    if flags.preset not in known:
        raise SettingError(f"--preset is '{flags.preset}'; use one of {', '.join(known)}.")
    if flags.base not in get_args(Base):
        raise SettingError(f"--base is '{flags.base}'; use one of {', '.join(get_args(Base))}.")
    made: dict[str, Any] = known[flags.preset]
    if flags.rank is not None:
        if not made["adapters"]:
            raise SettingError(f"--rank is for adapters; '{flags.preset}' has none.")
        made["rank"] = flags.rank
    if lengths:
        made["audio"] = lengths.audio
    return Job(**made, base=flags.base, gpus=flags.gpus)  # type: ignore[arg-type]


def _wish(flags: MemoryFlags) -> Wish:
    from typing import get_args

    from faster_higgs.train.job import Optimizer
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
    texts = cache.counts("tokens")
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
    from faster_higgs.train.memory_choice import BUDGETS, choose

    longest = lengths.longest if lengths else 1
    if wish.positions is None and longest > BUDGETS[0]:
        raise SettingError(
            f"The longest conversation of the data takes {longest} positions, more than the "
            f"largest batch that is tried; give --batch-positions {longest}, or shorter clips."
        )
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
