"""Which vectors the parity tests read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.parity.place import COPY, PARTS, vectors
from tests.project.source import ROOT


@pytest.fixture
def named(tmp_path: Path) -> Path:
    for part in PARTS:
        (tmp_path / "set" / part).mkdir(parents=True)
    return tmp_path / "set"


def test_without_a_name_it_is_the_copy_in_the_repository(tmp_path: Path) -> None:
    assert vectors(None, [tmp_path]) == vectors("", [tmp_path]) == COPY
    assert all((COPY / part).is_dir() for part in PARTS)


def test_a_relative_name_counts_from_where_the_caller_stands(named: Path, tmp_path: Path) -> None:
    (tmp_path / "repository").mkdir()
    stands = [tmp_path / "repository", tmp_path]
    assert vectors("set", stands) == vectors(str(named), stands) == named.resolve()


@pytest.mark.parametrize("missing", PARTS)
def test_a_folder_without_both_parts_is_an_error(named: Path, missing: str) -> None:
    (named / missing).rmdir()
    with pytest.raises(pytest.UsageError, match="no folders lm and codec"):
        vectors(str(named), [Path.cwd()])


@pytest.mark.parametrize(("name", "code"), [("set", 0), ("nowhere", 4)])
def test_run_from_another_folder_a_wrong_name_ends_the_tests(
    named: Path, tmp_path: Path, name: str, code: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--markers"],
        env={**os.environ, "HIGGS_PARITY_DIR": name, "OLDPWD": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert ("no folders lm and codec" in done.stderr) == (code != 0)
