"""The file map of docs/architecture.md names every file once, in the order of the flow."""

from __future__ import annotations

import ast
import re

from tests.project.source import PACKAGE, ROOT, files, tree

STAGES = ["text", "prompt", "engine", "codec", "audio"]


def file_map() -> list[str]:
    """The paths of the map, in its order; folders end in a slash, files follow their folder."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    block = re.search(r"^## File map\n.*?^```\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert block, "docs/architecture.md has no code block under `## File map`"
    paths, folder = [], ""
    for line in block[1].splitlines():
        entry = re.match(r"( *)(\S+)  +\S", line)
        if not entry:
            continue  # a description that goes on
        indent, name = len(entry[1]), entry[2]
        if name.endswith("/"):
            folder = "" if name == "./" else name
            paths.append(name)
        elif indent == 4:
            paths.append(folder + name)
    return paths


def on_disk() -> set[str]:
    """The Python files that hold something: an empty __init__.py is not worth a line."""
    return {file.as_posix() for file in files() if (PACKAGE / file).read_text().strip()}


def test_the_map_names_every_file_once_and_no_other():
    named = [path for path in file_map() if not path.endswith("/")]
    assert len(named) == len(set(named)), "the map names a file twice"
    missing = [f"{path}: {first_sentence(path)}" for path in sorted(on_disk() - set(named))]
    gone = sorted(set(named) - on_disk())
    assert not missing, "docs/architecture.md lacks:\n" + "\n".join(missing)
    assert not gone, "docs/architecture.md names what is not there:\n" + "\n".join(gone)


def test_the_map_names_every_folder():
    folders = {f"{path.name}/" for path in PACKAGE.iterdir() if path.is_dir()} - {"__pycache__/"}
    folders = {name for name in folders if not name.startswith(".")}
    assert folders <= set(file_map())


def test_the_map_and_the_package_docstring_tell_the_stages_in_order():
    mapped = [path[:-1] for path in file_map() if path[:-1] in STAGES]
    assert mapped == STAGES
    docstring = ast.get_docstring(tree(PACKAGE.joinpath("__init__.py").relative_to(PACKAGE))) or ""
    places = [docstring.find(f"{stage}/") for stage in STAGES]
    assert -1 not in places and places == sorted(places)


def first_sentence(path: str) -> str:
    docstring = ast.get_docstring(ast.parse((PACKAGE / path).read_text(encoding="utf-8"))) or "?"
    return re.split(r"(?<=\.)\s", " ".join(docstring.split()))[0]
