"""Clean clips to codes and token ids, in shards. Knows nothing of how clips were chosen.

A clip is closed with silence to whole frames. Clips of equally many frames are then equally long
and coded together; others never are, because the codec hears a clip as a whole, and so a clip has
the same codes in every batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from faster_higgs.audio.levels import Samples
from faster_higgs.checkpoint.codec_files import load_codec
from faster_higgs.checkpoint.load import read_config, refuse_other_codec
from faster_higgs.codec.codec import Codec
from faster_higgs.config import ModelConfig
from faster_higgs.data.cache import hashed, write_shard
from faster_higgs.data.clean import RATE
from faster_higgs.data.place import Place
from faster_higgs.data.record import Clip, Split
from faster_higgs.data.spool import sounds
from faster_higgs.data.wording import VERSION as NORMALIZER
from faster_higgs.data.wording import Wording
from faster_higgs.errors import CheckpointError
from faster_higgs.speech import fingerprint

VERSION = 1  # raised when the same clips would be coded otherwise
_READERS = 8  # threads that read for a card
SHARD_SECONDS = 600.0  # of sound in a shard: what is lost at most when a run is broken off


class Coder:
    """The codec and the wording of a checkpoint, loaded when they are needed."""

    def __init__(self, place: Place) -> None:
        self._place = place

    @cached_property
    def config(self) -> ModelConfig:
        """Of the language model. Raises CheckpointError."""
        return ModelConfig.from_json(read_config(self._place.model))

    @cached_property
    def codec(self) -> Codec:
        """With its encoder. Raises CheckpointError when it is not the model's."""
        return self._loaded(self._place.device, encoder=True)

    @cached_property
    def wording(self) -> Wording:
        """How the model reads texts."""
        return Wording.load(self._place.model, self.config)

    def about(self) -> dict[str, Any]:
        """What of a checkpoint the meaning of codes and token ids depends on."""
        codec = self._loaded("cpu", encoder=False)
        return {
            "codec": {
                "fingerprint": fingerprint(codec),
                "num_codebooks": codec.num_codebooks,
                "codebook_size": codec.config.codebook_size,
                "frame_rate": codec.config.frame_rate,
                "sample_rate": codec.sample_rate,
            },
            "text": {
                "fingerprint": self.wording.fingerprint,
                "normalizer": NORMALIZER,
                "text_input": self.config.text_input,
            },
        }

    def codes(self, clips: Sequence[Samples]) -> list[Tensor]:
        """Of each clip, [K, F] on the CPU."""
        return coded(self.codec, clips, self._place.batch_seconds)

    def _loaded(self, device: str, *, encoder: bool) -> Codec:
        codec = load_codec(self._place.codec, device=device, encoder=encoder)
        refuse_other_codec(self.config, codec.config)
        if codec.sample_rate != RATE:
            raise CheckpointError(
                f"The codec in '{self._place.codec}' hears {codec.sample_rate} samples a second, "
                f"and clips have {RATE}; use the published codec."
            )
        return codec


@dataclass(frozen=True)
class Wanted:
    """A clip as it will be, and where its sound is."""

    id: str
    split: Split
    speaker: str
    text: str
    language: str
    scene: str
    weight: float
    columns: Mapping[str, str] = field(default_factory=dict)
    samples: int = 0
    sound: str = ""
    origin: str = ""
    part: str = ""  # a file of cleaned clips
    place: int = 0  # of the clip in it


@dataclass(frozen=True)
class ShardTask:
    """Clips to be coded into one file."""

    path: Path
    key: str
    clips: tuple[Wanted, ...]
    place: Place


def make_shard(task: ShardTask) -> str:
    """Code and write; the sha256. Raises OutputError, DataError."""
    coder = loaded(task.place)
    codes = coder.codes(_heard(task.clips, 1 if task.place.device == "cpu" else _READERS))
    tokens = [coder.wording.tokens(one.text) for one in task.clips]
    return write_shard(
        task.path, [_clip(*made) for made in zip(task.clips, codes, tokens, strict=True)], task.key
    )


@lru_cache(maxsize=1)
def loaded(place: Place) -> Coder:
    """A process that makes many shards loads its codec once."""
    return Coder(place)


def planned(clips: Iterable[Wanted], hop: int) -> list[list[Wanted]]:
    """Clips in shards, by length: what can be coded together is together."""
    shards: list[list[Wanted]] = []
    seconds = 0.0
    for clip in sorted(clips, key=lambda one: (frames(one.samples, hop), one.id)):
        length = clip.samples / RATE
        if not shards or seconds + length > SHARD_SECONDS:
            shards.append([])
            seconds = 0.0
        shards[-1].append(clip)
        seconds += length
    return shards


def shard_key(clips: Sequence[Wanted], about: Mapping[str, Any], cleaning: str) -> str:
    """The same only for clips that would be coded into the same shard.

    `cleaning` tells what was done to their sound.
    """
    unplaced = [{**asdict(clip), "part": "", "place": 0, "origin": ""} for clip in clips]
    told = [VERSION, about["codec"], about["text"], cleaning, unplaced]
    return hashed(told)


def coded(codec: Codec, clips: Sequence[Samples], batch_seconds: float) -> list[Tensor]:
    """Codes [K, F] of each clip, on the CPU; the longest go first, so that memory fails early."""
    found: dict[int, Tensor] = {}
    for places in batches([frames(len(one), codec.hop) for one in clips], codec, batch_seconds):
        rows = np.stack([closed(clips[i], codec.hop) for i in places])
        codes = codec.encode(torch.from_numpy(rows).to(codec.device)).cpu()
        found.update(zip(places, codes.unbind(), strict=True))
    return [found[i] for i in range(len(clips))]


def batches(lengths: Sequence[int], codec: Codec, batch_seconds: float) -> Iterator[list[int]]:
    """Places of equal lengths in frames, the longest first, no more than so many seconds each."""
    alike: dict[int, list[int]] = defaultdict(list)
    for place, length in enumerate(lengths):
        alike[length].append(place)
    for length in sorted(alike, reverse=True):
        most = max(1, int(batch_seconds * codec.config.frame_rate / max(1, length)))
        places = alike[length]
        yield from (places[i : i + most] for i in range(0, len(places), most))


def frames(samples: int, hop: int) -> int:
    """Whole frames that a clip fills, the last one perhaps in part."""
    return -(-samples // hop)


def closed(samples: Samples, hop: int) -> Samples:
    """With silence to the end of the last frame."""
    return np.pad(samples, (0, frames(len(samples), hop) * hop - len(samples)))


def _heard(clips: Sequence[Wanted], threads: int) -> list[Samples]:
    """The samples of each, read part by part."""
    parts: dict[str, list[int]] = defaultdict(list)
    for i, clip in enumerate(clips):
        parts[clip.part].append(i)
    found: dict[int, Samples] = {}
    with ThreadPoolExecutor(threads) as pool:
        read = pool.map(
            lambda part: sounds(Path(part), [clips[i].place for i in parts[part]]), parts
        )
        for part, samples in zip(parts, read, strict=True):
            found.update(zip(parts[part], samples, strict=True))
    return [found[i] for i in range(len(clips))]


def _clip(wanted: Wanted, codes: Tensor, tokens: tuple[int, ...]) -> Clip:
    own = ("id", "split", "speaker", "text", "language", "scene", "weight", "columns")
    return Clip(**{name: getattr(wanted, name) for name in own}, codes=codes, tokens=tokens)
