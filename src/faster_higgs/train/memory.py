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
from faster_higgs.train.parts import TRAINED
from faster_higgs.train.tune_config import Part, TuneSettings

Base = Literal["bf16", "fp32", "int4", "nf4"]
Optimizer = Literal["adamw", "adamw8bit"]

ITEM: Mapping[Base, float] = {"bf16": 2, "fp32": 4, "int4": 0.516, "nf4": 0.516}
"""Bytes of a weight of the layers' linears, scales included; everything else has two or four."""

CONTEXT = 700_000_000  # bytes that CUDA and its libraries take of a card
SCRATCH = 25_000_000  # bytes that a processor's libraries take while they multiply; measured
RESERVE = 0.06  # share that the allocator holds beside what is used
SLICE = 4_000_000  # logits that exist at once, as in train/loss.py
LOGIT = 12  # bytes of each: scores, their fp32, and their gradient
WORKED = 3  # tensors as wide as the inner layer that are alive in the backward pass of one layer
WIDENED = 1 << 26  # gradients of 16 bits that are widened at once, as in train/optimizers.py
MASTERS, MOMENTS, SMALL_MOMENTS = 12, 8, 2.03  # bytes a weight: with a master, without, of 8 bits

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
LINEARS: Mapping[Part, tuple[str, ...]] = {
    "attention": ATTENTION,
    "text_ffn": ("text_mlp.gate", "text_mlp.up", "text_mlp.down"),
    "audio_ffn": ("audio_mlp.gate", "audio_mlp.up", "audio_mlp.down"),
}


@dataclass(frozen=True)
class Job:
    """One way to train: `adapters` stand on some parts, others learn `whole`."""

    adapters: tuple[Part, ...] = ("attention", "audio_ffn")
    whole: tuple[Part, ...] = ()
    positions: int = 2048  # of a packed batch
    audio: float = 0.6  # share of them that are columns of sound
    checkpointing: bool = False
    base: Base = "bf16"  # how the weights are held; fp32 is computed under autocast
    adapter: Literal["bf16", "fp32"] = "bf16"
    rank: int = 16
    optimizer: Optimizer = "adamw"
    accumulate: int = 1  # batches that make one step
    gpus: int = 1  # that share weights and state, by FSDP2
    autocast: bool = True  # where the base is fp32

    def __post_init__(self) -> None:
        for name in ("positions", "rank", "accumulate", "gpus"):
            if getattr(self, name) < 1:
                raise SettingError(f"{name} is {getattr(self, name)}; use 1 or more.")
        if not 0 < self.audio <= 1:
            raise SettingError(f"The share of audio is {self.audio}; it lies between 0 and 1.")
        if self.base not in ("bf16", "fp32") and set(self.whole) & set(LINEARS):
            raise SettingError(f"Linear layers that learn cannot be {self.base}; use bf16.")

    @classmethod
    def of(cls, settings: TuneSettings, audio: float = 0.6) -> Job:
        """A fine-tuning as it is set."""
        training, adapter = settings.training, settings.adapter
        whole = adapter.whole if settings.has_adapter else TRAINED[settings.mode]
        if not training.loss.text_weight:
            whole = tuple(part for part in whole if part != "text_head")
        wide = settings.dtype == "float32"
        return cls(
            adapters=adapter.parts if settings.has_adapter else (),
            whole=whole,
            positions=training.budget,
            audio=audio,
            checkpointing=training.checkpointing,
            base=settings.base if settings.mode == "qlora" else "fp32" if wide else "bf16",
            adapter="fp32" if adapter.dtype == "float32" or wide else "bf16",
            rank=adapter.rank,
            optimizer=training.optimizer.kind,
            accumulate=training.accumulate,
            autocast=training.autocast,
        )

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

    def adapts(self, linear: str) -> bool:
        """Whether a linear has an adapter, by the name it has in a layer."""
        return any(linear in LINEARS[part] for part in self.adapters)

    def learns(self, linear: str) -> bool:
        """Whether a linear learns whole."""
        return any(linear in LINEARS.get(part, ()) for part in self.whole)


@dataclass(frozen=True)
class Estimate:
    """Bytes at the worst moment of a step, by what they are for."""

    moment: str
    parts: Mapping[str, int]

    @property
    def peak(self) -> int:
        """What tensors take."""
        return sum(self.parts.values())

    def expected(self, device: str) -> int:
        """What a measurement finds: on a processor that of all the process."""
        return self.peak + (SCRATCH if device == "cpu" else 0)

    @property
    def reserve(self) -> int:
        """What the allocator holds beside them."""
        return round(RESERVE * self.peak)

    @property
    def context(self) -> int:
        """What libraries take."""
        return CONTEXT

    @property
    def total(self) -> int:
        """Of a card."""
        return self.peak + self.reserve + self.context


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
        "the end of the way back": {"gradients": gradient, "activations": working},
        "the optimiser's step": {"gradients": gradient + _widened(config, job)},
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
    names = [name for part in LINEARS.values() for name in part]
    return dict(zip(names, (*attention, *gated, *gated), strict=True))


def counts(config: ModelConfig) -> dict[Part, int]:
    """Weights of each part."""
    width, layers, shapes = config.hidden_size, config.num_hidden_layers, linears(config)
    codes = config.num_codebooks * config.codebook_size * width
    text = config.vocab_size * width
    found: dict[Part, int] = {
        part: layers * sum(shapes[name][0] * shapes[name][1] for name in names)
        for part, names in LINEARS.items()
    }
    found |= {"embed_text": text, "embed_audio": codes, "text_head": text, "audio_head": codes}
    return {**found, "text_norms": width * (2 * layers + 1), "audio_norms": width * 2 * layers}


def adapters(config: ModelConfig, job: Job) -> int:
    """Weights of all adapters."""
    each = (sum(shape) for name, shape in linears(config).items() if job.adapts(name))
    return config.num_hidden_layers * job.rank * sum(each)


def trainable(config: ModelConfig, job: Job) -> int:
    """Weights that learn."""
    return adapters(config, job) + _whole(config, job)


def weights(config: ModelConfig, job: Job) -> int:
    """Bytes of the model and of its adapters."""
    parts = counts(config)
    packed = sum(parts[part] for part in LINEARS)
    held = packed * ITEM[job.base] + (sum(parts.values()) - packed) * job.stored
    return round(held + adapters(config, job) * job.low)


def gradients(config: ModelConfig, job: Job) -> int:
    """Bytes, when all are there."""
    return adapters(config, job) * job.low + _whole(config, job) * job.stored


def moments(config: ModelConfig, job: Job) -> int:
    """Bytes of what the optimiser remembers."""
    if job.optimizer == "adamw8bit":
        return round(SMALL_MOMENTS * trainable(config, job))
    narrow = MASTERS if job.low == 2 else MOMENTS
    whole = MASTERS if job.stored == 2 else MOMENTS
    return adapters(config, job) * narrow + _whole(config, job) * whole


def _widened(config: ModelConfig, job: Job) -> int:
    """Gradients in fp32 while masters take them up."""
    if job.optimizer != "adamw" or job.stored == 4:
        return 0
    narrow = (adapters(config, job) if job.low == 2 else 0) + _whole(config, job)
    largest = max((counts(config)[part] for part in job.whole if "embed" in part), default=0)
    return 4 * min(narrow, max(WIDENED, largest))


def activations(config: ModelConfig, job: Job) -> int:
    """Bytes that `train_forward` keeps for the way back."""
    return sum(_kept(config, job)) + _around(config, job)


def layer_activations(config: ModelConfig, job: Job) -> int:
    """Bytes that one layer in the middle keeps of a batch without checkpointing."""
    return _layer(config, job, flows=True)


def _kept(config: ModelConfig, job: Job) -> Iterator[int]:
    """Layer by layer. Before the first thing that learns, nothing is kept."""
    flows = "embed_text" in job.whole or "embed_audio" in job.whole
    for _ in range(config.num_hidden_layers):
        if job.checkpointing:
            yield job.item * config.hidden_size * job.positions
        else:
            yield _layer(config, job, flows)
        flows = True


def _layer(config: ModelConfig, job: Job, flows: bool) -> int:
    audio = round(job.audio * job.positions)
    attends = flows or any(job.adapts(name) or job.learns(name) for name in ATTENTION)
    found = (_attention(config, job) if attends else 0) * job.positions
    found += _inputs(config, job, ATTENTION) * job.positions
    for part, norms, rows in (
        ("text_ffn", "text_norms", job.positions - audio),
        ("audio_ffn", "audio_norms", audio),
    ):
        gained = norms in job.whole
        names = LINEARS[part]  # type: ignore[index]
        inner = 3 * job.item * config.intermediate_size
        if flows or gained:
            found += _norm(config, gained) * rows
        if attends or gained:
            found += _norm(config, gained) * rows
        if attends or gained or any(job.adapts(name) or job.learns(name) for name in names):
            found += inner * rows
        found += _inputs(config, job, names) * rows
    return found + _copies(config, job, flows)


def _norm(config: ModelConfig, gained: bool) -> int:
    """Statistics are fp32, and so is what is kept; a gain that learns needs one copy more."""
    return 4 * config.hidden_size * (2 if gained else 1) + 4


def _attention(config: ModelConfig, job: Job) -> int:
    """Queries, keys, values, what was seen, and a number for each head."""
    heads, shared = _heads(config)
    return job.item * (2 * heads + 2 * shared) + 4 * config.num_attention_heads


def _inputs(config: ModelConfig, job: Job, names: tuple[str, ...]) -> int:
    """What layers that learn keep of a position: their input, once where several read it.

    An adapter of another type than the activations reads a copy of its own.
    """
    shapes = linears(config)
    low = job.item if job.base == "fp32" else job.low
    own = job.low != job.item
    once = {_site(name): shapes[name][1] for name in names if job.learns(name)}
    found = 0
    for name in filter(job.adapts, names):
        found += low * job.rank
        if own:
            found += low * shapes[name][1]
        else:
            once[_site(name)] = shapes[name][1]
    return found + job.item * sum(once.values())


def _site(name: str) -> str:
    """Layers of one site read the same input."""
    return name if name.endswith(("o_proj", "down")) else "in"


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
        low -= job.rank * width * sum(map(job.adapts, ATTENTION[:3]))
    return 2 * (layer + low) + 2 * 4 * width


def _around(config: ModelConfig, job: Job) -> int:
    """What is kept beside the layers: the last norm, positions, orders and ids."""
    whole, ids = job.whole, 8
    found = _norm(config, "text_norms" in whole) + ids
    if not job.checkpointing:
        found += job.item * config.head_dim + 2 * ids
    if "embed_text" in whole:
        found += ids
    books = ids * config.num_codebooks if "embed_audio" in whole else 0
    copy = 2 * config.hidden_size if job.base == "fp32" and job.autocast else 0
    return found * job.positions + books * round(job.audio * job.positions) + copy


def _working(config: ModelConfig, job: Job) -> int:
    """What the way back through one layer takes beside what was kept."""
    gradient = WORKED * job.item * job.positions * config.intermediate_size
    widest = max(a * b for a, b in linears(config).values())
    unpacked = 2 * widest if job.base in ("int4", "nf4") else 0
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
    return sum(parts[part] for part in job.whole)


def _heads(config: ModelConfig) -> tuple[int, int]:
    """Widths of queries, and of keys or values."""
    return (
        config.num_attention_heads * config.head_dim,
        config.num_key_value_heads * config.head_dim,
    )
