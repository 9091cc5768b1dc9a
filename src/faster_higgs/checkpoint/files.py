"""Which folder on this machine holds the model that was asked for.

Knows nothing of what is in the files. Goes to the network only in `download`.
"""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

from faster_higgs.checkpoint.tensors import PICKLE, weight_files
from faster_higgs.errors import CheckpointError, CheckpointNotFound, OutputError, SettingError

MODEL_IDS = (
    "bosonai/higgs-audio-v2-generation-3B-base",
    "bosonai/higgs-tts-2-3b-base",
    "eustlb/higgs-audio-v2-generation-3B-base",
)
CODEC_IDS = ("bosonai/higgs-audio-v2-tokenizer", "eustlb/higgs-audio-v2-tokenizer")

# The hub repository was overwritten in place once; a pinned revision cannot change under a user.
# Of the other ids no revision is known to us that we could vouch for: they are unpinned, and what
# their newest revision (_UNPINNED) holds may change.
REVISIONS = {
    "bosonai/higgs-audio-v2-generation-3B-base": "10840182ca4ad5d9d9113b60b9bb3c1ef1ba3f84"
}
_UNPINNED = "main"

# The codec's repository also carries a 12 GB copy of the language model, which nobody needs.
_WANTED = {CODEC_IDS[0]: ["*.json", PICKLE]}
_WANTED_ELSEWHERE = ["*.json", "*.safetensors", "*.pth", "*.txt"]

PACKAGED = Path(__file__).parent.parent / "pico"


class DefaultModel(NamedTuple):
    """The model that speaks when none is named."""

    folder: Path
    packaged: bool  # the small one inside the package, because no other is here


def resolve(name: Path | str, revision: str | None = None) -> Path:
    """The folder of a local path or of a hub id that is in the Hugging Face cache. No network."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        if revision:
            raise SettingError(
                f"'{name}' is a folder and has no revisions; leave the revision out."
            )
        return folder
    if folder.is_file():
        raise CheckpointError(f"'{name}' is a file; give the folder that holds it.")
    if _is_hub_id(str(name)):
        cached = find_cached(str(name), revision)
        if cached is not None:
            return cached
        wanted = revision or default_revision(str(name))
        named = f" --revision {revision}" if revision else ""
        raise CheckpointNotFound(
            f"'{name}' (revision {wanted}) is neither a folder nor in the Hugging Face cache of "
            f"this machine. Fetch it with `higgs download {name}{named}`."
        )
    raise CheckpointNotFound(f"There is no checkpoint folder '{name}'.")


def default_model() -> DefaultModel:
    """HIGGS_MODEL if set, else the published checkpoint if it is here, else the packaged pico."""
    if named := os.environ.get("HIGGS_MODEL"):
        return DefaultModel(resolve(named), packaged=False)
    for hub_id in MODEL_IDS:
        if (cached := find_cached(hub_id)) is not None:
            return DefaultModel(cached, packaged=False)
    if not _is_whole(PACKAGED):
        raise CheckpointNotFound(
            f"No model is on this machine. Fetch one with `higgs download {MODEL_IDS[0]}`, "
            "or name a folder in HIGGS_MODEL."
        )
    return DefaultModel(PACKAGED, packaged=True)


def find_codec(model_folder: Path) -> Path:
    """The codec that belongs to a model: codec/ inside its folder, else the published one."""
    inside = model_folder / "codec"
    if inside.is_dir():
        return inside
    for hub_id in CODEC_IDS:
        if (cached := find_cached(hub_id)) is not None:
            return cached
    raise CheckpointNotFound(
        f"The model in '{model_folder}' has no codec/ folder and the published codec is not on "
        f"this machine. Fetch it with `higgs download {CODEC_IDS[0]}`."
    )


def default_revision(hub_id: str) -> str:
    """The revision that is meant where none is named: the pinned one, else the newest."""
    return REVISIONS.get(hub_id, _UNPINNED)


def find_cached(hub_id: str, revision: str | None = None) -> Path | None:
    """The whole snapshot of a hub id in the cache, of `revision` or its `default_revision`."""
    from huggingface_hub import constants

    if not (Path(constants.HF_HUB_CACHE) / f"models--{hub_id.replace('/', '--')}").is_dir():
        return None  # the usual case, told without the slow imports
    from huggingface_hub import try_to_load_from_cache

    wanted = revision or default_revision(hub_id)
    config = try_to_load_from_cache(hub_id, "config.json", revision=wanted)
    if isinstance(config, str) and _is_whole(Path(config).parent):
        return Path(config).parent
    return None


def download(
    hub_id: str, revision: str | None = None, *, progress: type[Any] | None = None
) -> Path:
    """Fetch a checkpoint into the Hugging Face cache, continuing where an earlier try stopped.

    Without a `revision` it is the `default_revision`. `progress` is a tqdm class to show it with.
    """
    from huggingface_hub import snapshot_download

    # HTTPError is that of whichever HTTP library the installed version stands on.
    from huggingface_hub.errors import (  # type: ignore[attr-defined]
        HFValidationError,
        HTTPError,
        LocalEntryNotFoundError,
    )

    revision = revision or default_revision(hub_id)
    try:
        folder = snapshot_download(
            hub_id,
            revision=revision,
            allow_patterns=_WANTED.get(hub_id, _WANTED_ELSEWHERE),
            tqdm_class=progress,
        )
    except HFValidationError:
        raise CheckpointNotFound(f"'{hub_id}' is not a hub id (owner/name).") from None
    except (HTTPError, LocalEntryNotFoundError) as error:
        raise CheckpointNotFound(
            f"'{hub_id}' (revision {revision}) cannot be fetched: {_first_line(error)}"
        ) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT):
            raise OutputError(f"The download cannot be written: {error}.") from error
        raise CheckpointNotFound(f"'{hub_id}' cannot be fetched: {_first_line(error)}") from error
    return Path(folder)


def _is_hub_id(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", name) is not None


def _is_whole(folder: Path) -> bool:
    """Weights are there, and every shard of them: an interrupted download does not count."""
    try:
        return bool(weight_files(folder))
    except CheckpointError:
        return False


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
