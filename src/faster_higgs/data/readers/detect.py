"""What kind of corpus lies in a place, by the names of its files. Reads as little as it can."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from faster_higgs.data.cache import ABOUT
from faster_higgs.data.readers import beside, delimited, kaldi, lines, seeds
from faster_higgs.data.readers.columnar import ARROW, PARQUET
from faster_higgs.data.readers.files import Place, files_in, listed
from faster_higgs.data.readers.settings import ReadSettings
from faster_higgs.errors import DataError

PREPARED = "prepared"
_SAVED = ("dataset_dict.json", "state.json", "dataset_info.json")


def detect(path: Path) -> str:
    """The name of the format. Raises DataError where nothing is, or nothing that is known."""
    if not path.exists():
        raise DataError(f"There is no file or folder {path}.{_hint(path)}")
    if not path.is_file() and not path.is_dir():
        raise DataError(f"{path} is neither a file nor a folder.")
    found = _of_file(path) if path.is_file() else _of_folder(path)
    if not found:
        inside = path.name if path.is_file() else listed(sorted(one.name for one in path.iterdir()))
        raise DataError(
            f"{path} is no corpus of a known kind: found {inside or 'nothing in it'}. Known are "
            "tables (.csv, .tsv, .jsonl, .parquet), folders of sounds with texts beside them, "
            "LJSpeech, saved Hugging Face data sets, Kaldi, metadata.json; --format says which."
        )
    return found


def _of_file(path: Path) -> str:
    suffix = path.suffix.lower()
    if path.name == seeds.METADATA and suffix == ".json":
        return "seeds"
    by_suffix = {PARQUET: "parquet", ARROW: "huggingface", **dict.fromkeys(lines.SUFFIXES, "jsonl")}
    if suffix in delimited.SUFFIXES:
        return _table(path)
    return by_suffix.get(suffix, "")


def _of_folder(folder: Path) -> str:
    return next(_signs(folder), "")


def _signs(folder: Path) -> Iterator[str]:
    """What speaks for each format, the surest first."""
    if (folder / ABOUT).is_file():
        yield PREPARED
    if (folder / seeds.METADATA).is_file():
        yield "seeds"
    if (folder / kaldi.SOUNDS).is_file() and (folder / kaldi.TEXTS).is_file():
        yield "kaldi"
    if any((folder / name).is_file() for name in _SAVED) and _has(folder, ARROW):
        yield "huggingface"
    for suffix, name in ((PARQUET, "parquet"), (ARROW, "huggingface")):
        if _has(folder, suffix):
            yield name
    if any(one.suffix.lower() in delimited.SUFFIXES[:3] for one in folder.iterdir()):
        yield _table(delimited.table_of(folder))
    if any(one.suffix.lower() in lines.SUFFIXES[:2] for one in folder.iterdir()):
        yield "jsonl"
    if beside.sounds_in(folder):
        yield "folder"


def _has(folder: Path, suffix: str) -> bool:
    return any(file.suffix == suffix for file in files_in(folder))


def _table(path: Path) -> str:
    """Of lines: with a header, or as LJSpeech has them."""
    with delimited.open_text(path) as file:
        first = next((line for line in file if line.strip()), "").rstrip("\r\n")
    layout = delimited.layout_of(first, Place(path.parent), ReadSettings())
    return "ljspeech" if layout.header is None and layout.delimiter == "|" else "csv"


def _hint(path: Path) -> str:
    """How to get a data set of the Hub, where the path looks like one."""
    if path.is_absolute() or len(path.parts) != 2:
        return " Check the path."
    name = path.as_posix()
    return (
        f" If it is a data set of the Hugging Face Hub, fetch it first: "
        f"hf download --repo-type dataset {name} --local-dir {path.name}"
    )
