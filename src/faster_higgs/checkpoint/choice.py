"""Where a model runs and how its weights are held: the best that has room, and why, in words.

Never another precision than what is asked for. Knows nothing of files, nor how devices are asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from faster_higgs.checkpoint.plan import Held, Needs, Room, Size, needs
from faster_higgs.config import EngineConfig
from faster_higgs.errors import SettingError
from faster_higgs.quant.apply import NO_FP8

# There weights are unpacked for every step, block by block.
UNMEASURED = "how fast int8, int4 and fp8 are on graphics cards was not measured yet"

CONTEXTS = (16_384, 8_192, 4_096)  # positions of the cache, where nobody asks for a number

# The best first. On the host the text side is whole, and every prompt waits for it to come. fp8 is
# taken only where it is asked for.
LADDER = (
    Held(),
    Held(None, "host"),
    Held("int8", "int8"),
    Held("int8", "host"),
    Held("int4", "int8"),
    Held("int4", "int4"),
    Held("int4", "host"),
)


@dataclass(frozen=True)
class Wish:
    """What is asked of a plan. Without a `held` weights are as the files have them."""

    held: Held | None = None
    automatic: bool = False  # the best that fits
    engine: EngineConfig | None = None
    context: int | None = None  # positions of the usual engine; None: as many as fit
    listeners: int = 1  # whose sound is decoded at the same time
    clones: bool = False  # clips become voices, too
    memory: int | None = None  # bytes to be used on a device at most; None: those that are free


@dataclass(frozen=True)
class Plan:
    """One way to run a model on a device."""

    device: str
    held: Held
    engine: EngineConfig
    needs: Needs
    room: int | None  # bytes on the device; None where the system does not tell
    host: int = 0  # bytes of main memory that are free beside a card
    given: bool = False  # the room is what was allowed: less than what is free
    reason: str = ""  # why it was chosen, in one line
    notes: tuple[str, ...] = ()  # what else is to be told: devices passed over, slow weights

    @property
    def fits(self) -> bool:
        """Whether there is room; a device that tells nothing is believed to have it."""
        on_device = self.room is None or self.needs.total <= self.room
        return on_device and self.needs.host <= self.host

    @property
    def is_unmeasured(self) -> bool:
        """Whether nobody has timed weights that are held so on such a device."""
        return self.device != "cpu" and self.held.packs

    @property
    def told(self) -> str:
        """What it takes, beside what there is."""
        room = "an unknown size" if self.room is None else gigabytes(self.room)
        told = f"{gigabytes(self.needs.total)} of {room} {'allowed' if self.given else 'free'}"
        if not self.needs.host:
            return told
        return f"{told}, and of main memory {gigabytes(self.needs.host)} of {gigabytes(self.host)}"


def gigabytes(size: int) -> str:
    """For people."""
    return f"{size / 1e9:.1f} GB"


def choose(size: Size, devices: Iterable[Room], wish: Wish) -> Plan:
    """The first device with room, and the best plan that fits there.

    Later devices are not even asked. Raises SettingError, which names what would fit.
    """
    asked: list[Room] = []
    notes: list[str] = []
    for device in devices:
        asked.append(device)
        tried = list(plans(size, device, wish))
        found = next((plan for plan in tried if plan.fits), None)
        if found is not None:
            better = [plan for plan in tried[: tried.index(found)] if plan.held != found.held]
            return replace(found, reason=_reason(found, better, wish), notes=tuple(notes))
        if tried:
            notes.append(_note(size, device, tried[-1], wish))
    if not notes and (wish.held or size.packed or Held()).is_fp8:
        raise SettingError(NO_FP8)
    if not notes:
        raise SettingError(
            "The text side can be kept on the host only beside a graphics card with CUDA; "
            "take full, int8 or int4 for it."
        )
    raise SettingError(_refusal(size, asked, wish))


def plans(size: Size, device: Room, wish: Wish) -> Iterator[Plan]:
    """Everything that the wish allows on a device, the best first; whether it fits or not."""
    room = device.total if device.free is None else device.free + device.own
    given = wish.memory is not None and (room is None or wish.memory < room)
    if given:
        room = wish.memory
    for held in _helds(size, wish):
        if held.text == "host" and not device.name.startswith("cuda"):
            continue  # there it would be in the same memory
        if held.is_fp8 and not device.fp8:
            continue
        for engine in _engines(wish):
            made = needs(size, held, device, engine, clones=wish.clones, listeners=wish.listeners)
            yield Plan(device.name, held, engine, made, room, device.host, given)


def _helds(size: Size, wish: Wish) -> Sequence[Held]:
    if wish.held is not None:
        return [wish.held]
    if size.packed is None:
        return LADDER if wish.automatic else LADDER[:1]
    on_host = wish.automatic and size.packed.text is None
    return [size.packed, *([size.packed._replace(text="host")] if on_host else [])]


def _engines(wish: Wish) -> list[EngineConfig]:
    if wish.engine is not None:
        return [wish.engine]
    return [EngineConfig(positions=n) for n in ([wish.context] if wish.context else CONTEXTS)]


def _reason(found: Plan, better: Sequence[Plan], wish: Wish) -> str:
    told = f"{found.held.name} on {found.device}: {found.told}"
    if wish.context is None and wish.engine is None:
        told += f", with {found.engine.positions:,} positions of cache"
    if better:
        last = better[-1]
        told += f"; {last.held.name} would need {gigabytes(last.needs.total)}"
    return f"{told}; {UNMEASURED}" if found.is_unmeasured else told


def _note(size: Size, device: Room, least: Plan, wish: Wish) -> str:
    """That a device was passed over, and what it would have room for."""
    told = f"Note: {device.name} was passed over: {least.held.name} needs {least.told}"
    other = next(_instead(size, [device], wish), None)
    return f"{told}; {_flags(size, other, wish)} would fit there." if other else f"{told}."


def _refusal(size: Size, devices: Sequence[Room], wish: Wish) -> str:
    least = [tried[-1] for device in devices if (tried := list(plans(size, device, wish)))]
    where = ", and ".join(f"{plan.told} on {plan.device}" for plan in least)
    told = f"There is no room for the model: {least[0].held.name} needs {where}."
    other = next(_instead(size, devices, wish), None)
    if other is None:
        return f"{told} Nothing smaller fits; free some memory, or give a smaller model."
    flags = _flags(size, other, wish)
    if not wish.automatic and flags.startswith("--precision"):
        flags += " (or --precision auto)"
    return f"{told} {flags} would fit on {other.device}: {other.told}."


def _instead(size: Size, devices: Sequence[Room], wish: Wish) -> Iterator[Plan]:
    """Plans that fit: with less context, with smaller weights, with both."""
    smaller = replace(wish, held=None, automatic=True)
    for other in (_shorter(wish), smaller, _shorter(smaller)):
        for device in devices:
            yield from (plan for plan in plans(size, device, other) if plan.fits)


def _shorter(wish: Wish) -> Wish:
    return replace(wish, engine=None, context=None)


def _flags(size: Size, plan: Plan, wish: Wish) -> str:
    """What has to be said on the command line to get a plan."""
    asked = wish.held or size.packed or Held()
    flags = [] if plan.held == asked else [plan.held.flags]
    context = wish.engine.positions if wish.engine else wish.context
    if context not in (None, plan.engine.positions):
        flags.append(f"--context {plan.engine.positions}")
    return " ".join(flags)
