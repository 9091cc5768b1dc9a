"""The flags of `higgs say`: those of the original's two scripts under their names, and ours.

Knows nothing of what they do. Where a default is None, `Sampling` or `Delivery` says what happens.
"""

# ruff: noqa: RUF009  what is called here returns a dataclass field

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, get_args

from faster_higgs.cli.command import argument, flag, verbose

_said = partial(flag, "What is said")
_voice = partial(flag, "Who says it, and where")
_output = partial(flag, "Output")
_model = partial(flag, "Model and machine")
sampling_flag = partial(flag, "Sampling")
_sampling = sampling_flag
_chunks = partial(flag, "Long texts")

# What names a model and bounds its memory, wherever one is loaded to speak.
model_flag = partial(
    _model,
    "--model --model-path",
    "MODEL",
    "A checkpoint's folder or hub id. "
    "[default: HIGGS_MODEL, else the full model if it is here, else pico]",
)
codec_flag = partial(
    _model,
    "--audio-tokenizer",
    "CODEC",
    "The codec's folder or hub id. [default: the model's own]",
)
revision_flag = partial(
    _model, "--revision", "NAME", "Which version of a hub id. [default: the tested one]"
)
adapter_flag = partial(
    _model,
    "--adapter",
    "DIR[=WEIGHT]",
    "An adapter to put on the model, as `higgs train` makes them; again for more. Without --model "
    "the model is the one it names, if that is here.",
)
memory_flag = partial(
    _model,
    "--max-memory",
    "SIZE",
    "Take no more than so much, as in 8GB. [default: what is free]",
)

PACKED = ("int8", "int4", "fp8")  # what works in this version
PRECISIONS = ("full", *PACKED, "auto")
TEXT_PRECISIONS = ("full", *PACKED, "host")

# Where a default is written: the flag's field here, the setting's there.
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
    "language": "language",
    "system_prompt": "system",
    "chunk_method": "chunk_method",
    "chunk_max_word_num": "max_words",
    "chunk_max_num_turns": "max_turns",
    "generation_chunk_buffer_size": "history",
}


@dataclass(frozen=True)
class SayFlags:
    """What stands on the command line."""

    text: str | None = argument(
        "TEXT",
        "What to say; `-` reads standard input. [pause:500ms] in it is so much silence.",
        default=None,
    )
    transcript: str | None = _said("--transcript", "FILE", "Say what stands in a file; or a text.")
    normalization: str | None = _said(
        "--normalization", "RULES", "How numbers, dates and signs become words."
    )
    language: str | None = _said(
        "--language", "CODE", "What the text is in: en, zh, de ... [default: guessed]"
    )
    show_text: bool = _said(
        "--show-text", None, "Print every stage from the text to what the model reads, and stop."
    )

    voice: str | None = _voice(
        "--voice --ref-audio",
        "NAMES",
        "Names from `higgs voices list`, profile:NAME, or sound files to clone; one for each "
        "speaker, separated by commas.",
    )
    ref_text: list[str] | None = _voice(
        "--ref-text",
        "TEXT",
        "What is said in a sound file given as voice; once for each such file. "
        "[default: the .txt file beside it]",
    )
    ref_audio_in_system_message: bool = _voice(
        "--ref-audio-in-system-message", None, "Put the voices into the system message."
    )
    scene_prompt: str | None = _voice(
        "--scene-prompt", "SCENE", "A scene's name, a file, a text, or `empty`."
    )
    system_prompt: str | None = _voice(
        "--system-prompt", "TEXT", "A system message in place of the usual one."
    )
    voices_dir: Path | None = _voice(
        "--voices-dir",
        "FOLDER",
        "Where your voices are. [default: HIGGS_VOICES, or your data folder]",
    )

    output: str = _output(
        "--output -o --out-path --output-path",
        "FILE",
        "The sound file, its format by its suffix; `-` writes the bytes to standard output.",
        default="output.wav",
    )
    format: str | None = _output("--format", "FORMAT", "The format, whatever the suffix.")
    play: bool = _output("--play", None, "Play it too.")
    captions: Path | None = _output(
        "--captions", "FILE", "Write when what is said: .srt, .vtt or .json."
    )
    plot: Path | None = _output("--plot", "PNG", "Draw its waveform and spectrogram.")
    json: bool = _output("--json", None, "Print the report for machines, on standard output.")
    strict: bool = _output("--strict", None, "End with status 1 when the sound fails a check.")
    quiet: bool = _output("--quiet -q", None, "Print nothing but errors.")

    model: str | None = model_flag()
    audio_tokenizer: str | None = codec_flag()
    revision: str | None = revision_flag()
    adapter: list[str] | None = adapter_flag()
    device: str = _model(
        "--device",
        "DEVICE",
        "auto, cpu, cuda, cuda:N or mps; `none` is cpu.",
        default="auto",
    )
    device_id: int | None = _model("--device-id", "N", "The same as --device cuda:N.")
    precision: str | None = _model(
        "--precision",
        "PRECISION",
        "How the weights are held; `auto` is the best there is room for, and says which. "
        "[default: as in the files]",
    )
    text_precision: str | None = _model(
        "--text-precision",
        "PRECISION",
        "And those that only read text; on the `host` they stay out of a graphics card. "
        "[default: as --precision]",
    )
    max_memory: str | None = memory_flag()
    context: int | None = _model(
        "--context",
        "N",
        "Positions of the cache for prompts and speech; 25 make a second. "
        "[default: as many as there is room for, up to 16384]",
    )
    quantization_bits: int | None = _model(
        "--quantization-bits", "4|8", "The same as --precision int4 or int8."
    )
    no_quantization: bool = _model(
        "--no-quantization", None, "The same as --precision full; bits that are given do not count."
    )
    use_static_kv_cache: int | None = _model(
        "--use-static-kv-cache",
        "[0|1]",
        "Accepted, and changes nothing: the cache is always managed automatically.",
    )

    temperature: float | None = _sampling(
        "--temperature", "X", "How freely codes are drawn; 0 takes the likeliest."
    )
    top_k: int | None = _sampling("--top-k", "N", "Draw from the N likeliest codes; 0 for all.")
    top_p: float | None = _sampling(
        "--top-p", "X", "Draw from the likeliest codes that weigh X together."
    )
    min_p: float | None = _sampling(
        "--min-p", "X", "Leave out codes less likely than X times the likeliest."
    )
    seed: int | None = _sampling(
        "--seed", "N", "Equal seeds give equal speech. [default: a new one, reported]"
    )
    ras_win_len: int | None = _sampling(
        "--ras-win-len", "N", "Columns in which a repeated code is noticed; 0 for off."
    )
    ras_win_max_num_repeat: int | None = _sampling(
        "--ras-win-max-num-repeat", "N", "Repetitions after which a code is redrawn."
    )
    max_new_tokens: int | None = _sampling(
        "--max-new-tokens", "N", "Most steps for a chunk; 25 make a second."
    )
    rules: str | None = _sampling(
        "--rules", "RULES", "Guard against runaway speech, or be as the original."
    )

    chunk_method: str | None = _chunks("--chunk-method", "METHOD", "Where a long text is cut.")
    chunk_max_word_num: int | None = _chunks(
        "--chunk-max-word-num", "N", "Most words of a chunk. [default: 200; 120 where `auto` cuts]"
    )
    chunk_max_num_turns: int | None = _chunks(
        "--chunk-max-num-turns", "N", "Turns of a chunk, with the method `speaker`."
    )
    generation_chunk_buffer_size: int | None = _chunks(
        "--generation-chunk-buffer-size", "N", "Earlier chunks kept as context. [default: all]"
    )
    verbose: bool = verbose()


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
        "precision": PRECISIONS,
        "text_precision": TEXT_PRECISIONS,
        "scene_prompt": SCENES,
        "format": FORMATS,
    }
    known: dict[str, Any] = {
        **{field.name: field.default or None for field in fields(SayFlags)},
        **{ours: getattr(Sampling(), name) for ours, name in OF_SAMPLING.items()},
        **{ours: getattr(Delivery(), name) for ours, name in OF_DELIVERY.items()},
        "scene_prompt": next(name for name, text in SCENES.items() if text == Delivery().scene),
    }
    parts: dict[str, list[str]] = {field.name: [] for field in fields(SayFlags)}
    for name, values in choices.items():
        parts[name].append(", ".join(values))
    for name, value in known.items():
        if value is not None:
            parts[name].append(f"default: {value}")
    return {name: "; ".join(found) for name, found in parts.items() if found}
