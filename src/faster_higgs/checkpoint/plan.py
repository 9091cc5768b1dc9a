"""What a model takes in memory, for each way of holding its weights.

Arithmetic on sizes, done before a weight is read; what can only be estimated is a constant with a
name. Knows nothing of torch, nor of how files and devices are asked.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from faster_higgs.config import PAGE, CodecConfig, EngineConfig, ModelConfig, RopeScaling

WIDENED = 25_000_000  # up to so many weights a processor computes in float32: pico does

# Estimates: bytes, unless it says otherwise. Measured on Linux with torch 2.13.
AT_WORK = 40_000_000  # parts of libraries that are read when they are first used
GRAPHS = 300_000_000  # recorded steps of all sizes, on CUDA
CLONING = 150_000_000  # the library that the codec's encoder stands on
CLIP = 30  # seconds of a clip that becomes a voice
WINDOW = 45  # frames the codec decodes together for one listener
DECODED = 9  # activations as large as the widest that are alive while it decodes
ENCODED = 5  # the same while it encodes
SAMPLED = 12  # copies of the logits while a column is drawn
GATHERED = 3  # copies of a layer's keys and values that decoding makes where pages are not read
WORDS = 512  # different tokens in prompts; a file's other rows are not read
TOGETHER = 65_536  # what is read of a file where one byte is
# Weights on their way to be packed, or back.
BLOCKS = {"int8": 50_000_000, "int4": 16_000_000, "fp8": 50_000_000}

_LANES = 16  # packed weights are whole tiles of so many rows

Shape = tuple[int, int]  # of a linear layer: outputs, inputs


class Held(NamedTuple):
    """How weights are held, as in `Quantization`; None is as the files have them."""

    audio: str | None = None
    text: str | None = None
    group: int = 128

    @property
    def name(self) -> str:
        """In words."""
        audio, text = self.audio or "full", self.text or "full"
        if text == audio:
            return audio
        return f"{audio} with text {'on the host' if text == 'host' else text}"

    @property
    def packs(self) -> bool:
        """Whether there are weights of few bits."""
        return not {None, "host"}.issuperset((self.audio, self.text))

    @property
    def is_fp8(self) -> bool:
        """Whether it needs a card that has fp8."""
        return "fp8" in (self.audio, self.text)

    @property
    def flags(self) -> str:
        """What asks for it on the command line."""
        audio, text = self.audio or "full", self.text or "full"
        return f"--precision {audio}" + (f" --text-precision {text}" if text != audio else "")


class CodecSize(NamedTuple):
    """Bytes of the codec, in float32."""

    decoder: int  # weights
    encoder: int  # weights of all that encoding loads
    frame: int  # the widest activation of a frame while decoding
    second: int  # and of a second of sound while encoding

    @classmethod
    def of(cls, config: CodecConfig, decoder: int, encoder: int) -> CodecSize:
        """From its shape and the bytes of its weights."""
        frame, positions, width = 0, 1, config.decoder_hidden_size
        for ratio in config.ratios:
            positions, width = positions * ratio, width // 2
            frame = max(frame, positions * width)
        heard = config.semantic_sample_rate // 5 * max(config.hubert.conv_dim, default=0)
        second = max(heard, config.sample_rate * config.encoder_hidden_size)
        return cls(decoder, encoder, 4 * frame, 4 * second)


@dataclass(frozen=True)
class Size:
    """What there is to load."""

    model: ModelConfig
    codec: CodecSize
    text_head: bool = False
    item: int = 2  # bytes of a weight that is not packed, in the files
    mapped: bool = True  # on a processor, files that stay as they are need not be read whole
    packed: Held | None = None  # how the files hold the weights, if they are packed

    @property
    def weights(self) -> int:
        """How many the language model has."""
        linears = (*audio_linears(self.model), *text_linears(self.model, self.text_head))
        return sum(map(math.prod, linears)) + _others(self.model) + _table(self.model)


class Room(Protocol):
    """A device. Bytes; None where the system does not tell."""

    @property
    def name(self) -> str:
        """As in `--device`."""

    @property
    def free(self) -> int | None: ...

    @property
    def total(self) -> int | None: ...

    @property
    def own(self) -> int:
        """What this process has there already, which is not free and will do for the model too."""

    @property
    def host(self) -> int:
        """Free main memory beside a card."""

    @property
    def fp8(self) -> bool:
        """Whether it is a card that has fp8."""


@dataclass(frozen=True)
class Needs:
    """The bytes that it takes to run a model in one way."""

    device: Mapping[str, int]  # by what they are for
    host: int  # of main memory, beside a card
    widened: bool  # computed in float32, though the files have less

    @property
    def total(self) -> int:
        """On the device."""
        return sum(self.device.values())


def needs(
    size: Size,
    held: Held,
    device: Room,
    engine: EngineConfig,
    *,
    clones: bool = False,
    listeners: int = 1,
) -> Needs:
    """What the model takes on a device. `clones`: clips become voices there, too."""
    on_cpu = device.name == "cpu"
    widened = on_cpu and size.weights <= WIDENED and size.item < 4
    item = 4 if widened else size.item
    text = text_linears(size.model, size.text_head)
    parts = {
        "audio weights": _bytes(audio_linears(size.model), held.audio, item, held.group),
        "text weights": _bytes(text, held.text, item, held.group),
        "embeddings, heads, norms": _others(size.model) * item,
        "cache": cache(size.model, engine, item),
        "codec": size.codec.decoder + DECODED * WINDOW * listeners * size.codec.frame,
        "workspace": _workspace(size, held, engine, item),
        "libraries": device.own + (AT_WORK if on_cpu else 0),
    }
    table = _table(size.model) * item
    as_stored = held == (size.packed or Held()) and not widened
    if on_cpu and size.mapped and as_stored:  # else all of it is read
        table = min(table, WORDS * max(TOGETHER, size.model.hidden_size * item))
    parts["embeddings, heads, norms"] += table
    if not on_cpu:
        parts["workspace"] += _gathered(size.model, engine, item)
    if device.name.startswith("cuda"):
        parts["recorded steps"] = GRAPHS
    if clones:
        parts["cloning"] = cloning(size.codec) + (CLONING if on_cpu else 0)
    host = 0
    if held.text == "host":
        host = sum(_pinned(item * math.prod(shape)) for shape in text)
        parts["text weights"] = 2 * item * max(map(math.prod, text))  # one on its way, one in use
    return Needs(parts, host, widened)


def cache(config: ModelConfig, engine: EngineConfig, item: int) -> int:
    """Bytes of keys and values: whole pages, and one that belongs to nobody."""
    pages = -(-engine.positions // PAGE) + 1
    row = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
    return pages * PAGE * row * item


def cloning(codec: CodecSize) -> int:
    """Bytes that encoding a clip takes."""
    return codec.encoder + ENCODED * CLIP * codec.second


def audio_linears(config: ModelConfig) -> Iterator[Shape]:
    """The layers that decoding reads, but for the audio head."""
    width, heads = config.hidden_size, config.num_attention_heads * config.head_dim
    shared = config.num_key_value_heads * config.head_dim
    for _ in range(config.num_hidden_layers):
        yield from ((heads, width), (shared, width), (shared, width), (width, heads))
        yield from _feed_forward(config)


def text_linears(config: ModelConfig, text_head: bool) -> list[Shape]:
    """The layers that only text rows read."""
    layers = [shape for _ in range(config.num_hidden_layers) for shape in _feed_forward(config)]
    return layers + [(config.vocab_size, config.hidden_size)] * text_head


def _feed_forward(config: ModelConfig) -> tuple[Shape, ...]:
    width, inner = config.hidden_size, config.intermediate_size
    return (inner, width), (inner, width), (width, inner)


def _others(config: ModelConfig) -> int:
    """Weights that are never packed, but for the table of text embeddings."""
    codes = config.num_codebooks * config.codebook_size
    return config.hidden_size * (2 * codes + 4 * config.num_hidden_layers + 1)


def _table(config: ModelConfig) -> int:
    return config.vocab_size * config.hidden_size


def _bytes(linears: Iterable[Shape], held: str | None, item: int, group: int) -> int:
    return sum(_packed(*shape, held, group) or math.prod(shape) * item for shape in linears)


def _packed(outputs: int, inputs: int, held: str | None, group: int) -> int:
    """Bytes of a packed layer with its scales, 0 if it is whole."""
    rows = -(-outputs // _LANES) * _LANES
    if held in ("int8", "fp8"):
        return rows * (inputs + 4)
    if held == "int4":
        return rows * (inputs // 2 + 2 * (inputs // math.gcd(inputs, group)))
    return 0


def _workspace(size: Size, held: Held, engine: EngineConfig, item: int) -> int:
    """Activations of a stretch of prompt, attention over one long request, and sampling."""
    config = size.model
    rows, longest = engine.chunk, _longest(config, engine)
    heads = config.num_attention_heads * config.head_dim
    shared = config.num_key_value_heads * config.head_dim
    activations = rows * item * (8 * config.hidden_size + 4 * config.intermediate_size + 3 * heads)
    attention = longest * (4 * shared * item + 4 * rows)
    logits = 4 * SAMPLED * engine.slots * config.num_codebooks * config.codebook_size
    blocks = max(BLOCKS.get(side or "", 0) for side in (held.audio, held.text))
    return activations + attention + logits + blocks


def _gathered(config: ModelConfig, engine: EngineConfig, item: int) -> int:
    """Keys and values of all requests side by side, each as long as the longest can be.

    Where Triton's kernels run, which read pages where they are, this stays free.
    """
    row = 2 * config.num_key_value_heads * config.head_dim * item
    return GATHERED * engine.slots * _longest(config, engine) * row


def _longest(config: ModelConfig, engine: EngineConfig) -> int:
    """Positions of a request."""
    return min(engine.positions, config.positions, 8_192)


def _pinned(size: int) -> int:
    """What torch takes of main memory for so many bytes that a card can read."""
    return 1 << (size - 1).bit_length()


PUBLISHED = Size(
    ModelConfig(
        vocab_size=128_256,
        hidden_size=3072,
        intermediate_size=8192,
        num_hidden_layers=28,
        num_attention_heads=24,
        num_key_value_heads=8,
        head_dim=128,
        rms_norm_eps=1e-5,
        rope_theta=500_000.0,
        rope_scaling=RopeScaling(32.0, 0.125, 0.5, 1024),
        num_codebooks=8,
        codebook_size=1026,
        audio_stream_bos_id=1024,
        audio_stream_eos_id=1025,
        audio_out_bos_token_id=128_013,
        audio_out_token_id=128_016,
        audio_in_token_id=128_015,
        audio_eos_token_id=128_012,
        pad_token_id=128_001,
        max_position_embeddings=2048,
    ),
    CodecSize(decoder=90_458_276, encoder=736_386_468, frame=122_880, second=6_553_600),
)
