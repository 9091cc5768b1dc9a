"""The library is built where a compiler is, and where none is that is said in a line."""

from __future__ import annotations

import shutil
import subprocess

import pytest

import hatch_build
from faster_higgs.native.kernels import open_library


def test_without_a_compiler_the_reason_is_one_line(monkeypatch, capsys):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", "")
    assert not hatch_build.try_to_build()
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("compiler", ["false", "no-such-compiler"])
def test_a_compiler_that_fails_leaves_what_was_there(compiler, monkeypatch, tmp_path):
    monkeypatch.setenv("CC", compiler)
    old = tmp_path / "libkernels.so"
    old.write_text("old")
    with pytest.raises(hatch_build.NoKernels):
        hatch_build.build(old)
    assert [path.name for path in tmp_path.iterdir()] == ["libkernels.so"]
    assert old.read_text() == "old"


def test_a_missing_library_is_told(tmp_path):
    found = open_library(tmp_path / "libkernels.so")
    assert found.kernels is None and "C compiler" in found.reason


def test_a_damaged_library_is_told(tmp_path):
    damaged = tmp_path / "libkernels.so"
    damaged.write_text("not a library")
    found = open_library(damaged)
    assert found.kernels is None and "cannot be loaded" in found.reason


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_a_library_of_other_sources_is_not_used(tmp_path):
    source, library = tmp_path / "old.c", tmp_path / "libkernels.so"
    source.write_text("unsigned fh_stamp(void) { return 1; }\n")
    subprocess.run(["cc", "-shared", "-fPIC", source, "-o", library], check=True)
    found = open_library(library)
    assert found.kernels is None and "another version" in found.reason
