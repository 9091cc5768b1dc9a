"""`higgs doctor`: what this machine can run, and with --verify whether a model is the right one.

Knows nothing of how models work.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from faster_higgs.cli.command import Command, argument, as_command, option, verbose
from faster_higgs.errors import CheckpointError

if TYPE_CHECKING:
    from faster_higgs.cli.machine import Machine
    from faster_higgs.device import Device

FULL_WEIGHTS = (
    5_377_281_024  # of the published model, without the text head, which speaking does not load
)
FULL_DISK = 12_400_000_000  # model and codec


@dataclass(frozen=True)
class DoctorFlags:
    """What stands on the command line."""

    model: str | None = argument(
        "MODEL", "A folder or hub id. [default: the model that speaks]", default=None
    )
    verify: bool = option("--verify", None, "Compare its first codes with the published ones.")
    device: str = option("--device", "DEVICE", "Where to verify. [default: auto]", default="auto")
    json: bool = option("--json", None, "For machines.")
    verbose: bool = verbose()


@dataclass(frozen=True)
class Speaker:
    """The model that would speak: where it is, and how many weights it has."""

    folder: str = ""
    codec: str = ""
    weights: int = 0
    packaged: bool = False
    fault: str = ""


def command(name: str, help: str) -> Command:
    """The command as the menu takes it."""
    return as_command(DoctorFlags, run, name, help)


def run(flags: DoctorFlags) -> None:
    """Look and tell; status 1 when nothing can speak here, or the model is a wrong one."""
    if flags.verify:
        good = _verify(flags)
    else:
        from faster_higgs.cli.machine import look

        machine, speaker = look(), find_speaker(flags.model)
        told = [*_verdicts(machine, speaker)]
        good = not speaker.fault
        if flags.json:
            found = {**machine.to_json(), "model": vars(speaker), "verdicts": told}
            print(json.dumps(found, ensure_ascii=False, indent=2))
        else:
            print("\n".join([*_facts(machine, speaker), "", *told]))
    if not good:
        raise typer.Exit(1)


def find_speaker(name: str | None) -> Speaker:
    """The model and its codec, or what is missing, in a sentence."""
    from faster_higgs.checkpoint.files import find_codec
    from faster_higgs.checkpoint.load import count_weights
    from faster_higgs.cli.loading import model_folder

    try:
        found = model_folder(name)
        weights = count_weights(found.folder)
        return Speaker(str(found.folder), str(find_codec(found.folder)), weights, found.packaged)
    except CheckpointError as error:
        return Speaker(fault=str(error))


def _facts(machine: Machine, speaker: Speaker) -> list[str]:
    lines = {
        "Faster Higgs": machine.package,
        "Python": f"{machine.python} on {machine.system}, {machine.cores} cores",
        "torch": machine.torch,
        **{device.name: f"{device.model}, {_memory(device)}" for device in machine.devices},
        "Disk": f"{_gigabytes(machine.disk_free)} free for models in {machine.disk}",
        "Model": speaker.folder or "none",
        "Codec": speaker.codec or "none",
        "Extras": ", ".join(name for name, here in machine.extras.items() if here) or "none",
        "Players": ", ".join(machine.players) or "none",
    }
    return [f"{name + ':':<14}{value}" for name, value in lines.items()]


def _verdicts(machine: Machine, speaker: Speaker) -> list[str]:
    told = [speaker.fault or _speaks(machine, speaker)]
    if speaker.packaged or speaker.fault:
        told += [_full(machine), _room(machine)]
    missing = [name for name, here in machine.extras.items() if not here]
    if missing:
        told.append(
            f"Not installed: {', '.join(missing)}. "
            f"Add one with `pip install 'faster-higgs[{missing[0]}]'`."
        )
    if not machine.players:
        told.append("There is no audio player, so --play cannot be used here.")
    return told


def _speaks(machine: Machine, speaker: Speaker) -> str:
    from faster_higgs.device import first_with_room

    kind = (
        "Pico, the small model of this package,"
        if speaker.packaged
        else f"The model of {speaker.weights / 1e6:,.1f} M weights"
    )
    place = first_with_room(machine.devices, speaker.weights)
    if place is None:
        return f"{kind} does not fit into the memory that is free here."
    return f"{kind} can speak on {place.name}."


def _full(machine: Machine) -> str:
    from faster_higgs.device import first_with_room, needed

    place = first_with_room(machine.devices, FULL_WEIGHTS)
    if place is not None:
        return f"The full model fits on {place.name}; `higgs download` fetches it."
    needs = ", ".join(f"{_gigabytes(needed(FULL_WEIGHTS, d))} on {d.name}" for d in machine.devices)
    return f"The full model does not fit here: it needs {needs}."


def _room(machine: Machine) -> str:
    enough = "enough" if machine.disk_free > FULL_DISK else "not enough"
    taken, free = _gigabytes(FULL_DISK), _gigabytes(machine.disk_free)
    return f"The full model takes {taken} on disk, and {free} are free: {enough}."


def _memory(device: Device) -> str:
    if device.total is None:
        return "memory unknown"
    free = "" if device.free is None else f"{_gigabytes(device.free)} free of "
    return f"{free}{_gigabytes(device.total)}"


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"


def _verify(flags: DoctorFlags) -> bool:
    """Load, compare, tell. That a model of another shape cannot be compared is no fault."""
    from faster_higgs.checkpoint.load import read_config
    from faster_higgs.cli.loading import model_folder
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
        with Higgs.load(folder, device=device_of(flags.device, None)) as higgs:
            comparison = compare(higgs, PUBLISHED)
        found |= {**vars(comparison), "right": comparison.right, "verdict": comparison.sentence()}
    print(json.dumps(found, indent=2) if flags.json else found["verdict"])
    return found["right"] is not False
