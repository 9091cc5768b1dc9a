"""Compiles the CPU kernels where a C compiler is; without one the package installs all the same.

hatchling calls this when the package is built or installed. `python hatch_build.py` compiles them
in place. Knows nothing of how they are loaded: that is src/faster_higgs/native/kernels.py.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zlib
from pathlib import Path

NATIVE = Path(__file__).parent / "src" / "faster_higgs" / "native"
LIBRARY = NATIVE / "libkernels.so"
SOURCES = ("kernels.c", "lanes.h")
# Nothing for this machine alone: the library chooses by what the processor can do when it runs.
FLAGS = ("-std=gnu11", "-O2", "-ftree-vectorize", "-fPIC", "-shared", "-Wno-psabi")


class NoKernels(Exception):
    """Why there are none, in words."""


def compiler() -> list[str]:
    """The C compiler that $CC names, or the first of the usual ones."""
    if named := os.environ.get("CC"):
        return named.split()
    found = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if found is None:
        raise NoKernels("there is no C compiler")
    return [found]


def build(library: Path = LIBRARY) -> Path:
    """The compiled library, in place of an older one only when it is whole. Raises NoKernels."""
    stamp = zlib.crc32(b"".join((NATIVE / name).read_bytes() for name in SOURCES))
    made = library.with_name(f".{library.name}.part")
    source = str(NATIVE / SOURCES[0])
    command = [*compiler(), *FLAGS, f"-DSTAMP={stamp}u", source, "-o", str(made), "-lm"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoKernels(f"the C compiler cannot be run ({error})") from None
    if done.returncode:
        made.unlink(missing_ok=True)
        said = [line for line in done.stderr.splitlines() if "error" in line] or ["no reason given"]
        raise NoKernels(f"the C compiler refused ({said[0].strip()[:200]})")
    os.replace(made, library)
    return library


def try_to_build() -> bool:
    """Whether there are kernels now; one line says why not."""
    try:
        build()
    except NoKernels as reason:
        sys.stderr.write(f"Faster Higgs has no compiled CPU kernels: {reason}. It runs slower.\n")
        return False
    return True


if __name__ == "__main__":
    sys.exit(not try_to_build())
else:
    try:
        from hatchling.builders.hooks.plugin.interface import BuildHookInterface
    except ImportError:  # a test looks at the functions above
        pass
    else:

        class Kernels(BuildHookInterface):  # type: ignore[type-arg]
            """hatchling's side: the library goes into the wheel, which then fits one system."""

            def initialize(self, version: str, build_data: dict[str, object]) -> None:
                if self.target_name == "wheel" and try_to_build():
                    system = sysconfig.get_platform().replace("-", "_").replace(".", "_")
                    build_data["tag"] = f"py3-none-{system}"
                    build_data["pure_python"] = False
