"""`higgs voices`: the voices there are, and yours among them. Knows nothing of speech."""

# ruff: noqa: RUF009  what is called here returns a dataclass field

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faster_higgs.cli.command import Menu, argument, as_command, option, verbose
from faster_higgs.errors import AudioError, OutputError, SettingError, VoiceError

if TYPE_CHECKING:
    from faster_higgs.audio.levels import Samples
    from faster_higgs.prompt.voices import VoiceFiles, VoiceStore


@dataclass(frozen=True)
class _Place:
    voices_dir: Path | None = option("--voices-dir", "FOLDER", "Where your voices are.")
    model: str | None = option(
        "--model --model-path", "MODEL", "Whose shipped voices, and whose codec."
    )
    verbose: bool = verbose()


@dataclass(frozen=True)
class _ListFlags(_Place):
    json: bool = option("--json", None, "For machines.")


@dataclass(frozen=True, kw_only=True)
class _NameFlags(_Place):
    name: str = argument("NAME", "The voice.")


@dataclass(frozen=True, kw_only=True)
class _AddFlags(_Place):
    name: str = argument("NAME", "What it will be called.")
    clip: Path = argument("CLIP", "A sound file, 5 to 30 s of speech.")
    text: str | None = option("--text", "TEXT", "What is said in it, word for word.")
    text_file: Path | None = option(
        "--text-file", "FILE", "A file with what is said. [default: the .txt file beside the clip]"
    )
    replace: bool = option("--replace", None, "Put it in the place of one of that name.")
    openai_name: bool = option(
        "--openai-name", None, "Speak with it to clients that mean OpenAI's voice of that name."
    )


@dataclass(frozen=True, kw_only=True)
class _ImportFlags(_Place):
    folder: Path = argument("FOLDER", "A folder of voice presets, with a config.json.")
    replace: bool = option("--replace", None, "Put them in the place of those of the same names.")


def command(name: str, help: str) -> Menu:
    """The command as the menu takes it."""
    return Menu(
        name=name,
        help=help,
        commands=[
            as_command(_AddFlags, add, "add", "Keep a sound file as a voice."),
            as_command(
                _ImportFlags, import_presets, "import", "Keep the voice presets of another server."
            ),
            as_command(_ListFlags, show_all, "list", "All voices."),
            as_command(_NameFlags, show, "show", "One voice: its files and what is said in it."),
            as_command(_NameFlags, remove, "remove", "Delete a voice of yours."),
            as_command(_NameFlags, play, "play", "Play a voice's clip."),
        ],
    )


def add(flags: _AddFlags) -> None:
    """Judge the clip, then keep it."""
    from faster_higgs.cli.loading import encoding_voices, model_folder, voice_folders
    from faster_higgs.cli.request import linted
    from faster_higgs.prompt.voices import OPENAI_NAME

    transcript = _transcript(flags)
    note = _overshadowed(flags.name)
    if flags.openai_name and not note:
        raise SettingError(f"'{flags.name}' is no name of OpenAI's; leave --openai-name out.")
    if note and not flags.openai_name:
        print(note, file=sys.stderr)
    for finding in linted(flags.clip):
        print(f"Warning: {finding.message}", file=sys.stderr)
    own = voice_folders(flags.voices_dir)
    store = encoding_voices(model_folder(flags.model).folder, own)
    about = {OPENAI_NAME: True} if flags.openai_name else None
    store.add(flags.name, flags.clip, transcript, replace=flags.replace, about=about)
    print(f'Added {flags.name}. Hear it: higgs say "Hello, this is my voice." --voice {flags.name}')


def _overshadowed(name: str) -> str:
    """The note on a voice that servers do not speak with; empty for others."""
    from faster_higgs.prompt.voices import OPENAI_VOICES

    if name.lower() not in OPENAI_VOICES:
        return ""
    return (
        f"Note: servers do not speak with '{name}', which OpenAI's clients send for a voice of its "
        "own, unless it was added with --openai-name."
    )


def _transcript(flags: _AddFlags) -> str:
    from faster_higgs.cli.words import text_of

    if flags.text is not None and flags.text_file is not None:
        raise SettingError("--text and --text-file were given; leave one of them out.")
    if flags.text is not None:
        return flags.text
    beside = flags.clip.with_suffix(".txt")
    if flags.text_file is None and not beside.is_file():
        raise VoiceError(
            f"What is said in {flags.clip} is not known; say it with --text, "
            f"or write it into {beside.name} beside it."
        )
    return text_of(flags.text_file or beside)


def import_presets(flags: _ImportFlags) -> None:
    """Keep every voice of a folder, in its order; one that cannot be kept ends it."""
    from faster_higgs.cli.loading import encoding_voices, model_folder, voice_folders
    from faster_higgs.cli.presets import presets_in

    presets = presets_in(flags.folder)
    store = encoding_voices(model_folder(flags.model).folder, voice_folders(flags.voices_dir))
    for preset in presets:
        store.add(preset.name, preset.clip, preset.transcript, replace=flags.replace)
        print(f"Added {preset.name}.")
        if note := _overshadowed(preset.name):
            print(note, file=sys.stderr)
        if preset.system:
            print(
                f"Note: the system prompt of {preset.name} is not part of a voice; give it with "
                f"--system where you want it: {preset.system}",
                file=sys.stderr,
            )


def show_all(flags: _ListFlags) -> None:
    """A line for each voice."""
    from faster_higgs.prompt.voices import PROFILES

    store = _store(flags)
    rows = [_told(files) for files in store.list()]
    rows += [_row(f"profile:{name}", None, "described", text) for name, text in PROFILES.items()]
    if flags.json:
        print(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        seconds = "" if row["seconds"] is None else f"{row['seconds']:.1f} s"
        print(f"{row['name']:<{width}}  {seconds:>7}  {row['source']:<9}  {row['transcript']}")


def show(flags: _NameFlags) -> None:
    """Everything about one voice."""
    store = _store(flags)
    if flags.name.startswith("profile:"):
        voice = store.load(flags.name)
        print(f"Name: {flags.name}\nSource: described\nDescription: {voice.description}")
        return
    files = store.find(flags.name)
    told = _told(files)
    seconds = "unknown" if told["seconds"] is None else f"{told['seconds']:.2f} s"
    print(f"Name: {told['name']}\nLength: {seconds}\nSource: {told['source']}")
    if files.described:
        print(f"Description: {told['transcript']}")
        return
    print(f"File: {files.sound or files.codes[0]}\nTranscript: {told['transcript']}")


def remove(flags: _NameFlags) -> None:
    """Delete a voice of the user's."""
    try:
        _store(flags).remove(flags.name)
    except OSError as error:
        raise OutputError(
            f"The voice '{flags.name}' cannot be removed: {error.strerror}."
        ) from None
    print(f"Removed {flags.name}.")


def play(flags: _NameFlags) -> None:
    """Play the clip, or what its codes say."""
    from faster_higgs.cli.player import find_player
    from faster_higgs.cli.player import play as play_sound

    find_player()
    files = _store(flags).find(flags.name)
    if files.described:
        raise VoiceError(f"'{flags.name}' is a description and has no clip; it can only be spoken.")
    play_sound(_sound(files, flags), 24_000)


def _store(flags: _Place) -> VoiceStore:
    from faster_higgs.cli.loading import model_folder, named_voices, shipped_model, voice_folders

    model = model_folder(flags.model).folder if flags.model else shipped_model()
    return named_voices(model, voice_folders(flags.voices_dir))


def _row(name: str, seconds: float | None, source: str, transcript: str) -> dict[str, Any]:
    return {"name": name, "seconds": seconds, "source": source, "transcript": transcript}


def _told(files: VoiceFiles) -> dict[str, Any]:
    from faster_higgs.cli.words import text_of

    words = text_of(files.description if files.described else files.transcript)
    source = "described" if files.described else "yours" if files.own else "shipped"
    return _row(files.name, _seconds(files), source, " ".join(words.split()))


def _seconds(files: VoiceFiles) -> float | None:
    """The length of the clip; None when it cannot be read."""
    from safetensors import SafetensorError

    from faster_higgs.audio.files import read
    from faster_higgs.delivery import FRAMES_PER_SECOND

    if files.described:
        return None
    try:
        if files.sound:
            return round(len(read(files.sound, rate=24_000)) / 24_000, 2)
        return round(_frames(files.codes[0]) / FRAMES_PER_SECOND, 2)
    except (AudioError, SafetensorError, OSError):
        return None


def _frames(codes: Path) -> int:
    from safetensors import safe_open

    with safe_open(codes, "pt") as file:
        return int(file.get_slice("codes").get_shape()[1])


def _sound(files: VoiceFiles, flags: _NameFlags) -> Samples:
    from faster_higgs.audio.files import read

    if files.sound:
        return read(files.sound, rate=24_000)
    from faster_higgs.checkpoint.codec_files import load_codec
    from faster_higgs.checkpoint.files import find_codec
    from faster_higgs.cli.loading import model_folder, named_voices, voice_folders
    from faster_higgs.speech import fingerprint

    model = model_folder(flags.model).folder
    codec = load_codec(find_codec(model), encoder=False)
    store = named_voices(model, voice_folders(flags.voices_dir), fingerprint(codec))
    codes = store.load(files.name).codes
    assert codes is not None
    samples: Samples = codec.decode(codes).float().numpy()
    return samples
