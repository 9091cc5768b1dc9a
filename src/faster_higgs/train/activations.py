"""What `DualFFN.train_forward` keeps for the way back, counted tensor by tensor; to the byte.

Knows nothing of weights, optimisers or devices.
"""

from __future__ import annotations

from collections.abc import Iterator

from faster_higgs.config import ModelConfig
from faster_higgs.train.job import ATTENTION, LINEARS, Job


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
    heads, shared = widths(config)
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


def linears(config: ModelConfig) -> dict[str, tuple[int, int]]:
    """Outputs and inputs of a layer's linears by our names."""
    width, inner = config.hidden_size, config.intermediate_size
    heads, shared = widths(config)
    attention = ((heads, width), (shared, width), (shared, width), (width, heads))
    gated = ((inner, width), (inner, width), (width, inner))
    names = [name for part in LINEARS.values() for name in part]
    return dict(zip(names, (*attention, *gated, *gated), strict=True))


def adapters(config: ModelConfig, job: Job) -> int:
    """Weights of all adapters."""
    each = (sum(shape) for name, shape in linears(config).items() if job.adapts(name))
    return config.num_hidden_layers * job.rank * sum(each)


def widths(config: ModelConfig) -> tuple[int, int]:
    """Widths of queries, and of keys or values."""
    return (
        config.num_attention_heads * config.head_dim,
        config.num_key_value_heads * config.head_dim,
    )
