"""What a training run takes of a card's memory, part by part: arithmetic on sizes.

What is only calibrated is a constant with a name. Knows nothing of torch, of files, or of devices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from faster_higgs.config import ModelConfig
from faster_higgs.train.activations import activations, adapters, layer_activations, linears
from faster_higgs.train.job import LINEARS, Base, Job
from faster_higgs.train.tune_config import Part

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


def _working(config: ModelConfig, job: Job) -> int:
    """What the way back through one layer takes beside what was kept."""
    gradient = WORKED * job.item * job.positions * config.intermediate_size
    widest = max(a * b for a, b in linears(config).values())
    unpacked = 2 * widest if job.base in ("int4", "nf4") else 0
    again = layer_activations(config, job) if job.checkpointing else 0
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
