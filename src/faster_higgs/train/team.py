"""Who trains together: the processes that torchrun or accelerate started, or one alone.

Knows nothing of models, data or files. Every member calls the same methods in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed

from faster_higgs.errors import HiggsError, SettingError

PATIENCE = timedelta(minutes=10)  # a member that does not answer for so long is taken for dead


@dataclass(frozen=True)
class Team:
    """One member's view: its number, how many there are, and the device that is its own."""

    rank: int = 0
    size: int = 1
    device: str = "cpu"

    @property
    def leads(self) -> bool:
        """Whether this member is the one that speaks and writes."""
        return self.rank == 0

    def takes(self, number: int) -> bool:
        """Whether the batch of that number is this member's."""
        return number % self.size == self.rank

    def sum(self, values: Tensor) -> Tensor:
        """The sum over the members, on the device of `values`."""
        if self.size == 1:
            return values
        total = values.clone()
        with self.answering():
            distributed.all_reduce(total)
        return total

    def first(self, value: float) -> float:
        """What the first member says, so that decisions that hang on a clock are one."""
        if self.size == 1:
            return value
        return float(self.sum(torch.tensor(value if self.leads else 0.0, dtype=torch.float64)))

    def any(self, wish: bool) -> bool:
        """Whether one of them wishes it."""
        return wish if self.size == 1 else bool(self.sum(torch.tensor(float(wish))))

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Where members need each other: one that is lost ends the others with HiggsError."""
        try:
            yield
        except RuntimeError as error:
            if not isinstance(error, distributed.DistError) and "gloo" not in str(error):
                raise
            raise HiggsError(
                f"Process {self.rank} of {self.size} waited for the others, and one of them was "
                "lost; its own message tells why. The last checkpoint is sound; resume from it."
            ) from error


ALONE = Team()


@contextmanager
def assembled(environment: Mapping[str, str], device: str = "cpu") -> Iterator[Team]:
    """The team that the variables of torchrun tell of; of one where they tell of none.

    With `device` cuda each member of a machine has the card of its number there.
    """
    size = _number(environment, "WORLD_SIZE", 1)
    if size == 1:
        yield Team(device=device)
        return
    rank, local = _number(environment, "RANK"), _number(environment, "LOCAL_RANK")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    on_card = device.startswith("cuda")
    if on_card:
        device = _own_card(local)
    try:
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if on_card else "gloo",
            rank=rank,
            world_size=size,
            timeout=PATIENCE,
        )
    except (RuntimeError, ValueError) as error:
        raise SettingError(
            f"The {size} processes of the training could not find each other: {error}. "
            "Start them with torchrun or accelerate launch."
        ) from error
    if rank:
        torch.manual_seed(torch.initial_seed() + rank)
    yield Team(rank, size, device)
    distributed.destroy_process_group()  # not after an error: it would wait for the lost


def _own_card(local: int) -> str:
    if local >= torch.cuda.device_count():
        raise SettingError(
            f"Process {local} of this machine has no card of its own: there are "
            f"{torch.cuda.device_count()}. Start as many processes as cards."
        )
    torch.cuda.set_device(local)
    return f"cuda:{local}"


def _number(environment: Mapping[str, str], name: str, otherwise: int | None = None) -> int:
    told = environment.get(name)
    if told is None and otherwise is not None:
        return otherwise
    if told is None or not told.isdigit():
        raise SettingError(
            f"WORLD_SIZE tells of several processes, but {name} is {told!r}; "
            "start them with torchrun or accelerate launch."
        )
    return int(told)
