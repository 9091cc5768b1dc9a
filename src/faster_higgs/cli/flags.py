"""The flags of `higgs say`: those of the original's two scripts under their names, and ours.

Knows nothing of what they do. Where a default is None, `Sampling` or `Delivery` says what happens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from faster_higgs.cli.command import Verbose, section

_text = partial(section, "What is said")
_voice = partial(section, "Who says it, and where")
_model = partial(section, "Model and machine")
_sampling = partial(section, "Sampling")
_chunks = partial(section, "Long texts")
_output = partial(section, "Output")

# Where a flag's default is written: the flag's name here, and the setting's there.
OF_SAMPLING = {
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "seed": "seed",
    "ras_win_len": "ras_window",
    "ras_win_max_num_repeat": "ras_repeats",
    "max_new_tokens": "max_new_tokens",
    "rules": "rules",
}
OF_DELIVERY = {
    "normalization": "normalization",
    "system_prompt": "system",
    "chunk_method": "chunk_method",
    "chunk_max_word_num": "max_words",
    "chunk_max_num_turns": "max_turns",
    "generation_chunk_buffer_size": "history",
}


@dataclass(frozen=True)
class SayFlags:
    """What stands on the command line."""

    text: Annotated[
        str | None,
        typer.Argument(
            metavar="TEXT", help="What to say; `-` reads standard input.", show_default=False
        ),
    ] = None
    transcript: Annotated[
        str | None,
        _text(
            "--transcript", metavar="FILE", help="Say what stands in a file; or a text, as it is."
        ),
    ] = None
    normalization: Annotated[
        str | None,
        _text(
            "--normalization", metavar="RULES", help="How numbers, dates and signs become words."
        ),
    ] = None
    show_text: Annotated[
        bool,
        _text(
            "--show-text", help="Print every stage from the text to what the model reads, and stop."
        ),
    ] = False

    voice: Annotated[
        str | None,
        _voice(
            "--voice", "--ref-audio", metavar="NAMES",
            help="Names from `higgs voices list`, profile:NAME, or sound files to clone; one for each speaker, "
            "separated by commas.",
        ),
    ] = None  # fmt: skip
    ref_text: Annotated[
        list[str] | None,
        _voice(
            "--ref-text", metavar="TEXT",
            help="What is said in a sound file given as voice; without it, the .txt file beside it is read. "
            "Once for each such file.",
        ),
    ] = None  # fmt: skip
    ref_audio_in_system_message: Annotated[
        bool,
        _voice("--ref-audio-in-system-message", help="Put the voices into the system message."),
    ] = False
    scene_prompt: Annotated[
        str | None,
        _voice(
            "--scene-prompt", metavar="SCENE", help="A scene's name, a file, a text, or `empty`."
        ),
    ] = None
    system_prompt: Annotated[
        str | None,
        _voice(
            "--system-prompt", metavar="TEXT", help="A system message in place of the usual one."
        ),
    ] = None
    voices_dir: Annotated[
        Path | None,
        _voice(
            "--voices-dir",
            metavar="FOLDER",
            help="Where your voices are. [default: HIGGS_VOICES, or your data folder]",
        ),
    ] = None

    output: Annotated[
        str,
        _output(
            "--output", "-o", "--out-path", metavar="FILE",
            help="The sound file, its format by its suffix; `-` writes the bytes to standard output. "
            "[default: output.wav]",
        ),
    ] = "output.wav"  # fmt: skip
    format: Annotated[
        str | None, _output("--format", metavar="FORMAT", help="The format, whatever the suffix.")
    ] = None
    play: Annotated[bool, _output("--play", help="Play it too.")] = False
    plot: Annotated[
        Path | None, _output("--plot", metavar="PNG", help="Draw its waveform and spectrogram.")
    ] = None
    json: Annotated[
        bool, _output("--json", help="Print the report for machines, on standard output.")
    ] = False
    strict: Annotated[
        bool, _output("--strict", help="End with status 1 when a check of the sound fails.")
    ] = False
    quiet: Annotated[bool, _output("--quiet", "-q", help="Print nothing but errors.")] = False
    verbose: Annotated[bool, Verbose] = False

    model: Annotated[
        str | None,
        _model(
            "--model", "--model-path", metavar="MODEL",
            help="A checkpoint's folder or hub id. [default: HIGGS_MODEL, else the full model if it is here, else pico]",
        ),
    ] = None  # fmt: skip
    audio_tokenizer: Annotated[
        str | None,
        _model(
            "--audio-tokenizer",
            metavar="CODEC",
            help="The codec's folder or hub id. [default: the model's own]",
        ),
    ] = None
    revision: Annotated[
        str | None,
        _model(
            "--revision",
            metavar="NAME",
            help="Which version of a hub id. [default: the tested one]",
        ),
    ] = None
    device: Annotated[
        str,
        _model(
            "--device",
            metavar="DEVICE",
            help="auto, cpu, cuda, cuda:N, mps; `none` is cpu. [default: auto]",
        ),
    ] = "auto"
    device_id: Annotated[
        int | None, _model("--device-id", metavar="N", help="The same as --device cuda:N.")
    ] = None
    quantization_bits: Annotated[
        int | None,
        _model(
            "--quantization-bits",
            metavar="4|8",
            help="Not in this version: it does not quantise yet.",
        ),
    ] = None
    no_quantization: Annotated[
        bool,
        _model("--no-quantization", help="Full precision, which is what this version always uses."),
    ] = False
    use_static_kv_cache: Annotated[
        int | None,
        _model(
            "--use-static-kv-cache",
            metavar="[0|1]",
            help="Accepted; the cache is always managed automatically.",
        ),
    ] = None

    temperature: Annotated[
        float | None,
        _sampling(
            "--temperature", metavar="X", help="How freely codes are drawn; 0 takes the likeliest."
        ),
    ] = None
    top_k: Annotated[
        int | None,
        _sampling("--top-k", metavar="N", help="Draw from the N likeliest codes; 0 for all."),
    ] = None
    top_p: Annotated[
        float | None,
        _sampling(
            "--top-p", metavar="X", help="Draw from the likeliest codes that weigh X together."
        ),
    ] = None
    min_p: Annotated[
        float | None,
        _sampling(
            "--min-p", metavar="X", help="Leave out codes less likely than X times the likeliest."
        ),
    ] = None
    seed: Annotated[
        int | None,
        _sampling(
            "--seed",
            metavar="N",
            help="Equal seeds give equal speech. [default: a new one, reported]",
        ),
    ] = None
    ras_win_len: Annotated[
        int | None,
        _sampling(
            "--ras-win-len",
            metavar="N",
            help="Columns in which a repeated code is noticed; 0 for off.",
        ),
    ] = None
    ras_win_max_num_repeat: Annotated[
        int | None,
        _sampling(
            "--ras-win-max-num-repeat",
            metavar="N",
            help="Repetitions after which a code is redrawn.",
        ),
    ] = None
    max_new_tokens: Annotated[
        int | None,
        _sampling(
            "--max-new-tokens", metavar="N", help="Most steps for a chunk; 25 make a second."
        ),
    ] = None
    rules: Annotated[
        str | None,
        _sampling(
            "--rules", metavar="RULES", help="Guard against runaway speech, or be as the original."
        ),
    ] = None

    chunk_method: Annotated[
        str | None, _chunks("--chunk-method", metavar="METHOD", help="Where a long text is cut.")
    ] = None
    chunk_max_word_num: Annotated[
        int | None, _chunks("--chunk-max-word-num", metavar="N", help="Most words of a chunk.")
    ] = None
    chunk_max_num_turns: Annotated[
        int | None,
        _chunks("--chunk-max-num-turns", metavar="N", help="Turns of a chunk, with `speaker`."),
    ] = None
    generation_chunk_buffer_size: Annotated[
        int | None,
        _chunks(
            "--generation-chunk-buffer-size",
            metavar="N",
            help="Earlier chunks kept as context. [default: all]",
        ),
    ] = None


def facts() -> Mapping[str, str]:
    """Defaults and choices for the help page, read from where they are written."""
    from faster_higgs.audio.encode import FORMATS
    from faster_higgs.cli.scenes import SCENES
    from faster_higgs.delivery import ChunkMethod, Delivery, Normalization
    from faster_higgs.sampling import Rules, Sampling

    choices = {
        "normalization": get_args(Normalization),
        "chunk_method": get_args(ChunkMethod),
        "rules": get_args(Rules),
        "scene_prompt": SCENES,
        "format": FORMATS,
    }
    known: dict[str, Any] = {
        **{flag: getattr(Sampling(), name) for flag, name in OF_SAMPLING.items()},
        **{flag: getattr(Delivery(), name) for flag, name in OF_DELIVERY.items()},
        "scene_prompt": next(name for name, scene in SCENES.items() if scene == Delivery().scene),
    }
    parts: dict[str, list[str]] = {field.name: [] for field in fields(SayFlags)}
    for flag, values in choices.items():
        parts[flag].append(", ".join(values))
    for flag, value in known.items():
        if value is not None:
            parts[flag].append(f"default: {value}")
    return {flag: "; ".join(found) for flag, found in parts.items() if found}
