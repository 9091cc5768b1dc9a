"""`higgs doctor`: what this machine can run, and with --verify whether a model is the right one.

Knows nothing of how models work.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from faster_higgs.cli.command import Command, argument, as_command, option, verbose
from faster_higgs.errors import CheckpointError, SettingError

if TYPE_CHECKING:
    from faster_higgs.checkpoint.choice import Wish
    from faster_higgs.checkpoint.plan import Size
    from faster_higgs.cli.machine import Machine
    from faster_higgs.device import Device

FULL_DISK = 12_400_000_000  # model and codec


@dataclass(frozen=True)
class DoctorFlags:
    """What stands on the command line."""

    model: str | None = argument(
        "MODEL", "A folder or hub id. [default: the model that speaks]", default=None
    )
    verify: bool = option("--verify", None, "Compare its first codes with the published ones.")
    device: str = option(
        "--device", "DEVICE", "Where it would run. [default: auto]", default="auto"
    )
    max_memory: str | None = option(
        "--max-memory", "SIZE", "Judge as if there were so much, as in 8GB. [default: what is free]"
    )
    context: int | None = option(
        "--context", "N", "Judge with so many positions of the cache; 25 make a second."
    )
    table: bool = option(
        "--table", None, "Print what of the full model runs in how much memory, as markdown."
    )
    json: bool = option("--json", None, "For machines.")
    verbose: bool = verbose()


@dataclass(frozen=True)
class Speaker:
    """The model that would speak: where it is, and what there is to load."""

    folder: str = ""
    codec: str = ""
    size: Size | None = None
    packaged: bool = False
    fault: str = ""

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        told = {name: value for name, value in vars(self).items() if name != "size"}
        return {**told, "weights": self.size.weights if self.size else 0}


def command(name: str, help: str) -> Command:
    """The command as the menu takes it."""
    return as_command(DoctorFlags, run, name, help)


def run(flags: DoctorFlags) -> None:
    """Look and tell; status 1 when nothing can speak here, or the model is a wrong one."""
    from faster_higgs.cli.precision import readme_table

    if flags.table:
        print("\n".join(readme_table()))
    elif not (_verify(flags) if flags.verify else _tell(flags)):
        raise typer.Exit(1)


def _tell(flags: DoctorFlags) -> bool:
    """Everything there is to say; whether anything can speak here."""
    from faster_higgs.cli.machine import look
    from faster_higgs.cli.precision import outlook, wished

    wish = wished("auto", None, flags.context, flags.max_memory)
    machine, speaker = look(), find_speaker(flags.model)
    devices = devices_of(flags, machine)
    if wish.memory is not None:  # another machine, which may well have more than this one
        devices = [replace(device, free=wish.memory - device.own) for device in devices]
        wish = replace(wish, memory=None)
    own = None if speaker.packaged else speaker.size
    seen = outlook(own, devices, wish)
    told = [*_verdicts(machine, speaker, devices, wish)]
    if flags.json:
        found = {
            **machine.to_json(),
            "model": speaker.to_json(),
            "verdicts": told,
            **seen.to_json(),
        }
        print(json.dumps(found, ensure_ascii=False, indent=2))
    else:
        print("\n".join([*_facts(machine, speaker), "", *seen.lines(), "", *told]))
    return not speaker.fault


def devices_of(flags: DoctorFlags, machine: Machine) -> Sequence[Device]:
    """Where the model may run."""
    from faster_higgs.cli.request import device_of
    from faster_higgs.device import named

    name = device_of(flags.device, None)
    return machine.devices if name == "auto" else tuple(named(name))


def find_speaker(name: str | None) -> Speaker:
    """The model and its codec, or what is missing, in a sentence."""
    from faster_higgs.checkpoint.files import find_codec
    from faster_higgs.checkpoint.fit import measure
    from faster_higgs.cli.loading import model_folder

    try:
        found = model_folder(name)
        codec = find_codec(found.folder)
        size = measure(found.folder, codec)
        return Speaker(str(found.folder), str(codec), size, found.packaged)
    except CheckpointError as error:
        return Speaker(fault=str(error))


def _facts(machine: Machine, speaker: Speaker) -> list[str]:
    from faster_higgs.checkpoint.choice import gigabytes

    lines = {
        "Faster Higgs": machine.package,
        "Python": f"{machine.python} on {machine.system}, {machine.cores} cores",
        "torch": machine.torch,
        "Kernels": machine.kernels,
        **{device.name: f"{device.model}, {_memory(device)}" for device in machine.devices},
        "Disk": f"{gigabytes(machine.disk_free)} free for models in {machine.disk}",
        "Model": speaker.folder or "none",
        "Codec": speaker.codec or "none",
        "Extras": ", ".join(name for name, here in machine.extras.items() if here) or "none",
        "Players": ", ".join(machine.players) or "none",
    }
    return [f"{name + ':':<14}{value}" for name, value in lines.items()]


def _verdicts(
    machine: Machine, speaker: Speaker, devices: Sequence[Device], wish: Wish
) -> Iterator[str]:
    yield speaker.fault or _speaks(speaker, devices, wish)
    if speaker.packaged or speaker.fault:
        yield from (_full(devices, wish), _room(machine))
    missing = [name for name, here in machine.extras.items() if not here]
    if missing:
        yield (
            f"Not installed: {', '.join(missing)}. "
            f"Add one with `pip install 'faster-higgs[{missing[0]}]'`."
        )
    if not machine.players:
        yield "There is no audio player, so --play cannot be used here."


def _speaks(speaker: Speaker, devices: Sequence[Device], wish: Wish) -> str:
    """By default, that is with the weights as they are in the files."""
    from faster_higgs.checkpoint.choice import choose

    assert speaker.size is not None
    kind = (
        "Pico, the small model of this package,"
        if speaker.packaged
        else f"The model of {speaker.size.weights / 1e6:,.1f} M weights"
    )
    try:
        plan = choose(speaker.size, devices, replace(wish, automatic=False))
    except SettingError as error:
        return str(error)
    return f"{kind} can speak on {plan.device}: it needs {plan.told}."


def _full(devices: Sequence[Device], wish: Wish) -> str:
    from faster_higgs.checkpoint.choice import choose
    from faster_higgs.checkpoint.plan import PUBLISHED

    try:
        plan = choose(PUBLISHED, devices, wish)
    except SettingError:
        return "The full model does not fit here."
    flag = "" if plan.held.name == "full" else f" with {plan.held.flags}"
    return f"The full model fits on {plan.device}{flag}; `higgs download` fetches it."


def _room(machine: Machine) -> str:
    enough = "enough" if machine.disk_free > FULL_DISK else "not enough"
    from faster_higgs.checkpoint.choice import gigabytes

    taken, free = gigabytes(FULL_DISK), gigabytes(machine.disk_free)
    return f"The full model takes {taken} on disk, and {free} are free: {enough}."


def _memory(device: Device) -> str:
    from faster_higgs.checkpoint.choice import gigabytes

    if device.total is None:
        return "memory unknown"
    free = "" if device.free is None else f"{gigabytes(device.free)} free of "
    return f"{free}{gigabytes(device.total)}"


def _verify(flags: DoctorFlags) -> bool:
    """Load, compare, tell. That a model of another shape cannot be compared is no fault."""
    from faster_higgs.checkpoint.load import read_config
    from faster_higgs.cli.loading import model_folder, plan_for
    from faster_higgs.cli.precision import wished
    from faster_higgs.cli.request import device_of
    from faster_higgs.cli.verify import PUBLISHED, compare
    from faster_higgs.config import ModelConfig
    from faster_higgs.speech import Higgs

    folder: Path = model_folder(flags.model).folder
    found: dict[str, Any] = {"model": str(folder)}
    if not PUBLISHED.fits(ModelConfig.from_json(read_config(folder))):
        found |= {
            "right": None,
            "verdict": f"There are no published values for the model in {folder}: "
            "it is of another shape.",
        }
    else:
        wish = replace(wished("auto", None, flags.context, flags.max_memory), automatic=False)
        plan = plan_for(folder, None, device_of(flags.device, None), wish)
        for note in plan.notes:
            print(note, file=sys.stderr)
        with Higgs.load(folder, device=plan) as higgs:
            comparison = compare(higgs, PUBLISHED)
        found |= {**vars(comparison), "right": comparison.right, "verdict": comparison.sentence()}
    print(json.dumps(found, indent=2) if flags.json else found["verdict"])
    return found["right"] is not False
