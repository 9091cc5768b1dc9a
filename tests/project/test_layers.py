"""Who may call whom. The tables are the rules; docs/architecture.md tells why."""

from __future__ import annotations

from collections.abc import Iterator

from tests.project.source import PACKAGE, Import, files, imports, part

_BELOW_SPEECH = (
    "audio checkpoint codec config delay delivery engine errors model prompt quant sampling text"
).split()
_ALL = "anything"

MAY_IMPORT = {
    "errors": [],
    "dialects": ["errors"],
    "digest": [],
    "locks": ["errors"],
    "config": ["dialects", "errors"],
    "text": ["errors"],
    "audio": ["errors"],
    "captions": ["text"],
    "delay": ["errors"],
    "sampling": ["errors"],
    "native": ["errors"],
    "cards": ["errors"],
    "quant": ["errors", "native"],
    "device": ["errors", "native"],
    "fetch": ["errors"],
    "model": ["config", "errors", "native"],
    "codec": ["config", "errors", "native"],
    "prompt": ["config", "delay", "errors"],
    "checkpoint": ["codec", "config", "digest", "errors", "model", "native", "quant"],
    "engine": ["config", "delay", "errors", "model", "native", "prompt", "sampling"],
    "delivery": ["errors", "prompt", "text"],
    "data": [
        *(
            "audio",
            "checkpoint",
            "codec",
            "config",
            "digest",
            "errors",
            "locks",
            "model",
            "prompt",
            "quant",
            "sampling",
        ),
        *("speech", "text"),
    ],
    "train": ["data", "locks", "device", "speech", *_BELOW_SPEECH],
    "answers": ["delivery", "engine", "prompt", "sampling"],
    "spoken": ["audio", "delivery", "engine", "errors", "prompt", "text"],
    "speech": ["answers", "device", "spoken", *_BELOW_SPEECH],
    "chatml": ["speech", *_BELOW_SPEECH],
    "compat": ["chatml", "speech", "spoken", *_BELOW_SPEECH],
    "testing": ["speech", "spoken", *_BELOW_SPEECH],
    "server": [
        *("audio", "captions", "config", "delivery", "engine", "errors", "fetch", "locks"),
        *("prompt", "sampling", "speech", "spoken", "text"),
    ],
    "loadtest": ["audio", "errors"],
    "deploy": [
        *("audio", "config", "delivery", "engine", "errors", "fetch", "prompt", "sampling"),
        *("server", "speech", "spoken", "text"),
    ],
    "eval": ["audio", "errors", "sampling", "speech", "text"],
    "cli": _ALL,
    "__main__": ["cli"],
    "__init__": _ALL,  # public names, loaded lazily
}

# What a part, or a single file of it, must not even know of, wherever in the file.
MUST_NOT_KNOW = {
    "errors": ["torch", "numpy", "transformers"],
    "config": ["torch", "numpy", "transformers"],
    "dialects": ["torch", "numpy", "transformers"],
    "captions": ["torch", "numpy", "transformers"],
    "text": ["torch", "numpy", "transformers", "soundfile"],
    "audio": ["torch", "transformers"],
    "model": ["transformers", "safetensors", "fastapi"],
    "engine": ["transformers", "fastapi", "asyncio", "soundfile"],
    "quant/quantization.py": ["torch", "numpy"],
    "engine/kv_cache.py": ["torch", "numpy"],
    "engine/scheduler.py": ["torch", "numpy"],
    "speech": ["argparse", "typer", "fastapi"],
    "server": ["torch", "transformers"],
    "cards": ["torch"],
    "loadtest": ["torch", "transformers"],
    "deploy": ["torch", "transformers"],
    "fetch": ["torch", "numpy", "fastapi"],
    "eval": ["torch"],
}
EXCEPTIONS = {
    ("engine/worker.py", "asyncio"): "the worker is where threads and coroutines meet",
    ("deploy/dialects.py", "torch"): "sound stands in the place of codes, whose type it shares",
    ("deploy/remote.py", "torch"): "sound stands in the place of codes, whose type it shares",
    ("text/pronounce.py", "numpy"): "the fallback for unknown words is a small table of numbers",
}

# Slow to import: not at the top of what runs early, nor where only some callers need it.
ONLY_INSIDE_FUNCTIONS = {
    "cli": [
        "torch",
        "transformers",
        "tokenizers",
        "fastapi",
        "uvicorn",
        "av",
        "matplotlib",
        "httpx2",
    ],
    "codec": ["transformers"],
    "errors": ["torch"],
    "__init__": ["torch", "numpy", "transformers"],
    "__main__": ["torch", "numpy", "transformers"],
}


def inside(found: Import) -> list[str]:
    """The parts of our own package that an import line names."""
    if found.head != "faster_higgs":
        return []
    return found.module.split(".")[1:2] or list(found.names)


def where(found: Import) -> str:
    return f"src/faster_higgs/{found.file}:{found.line}"


def every_import() -> Iterator[tuple[str, Import]]:
    return ((part(file), found) for file in files() for found in imports(file))


def test_every_part_has_its_line_in_the_table():
    assert {part(file) for file in files()} <= MAY_IMPORT.keys()


def test_a_part_imports_only_what_it_may():
    faults = [
        f"{where(found)}: {own} may not import {other}"
        for own, found in every_import()
        for other in inside(found)
        if other != own and other not in MAY_IMPORT.get(own, []) and MAY_IMPORT.get(own) != _ALL
    ]
    assert not faults, "\n".join(faults)


def test_a_part_does_not_know_what_it_must_not():
    faults = [
        f"{where(found)}: {name} must not know {found.head}"
        for own, found in every_import()
        for name in (own, found.file)
        if found.head in MUST_NOT_KNOW.get(name, []) and (found.file, found.head) not in EXCEPTIONS
    ]
    assert not faults, "\n".join(faults)


def test_every_file_in_the_table_is_there():
    named = {name for name in MUST_NOT_KNOW if name.endswith(".py")} | {
        name for name, _ in EXCEPTIONS
    }
    assert named <= {file.as_posix() for file in files()}


def test_slow_libraries_are_imported_by_the_function_that_needs_them():
    faults = [
        f"{where(found)}: import {found.head} inside the function"
        for own, found in every_import()
        if found.at_top and found.head in ONLY_INSIDE_FUNCTIONS.get(own, [])
    ]
    assert not faults, "\n".join(faults)


def test_inside_the_package_names_come_from_their_own_files():
    faults = [
        f"{where(found)}: write `from faster_higgs.x import y`"
        for _, found in every_import()
        if found.module == "faster_higgs"
    ]
    assert not faults, "\n".join(faults)


def test_the_package_needs_nothing_that_lies_beside_it():
    beside = {"tests", "benchmarks", "evals", "recipes", "examples"}
    faults = [
        f"{where(found)}: the package must not import {found.module}"
        for _, found in every_import()
        if found.head in beside
    ]
    assert not faults, "\n".join(faults)


def test_the_environment_is_read_at_the_edges_only():
    words = ("os.environ", "getenv", "from os import environ")
    faults = [
        f"src/faster_higgs/{file}: reads the environment"
        for file in files()
        if part(file) not in ("cli", "deploy") and file.as_posix() != "checkpoint/files.py"
        if any(word in (PACKAGE / file).read_text(encoding="utf-8") for word in words)
    ]
    assert not faults, "\n".join(faults)


def test_the_table_has_no_circle():
    """Parts can be put in an order in which each needs only earlier ones."""
    waiting = {own: set(may) for own, may in MAY_IMPORT.items() if may != _ALL}
    waiting["__main__"] = set()
    while waiting:
        ready = [own for own, needs in waiting.items() if not needs & waiting.keys()]
        assert ready, f"these import each other in a circle: {sorted(waiting)}"
        for own in ready:
            del waiting[own]
