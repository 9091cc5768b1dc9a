"""From flags to what the Python interface takes, so that both ask for the same. Loads no model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from faster_higgs.audio.checks import Finding
from faster_higgs.checkpoint.choice import Wish
from faster_higgs.cli.flags import OF_DELIVERY, OF_SAMPLING, SayFlags
from faster_higgs.cli.precision import refuse_unknown, wished
from faster_higgs.cli.scenes import scene
from faster_higgs.cli.words import existing_file, given_text, text_of
from faster_higgs.delivery import Cut, Delivery, cast, cuts, prepared
from faster_higgs.errors import AudioError, SettingError, VoiceError
from faster_higgs.sampling import Sampling
from faster_higgs.spoken import Manners


@dataclass(frozen=True)
class ClipFile:
    """A sound file given as a voice, and what is said in it."""

    path: Path
    transcript: str


@dataclass(frozen=True)
class Request:
    """What is asked for, checked as far as it can be without a model."""

    text: str
    voices: tuple[str | ClipFile, ...]
    sampling: Sampling
    delivery: Delivery
    device: str
    wish: Wish
    notes: tuple[str, ...] = ()


def request(flags: SayFlags) -> Request:
    """What the flags ask for.

    Raises SettingError, TextError, VoiceError, AudioError: every mistake that shows before loading.
    """
    notes = [*_static_cache_note(flags), *_bits_note(flags), *_chunk_notes(flags)]
    device = device_of(flags.device, flags.device_id)
    wish = wish_of(flags)
    asked = sampling_of(flags), delivery_of(flags)
    text = given_text(flags.text, flags.transcript)
    prepared(text, asked[1])
    voices = voices_of(flags.voice, flags.ref_text or [])
    for voice in voices:
        if isinstance(voice, ClipFile):
            notes += [f"Warning: {voice.path}: {finding.message}" for finding in linted(voice.path)]
    wish = replace(wish, clones=any(isinstance(voice, ClipFile) for voice in voices))
    return Request(text, voices, *asked, device, wish, tuple(notes))


def sampling_of(flags: SayFlags) -> Sampling:
    """The sampling the flags ask for; what is not given stays as `Sampling` has it."""
    given = _given(flags, OF_SAMPLING)
    for name in ("ras_window", "ras_repeats"):
        if name in given:
            given[name] = max(0, given[name])  # the original turns it off at any value below 1
    with _told_by_flag(OF_SAMPLING):
        return replace(Sampling(), **given)


def delivery_of(flags: SayFlags) -> Delivery:
    """The delivery the flags ask for."""
    given = _given(flags, OF_DELIVERY)
    if flags.scene_prompt is not None:
        given["scene"] = scene(flags.scene_prompt)
    with _told_by_flag(OF_DELIVERY):
        return replace(Delivery(), voices_in_system=flags.ref_audio_in_system_message, **given)


def _given(flags: SayFlags, names: dict[str, str]) -> dict[str, Any]:
    values = {name: getattr(flags, flag) for flag, name in names.items()}
    return {name: value for name, value in values.items() if value is not None}


@contextmanager
def _told_by_flag(names: dict[str, str]) -> Iterator[None]:
    """A setting that is refused, under the name it was given by."""
    try:
        yield
    except SettingError as error:
        message = str(error)
        for flag, setting in names.items():
            if message.startswith(f"{setting} is "):
                message = f"--{flag.replace('_', '-')}{message.removeprefix(setting)}"
        raise SettingError(message) from None


def voices_of(voice: str | None, transcripts: list[str]) -> tuple[str | ClipFile, ...]:
    """Names as they are; sound files with transcripts, taken in turn, else from beside them."""
    if voice is None:
        if transcripts:
            raise SettingError(
                "--ref-text says what is said in a sound file; give the file with --voice."
            )
        return ()
    names = [voice] if existing_file(voice) else [name.strip() for name in voice.split(",")]
    if not all(names):
        raise SettingError(f"--voice is '{voice}'; write names separated by commas.")
    rest = iter(transcripts)
    found = tuple(
        _clip(file, next(rest, None)) if (file := _sound(name)) else name for name in names
    )
    if next(rest, None) is not None:
        raise SettingError(
            "There are more --ref-text than sound files in --voice; give one for each file."
        )
    return found


def planned(asked: Request, model: Path | None) -> list[Cut]:
    """The utterances as `Higgs.plan` has them, without a voice being loaded.

    Raises SettingError when voices and speakers do not match.
    """
    manners = Manners.load(model) if model else Manners()
    voices = asked.voices or cast(asked.text, asked.delivery, manners.voices)
    clips = [isinstance(v, ClipFile) or not v.startswith("profile:") for v in voices]
    return cuts(asked.text, asked.delivery, clips, manners.max_words)


def _sound(name: str) -> Path | None:
    """The file a voice stands for; a name that looks like a path must be one."""
    file = existing_file(name)
    if file is None and not name.startswith("profile:") and ("/" in name or "\\" in name):
        raise AudioError(f"There is no file {name}; check the path.")
    return file


def _clip(path: Path, transcript: str | None) -> ClipFile:
    beside = path.with_suffix(".txt")
    if transcript is None and beside.is_file():
        transcript = text_of(beside)
    if not transcript or not transcript.strip():
        raise VoiceError(
            f"What is said in {path} is not known; say it with --ref-text, "
            f"or write it into {beside.name} beside it."
        )
    return ClipFile(path, transcript.strip())


def linted(path: Path) -> list[Finding]:
    """What is amiss with a clip but may pass. Raises AudioError for what may not."""
    from faster_higgs.audio.files import read
    from faster_higgs.audio.reference import LONGEST_CLIP, passable

    rate = 24_000
    samples = read(path, rate=rate, max_seconds=LONGEST_CLIP)
    try:
        return passable(samples, rate)
    except AudioError as error:
        raise AudioError(f"{path} cannot be used as a voice. {error}") from None


def device_of(device: str, number: int | None) -> str:
    """The device by the original's names: `none` is the processor, a number is a graphics card."""
    name = "cpu" if device == "none" else device
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps", name):
        raise SettingError(f"There is no device '{device}'; use auto, cpu, cuda, cuda:N or mps.")
    if number is None:
        return name
    if number < 0 or name not in ("auto", "cuda", f"cuda:{number}"):
        raise SettingError(
            f"--device-id {number} means cuda:{number}, but --device is {device}; "
            "leave one of them out."
        )
    return f"cuda:{number}"


def wish_of(flags: SayFlags) -> Wish:
    """What the flags ask of memory and precision. Raises SettingError where they contradict."""
    refuse_unknown(flags.precision, flags.text_precision)
    return wished(_precision(flags), flags.text_precision, flags.context, flags.max_memory)


def _precision(flags: SayFlags) -> str | None:
    """What --precision says, or the original's flags for the same."""
    bits, asked = flags.quantization_bits, flags.precision
    if bits not in (None, 4, 8):
        raise SettingError(f"--quantization-bits is {bits}; use 4 or 8.")
    theirs = {"--quantization-bits": f"int{bits}"} if bits else {}
    if flags.no_quantization:
        theirs = {"--no-quantization": "full"}
    for flag, meant in theirs.items():
        if asked not in (None, meant):
            raise SettingError(
                f"{flag} means --precision {meant}, but --precision is {asked}; "
                "leave one of them out."
            )
        asked = meant
    return asked


def _chunk_notes(flags: SayFlags) -> Iterator[str]:
    """What is said of flags that the chunk method does not ask for."""
    method = flags.chunk_method or Delivery().chunk_method
    if flags.chunk_max_num_turns is not None and method != "speaker":
        yield "Note: --chunk-max-num-turns matters only with --chunk-method speaker."
    if flags.chunk_max_word_num is not None and method in ("none", "speaker"):
        yield f"Note: --chunk-max-word-num changes nothing with --chunk-method {method}."
    if flags.generation_chunk_buffer_size is not None and method == "auto":
        yield (
            "Note: --generation-chunk-buffer-size matters only for voices without a clip; "
            "with --chunk-method auto each chunk begins afresh from the clip."
        )


def _bits_note(flags: SayFlags) -> list[str]:
    if flags.no_quantization and flags.quantization_bits:
        return ["Note: --quantization-bits changes nothing with --no-quantization."]
    return []


def _static_cache_note(flags: SayFlags) -> list[str]:
    if flags.use_static_kv_cache is None:
        return []
    return [
        "Note: --use-static-kv-cache changes nothing; the cache is always managed automatically."
    ]
