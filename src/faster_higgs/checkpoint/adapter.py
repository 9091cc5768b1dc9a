"""Adapters on disk, in the format of PEFT.

Knows nothing of how they are trained, nor of which model they are put on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from faster_higgs.checkpoint.folding import (
    Adapter,
    AdapterConfig,
    Weighted,
    folded,
    folded_all,
    refuse_misfit,
)
from faster_higgs.checkpoint.layouts import LANGUAGE_MODEL, TRANSFORMERS
from faster_higgs.checkpoint.replacing import replacing
from faster_higgs.errors import CheckpointError, CheckpointNotFound, OutputPlaceError

__all__ = [
    "ADAPTER_CONFIG",
    "Adapter",
    "AdapterConfig",
    "Weighted",
    "folded",
    "folded_all",
    "read_adapter",
    "refuse_misfit",
    "write_adapter",
]

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"

_WRAPPERS = ("base_model.", "model.", "module.", "_orig_mod.", "_fsdp_wrapped_module.")
_PARTS = {"lora_A": "down", "lora_B": "up", "lora_magnitude_vector": "magnitude"}
_FINGERPRINT = (
    "base_fingerprint"  # a key of the weights' own metadata: PEFT's config takes no other
)

# PEFT's beginnings that change the base too, so that the pairs alone are not the whole change.
_BEGINNINGS = ("pissa", "olora", "corda", "loftq", "lora_ga")
# Keys of PEFT's config that make the pairs mean something else, with what they are without.
_UNREAD = ("fan_in_fan_out", "use_qalora", "layer_replication", "alora_invocation_tokens")


def read_adapter(folder: Path | str) -> Adapter:
    """The adapter in `folder`: ours, PEFT's for transformers, or one of Boson's own model.

    Raises CheckpointError, CheckpointNotFound.
    """
    folder = Path(folder)
    told = _read_config(folder)
    tensors, fingerprint = _read_tensors(folder / ADAPTER_WEIGHTS)
    config = _config(folder, told, fingerprint)
    return gathered(folder / ADAPTER_WEIGHTS, tensors, config, told)


def gathered(
    source: Path, tensors: Mapping[str, Tensor], config: AdapterConfig, told: Mapping[str, Any]
) -> Adapter:
    """The adapter of stored tensors by their stored names; `told` may hold patterns of alpha.

    A pair with a scale of its own gets the difference into its B. Raises CheckpointError.
    """
    parts: dict[str, dict[str, Tensor]] = {}
    replaced, strange = {}, []
    for stored, value in tensors.items():
        path, part = _parted(stored)
        name = our_name(f"{path}.weight")
        if name is None:
            strange.append(stored)
        elif part == "whole":
            replaced[name] = value
        else:
            parts.setdefault(path, {})[part] = value
    if strange:
        raise CheckpointError(
            f"The adapter in '{source}' changes what this model has not, or in a way that is not "
            f"read here: {', '.join(strange[:3])}{' and more' if strange[3:] else ''}."
        )
    pairs, magnitudes = {}, {}
    for path, held in parts.items():
        ours = str(our_name(f"{path}.weight")).removesuffix(".weight")
        _refuse_halves(source, path, held, config)
        extra = _own_scale(path, len(held["down"]), config, told) / config.scale()
        pairs[ours] = held["down"], held["up"] if extra == 1 else held["up"].float() * extra
        if config.use_dora:
            magnitudes[ours] = held["magnitude"].flatten()
    return Adapter(config, pairs, magnitudes, replaced)


def our_name(stored: str) -> str | None:
    """Our name of a tensor under any wrapper and either published name; None if it has none."""
    bare = unwrapped(stored)
    return next((ours for table in LANGUAGE_MODEL if (ours := table.ours(bare))), None)


def unwrapped(stored: str) -> str:
    """A stored name without what PEFT, trainers and compilers put before and into it."""
    while wrapper := next((one for one in _WRAPPERS if stored.startswith(one)), None):
        stored = stored.removeprefix(wrapper)
    return re.sub(r"\.(modules_to_save\.\w+|base_layer)(?=\.)", "", stored)


def write_adapter(folder: Path | str, adapter: Adapter) -> None:
    """Both files of PEFT's format, under transformers' names; the old ones stay until all is there.

    Raises OutputError.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise OutputPlaceError(f"'{folder}' is a file; name a folder for the adapter.")
    assert adapter.pairs, "PEFT's format has no adapter without pairs"
    tensors = {name: value.detach().cpu().contiguous() for name, value in _stored(adapter)}
    about = {"format": "pt"}
    if adapter.config.fingerprint:
        about[_FINGERPRINT] = adapter.config.fingerprint
    with replacing(folder, "adapter") as partial:
        save_file(tensors, partial(ADAPTER_WEIGHTS), metadata=about)
        partial(ADAPTER_CONFIG).write_text(json.dumps(_told(adapter), indent=2) + "\n")


def _parted(stored: str) -> tuple[str, str]:
    """The unwrapped path of the module, and which part of its change this tensor is."""
    bare = unwrapped(stored).removesuffix(".weight")
    found = re.fullmatch(rf"(.+)\.({'|'.join(_PARTS)})(\.\w+)?", bare)
    return (found[1], _PARTS[found[2]]) if found else (bare, "whole")


def _refuse_halves(
    source: Path, path: str, held: Mapping[str, Tensor], config: AdapterConfig
) -> None:
    wanted = {"down", "up", "magnitude"} if config.use_dora else {"down", "up"}
    whole = set(held) == wanted and held["down"].ndim == held["up"].ndim == 2
    if not whole or len(held["down"]) != held["up"].shape[1] or not len(held["down"]):
        raise CheckpointError(
            f"The adapter in '{source}' is damaged: what it holds for {path} is no pair that fits "
            "together. Save it again, or take an earlier one."
        )


def _own_scale(path: str, rank: int, config: AdapterConfig, told: Mapping[str, Any]) -> float:
    """The scale of one pair, whose alpha may be its own."""
    for pattern, alpha in (told.get("alpha_pattern") or {}).items():
        if any(re.match(rf"(.*\.)?({pattern})$", name) for name in (path, f"model.{path}")):
            return AdapterConfig(rank, alpha, config.use_rslora).scale()
    return config.scale(rank)


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / ADAPTER_CONFIG
    if not folder.is_dir():
        raise CheckpointNotFound(f"There is no folder '{folder}' with an adapter.")
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointNotFound(
            f"The folder '{folder}' holds no adapter: it has no {ADAPTER_CONFIG}."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"The file '{path}' cannot be read ({error}).") from None
    if not isinstance(told, dict):
        raise CheckpointError(f"The file '{path}' is not the config of an adapter.")
    return told


def _read_tensors(path: Path) -> tuple[dict[str, Tensor], str]:
    """The tensors of an adapter, and the fingerprint of its base where it is told."""
    try:
        with safe_open(path, "pt") as file:
            names = list(file.keys())
            fingerprint = (file.metadata() or {}).get(_FINGERPRINT, "")
            return {name: file.get_tensor(name) for name in names}, fingerprint
    except FileNotFoundError:
        raise CheckpointNotFound(f"The adapter in '{path.parent}' has no {path.name}.") from None
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"The file '{path}' is cut short or damaged ({error}); save the adapter again."
        ) from None


def _config(folder: Path, told: Mapping[str, Any], fingerprint: str) -> AdapterConfig:
    kind = told.get("peft_type")
    begun = str(told.get("init_lora_weights")).lower()
    unread = [key for key in _UNREAD if told.get(key)]
    if kind != "LORA" or unread or begun.startswith(_BEGINNINGS):
        what = f"of type {kind}" if kind != "LORA" else f"with {(unread or [begun])[0]}"
        raise CheckpointError(
            f"The adapter in '{folder}' is one {what}, which is not read here; "
            "convert it to plain LoRA with PEFT, or merge it there."
        )
    rank, alpha = told.get("r"), told.get("lora_alpha")
    if not _positive(rank) or not _positive(alpha):
        raise CheckpointError(
            f"The {ADAPTER_CONFIG} in '{folder}' must set r and lora_alpha to numbers above 0, "
            f"and has {rank!r} and {alpha!r}."
        )
    return AdapterConfig(
        rank=int(rank),  # type: ignore[arg-type]
        alpha=float(alpha),  # type: ignore[arg-type]
        use_rslora=bool(told.get("use_rslora")),
        use_dora=bool(told.get("use_dora")),
        dropout=float(told.get("lora_dropout") or 0.0),
        base=str(told.get("base_model_name_or_path") or ""),
        fingerprint=fingerprint,
    )


def _positive(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


def _stored(adapter: Adapter) -> Iterable[tuple[str, Tensor]]:
    for path, (down, up) in adapter.pairs.items():
        stem = f"base_model.model.{_published(path)}"
        yield f"{stem}.lora_A.weight", down
        yield f"{stem}.lora_B.weight", up
        if path in adapter.magnitudes:
            yield f"{stem}.lora_magnitude_vector", adapter.magnitudes[path]
    for name, value in adapter.replaced.items():
        yield f"base_model.model.{TRANSFORMERS.stored(name)}", value


def _told(adapter: Adapter) -> dict[str, Any]:
    """What PEFT reads. A pair of another rank gets an alpha that leaves its scale the same."""
    config = adapter.config
    ranks = {_published(path): len(down) for path, (down, _) in adapter.pairs.items()}
    others = {path: rank for path, rank in ranks.items() if rank != config.rank}
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": config.base or None,
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "use_rslora": config.use_rslora,
        "use_dora": config.use_dora,
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "inference_mode": True,
        "target_modules": list(ranks),
        "modules_to_save": [_published(_module(name)) for name in adapter.replaced] or None,
        "rank_pattern": others,
        "alpha_pattern": {
            path: config.alpha * config.scale() / config.scale(rank)
            for path, rank in others.items()
        },
    }


def _module(name: str) -> str:
    return name.removesuffix(".weight")


def _published(path: str) -> str:
    return TRANSFORMERS.stored(f"{path}.weight").removesuffix(".weight")
