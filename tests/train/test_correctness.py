"""The fourteen ways in which a training can be wrong and look right. Each has its number.

Of these 1 to 10 and 14 are functions of checks.py. The others have files of their own:
    11  a resumed run equals one that was never interrupted     test_run.py
    12  several processes have the gradients of one             test_team.py
    13  a merged model has the logits of model and adapter      tests/checkpoint/test_merge.py
test_defects.py puts a defect in for each of them, and sees it found.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import checks


@pytest.mark.parametrize("number", checks.CHECKS, ids=lambda n: f"{n}-{checks.CHECKS[n].__name__}")
def test_training_is_right(number: int, tmp_path: Path) -> None:
    checks.CHECKS[number](tmp_path)
