"""What a training run takes of a card's memory, part by part: arithmetic on sizes.

The activations are what autograd keeps of `DualFFN.train_forward`, counted tensor by tensor; what
is only calibrated is a constant with a name. Knows nothing of torch, of files, or of devices.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from faster_higgs.config import ModelConfig
from faster_higgs.errors import SettingError

Base = Literal["bf16", "fp32", "int8", "int4", "nf4"]
Optimizer = Literal["adamw", "adamw8bit"]

ITEM: Mapping[str, float] = {"bf16": 2, "fp32": 4, "int8": 1.0, "int4": 0.516, "nf4": 0.516}
"""Bytes of a weight of the layers' linears, scales included; everything else has two or four."""

STATES: Mapping[str, float] = {"adamw": 2.0, "adamw8bit": 2.03}
"""Moments of a weight: copies of it, or bytes."""

CONTEXT = 700_000_000  # bytes that CUDA and its libraries take of a card
RESERVE = 0.06  # share that the allocator holds beside what is used
SLICE = 4_000_000  # logits that exist at once, as in train/loss.py
LOGIT = 12  # bytes of each: scores, their fp32, and their gradient
WORKED = 6  # tensors as wide as the inner layer that are alive in the backward pass of one layer

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
INNER = ("gate", "up", "down")
SIDES = ("text_mlp", "audio_mlp")
BOTH = tuple(f"{side}.{name}" for side in SIDES for name in INNER)
AUDIO = BOTH[3:]
TABLES = ("embed_audio", "audio_head")
EVERYTHING = (*ATTENTION, *BOTH, *TABLES, "embed_text", "norms")


@dataclass(frozen=True)
class Trained:
    """What learns: linears with adapters, and parts that learn whole."""

    adapters: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()


MODES: Mapping[str, Trained] = {
    "light": Trained(ATTENTION),
    "voice": Trained((*ATTENTION, *AUDIO)),
    "language": Trained((*ATTENTION, *BOTH), TABLES),
    "audio_only": Trained(whole=(*AUDIO, *TABLES)),
    "audio_path": Trained(whole=(*ATTENTION, *AUDIO, *TABLES)),
    "full": Trained(whole=EVERYTHING),
}


@dataclass(frozen=True)
class Job:
    """One way to train; `mode` names what learns."""

    mode: str = "voice"
    positions: int = 2048  # of a packed batch
    audio: float = 0.6  # share of them that are columns of sound
    checkpointing: bool = False
    base: Base = "bf16"  # how the weights are held; fp32 is computed under autocast
    adapter: Literal["bf16", "fp32"] = "fp32"
    rank: int = 16
    optimizer: Optimizer = "adamw"
    accumulate: int = 1  # batches that make one step
    gpus: int = 1  # that share weights and state, by FSDP2
    autocast: bool = True  # where the base is fp32

    def __post_init__(self) -> None:
        _known("mode", self.mode, MODES)
        _known("base", self.base, ITEM)
        _known("optimizer", self.optimizer, STATES)
        for name in ("positions", "rank", "accumulate", "gpus"):
            if getattr(self, name) < 1:
                raise SettingError(f"{name} is {getattr(self, name)}; use 1 or more.")
        if not 0 < self.audio <= 1:
            raise SettingError(f"The share of audio is {self.audio}; it lies between 0 and 1.")
        if self.trained.whole and self.base not in ("bf16", "fp32") and not self.trained.adapters:
            raise SettingError(f"Mode '{self.mode}' changes weights, so they cannot be {self.base}.")

    @property
    def trained(self) -> Trained:
        """What learns."""
        return MODES[self.mode]

    @property
    def item(self) -> int:
        """Bytes of an activation."""
        return 4 if self.base == "fp32" and not self.autocast else 2

    @property
    def stored(self) -> int:
        """Bytes of a weight that is never packed."""
        return 4 if self.base == "fp32" else 2

    @property
    def low(self) -> int:
        """Bytes of an adapter's weight."""
        return 4 if self.adapter == "fp32" or self.base == "fp32" else 2


@dataclass(frozen=True)
class Estimate:
    """Bytes at the worst moment of a step, by what they are for."""

    moment: str
    parts: Mapping[str, int]

    @property
    def peak(self) -> int:
        """What tensors take."""
        return sum(self.parts.values())

    @property
    def reserve(self) -> int:
        """What the allocator holds beside them."""
        return round(RESERVE * self.peak)

    @property
    def total(self) -> int:
        """Of a card."""
        return self.peak + self.reserve + CONTEXT


def estimate(config: ModelConfig, job: Job) -> Estimate:
    """The moment of a step at which most is alive. Raises SettingError for nonsense in `job`."""
    split = 1 / job.gpus
    always = {
        "weights": round(weights(config, job) * split + _gathered(config, job)),
        "optimiser": round(moments(config, job) * split),
    }
    gradient = round(gradients(config, job) * split)
    carried = gradient if job.accumulate > 1 else 0
    kept, working = activations(config, job), _working(config, job)
    head = _head_gradient(config, job)
    moments_of_step = {
        "the loss": {"gradients": carried, "activations": kept, "logits": _logits(config, job)},
        "the first layers of the way back": {
            "gradients": carried,
            "activations": kept + working,
            "logits": head,
        },
        "the end of the way back": {
            "gradients": gradient,
            "activations": working,
        },
    }
    found = [
        Estimate(moment, {**always, "gradients": 0, "activations": 0, "logits": 0, **parts})
        for moment, parts in moments_of_step.items()
    ]
    return max(found, key=lambda one: one.peak)


def linears(config: ModelConfig) -> dict[str, tuple[int, int]]:
    """Outputs and inputs of a layer's linears by our names."""
    width, inner = config.hidden_size, config.intermediate_size
    heads, shared = _heads(config)
    attention = ((heads, width), (shared, width), (shared, width), (width, heads))
    gated = ((inner, width), (inner, width), (width, inner))
    return dict(zip((*ATTENTION, *BOTH), (*attention, *gated, *gated), strict=True))


def counts(config: ModelConfig) -> dict[str, int]:
    """Weights of each part; those of linears are of all layers together."""
    width, layers = config.hidden_size, config.num_hidden_layers
    codes = config.num_codebooks * config.codebook_size * width
    found = {name: layers * a * b for name, (a, b) in linears(config).items()}
    text = config.vocab_size * width
    others = {"embed_text": text, "embed_audio": codes, "audio_head": codes, "text_head": text}
    return {**found, **others, "norms": width * (4 * layers + 1)}


def adapters(config: ModelConfig, job: Job) -> int:
    """Weights of all adapters."""
    shapes = linears(config)
    return (
        config.num_hidden_layers
        * job.rank
        * sum(outputs + inputs for outputs, inputs in map(shapes.get, job.trained.adapters))  # type: ignore[misc]
    )


def trainable(config: ModelConfig, job: Job) -> int:
    """Weights that learn."""
    return adapters(config, job) + _whole(config, job)


def weights(config: ModelConfig, job: Job) -> int:
    """Bytes of the model, of its adapters, and of the copies that learn in a frozen one."""
    parts = counts(config)
    packed = sum(parts[name] for name in linears(config))
    held = packed * ITEM[job.base] + (sum(parts.values()) - packed) * job.stored
    copied = _whole(config, job) * job.stored if job.trained.adapters else 0
    return round(held + adapters(config, job) * job.low + copied)


def gradients(config: ModelConfig, job: Job) -> int:
    """Bytes, when all are there."""
    return adapters(config, job) * job.low + _whole(config, job) * job.stored


def moments(config: ModelConfig, job: Job) -> int:
    """Bytes of what the optimiser remembers."""
    if job.optimizer == "adamw8bit":
        return round(STATES["adamw8bit"] * trainable(config, job))
    return round(STATES["adamw"] * gradients(config, job))


def activations(config: ModelConfig, job: Job) -> int:
    """Bytes that `train_forward` keeps for the way back."""
    return sum(_kept(config, job)) + _around(config, job)


def layer_activations(config: ModelConfig, job: Job) -> int:
    """Bytes that one layer in the middle keeps of a batch without checkpointing."""
    return _layer(config, job, flows=True)


def _kept(config: ModelConfig, job: Job) -> Iterator[int]:
    """Layer by layer. Before the first thing that learns, nothing is kept."""
    flows = "embed_text" in job.trained.whole or "embed_audio" in job.trained.whole
    for _ in range(config.num_hidden_layers):
        if job.checkpointing:
            yield job.item * config.hidden_size * job.positions
        else:
            yield _layer(config, job, flows)
        flows = True


def _layer(config: ModelConfig, job: Job, flows: bool) -> int:
    audio = round(job.audio * job.positions)
    attends = flows or _learns(job, ATTENTION)
    found = _norm(config, job) * flows * job.positions
    found += (_attention(config, job) if attends else 0) * job.positions
    found += _inputs(config, job, ATTENTION) * job.positions
    for side, rows in (("text_mlp", job.positions - audio), ("audio_mlp", audio)):
        names = tuple(f"{side}.{name}" for name in INNER)
        inner = 3 * job.item * config.intermediate_size
        if attends:
            found += (_norm(config, job) + inner) * rows
        elif _learns(job, names):
            found += inner * rows
        found += _inputs(config, job, names) * rows
    return found + _copies(config, job, flows)


def _norm(config: ModelConfig, job: Job) -> int:
    """Statistics are fp32, and so is what is kept; the gain's gradient needs one copy more."""
    return 4 * config.hidden_size * (2 if "norms" in job.trained.whole else 1) + 4


def _attention(config: ModelConfig, job: Job) -> int:
    """Queries, keys, values, what was seen, and a number for each head."""
    heads, shared = _heads(config)
    return job.item * (2 * heads + 2 * shared) + 4 * config.num_attention_heads


def _inputs(config: ModelConfig, job: Job, names: tuple[str, ...]) -> int:
    """What layers that learn keep of a position: their input, once where several read it.

    An adapter of another type than the activations reads a copy of its own.
    """
    shapes, trained = linears(config), job.trained
    low = job.item if job.base == "fp32" else job.low
    own = job.low != job.item
    once = {_site(name): shapes[name][1] for name in names if name in trained.whole}
    found = 0
    for name in names:
        if name in trained.adapters:
            found += low * job.rank
            if own:
                found += low * shapes[name][1]
            else:
                once[_site(name)] = shapes[name][1]
    return found + job.item * sum(once.values())


def _site(name: str) -> str:
    """Layers of one site read the same input."""
    side, _, inner = name.rpartition(".")
    return name if name in ("o_proj",) or inner == "down" else f"{side} in"


def _copies(config: ModelConfig, job: Job, flows: bool) -> int:
    """Bytes of the narrow copies of a layer's weights that autocast makes, and keeps.

    What reads an input that needs no gradient keeps none.
    """
    if job.base != "fp32" or not job.autocast:
        return 0
    width, shapes = config.hidden_size, linears(config)
    layer = sum(outputs * inputs for outputs, inputs in shapes.values())
    low = adapters(config, job) // config.num_hidden_layers
    if not flows:
        layer -= sum(shapes[name][0] * width for name in ATTENTION[:3]) + 2 * width
        low -= job.rank * width * sum(name in job.trained.adapters for name in ATTENTION[:3])
    return 2 * (layer + low) + 2 * 4 * width


def _around(config: ModelConfig, job: Job) -> int:
    """What is kept beside the layers: the last norm, positions, orders and ids."""
    whole, ids = job.trained.whole, 8
    found = _norm(config, job) + ids
    if not job.checkpointing:
        found += job.item * config.head_dim + 2 * ids
    if "embed_text" in whole:
        found += ids
    books = ids * config.num_codebooks if "embed_audio" in whole else 0
    copy = 2 * config.hidden_size if job.base == "fp32" and job.autocast else 0
    return found * job.positions + books * round(job.audio * job.positions) + copy


def _working(config: ModelConfig, job: Job) -> int:
    """What the way back through one layer takes beside what was kept."""
    gradient = WORKED * job.item * job.positions * config.intermediate_size // 2
    widest = max(a * b for a, b in linears(config).values())
    unpacked = 2 * widest if job.base in ("int8", "int4", "nf4") else 0
    again = _layer(config, job, flows=True) if job.checkpointing else 0
    return gradient + unpacked + again


def _logits(config: ModelConfig, job: Job) -> int:
    """What the loss takes: a slice of logits, hidden rows, and the head's gradient."""
    outputs = config.num_codebooks * config.codebook_size
    rows = round(job.audio * job.positions)
    slices = LOGIT * outputs * min(rows, max(1, SLICE // outputs))
    hidden = job.item * config.hidden_size * (job.positions + 3 * rows)
    return slices + hidden + _head_gradient(config, job) + 4 * outputs * config.hidden_size


def _head_gradient(config: ModelConfig, job: Job) -> int:
    return job.stored * config.num_codebooks * config.codebook_size * config.hidden_size


def _gathered(config: ModelConfig, job: Job) -> int:
    """With several cards: two whole layers, one in use and one on its way."""
    if job.gpus == 1:
        return 0
    return round(2 * ITEM[job.base] * sum(a * b for a, b in linears(config).values()))


def _whole(config: ModelConfig, job: Job) -> int:
    parts = counts(config)
    return sum(parts[name] for name in job.trained.whole)


def _learns(job: Job, names: tuple[str, ...]) -> bool:
    return any(name in job.trained.adapters or name in job.trained.whole for name in names)


def _heads(config: ModelConfig) -> tuple[int, int]:
    """Widths of queries, and of keys or values."""
    return (
        config.num_attention_heads * config.head_dim,
        config.num_key_value_heads * config.head_dim,
    )


def _known(name: str, value: str, known: Mapping[str, object]) -> None:
    if value not in known:
        raise SettingError(f"The {name} is '{value}'; use one of {', '.join(known)}.")
