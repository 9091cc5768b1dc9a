"""Voices: a clip's codes and what is said in it, or a description.

A folder of voices holds, for each name, a transcript NAME.txt and a sound file NAME.wav (or any
other audio suffix), the layout the original project uses; or a description, NAME.description, alone
or beside them. NAME.json holds what else is known of a voice. Codes lie there, too: those a
checkpoint ships in NAME.safetensors, those that were made once in NAME@CODEC.safetensors, in the
user's folder only. Knows nothing of how sound becomes codes.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from faster_higgs.errors import VoiceError, VoiceNotFound, unwritten

if TYPE_CHECKING:
    from torch import Tensor

SOUND_SUFFIXES = tuple(".wav .flac .mp3 .ogg .opus .m4a .aac .webm .mp4 .aiff .aif .oga".split())
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")

# Described voices; a checkpoint understands them as far as it was trained on descriptions.
# The names are the original's.
PROFILES = {
    "male_en": "masculine, American accent, medium pitch, steady and friendly, "
    "recorded close to the microphone",
    "female_en_story": "feminine, American accent, warm storytelling tone, lively pacing, "
    "clear articulation",
    "male_en_british": "masculine, British accent, deep and composed, measured pacing, "
    "clear articulation",
    "female_en_british": "feminine, British accent, bright and precise, moderate pacing, "
    "clear articulation",
}


# The names OpenAI's clients send. Each is one of the model's own voices, if it has any.
OPENAI_VOICES = (
    *("alloy", "ash", "ballad", "coral", "echo", "fable", "onyx"),
    *("nova", "sage", "shimmer", "verse", "marin", "cedar"),
)
OPENAI_NAME = "openai_name"  # kept with a voice that may go by one of them


@dataclass(frozen=True)
class Voice:
    """A voice is reference codes [K, F] and their transcript; without codes it is described."""

    name: str
    codes: Tensor | None = field(default=None, compare=False)
    transcript: str = ""
    description: str = ""

    def __post_init__(self) -> None:
        if self.codes is None and not self.description:
            raise VoiceError(f"The voice '{self.name}' has neither a clip nor a description.")
        if self.codes is not None and not self.transcript.strip():
            raise VoiceError(
                f"The voice '{self.name}' has no transcript; write what is said in the clip."
            )


@dataclass(frozen=True)
class VoiceFiles:
    """Where a voice lies on disk."""

    name: str
    transcript: Path
    sound: Path | None
    codes: tuple[Path, ...]  # for one codec or several
    own: bool  # in the folder that may be written

    @property
    def description(self) -> Path:
        """Where the voice is told in words, if it is."""
        return self.transcript.with_suffix(".description")

    @property
    def described(self) -> bool:
        """Whether words are all there is."""
        return self.sound is None and not self.codes

    def about(self) -> Mapping[str, Any]:
        """What else was kept of it."""
        try:
            kept = json.loads(self.transcript.with_suffix(".json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return kept if isinstance(kept, dict) else {}


class VoiceStore:
    """Voices in folders. Where the store is `writable`, the first folder is the user's own.

    `encode` makes codes from a sound file; `fingerprint` names its codec. What it made is kept in
    the user's own folder, and no other is ever written.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        encode: Callable[[Path], Tensor],
        fingerprint: str,
        *,
        writable: bool = True,
    ) -> None:
        self._folders = list(folders)
        self._writable = writable
        self._encode = encode
        self._fingerprint = fingerprint
        self._made: dict[str, Tensor] = {}  # codes by clip: not every folder can keep them

    @property
    def codec(self) -> str:
        """What the meaning of codes depends on."""
        return self._fingerprint

    @property
    def own(self) -> Path:
        """The user's own folder. Raises VoiceError where there is none."""
        if not self._writable:
            raise VoiceError("There is no folder to keep anything in; load the model with voices=.")
        return self._folders[0]

    def list(self) -> list[VoiceFiles]:
        """All voices, by name; the first folder wins where a name is taken twice."""
        found: dict[str, VoiceFiles] = {}
        for i, folder in enumerate(self._folders):
            for voice in _voices_in(folder, own=self._writable and i == 0):
                found.setdefault(voice.name, voice)
        return [found[name] for name in sorted(found)]

    def find(self, name: str) -> VoiceFiles:
        """Raises VoiceNotFound with the names there are, VoiceError for a described voice."""
        if name.startswith("profile:"):
            self._described(name.removeprefix("profile:"))
            raise VoiceError(f"'{name}' is a description and has no files; it can only be spoken.")
        voices = {voice.name: voice for voice in self.list()}
        if name not in voices:
            known = ", ".join([*voices, *(f"profile:{p}" for p in PROFILES)])
            raise VoiceNotFound(
                f"No voice named '{name}'. Known: {known}. "
                f"Add one with `higgs voices add {name} CLIP`."
            )
        return voices[name]

    def load(self, name: str) -> Voice:
        """A voice by name, or a described one by `profile:NAME`."""
        if name.startswith("profile:"):
            return self._described(name.removeprefix("profile:"))
        files = self.find(name)
        if files.described:
            return Voice(name, description=self._description(files))
        transcript = _words(files.transcript)
        return Voice(name, self._codes(files), transcript, self._description(files))

    def add(
        self,
        name: str,
        sound: Path,
        transcript: str,
        *,
        replace: bool = False,
        description: str = "",
        about: Mapping[str, Any] | None = None,
        codes: Tensor | None = None,
    ) -> Voice:
        """Copy a clip into the user's folder and encode it. A failure changes nothing there.

        `about` is kept beside it, and means nothing here. `codes` [K, F] are those the clip was
        decoded from, if it was.
        """
        _check_name(name)
        if not transcript.strip():
            raise VoiceError(
                "The transcript is empty; write what is said in the clip, word for word."
            )
        suffix = sound.suffix.lower()
        if suffix not in SOUND_SUFFIXES:
            raise VoiceError(
                f"'{sound.name}' is not named as a sound file; use one of "
                f"{', '.join(SOUND_SUFFIXES)}."
            )
        self._refuse_taken(name, replace)
        codes = self._encode(sound) if codes is None else codes
        self._place_files(name, {suffix: sound, **_texts(description, about), ".txt": transcript})
        self._keep(name, _clip_of(self._folders[0] / f"{name}{suffix}"), codes)
        return Voice(name, codes, transcript.strip(), description.strip())

    def describe(
        self,
        name: str,
        description: str,
        *,
        replace: bool = False,
        about: Mapping[str, Any] | None = None,
    ) -> Voice:
        """Keep a voice that is told in words, in the user's folder."""
        _check_name(name)
        if not description.strip():
            raise VoiceError("The description is empty; say how the voice sounds.")
        self._refuse_taken(name, replace)
        self._place_files(name, _texts(description, about))
        return Voice(name, description=description.strip())

    def _refuse_taken(self, name: str, replace: bool) -> None:
        """Raises VoiceError where the name is taken, or nothing can be kept."""
        if not self._writable:
            raise VoiceError(
                f"There is no folder to keep '{name}' in; load the model with voices=[FOLDER]."
            )
        if not replace and any(v.name == name and v.own for v in self.list()):
            raise VoiceError(
                f"There is a voice named '{name}' already; remove it first or choose another name."
            )

    def _place_files(self, name: str, files: Mapping[str, Path | str]) -> None:
        """A voice's files by suffix, copied or written; the last makes it a voice."""
        folder = self._folders[0]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=folder, prefix=".adding-") as part:
                for suffix, content in files.items():
                    if isinstance(content, Path):
                        shutil.copyfile(content, Path(part) / f"{name}{suffix}")
                    else:
                        text = content.strip() + "\n"
                        (Path(part) / f"{name}{suffix}").write_text(text, encoding="utf-8")
                self.remove(name, missing_ok=True)
                for suffix in files:
                    (Path(part) / f"{name}{suffix}").replace(folder / f"{name}{suffix}")
        except OSError as error:
            reason = error.strerror or error
            raise unwritten(
                f"The voice '{name}' cannot be saved in {folder}: {reason}.", error
            ) from None

    def remove(self, name: str, *, missing_ok: bool = False) -> None:
        """Delete a voice of the user's. Raises VoiceError for a shipped one."""
        mine = [v for v in self.list() if v.name == name and v.own]
        if not mine:
            if missing_ok:
                return
            self.find(name)
            raise VoiceError(f"'{name}' is shipped with the model and cannot be removed.")
        text = mine[0].transcript
        beside = (mine[0].description, text.with_suffix(".json"))
        for path in (text, mine[0].sound, *mine[0].codes, *beside):
            if path is not None:
                path.unlink(missing_ok=True)

    def _described(self, name: str) -> Voice:
        if name in PROFILES:
            return Voice(name, description=PROFILES[name])
        known = {v.name: v for v in self.list()}
        if name in known and self._description(known[name]):
            return Voice(name, description=self._description(known[name]))
        raise VoiceNotFound(f"No described voice 'profile:{name}'. Known: {', '.join(PROFILES)}.")

    def _description(self, files: VoiceFiles) -> str:
        return _words(files.description) if files.description.is_file() else ""

    def _codes(self, files: VoiceFiles) -> Tensor:
        """The codes that were shipped or kept, else those of the sound file, which are kept."""
        clip = _clip_of(files.sound) if files.sound else None
        if (codes := self._kept(files, clip)) is not None:
            return codes
        if files.sound is None or clip is None:
            raise VoiceError(
                f"The codes of '{files.name}' were made by another codec and its sound file is "
                "gone; add the voice again."
            )
        if clip not in self._made:
            self._made[clip] = self._encode(files.sound)
            self._keep(files.name, clip, self._made[clip])
        return self._made[clip]

    def _kept(self, files: VoiceFiles, clip: str | None) -> Tensor | None:
        """Codes that this codec made of this very clip; shipped ones need not name the clip."""
        unnamed = "" if files.own else clip
        places = [*files.codes]
        if self._writable and clip and not files.own:
            places.append(self._place(files.name))
        for path in places:
            try:
                with safe_open(path, "pt") as file:
                    about = file.metadata() or {}
                    fits = clip is None or about.get("clip", unnamed) == clip
                    if fits and about.get("codec") == self._fingerprint:
                        codes: Tensor = file.get_tensor("codes").long()
                        return codes
            except (SafetensorError, OSError):
                continue  # as good as not there
        return None

    def _keep(self, name: str, clip: str, codes: Tensor) -> None:
        """Keeping codes saves time only: a folder that cannot be written is no error."""
        if not self._writable:
            return
        from safetensors.torch import save_file

        place, about = self._place(name), {"codec": self._fingerprint, "clip": clip}
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            save_file({"codes": codes.short().contiguous()}, place, metadata=about)
            place.chmod(0o644)  # the writer makes files that only their owner may read
        except (SafetensorError, OSError):
            return

    def _place(self, name: str) -> Path:
        """Where codes of this codec are kept; '@' is in no name."""
        return self._folders[0] / f"{name}@{self._fingerprint}.safetensors"


def _voices_in(folder: Path, own: bool) -> Iterator[VoiceFiles]:
    if not folder.is_dir():
        return
    codes: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        codes.setdefault(path.stem.split("@")[0], []).append(path)
    for path in sorted(folder.glob("*.txt")):
        beside = (path.with_suffix(suffix) for suffix in SOUND_SUFFIXES)
        sound = next(filter(Path.is_file, beside), None)
        kept = tuple(codes.get(path.stem, ()))
        if sound or kept:
            yield VoiceFiles(path.stem, path, sound, kept, own)
    for path in sorted(folder.glob("*.description")):
        if not path.with_suffix(".txt").exists():
            yield VoiceFiles(path.stem, path.with_suffix(".txt"), None, (), own)


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise VoiceError(
            f"'{name}' cannot name a voice; use letters, digits, '-', '_' and '.', at most 64."
        )


def _texts(description: str, about: Mapping[str, Any] | None) -> dict[str, Path | str]:
    """What is written beside a voice's clip, or in its place."""
    files: dict[str, Path | str] = {}
    if about:
        files[".json"] = json.dumps(about, ensure_ascii=False)
    if description.strip():
        files[".description"] = description
    return files


def _clip_of(sound: Path) -> str:
    """What tells a clip from any other."""
    try:
        return hashlib.sha256(sound.read_bytes()).hexdigest()
    except OSError as error:
        raise VoiceError(f"{sound} cannot be read: {error.strerror or error}.") from None


def _words(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise VoiceError(f"{path} cannot be read as UTF-8 text: {error}.") from None
