"""A folder of sounds, each with its text in a file of the same name: beside it, or at the same
place of a folder of texts, as VCTK has them. Knows no table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from faster_higgs.data.readers.files import CLIPS, SOUNDS, files_in, in_split, listed, read_text
from faster_higgs.data.readers.settings import ReadSettings
from faster_higgs.data.record import BadRow, Recording
from faster_higgs.errors import DataError

TEXTS = (".normalized.txt", ".txt", ".lab")  # the first that is there
TREES = ("txt", "text", "texts", "transcripts", "lab", "labs")  # folders of texts, by custom
_MICROPHONE = re.compile(r"_mic[0-9]+$")  # of VCTK: several sounds have one text


def read(path: Path, settings: ReadSettings) -> Iterator[Recording | BadRow]:
    """In the order of the paths; each folder in it is a speaker. Raises DataError."""
    sounds = [file for file in sounds_in(path) if in_split(file.relative_to(path), settings.split)]
    if not any(_text_of(sound, path) for sound in sounds):
        found = listed(sound.name for sound in sounds) or "none"
        raise DataError(
            f"No sound file in {path} has its text beside it, such as a.wav and a.txt, or at the "
            "same place of a folder txt, such as wav/anna/a.wav and txt/anna/a.txt; "
            f"sound files found: {found}."
        )
    for sound in sounds:
        yield _recording(sound, path, settings)
    for text in _lone_texts(path):
        if in_split(text.relative_to(path), settings.split):
            origin = text.relative_to(path).as_posix()
            yield BadRow(origin, "There is no sound of this name.", "lone_text")


def sounds_in(folder: Path) -> list[Path]:
    """Every sound file, by its name, in order."""
    return sorted(
        file
        for file in files_in(folder)
        if file.suffix.lower() in SOUNDS and not file.name.startswith(".")
    )


def _recording(sound: Path, root: Path, settings: ReadSettings) -> Recording | BadRow:
    origin = sound.relative_to(root).as_posix()
    file = _text_of(sound, root)
    if file is None:
        wanted = " or ".join(f"{sound.stem}{suffix}" for suffix in TEXTS[1:])
        return BadRow(origin, f"There is no {wanted} beside it.", "lone_sound")
    try:
        text = read_text(file)
    except (OSError, UnicodeDecodeError) as error:
        return BadRow(origin, f"{file.name} cannot be read: {error}.", "text")
    if not text:
        return BadRow(origin, f"{file.name} is empty.", "text")
    start = root if file.parent == sound.parent else root / sound.relative_to(root).parts[0]
    speaker = settings.speaker or _speaker(sound, start, root)
    return Recording(sound, text, speaker, origin, settings.language)


def _lone_texts(root: Path) -> Iterator[Path]:
    """Texts that are of no sound, each name once, in order.

    Where no sound lies in `root` itself, texts there are about the corpus.
    """
    sounds = sounds_in(root)
    about = root if all(sound.parent != root for sound in sounds) else None
    beside = {(sound.parent, sound.stem) for sound in sounds}
    in_tree = {
        (_inner(one, root), _MICROPHONE.sub("", one.stem)) for one in sounds if one.parent != root
    }
    for file in sorted(files_in(root)):
        stems = [file.name.removesuffix(one) for one in TEXTS if file.name.endswith(one)]
        if not stems or file.name.startswith(".") or file.parent == about:
            continue
        tree = next(iter(file.relative_to(root).parts[:-1]), "")
        ours = {(file.parent, stem) for stem in stems}
        theirs = {(_inner(file, root), stem) for stem in stems if tree in TREES}
        if not (ours & beside or theirs & in_tree):
            beside |= ours
            yield file


def _inner(file: Path, root: Path) -> tuple[str, ...]:
    """Folders from the second on."""
    return file.parent.relative_to(root).parts[1:]


def _text_of(sound: Path, root: Path) -> Path | None:
    places = [(sound.parent, sound.stem)]
    if sound.parent != root:
        stem = _MICROPHONE.sub("", sound.stem)
        places += [(root.joinpath(tree, *_inner(sound, root)), stem) for tree in TREES]
    files = (folder / f"{stem}{suffix}" for folder, stem in places for suffix in TEXTS)
    return next((file for file in files if file.is_file()), None)


def _speaker(sound: Path, start: Path, root: Path) -> str:
    """The first folder from `start` on that is not only one of sounds."""
    folders = sound.relative_to(start).parts[:-1]
    named = [folder for folder in folders if folder.lower() not in CLIPS]
    return named[0] if named else root.resolve().name
