"""What a model says itself, as training data: heard again beside something new, it stays known.

The codes are the model's own, as it chose them; nothing is encoded. Knows nothing of training, and
not where texts come from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from faster_higgs.data.cache import (
    ABOUT,
    SHARDS,
    hashed,
    read_shard,
    write_about,
    write_file,
    write_shard,
)
from faster_higgs.data.encode import Coder
from faster_higgs.data.place import Place
from faster_higgs.data.record import Clip
from faster_higgs.digest import sha256
from faster_higgs.errors import DataError, GenerationError, SettingError, unwritten
from faster_higgs.locks import alone_in
from faster_higgs.sampling import Sampling
from faster_higgs.speech import Higgs

NOTE = "rehearsal.txt"  # a hash of what was asked for
SHARD = 32  # texts in a shard: what is lost at most when a run is broken off
# As often as the model holds it likely: to learn that again moves nothing, where what is drawn
# colder would make it surer of itself, mistakes included.
AS_LIKELY = Sampling(temperature=1.0, top_k=0, top_p=1.0, ras_window=0)
VOICES = "voices.arrow"  # the shard of the clips that stood before what was said
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Rehearsal:
    """Texts, the voices that take turns with them, and the seed of the first one."""

    texts: tuple[str, ...]
    voices: tuple[str, ...]
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.texts:
            raise DataError("There is no text to say; give a file with one sentence a line.")
        if not self.voices:
            raise SettingError("The model has no voice by name; name some with --voices.")

    @property
    def shards(self) -> Iterator[range]:
        """The numbers of the texts of each."""
        count = len(self.texts)
        return (range(i, min(i + SHARD, count)) for i in range(0, count, SHARD))


def rehearse(
    higgs: Higgs, place: Place, rehearsal: Rehearsal, out: Path, progress: Progress
) -> dict[str, int]:
    """Say everything into `out`, a prepared folder; clips by voice. What is there already stays.

    A text of which nothing comes to its end is left out; dataset.json has their number as `unsaid`.
    The clip of each voice is there too, not to be learnt, but as the reference of what it said.
    Raises DataError when nothing was said to its end, SettingError, OutputError.
    """
    coder = Coder(place)
    about = coder.about()
    with alone_in(out):
        _begin(out, about, rehearsal)
        return _rehearse(higgs, coder, about, rehearsal, out, progress)


def _rehearse(
    higgs: Higgs,
    coder: Coder,
    about: dict[str, Any],
    rehearsal: Rehearsal,
    out: Path,
    progress: Progress,
) -> dict[str, int]:
    references = [clip for name in rehearsal.voices for clip in _reference(higgs, coder, name)]
    shards, spoken, said = [], dict.fromkeys(rehearsal.voices, 0), set[str]()
    for number, texts in enumerate(rehearsal.shards):
        path = out / SHARDS / f"part-{number:05d}.arrow"
        if not path.is_file():
            clips = [clip for i in texts for clip in _said(higgs, coder, rehearsal, i)]
            write_shard(path, clips)
        clips = read_shard(path, about["codec"]["num_codebooks"])
        for clip in clips:
            spoken[clip.speaker] += 1
            said.add(clip.id.rpartition("_")[0])
        shards.append({"name": path.name, "clips": len(clips), "sha256": sha256(path)})
        progress(texts.stop, len(rehearsal.texts))
    if not any(spoken.values()):
        raise DataError("The model said none of the texts to its end; nothing can be rehearsed.")
    if references:
        write_shard(out / SHARDS / VOICES, references)
        digest = sha256(out / SHARDS / VOICES)
        shards.append({"name": VOICES, "clips": len(references), "sha256": digest})
    held = Counter(spoken) + Counter(clip.speaker for clip in references)
    told = {"unsaid": len(rehearsal.texts) - len(said), "speakers": held, "shards": shards}
    write_about(out, {**about, **told, "listen": []})
    return spoken


def _reference(higgs: Higgs, coder: Coder, name: str) -> Iterator[Clip]:
    """The clip of a voice that has one."""
    voice = higgs.voices.load(name)
    if voice.codes is not None:
        said, codes = voice.transcript, voice.codes.cpu().long()
        yield Clip(
            f"{name}_voice", "train", name, said, codes, coder.wording.tokens(said), weight=0
        )


def _said(higgs: Higgs, coder: Coder, rehearsal: Rehearsal, number: int) -> Iterator[Clip]:
    """The utterances of a text that came to their end."""
    voice = rehearsal.voices[number % len(rehearsal.voices)]
    sampling = replace(AS_LIKELY, seed=rehearsal.seed + number)
    try:
        pieces = list(higgs.pieces(rehearsal.texts[number], voice, sampling))
    except GenerationError:
        return
    for part, piece in enumerate(piece for piece in pieces if piece.remembered is not None):
        text, codes = piece.utterance.text, piece.remembered
        assert codes is not None
        name, tokens = f"{voice}_{number:06d}_{part}", coder.wording.tokens(text)
        heard = {"references": f"{voice}_voice"}
        yield Clip(name, "train", voice, text, codes.cpu().long(), tokens, columns=heard)


def _begin(out: Path, about: dict[str, Any], rehearsal: Rehearsal) -> None:
    """Take the folder. Raises SettingError for one of another model or of other texts."""
    asked = {**about, **vars(rehearsal), "references": VOICES, "sampling": asdict(AS_LIKELY)}
    told = hashed(asked)
    note = out / NOTE
    try:
        (out / SHARDS).mkdir(parents=True, exist_ok=True)
        found = note.read_text() if note.is_file() else None
        if found not in (None, told) or (found is None and any((out / SHARDS).iterdir())):
            raise SettingError(
                f"'{out}' holds something else: other texts, voices or another model; name a new "
                "folder."
            )
        write_file(note, told.encode())
        (out / ABOUT).unlink(missing_ok=True)
    except OSError as error:
        raise unwritten(f"'{out}' cannot be used: {error.strerror}.", error) from None
