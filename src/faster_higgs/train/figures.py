"""The figures that a run tells of itself: speed, memory, the card; and names for their curves.

Knows nothing of losses, or of where figures are written.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from faster_higgs.device import busy
from faster_higgs.train.flops import peak_of
from faster_higgs.train.spread import norm_of

GROUPS: Mapping[str, str] = {
    "eval_": "held_out",
    "loss_": "loss",
    "accuracy_": "accuracy",
    "memory_": "memory",
    "gpu_": "card",
}
SPEED = ("_per_second", "_share", "mfu")


def tag(name: str) -> str:
    """A figure's name among the curves, beside its like: loss_codebook_3 is loss/codebook_3."""
    if name == "loss":
        return "loss/total"
    for start, group in GROUPS.items():
        if name.startswith(start):
            return f"{group}/{name.removeprefix(start)}"
    return f"speed/{name}" if name.endswith(SPEED) else f"step/{name}"


def of_step(optimizers: Iterable[Optimizer]) -> dict[str, float]:
    """The learning rate, and the norm of all weights that learn."""
    groups = [group for one in optimizers for group in one.param_groups]
    found: list[Tensor] = [weight.detach() for group in groups for weight in group["params"]]
    norm = nn.utils.get_total_norm(found)
    return {"learning_rate": groups[0]["lr"], "weight_norm": norm_of(norm)}


def device_of(optimizers: Iterable[Optimizer]) -> torch.device:
    """Where the weights are that learn."""
    groups = (group for one in optimizers for group in one.param_groups)
    weight: Tensor = next(weight for group in groups for weight in group["params"])
    return weight.device


def left(seconds: float) -> str:
    """How long it goes on, for people."""
    return f"{spell(seconds)} left"


def spell(seconds: float) -> str:
    """A time, for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def of_machine(device: torch.device) -> dict[str, float]:
    """The most memory that was in use, in GB, and how busy a card is, where it tells."""
    if device.type != "cuda":
        return {"memory_peak_gb": resident() / 1e9}
    found = {
        "memory_peak_gb": torch.cuda.max_memory_allocated(device) / 1e9,
        "memory_reserved_gb": torch.cuda.max_memory_reserved(device) / 1e9,
    }
    load = busy(str(device))
    return found if load is None else {**found, "gpu_load": load}


def of_speed(rates: Mapping[str, float], device: torch.device) -> dict[str, float]:
    """`mfu`: the share of a card's best that the model's own operations are, where it is known."""
    done = rates.get("operations_per_second")
    if done is None or device.type != "cuda":
        return {}
    peak = peak_of(torch.cuda.get_device_name(device))
    return {} if peak is None else {"mfu": done / peak}


def resident(name: str = "VmHWM") -> int:
    """Bytes of main memory that this process has (VmRSS), or the most it had.

    Only Linux tells the first; elsewhere it is the most, too.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
    except (OSError, StopIteration):
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
