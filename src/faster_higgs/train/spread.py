"""One model over a team: equal copies whose gradients are summed, or a share of it each (FSDP2).

Knows nothing of losses, and of models only that they have parameters and perhaps `layers`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from faster_higgs.errors import SettingError
from faster_higgs.train.config import Parallel
from faster_higgs.train.team import Team

BUCKET = 32_000_000  # bytes of gradients that travel together


class Spread:
    """How gradients come together; here: one process, nobody to sum with."""

    factor = 1.0  # each loss is multiplied by it before its backward pass

    def last(self) -> None:
        """The next backward pass is the step's last."""

    def finish(self) -> None:
        """After the last backward pass: every gradient is the sum over the members."""

    def rest(self) -> None:
        """After forward passes without a backward pass: keep no more than before them."""


def spread(model: nn.Module, team: Team, parallel: Parallel, narrow: bool = False) -> Spread:
    """Spread `model` over the team, before its optimiser is made. `narrow`: it is used in bf16.

    auto is fsdp where most weights learn and the members have cards, else ddp.
    Raises SettingError where parallel is fsdp and one process trains.
    """
    if team.size == 1:
        if parallel == "fsdp":
            raise SettingError(
                "parallel is 'fsdp', but one process trains. Start several with "
                "`torchrun --nproc-per-node N -m faster_higgs ...`, or leave parallel away."
            )
        return Spread()
    if parallel == "auto":
        parallel = "fsdp" if team.device.startswith("cuda") and _mostly_learns(model) else "ddp"
    return Shares(model, team, narrow) if parallel == "fsdp" else Copies(model, team)


def _mostly_learns(model: nn.Module) -> bool:
    weights = list(model.parameters())
    learns = sum(weight.numel() for weight in weights if weight.requires_grad)
    return 2 * learns > sum(weight.numel() for weight in weights)


class Copies(Spread):
    """Equal copies. Gradients are summed in buckets, each as soon as all of it is there."""

    def __init__(self, model: nn.Module, team: Team, bucket: int = BUCKET) -> None:
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        self._team = team
        self._make_equal(model)
        self._buckets = _buckets(weights[::-1], bucket)
        self._ready: set[nn.Parameter] = set()
        self._sent: list[tuple[Tensor, Any]] = []
        self._is_last = False
        for weight in weights:
            weight.register_post_accumulate_grad_hook(self._note)  # type: ignore[no-untyped-call]

    def last(self) -> None:
        """From now on a bucket travels when it is full."""
        self._ready, self._sent, self._is_last = set(), [], True

    def finish(self) -> None:
        """Send what is left, wait for all, and hand the sums out; a weight that nobody used
        keeps no gradient."""
        self._is_last = False
        used = self._team.sum(
            torch.tensor([float(weight.grad is not None) for b in self._buckets for weight in b])
        )
        with self._team.answering():
            while len(self._sent) < len(self._buckets):
                self._send()
            for _, work in self._sent:
                work.wait()
        flags = iter(used.tolist())
        for bucket, (flat, _) in zip(self._buckets, self._sent, strict=True):
            parts = torch.split(flat, [weight.numel() for weight in bucket])
            for weight, part in zip(bucket, parts, strict=True):
                weight.grad = part.view_as(weight) if next(flags) else None

    @torch.no_grad()
    def _make_equal(self, model: nn.Module) -> None:
        """As the first member has it, whatever the others drew."""
        with self._team.answering():
            for weight in model.parameters():
                if weight.requires_grad:
                    distributed.broadcast(weight, 0)

    def _note(self, weight: nn.Parameter) -> None:
        self._ready.add(weight)
        while self._is_last and len(self._sent) < len(self._buckets):
            if not self._ready.issuperset(self._buckets[len(self._sent)]):
                return
            self._send()

    def _send(self) -> None:
        """The next bucket; their order is the same for every member."""
        bucket = self._buckets[len(self._sent)]
        flat = torch.cat(
            [(torch.zeros_like(w) if w.grad is None else w.grad).flatten() for w in bucket]
        )
        self._sent.append((flat, distributed.all_reduce(flat, async_op=True)))


def _buckets(weights: Sequence[nn.Parameter], size: int) -> list[list[nn.Parameter]]:
    """Neighbours of one type, as many as fit into `size` bytes."""
    buckets: list[list[nn.Parameter]] = []
    room, kind = 0, None
    for weight in weights:
        room -= weight.nbytes
        if room < 0 or weight.dtype != kind:
            buckets.append([])
            room, kind = size - weight.nbytes, weight.dtype
        buckets[-1].append(weight)
    return buckets


class Shares(Spread):
    """Each member keeps its share of every weight, and has a layer whole only while it works."""

    def __init__(self, model: nn.Module, team: Team, narrow: bool) -> None:
        from torch.distributed.device_mesh import init_device_mesh

        try:
            from torch.distributed.fsdp import (
                MixedPrecisionPolicy,
                fully_shard,
                register_fsdp_forward_method,
            )
        except ImportError:
            raise SettingError(
                f"parallel 'fsdp' needs torch 2.6, this is {torch.__version__}; use 'ddp'."
            ) from None
        mesh = init_device_mesh(team.device.split(":")[0], (team.size,))
        policy = MixedPrecisionPolicy(cast_forward_inputs=False)
        if narrow:
            policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
        with team.answering():
            for layer in getattr(model, "layers", ()):
                fully_shard(layer, mesh=mesh, mp_policy=policy)
            fully_shard(model, mesh=mesh, mp_policy=policy)
        register_fsdp_forward_method(model, "train_forward")
        self.factor = float(team.size)  # what comes together is the mean
        self._model: Any = model

    def rest(self) -> None:
        """What belongs to no layer is still whole."""
        self._model.reshard()


def norm_of(found: Tensor) -> float:
    """The norm of all gradients as a number, where each member may know a share of it."""
    return float(found.full_tensor() if isinstance(found, DTensor) else found)


@contextmanager
def whole(model: nn.Module, team: Team) -> Iterator[None]:
    """Every member has all weights, and waits at the end until the others are done with them."""
    shared: list[Any] = [p for p in model.modules() if hasattr(p, "set_reshard_after_forward")]
    with team.answering():
        for part in shared:
            part.set_reshard_after_forward(False, recurse=False)
            part.unshard()
    yield
    team.any(False)
    for part in shared:
        part.set_reshard_after_forward(part is not model, recurse=False)
        part.reshard()


def gathered(value: Any, team: Team) -> Any:
    """State with whole tensors, on the first member; the others help, and get empty ones."""
    if isinstance(value, DTensor):
        with team.answering():
            tensor: Tensor = value.full_tensor().detach()
        return tensor.cpu() if team.leads else tensor.new_empty(0)
    if isinstance(value, Mapping):
        return {key: gathered(one, team) for key, one in value.items()}
    return [gathered(one, team) for one in value] if isinstance(value, list) else value


def shared_like(weights: Mapping[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """Whole tensors as `module` keeps them: where it has a share, as shares."""
    own = module.state_dict()
    return {
        name: _as(own[name], weight) if name in own else weight for name, weight in weights.items()
    }


def moments_like(saved: dict[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    """The same for an optimiser's state, whose tensors have the shapes of their weights."""
    weights = dict(enumerate(w for group in optimizer.param_groups for w in group["params"]))
    state = {
        number: {name: _moment(weights.get(number), value) for name, value in of_one.items()}
        for number, of_one in saved["state"].items()
    }
    return {**saved, "state": state}


def _moment(weight: Tensor | None, value: Any) -> Any:
    if weight is None or not isinstance(value, Tensor) or value.shape != weight.shape:
        return value
    return _as(weight, value)


def _as(own: Tensor, given: Tensor) -> Tensor:
    if not isinstance(own, DTensor):
        return given
    return distribute_tensor(given.to(own.device), own.device_mesh, own.placements)
