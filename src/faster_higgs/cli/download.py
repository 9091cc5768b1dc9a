"""`higgs download`: a model into this machine's cache, on request and never otherwise.

Knows nothing of what it fetches.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from faster_higgs.cli.command import Command, argument, as_command, option, verbose
from faster_higgs.errors import CheckpointNotFound, OutputError

MODEL_BYTES = 11_600_000_000
CODEC_BYTES = 810_000_000
LICENCE = (
    "The weights are not part of this program: their own licence applies (the Boson Higgs Audio 2 "
    "Community License, with terms of its own above 100,000 yearly users); "
    "read it on the model's page."
)


@dataclass(frozen=True)
class DownloadFlags:
    """What stands on the command line."""

    hub_id: str | None = argument("ID", "A hub id. [default: the full model]", default=None)
    codec: bool = option("--codec", None, "Only the codec.")
    revision: str | None = option("--revision", "NAME", "Which version. [default: the tested one]")
    verbose: bool = verbose()


def command(name: str, help: str) -> Command:
    """The command as the menu takes it."""
    return as_command(DownloadFlags, run, name, help)


def run(flags: DownloadFlags) -> None:
    """The model, then the codec it needs; what is there already is not fetched again."""
    from faster_higgs.checkpoint.files import CODEC_IDS, MODEL_IDS, find_codec

    if flags.codec:
        _fetch(flags.hub_id or CODEC_IDS[0], flags.revision)
        return
    wanted = flags.hub_id or MODEL_IDS[0]
    folder = _fetch(wanted, flags.revision)
    if wanted in CODEC_IDS:
        return
    try:
        find_codec(folder)
    except CheckpointNotFound:
        _fetch(CODEC_IDS[0], None)


def _fetch(hub_id: str, revision: str | None) -> Path:
    """One repository, with a word about size and licence before, and the folder after."""
    from faster_higgs.checkpoint.files import CODEC_IDS, MODEL_IDS, download, find_cached

    sizes = {**dict.fromkeys(MODEL_IDS, MODEL_BYTES), **dict.fromkeys(CODEC_IDS, CODEC_BYTES)}
    size = sizes.get(hub_id)
    if (here := find_cached(hub_id, revision)) is None and size:
        _tell(
            f"Fetching {hub_id}: {size / 1e9:.1f} GB. "
            "If interrupted, the next try goes on where this one stopped."
        )
        _tell(LICENCE)
        _check_room(size)
    elif here is None:
        _tell(f"Fetching {hub_id}. {LICENCE}")
    folder = here or download(hub_id, revision)
    print(folder)
    return folder


def _check_room(size: int) -> None:
    """Raises OutputError when the disk cannot hold it; parts of an earlier try count as room."""
    from huggingface_hub import constants

    from faster_higgs.cli.machine import disk_free

    cache = Path(constants.HF_HUB_CACHE)
    begun = (
        sum(path.stat().st_size for path in cache.rglob("*.incomplete")) if cache.is_dir() else 0
    )
    free = disk_free(cache)
    if free + begun < size:
        raise OutputError(
            f"The download needs {size / 1e9:.1f} GB and {cache} has {free / 1e9:.1f} GB free; "
            "free some space, or name another folder in HF_HOME."
        )


def _tell(message: str) -> None:
    print(message, file=sys.stderr)
