"""A training run on disk: whole checkpoints or none, and the way back to the newest.

Knows nothing of what is trained.

folder/
    latest                  the name of the newest checkpoint
    step-00001000/
        state.json          step, place in the data, schedule, settings that may not change
        <module>.safetensors
        training.pt         optimisers and random generators
    stable/                 the same, kept: the last one before the learning rate came down
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from faster_higgs.checkpoint.replacing import put_in_place, standing
from faster_higgs.errors import CheckpointError, CheckpointNotFound, OutputError, SettingError
from faster_higgs.train.spread import gathered, moments_like, shared_like
from faster_higgs.train.team import ALONE, Team


class Checkpoints:
    """The checkpoints of one run; the newest `keep` stay. The first of a team writes them."""

    def __init__(self, folder: Path, keep: int = 3, team: Team = ALONE) -> None:
        self.folder, self.keep, self.team = Path(folder), keep, team

    def save(
        self,
        state: Mapping[str, Any],
        modules: Mapping[str, nn.Module],
        optimizers: Mapping[str, Optimizer],
        name: str | None = None,
    ) -> Path:
        """Write one checkpoint. It appears under its name only when it is complete."""
        target = self.folder / (name or f"step-{state['step']:08d}")
        weights = {k: gathered(module.state_dict(), self.team) for k, module in modules.items()}
        moments = {k: gathered(opt.state_dict(), self.team) for k, opt in optimizers.items()}
        failed: OutputError | None = None
        if self.team.leads:
            try:
                self._write(target, state, weights, moments, name is None)
            except OutputError as error:
                failed = error
        if self.team.any(failed is not None):
            raise failed or OutputError(f"The checkpoint {target.name} could not be written.")
        return target

    def _write(
        self,
        target: Path,
        state: Mapping[str, Any],
        weights: Mapping[str, Mapping[str, Tensor]],
        moments: Mapping[str, Any],
        is_newest: bool,
    ) -> None:
        partial = self.folder / f".{target.name}.partial"
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            _write(partial, state, weights, moments)
            put_in_place(partial, target)
            if is_newest:
                _replace_text(self.folder / "latest", target.name)
                self._forget_old()
        except (OSError, SafetensorError, RuntimeError) as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise OutputError(
                f"The checkpoint {target.name} could not be written to {self.folder}: {error}. "
                "The ones before it are whole; free some space and resume."
            ) from error

    def find(self, name: str = "latest") -> Path | None:
        """The checkpoint of that name, by default the newest complete one."""
        if name != "latest":
            return standing(self.folder / name)
        pointer = self.folder / "latest"
        told = pointer.read_text().strip() if pointer.is_file() else ""
        if told and (newest := standing(self.folder / told)):
            return newest
        steps = self._steps()
        return steps[-1] if steps else None

    def restore(
        self,
        name: str,
        modules: Mapping[str, nn.Module],
        optimizers: Mapping[str, Optimizer],
        identity: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Load a checkpoint into what will go on, random generators included; returns its state.

        `identity` holds the settings that may not differ from the checkpoint's. Modules that it
        knows nothing of stay as they are; the state names them as `joining`.
        """
        path = self.find(name)
        if path is None:
            raise CheckpointNotFound(
                f"There is no checkpoint '{name}' in {self.folder} to resume from."
            )
        try:
            state: dict[str, Any] = json.loads((path / "state.json").read_text())
            _check_identity(state.get("identity", {}), json.loads(json.dumps(identity or {})), path)
            training = _training(path / "training.pt")
            state["joining"] = _joining(path, modules, training["optimizers"])
            for key in modules.keys() - state["joining"]:
                saved = load_file(path / f"{key}.safetensors")
                modules[key].load_state_dict(shared_like(saved, modules[key]))
            for key in optimizers.keys() - state["joining"]:
                _take_up(optimizers[key], training["optimizers"][key])
            if self.team.leads:
                _restore_random(training["random"])
        except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
            said = " ".join(str(error).split())[:400].rstrip(".")
            before = "; remove it to go on from the one before it" if self._steps()[1:] else ""
            raise CheckpointError(
                f"The checkpoint {path} cannot be resumed from: {said}{before}."
            ) from error
        return state

    def _steps(self) -> list[Path]:
        """In the order they were written: a run that went back has higher steps behind it."""
        found = [path for path in self.folder.glob("step-*") if path.is_dir()]
        return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name))

    def _forget_old(self) -> None:
        for path in self._steps()[: -self.keep]:
            shutil.rmtree(path, ignore_errors=True)


def _training(path: Path) -> dict[str, Any]:
    """Optimisers and random generators. Raises ValueError, RuntimeError, OSError."""
    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except (pickle.UnpicklingError, EOFError):  # torch's own words advise to trust the file
        raise ValueError(f"its {path.name} is damaged") from None


def _joining(path: Path, modules: Mapping[str, nn.Module], trained: Mapping[str, Any]) -> list[str]:
    """The modules that had no part in the training that was saved."""
    found = [
        key for key in modules if key not in trained and not (path / f"{key}.safetensors").exists()
    ]
    if len(found) == len(modules):
        raise ValueError(f"it holds no {' and no '.join(found)}")
    return found


def _take_up(optimizer: Optimizer, saved: dict[str, Any]) -> None:
    """The moments are the saved ones, the settings those of this run."""
    chosen = [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
    optimizer.load_state_dict(moments_like(saved, optimizer))
    for group, own in zip(optimizer.param_groups, chosen, strict=True):
        group.update(own)


def fingerprint(identity: Mapping[str, Any]) -> str:
    """A short hash of settings, the same for equal ones."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()[
        :16
    ]


def _write(
    folder: Path,
    state: Mapping[str, Any],
    weights: Mapping[str, Mapping[str, Tensor]],
    moments: Mapping[str, Any],
) -> None:
    for key, tensors in weights.items():
        kept = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
        save_file(kept, folder / f"{key}.safetensors")
    training = {"optimizers": dict(moments), "random": _random()}
    torch.save(training, folder / "training.pt")
    identity = state.get("identity", {})
    (folder / "state.json").write_text(
        json.dumps({**state, "hash": fingerprint(identity)}, indent=1, default=str)
    )
    for path in folder.iterdir():
        with path.open("rb") as written:
            os.fsync(written.fileno())


def _replace_text(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text + "\n")
    os.replace(partial, path)


def _random() -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def _restore_random(saved: Mapping[str, Any]) -> None:
    torch.set_rng_state(saved["cpu"])
    if (
        saved["cuda"]
        and torch.cuda.is_available()
        and len(saved["cuda"]) == torch.cuda.device_count()
    ):
        torch.cuda.set_rng_state_all(saved["cuda"])


def _check_identity(saved: Mapping[str, Any], current: Mapping[str, Any], path: Path) -> None:
    """What the checkpoint says nothing of, because it is older than the setting, is not refused."""
    changed = sorted(key for key in saved if saved[key] != current.get(key))
    if changed:
        told = "; with ".join(
            f"{key} = {saved[key]!r}, this run has {current.get(key)!r}" for key in changed
        )
        raise SettingError(
            f"The checkpoint {path.name} was made with {told}; resume with the same "
            f"value{'s' if changed[1:] else ''}, or start a run in another folder."
        )
