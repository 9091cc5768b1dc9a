"""What the config.json of an exported checkpoint says of its packed weights, and whether it is so.

Knows nothing of how weights are packed, nor what the files hold beyond their bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from faster_higgs.checkpoint.layout import Layout
from faster_higgs.digest import sha256
from faster_higgs.errors import CheckpointError, SettingError
from faster_higgs.quant.quantization import Quantization

CONFIG = "config.json"
KEY = "quantization"
PACKED = (".codes", ".scales")  # in place of ".weight"
VERSION = 1  # of the order of packed weights in the files

_OF_OTHERS = "quantization_config"  # transformers' key for what other tools packed
_AGAIN = "Export the model again."


@dataclass(frozen=True)
class Stamp:
    """How the weights of an exported checkpoint are held, and the sha256 of each file of them."""

    folder: Path
    quantization: Quantization
    sha256: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """The value of `KEY` in config.json."""
        return {"version": VERSION, **asdict(self.quantization), "sha256": dict(self.sha256)}


def read_stamp(folder: Path, config: Mapping[str, Any]) -> Stamp | None:
    """What a config.json says of packed weights; None where they are whole.

    Raises CheckpointError for what is damaged, of another version, or packed by another tool.
    """
    if (foreign := config.get(_OF_OTHERS)) is not None:
        tool = foreign.get("quant_method") if isinstance(foreign, dict) else None
        named = f" ({tool})" if tool else ""
        raise CheckpointError(
            f"The checkpoint in '{folder}' was quantised by another tool{named}: its {CONFIG} has "
            f"a {_OF_OTHERS}, which is not read here. Give the checkpoint it was made from."
        )
    found = config.get(KEY)
    if found is None:
        return None
    version = found.get("version") if isinstance(found, dict) else None
    if isinstance(version, int) and version != VERSION:
        raise CheckpointError(
            f"The quantised checkpoint in '{folder}' has version {version}, and this program reads "
            f"version {VERSION}. {_AGAIN}"
        )
    if not _well_formed(found):
        raise CheckpointError(f"The {KEY} in '{folder / CONFIG}' is damaged. {_AGAIN}")
    try:
        held = Quantization(found["audio"], found["text"], found["group"])
    except SettingError as error:
        raise CheckpointError(
            f"The {KEY} in '{folder / CONFIG}' is not known. {error} {_AGAIN}"
        ) from None
    return Stamp(folder, held, found["sha256"])


def _well_formed(found: Any) -> bool:
    if not isinstance(found, dict) or set(found) != {"version", "audio", "text", "group", "sha256"}:
        return False
    hashes, sides = found["sha256"], {str(found["audio"]), str(found["text"])}
    return (
        found["version"] == VERSION
        and isinstance(hashes, dict)
        and all(isinstance(value, str) for value in hashes.values())
        and "host" not in sides
        and sides != {"None"}
    )


def settled(folder: Path, stamp: Stamp | None, asked: Quantization | None) -> Quantization:
    """How weights are to be held. Raises SettingError when packed ones would have to change."""
    if stamp is None:
        return asked or Quantization()
    held = stamp.quantization
    if asked is None or _needed(asked) == _needed(held):
        return held
    if held.text is None and _needed(asked) == _needed(replace(held, text="host")):
        return asked
    raise SettingError(
        f"The checkpoint in '{folder}' holds {in_words(held)} and cannot be loaded as "
        f"{in_words(asked)}; leave the quantisation out, or give the checkpoint it was made from."
    )


def in_words(quantization: Quantization) -> str:
    """For messages: "int4 audio and int8 text in groups of 64"."""
    audio, text = (side or "unpacked" for side in (quantization.audio, quantization.text))
    sides = audio if audio == text else f"{audio} audio and {text} text"
    group = _needed(quantization)[2]
    return f"{sides} weights{f' in groups of {group}' if group else ''}"


def _needed(quantization: Quantization) -> tuple[str | None, str | None, int | None]:
    """What matters of it: the group only in int4."""
    sides = quantization.audio, quantization.text
    return (*sides, quantization.group if "int4" in sides else None)


def check(stamp: Stamp, files: Iterable[Path]) -> None:
    """Raises CheckpointError for a file of weights whose bytes are not those that were exported."""
    paths = list(files)
    if strange := sorted({path.name for path in paths} ^ set(stamp.sha256)):
        raise CheckpointError(
            f"The weights in '{stamp.folder}' are not those that its {CONFIG} lists: "
            f"{', '.join(strange[:5])}. {_AGAIN}"
        )
    with ThreadPoolExecutor(4) as pool:
        for path, found in zip(paths, pool.map(_sha256, paths), strict=True):
            if found != stamp.sha256[path.name]:
                raise CheckpointError(
                    f"The file '{path}' is damaged: its bytes are not those that were exported. "
                    "Copy it or export the model again."
                )


def _sha256(path: Path) -> str:
    try:
        return sha256(path)
    except OSError as error:
        raise CheckpointError(f"The file '{path}' cannot be read: {error}.") from None


def with_packed(layout: Layout) -> Layout:
    """The layout with names for packed weights: `.codes` and `.scales` in place of `.weight`."""
    return replace(
        layout,
        names=(*layout.names, *_packed(layout.names)),
        also=(*layout.also, *_packed(layout.also)),
    )


def _packed(names: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (stored.removesuffix(".weight") + ending, ours.removesuffix(".weight") + ending)
        for stored, ours in names
        for ending in PACKED
    )
