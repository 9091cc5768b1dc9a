"""Tensors from files into a module: strict, shard by shard, one clear sentence if it fails.

Knows nothing of the language model or the codec; their tables of names are given to it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from faster_higgs.checkpoint.layout import Layout, Recipe, match
from faster_higgs.checkpoint.mapped import mapped
from faster_higgs.checkpoint.targets import Targets, place, targets_of
from faster_higgs.checkpoint.torch_file import TorchFile, copied, open_torch_file
from faster_higgs.errors import CheckpointError, CheckpointNotFound

SAFETENSORS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLE = "model.pth"
WEIGHTS = (INDEX, SAFETENSORS, PICKLE)

_ROWS = 60_000  # numbers in the rows that are taken from a torch file together

_AGAIN = "Download the checkpoint again."
_OWN_CONFIG = "Use the config.json that came with these weights."

# A name that only tensors of this kind of checkpoint have, to tell a user who mixed them up.
_KINDS = (
    ("language model", ("embed_audio_tokens", "audio_codebook_embeddings", "audio_mlp.")),
    ("codec", ("quantizer.",)),
)


@dataclass(frozen=True)
class TensorFiles:
    """The tensors of one checkpoint: which file holds which, and their shapes. Read on demand."""

    folder: Path
    files: dict[Path, list[str]]
    shapes: dict[str, tuple[int, ...]]

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """The named tensors, file by file, as stored; nothing else is kept.

        They map the file. Those of a torch file are copies: what was read of it would stay.
        """
        wanted = set(names)
        for path, held in self.files.items():
            read = copied if _is_torch(path) else mapped
            yield from read(path, [name for name in held if name in wanted])

    @property
    def pickled(self) -> bool:
        """Whether a torch file holds the tensors; a whole model is better read of it in rows."""
        return any(_is_torch(path) for path in self.files)


def open_tensors(folder: Path, prefer: Sequence[str] = WEIGHTS) -> TensorFiles:
    """The weights in `folder`: the first of `prefer` that is there."""
    paths = weight_files(folder, prefer)
    files: dict[Path, list[str]] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for path in paths:
        held = _torch_shapes(path) if _is_torch(path) else _header(path)
        files[path] = list(held)
        shapes.update(held)
    if not shapes:
        raise CheckpointError(f"The weights in '{folder}' hold no tensors. {_AGAIN}")
    return TensorFiles(folder, files, shapes)


def weight_files(folder: Path, prefer: Sequence[str] = WEIGHTS) -> list[Path]:
    """The files that hold the weights: the first of `prefer` that is there, or its shards."""
    if not folder.is_dir():
        raise CheckpointNotFound(f"There is no checkpoint folder '{folder}'.")
    for name in prefer:
        if (folder / name).is_file():
            return _shards(folder) if name == INDEX else [folder / name]
    raise CheckpointNotFound(
        f"The folder '{folder}' holds no weights; expected one of {', '.join(prefer)}."
    )


def choose_layout(files: TensorFiles, layouts: Sequence[Layout]) -> Layout:
    """The layout of these tensors, told by their names alone."""
    for layout in layouts:
        if layout.fits(files.shapes):
            return layout
    wanted = layouts[0].kind
    found = _kind_of(files.shapes)
    if found is not None and found != wanted:
        raise CheckpointError(
            f"'{files.folder}' holds a {found} where the {wanted} should be; "
            f"give the folder of the {wanted}."
        )
    raise CheckpointError(
        f"'{files.folder}' is not a Higgs Audio v2 {wanted}: none of the known layouts has tensors "
        f"named {_some(sorted(files.shapes))}."
    )


def fill(
    module: nn.Module,
    files: TensorFiles,
    layout: Layout,
    *,
    device: torch.device | str,
    dtype: torch.dtype | None = None,
    unwanted: Sequence[str] = (),
) -> None:
    """Give every parameter and persistent buffer of `module`, built on meta, its stored value.

    Floating tensors are cast to `dtype` (None: as stored).
    """
    place(module, finished(files, layout, targets_of(module, device, dtype), unwanted))


def finished(
    files: TensorFiles, layout: Layout, targets: Targets, unwanted: Sequence[str] = ()
) -> Iterator[tuple[str, Tensor]]:
    """What is made of each target's tensor, by our name, one after the other.

    Strict both ways, before the first is read. `unwanted` lists patterns of our names that the
    file may have and the module has not.
    """
    matched = match(layout, files.shapes)
    extra = [
        ours for ours in matched.recipes if ours not in targets and not _listed(ours, unwanted)
    ]
    leftovers = matched.leftovers + [s for ours in extra for s in matched.recipes[ours].sources]
    missing = [layout.stored(ours) for ours in targets if ours not in matched.recipes]
    _refuse_misfits(files, layout, missing, leftovers)
    recipes = {ours: matched.recipes[ours] for ours in targets}
    _refuse_shapes(files, recipes, targets)
    return _made(files, recipes, targets)


def _made(
    files: TensorFiles, recipes: dict[str, Recipe], targets: Targets
) -> Iterator[tuple[str, Tensor]]:
    read = _by_rows(files, recipes, targets) if files.pickled else _combined(files, recipes)
    for ours, value in read:
        target = targets[ours]
        if target.stored not in (None, value.dtype):
            raise CheckpointError(
                f"The tensor {recipes[ours].sources[0]} in '{files.folder}' is stored as "
                f"{value.dtype}, but its config.json makes it {target.stored}. {_OWN_CONFIG}"
            )
        yield from target.made(ours, value)
        del value  # before the next is read


def _refuse_misfits(
    files: TensorFiles, layout: Layout, missing: list[str], leftovers: list[str]
) -> None:
    said = []
    if missing:
        said.append(f"{len(missing)} missing ({_some(missing)})")
    if leftovers:
        said.append(f"{len(leftovers)} not known ({_some(leftovers)})")
    if said:
        raise CheckpointError(
            f"The {layout.kind} in '{files.folder}' does not fit its config.json: tensors "
            f"{' and '.join(said)}. {_OWN_CONFIG}"
        )


def _refuse_shapes(files: TensorFiles, recipes: dict[str, Recipe], targets: Targets) -> None:
    for ours, recipe in recipes.items():
        try:
            found = recipe.shape(files.shapes)
        except RuntimeError:
            shapes = ", ".join(f"{name} {list(files.shapes[name])}" for name in recipe.sources)
            raise CheckpointError(
                f"Pieces of one tensor in '{files.folder}' do not fit together: {shapes}."
            ) from None
        expected = targets[ours].shape
        if found != expected:
            raise CheckpointError(
                f"The tensor {' + '.join(recipe.sources)} in '{files.folder}' has shape "
                f"{list(found)}, but its config.json makes it {list(expected)}. {_OWN_CONFIG}"
            )


def _combined(files: TensorFiles, recipes: dict[str, Recipe]) -> Iterator[tuple[str, Tensor]]:
    """Our tensors as their last piece is read; pieces wait no longer than that."""
    owner = {source: ours for ours, recipe in recipes.items() for source in recipe.sources}
    waiting: dict[str, dict[str, Tensor]] = {}
    for source, value in files.read(owner):
        ours = owner[source]
        pieces = waiting.setdefault(ours, {})
        pieces[source] = value
        recipe = recipes[ours]
        if len(pieces) == len(recipe.sources):
            del waiting[ours]
            yield ours, recipe.combine([pieces[name] for name in recipe.sources])


def _by_rows(
    files: TensorFiles, recipes: dict[str, Recipe], targets: Targets
) -> Iterator[tuple[str, Tensor]]:
    """Our tensors from the torch file, filled a few rows at a time: none is ever there twice."""
    (path,) = files.files
    becomes = {s: targets[ours].becomes for ours, r in recipes.items() for s in r.sources}
    file = TorchFile(path, becomes)
    for ours, recipe in recipes.items():
        shape, target = recipe.shape(files.shapes), targets[ours]
        kept = target.kept(file.dtype(recipe.sources[0]))
        whole = torch.empty(shape, dtype=kept, device=target.read_to)
        for rows in _rows_of(shape, [files.shapes[name] for name in recipe.sources]):
            value = recipe.combine([file.rows(name, rows) for name in recipe.sources])
            (whole[rows] if shape else whole).copy_(value)
        yield ours, whole
        del whole


def _rows_of(shape: tuple[int, ...], pieces: Sequence[tuple[int, ...]]) -> list[slice]:
    """Rows to be combined together; all of them where the pieces have not the rows of the whole."""
    if 0 in shape or any(piece[:1] != shape[:1] for piece in pieces):
        return [slice(None)]
    count = shape[0] if shape else 1
    step = max(1, count * _ROWS // math.prod(shape))
    return [slice(start, start + step) for start in range(0, count, step)]


def _listed(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _shards(folder: Path) -> list[Path]:
    try:
        held = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
        names = sorted({str(Path(name)) for name in held.values()})
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        raise CheckpointError(f"'{folder / INDEX}' is not a list of shards. {_AGAIN}") from None
    except OSError as error:
        raise CheckpointError(f"The file '{folder / INDEX}' cannot be read: {error}.") from None
    for name in names:
        if not (folder / name).is_file():
            raise CheckpointError(
                f"The shard '{name}' named in {INDEX} is missing from '{folder}'. {_AGAIN}"
            )
    return [folder / name for name in names]


def _header(path: Path) -> dict[str, tuple[int, ...]]:
    try:
        with safe_open(path, "pt") as file:
            names = list(file.keys())
            return {name: tuple(file.get_slice(name).get_shape()) for name in names}
    except OSError as error:
        raise CheckpointError(f"The file '{path}' cannot be read: {error}.") from None
    except SafetensorError as error:
        raise CheckpointError(
            f"The file '{path}' of {path.stat().st_size:,} bytes is cut short or damaged "
            f"({error}). {_AGAIN}"
        ) from None


def _is_torch(path: Path) -> bool:
    return path.suffix == ".pth"


def _torch_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in open_torch_file(path).items()}


def _kind_of(names: Iterable[str]) -> str | None:
    names = list(names)
    for kind, marks in _KINDS:
        if any(mark in name for mark in marks for name in names):
            return kind
    return None


def _some(names: Sequence[str]) -> str:
    """Up to five names and how many more there are."""
    more = len(names) - 5
    return ", ".join(names[:5]) + (f" and {more} more" if more > 0 else "")
