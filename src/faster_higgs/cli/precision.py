"""Sizes from the command line, and plans as tables for people. Knows nothing of how plans are made.

Figures in the tables are computed, not measured.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from faster_higgs.checkpoint.choice import LADDER, UNMEASURED, Plan, Wish, choose, gigabytes, plans
from faster_higgs.checkpoint.plan import PUBLISHED, Held, Size
from faster_higgs.cli.flags import PRECISIONS, TEXT_PRECISIONS
from faster_higgs.config import EngineConfig
from faster_higgs.device import CUDA_CONTEXT, PROCESS, Device
from faster_higgs.errors import SettingError

_UNITS = {"MB": 10**6, "GB": 10**9, "TB": 10**12, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}

CARDS = (6, 8, 12, 16, 24)  # GiB, for the table of what runs where
PROCESSORS = (8, 16, 24)
_SHOWN = 8_192  # positions of the cache, where ways are shown beside each other
_FREE = 0.95  # of a card; the rest shows the desktop
_SYSTEM = 1_500_000_000  # bytes of main memory that other programs have
_SPEECH = 1_024  # positions of a request: 41 s of sound, its prompt included
_MOST = 64  # requests at once
_FRAMES = 25  # positions a second


def bytes_of(text: str, flag: str) -> int:
    """A size as people write it: 8GB, 7.5 GiB, 6000MB. Raises SettingError."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kMGT]?i?B)\s*", text, re.IGNORECASE)
    size = round(float(found[1]) * _UNITS.get(found[2].upper(), 0)) if found else 0
    if not size:
        raise SettingError(f"{flag} is '{text}'; write a size such as 8GB, 7.5GiB or 6000MB.")
    return size


def held_of(precision: str | None, text: str | None) -> Held | None:
    """How weights are to be held, by the names of the flags; None where none is given."""
    if precision is None and text is None:
        return None
    sides = [None if side == "full" else side for side in (precision, text or precision)]
    return Held(sides[0], sides[1])


def wished(
    precision: str | None, text: str | None, context: int | None, max_memory: str | None
) -> Wish:
    """What flags ask of memory and precision. Raises SettingError where they contradict."""
    refuse_unknown(precision, text)
    if context is not None and context < 1:
        raise SettingError(f"--context is {context}; use 1 or more.")
    automatic = precision == "auto"
    if automatic and text:
        raise SettingError(
            "--precision auto chooses for the text side, too; leave --text-precision out."
        )
    return Wish(
        None if automatic else held_of(precision, text),
        automatic,
        context=context,
        memory=None if max_memory is None else bytes_of(max_memory, "--max-memory"),
    )


def refuse_unknown(precision: str | None, text: str | None) -> None:
    """Raises SettingError for a precision by a name that is not known."""
    for flag, given, known in (
        ("--precision", precision, PRECISIONS),
        ("--text-precision", text, TEXT_PRECISIONS),
    ):
        if given not in (None, *known):
            raise SettingError(f"{flag} is '{given}'; use one of {', '.join(known)}.")


def rows(found: Iterable[Plan]) -> list[str]:
    """Plans below each other."""
    table = [("device", "precision", "needs", "there is", "")]
    for plan in found:
        room = "unknown" if plan.room is None else gigabytes(plan.room)
        verdict = "fits" if plan.fits else "too large"
        if plan.needs.host:
            verdict += f"; {gigabytes(plan.needs.host)} of main memory besides"
        if plan.is_unmeasured:
            verdict += "; speed not measured"
        table.append((plan.device, plan.held.name, gigabytes(plan.needs.total), room, verdict))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            [
                *map(str.ljust, row[:2], widths[:2]),
                *map(str.rjust, row[2:4], widths[2:4]),
                row[4],
            ]
        ).rstrip()
        for row in table
    ]


def to_json(plan: Plan) -> dict[str, Any]:
    """A plan for machines."""
    return {
        "device": plan.device,
        "precision": plan.held.audio or "full",
        "text_precision": plan.held.text or "full",
        "flags": plan.held.flags,
        "positions": plan.engine.positions,
        "needs": {**plan.needs.device, "total": plan.needs.total, "main memory": plan.needs.host},
        "room": plan.room,
        "fits": plan.fits,
    }


def length(positions: int) -> str:
    """How much sound stands in so many positions of the cache."""
    minutes, seconds = divmod(round(positions / _FRAMES), 60)
    return f"{minutes} min {seconds:02d} s"


@dataclass(frozen=True)
class Outlook:
    """Ways to run a model on this machine, the automatic choice, and why it is that, or none."""

    name: str
    plans: Sequence[Plan]
    choice: Plan | None
    reason: str

    def lines(self) -> list[str]:
        """For people."""
        if not self.plans:
            return [self.reason]
        positions = self.plans[0].engine.positions
        told = f"{positions:,} positions of cache ({length(positions)} of sound)"
        taken = f"--precision auto takes {self.reason}." if self.choice else self.reason
        return [
            f"Ways to hold {self.name}, with {told}:",
            *(f"  {row}" for row in rows(self.plans)),
            taken,
        ]

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "plans": [to_json(plan) for plan in self.plans],
            "choice": to_json(self.choice) if self.choice else None,
            "reason": self.reason,
        }


def outlook(size: Size | None, devices: Sequence[Device], wish: Wish) -> Outlook:
    """Of a model, or of the published one."""
    name = "this model" if size else "the full model"
    size = size or PUBLISHED
    shown = replace(wish, context=wish.context or _SHOWN)
    found = [plan for device in devices for plan in plans(size, device, shown)]
    try:
        choice = choose(size, devices, wish)
    except SettingError as error:
        return Outlook(name, found, None, str(error))
    return Outlook(name, found, choice, choice.reason)


def readme_table() -> list[str]:
    """What of the published model runs in how much memory, as markdown."""
    head = ("memory", "weights", "it takes", "positions of the cache", "requests of 41 s at once")
    lines = [head, ("---",) * len(head)]
    lines += [_row(f"card, {size} GB", _imagined_card(size)) for size in CARDS]
    lines += [_row(f"CPU, {size} GB", _imagined_processor(size)) for size in PROCESSORS]
    table = [f"| {' | '.join(line)} |" for line in lines]
    return [
        *table,
        "",
        f"Estimates, computed by `higgs doctor --table`: a card is free but for {1 - _FREE:.0%}, "
        f"{gigabytes(_SYSTEM)} of main memory are other programs';",
        "`--precision auto` takes the first way of holding the weights that fits. On the host: the "
        "text side stays in main memory.",
        f"{UNMEASURED[0].upper()}{UNMEASURED[1:]}.",
    ]


def _row(name: str, device: Device) -> tuple[str, ...]:
    plan = _largest(device)
    if plan is None:
        return (name, "does not fit", "", "", "")
    takes = gigabytes(plan.needs.total)
    if plan.needs.host:
        takes += f", and {gigabytes(plan.needs.host)} of main memory"
    positions = plan.engine.positions
    told = f"{positions:,} ({length(positions)})"
    return (name, plan.held.name, takes, told, str(plan.engine.slots))


def _largest(device: Device) -> Plan | None:
    """The best precision that fits, with as many requests at once as fit then."""
    for held in LADDER:
        found = None
        for slots in range(4, _MOST + 1):
            engine = EngineConfig(slots=slots, positions=slots * _SPEECH)
            wish = Wish(held, engine=engine, listeners=slots)
            found = next((plan for plan in plans(PUBLISHED, device, wish) if plan.fits), found)
        if found is not None:
            return found
    return None


def _imagined_card(size: int) -> Device:
    total = size * 2**30
    free = round(total * _FREE) - CUDA_CONTEXT
    return Device("cuda:0", "", free, total, own=CUDA_CONTEXT, host=16 * 10**9)


def _imagined_processor(size: int) -> Device:
    total = size * 2**30
    return Device("cpu", "", total - _SYSTEM - PROCESS, total, own=PROCESS)
