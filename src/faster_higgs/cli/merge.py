"""`higgs merge`: a model and adapters to one model, and back. Knows nothing of how that is done."""

# ruff: noqa: RUF009  what is called here returns a dataclass field

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from faster_higgs.cli.command import Command, as_command, flag, option, verbose
from faster_higgs.cli.export import SHARDS, usual_shard
from faster_higgs.errors import HiggsError, SettingError

if TYPE_CHECKING:
    from faster_higgs.checkpoint.adapter import Weighted
    from faster_higgs.checkpoint.merge import Moved

LAYOUTS = {"hf": "transformers", "boson": "original"}
RANK = 32
TEXT = "The quick brown fox jumps over the lazy dog, and nobody is surprised."

_extracting = partial(flag, "The other way round")
_comparing = partial(flag, "Comparing")
_OF_MERGING = tuple("adapter dtype layout shard_size scale verify no_save_tokenizer".split())
_OF_COMPARING = ("test_input", "device")


@dataclass(frozen=True)
class MergeFlags:
    """What stands on the command line."""

    out: str = option(
        "--out --output-path", "FOLDER", "A folder that is not there yet.", default=MISSING
    )
    base: str | None = option(
        "--base --base-model-path",
        "MODEL",
        "The model's folder or hub id. [default: the one that the adapter names]",
    )
    adapter: list[str] | None = option(
        "--adapter --lora-adapter-path --lora-path",
        "DIR[=WEIGHT]",
        "An adapter, and how often its change counts; again for more.",
    )
    dtype: str | None = option(
        "--dtype", "TYPE", "bf16, fp16 or fp32. [default: as the base is stored]"
    )
    layout: str | None = option(
        "--layout", "NAMES", "Tensor names of hf or boson. [default: as the base has them]"
    )
    shard_size: str | None = option("--shard-size", "SIZE", SHARDS)
    scale: float | None = option("--scale", "X", "Multiplies all weights. [default: 1]")
    verify: bool = option("--verify", None, "Read all of it again and compare it bit by bit.")
    no_save_tokenizer: bool = option("--no-save-tokenizer", None, "Leave the tokenizer out.")
    compare_models: bool = _comparing(
        "--compare-models",
        None,
        "Speak with base, adapter and merged model; measure, and leave a page with the sound. "
        "Ends with status 1 when the merged model is not the adapter's.",
    )
    test_input: str | None = _comparing("--test-input", "TEXT", "What they say then.")
    device: str | None = _comparing("--device", "DEVICE", "Where they speak. [default: auto]")
    extract: str | None = _extracting(
        "--extract",
        "FULL",
        "Write, as an adapter, what this fine-tuned model (or a trainer's checkpoint) changed.",
    )
    rank: int | None = _extracting("--rank", "N", f"Of that adapter. [default: {RANK}]")
    alpha: float | None = _extracting(
        "--alpha", "X", "The lora_alpha of a trainer's checkpoint that holds pairs."
    )
    verbose: bool = verbose()


def command(name: str, help: str) -> Command:
    """The command as the menu takes it."""
    return as_command(MergeFlags, run, name, help, facts)


def facts() -> Mapping[str, str]:
    """Defaults for the help page, read from where they are written."""
    return {"test_input": f'default: "{TEXT}"', "shard_size": usual_shard()}


def run(flags: MergeFlags) -> None:
    """Merge or extract, as the flags say; contradictions are refused before anything is read."""
    if flags.extract is not None:
        _refuse("--extract", flags, (*_OF_MERGING, "compare_models", *_OF_COMPARING))
        _extract(flags, flags.extract)
        return
    for name in ("rank", "alpha"):
        if getattr(flags, name) is not None:
            raise SettingError(f"--{name} belongs to --extract; leave it out.")
    for name in _OF_COMPARING:
        if getattr(flags, name) is not None and not flags.compare_models:
            raise SettingError(
                f"--{name.replace('_', '-')} belongs to --compare-models; give both or none."
            )
    if flags.layout not in (None, *LAYOUTS):
        raise SettingError(f"--layout is '{flags.layout}'; use hf or boson.")
    if not flags.adapter:
        raise SettingError("There is nothing to merge; name an adapter with --adapter DIR.")
    _merge(flags)


def _refuse(other: str, flags: MergeFlags, names: Iterable[str]) -> None:
    for name in names:
        if (given := getattr(flags, name)) is not None and given is not False:
            raise SettingError(
                f"--{name.replace('_', '-')} does not go with {other}; leave one of them out."
            )


def _merge(flags: MergeFlags) -> None:
    from faster_higgs.checkpoint.adapted import chosen
    from faster_higgs.checkpoint.merge import MergeSettings, merge
    from faster_higgs.cli.adapters import named, warn_of
    from faster_higgs.cli.export import codec_told, progress_bar, shard_bytes_of

    scale = 1.0 if flags.scale is None else flags.scale
    pairs = [(folder, weight * scale) for folder, weight in named(flags.adapter)]
    adapters = chosen(pairs)
    base = _base(flags.base, adapters)
    warn_of(adapters, base, _tell)
    settings = MergeSettings(
        flags.dtype,
        LAYOUTS.get(flags.layout or ""),  # type: ignore[arg-type]
        tokenizer=not flags.no_save_tokenizer,
        verify=flags.verify,
        shard_bytes=shard_bytes_of(flags.shard_size),
    )
    with progress_bar() as progress:
        done = merge(base, adapters, Path(flags.out).expanduser(), settings, progress)
    print(done.folder)
    for line in table(done.moved):
        _tell(line)
    if flags.verify:
        _tell("Read again: every weight is as it was to be written.")
    if done.left_out:
        _tell(f"Not copied: {', '.join(done.left_out)}.")
    _tell(codec_told(done.folder))
    if flags.compare_models:
        _compare(flags, base, adapters, done.folder)
    _tell(f'Hear it: higgs say "Hello." --model {done.folder}')


def _base(given: str | None, adapters: Sequence[Weighted]) -> Path:
    """The model to merge into; of a folder of results, the one that they came from.

    Raises CheckpointError, SettingError.
    """
    from faster_higgs.checkpoint.adapted import place
    from faster_higgs.checkpoint.adapter import ADAPTER_CONFIG
    from faster_higgs.checkpoint.files import resolve
    from faster_higgs.cli.adapters import base_of

    if given is not None:
        folder = resolve(given)
        if (folder / "config.json").exists() or not (place(folder) / ADAPTER_CONFIG).exists():
            return folder
        _tell(f"Note: {given} holds an adapter and no model; the base is the one that it names.")
    if (base := base_of(adapters)) is not None:
        return Path(base)
    names = ", ".join(f"'{one.adapter.config.base}'" for one in adapters if one.adapter.config.base)
    raise SettingError(
        f"The adapters name {names or 'no model'} as their base, which is not one that is here; "
        "name it with --base."
    )


def table(moved: Sequence[Moved]) -> Iterator[str]:
    """How far each kind of layer was moved, and what rounding cost of that."""
    kinds: dict[str, list[Moved]] = {}
    for one in moved:
        kinds.setdefault(re.sub(r"^layers\.\d+\.|\.weight$", "", one.name), []).append(one)
    yield f"{'moved':<16}{'tensors':>8}{'mean':>10}{'largest':>10}{'rounded':>10}"
    for kind, ones in sorted(kinds.items()):
        mean, lost = (
            sum(getattr(one, name) for one in ones) / len(ones) for name in ("mean", "lost")
        )
        largest = max(one.largest for one in ones)
        yield f"{kind:<16}{len(ones):>8}{mean:>10.2%}{largest:>10.2%}{lost:>10.2%}"
    yield "Mean and largest change, of the weights; rounding, of the change."


def _compare(flags: MergeFlags, base: Path, adapters: Sequence[Weighted], merged: Path) -> None:
    from faster_higgs.cli.compare import FOLDER, GATE, Side, compare
    from faster_higgs.cli.request import device_of
    from faster_higgs.speech import Higgs

    sides = [
        Side("base", base),
        Side("adapter", base, adapters),
        Side("merged", merged),
    ]
    load = partial(Higgs.load, device=device_of(flags.device or "auto", None))
    out = merged / FOLDER
    found = compare(sides, flags.test_input or TEXT, out, load, _tell)
    _tell(
        f"Base and adapter: divergence {found.base_divergence:.4g} nats, the same likeliest code "
        f"in {found.base_agreement:.1%}. Merged and adapter: divergence "
        f"{found.merged_divergence:.4g}, the same in {found.merged_agreement:.1%}, largest "
        f"difference of a logit {found.merged_difference:.3g}."
    )
    _tell(f"Listen: {out / 'report.html'}")
    if not found.passed:
        raise HiggsError(
            f"The merged model is not what its adapter makes of the base: a logit differs by "
            f"{found.merged_difference:.3g}, more than {GATE:g}. Merge it again."
        )


def _extract(flags: MergeFlags, full: str) -> None:
    from faster_higgs.checkpoint.adapter import write_adapter
    from faster_higgs.checkpoint.appearing import refuse_place
    from faster_higgs.checkpoint.extract import extract
    from faster_higgs.checkpoint.files import resolve
    from faster_higgs.cli.export import progress_bar

    if flags.base is None:
        raise SettingError("--extract needs the model that it was trained from; give --base.")
    out = Path(flags.out).expanduser()
    refuse_place(out)
    rank = RANK if flags.rank is None else flags.rank
    with progress_bar("tensors", 1) as progress:
        found = extract(
            resolve(full),
            resolve(flags.base),
            rank,
            alpha=flags.alpha,
            named=flags.base,
            progress=progress,
        )
    write_adapter(out, found.adapter)
    print(out)
    _tell(
        f"{len(found.adapter.pairs)} layers, {len(found.adapter.replaced)} whole tensors; it keeps "
        f"{found.kept:.2%} of the squared change of the layers."
    )
    _tell(f'Hear it: higgs say "Hello." --model {flags.base} --adapter {out}')


def _tell(message: str) -> None:
    print(message, file=sys.stderr)
