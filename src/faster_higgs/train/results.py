"""What a tuning leaves behind: an adapter or a model, the best and the last. Knows no training.

out/
    config.yaml     the settings of the last run
    run.json        what the data, the model and the code were
    step-*/         checkpoints, to go on from
    curves/         for TensorBoard, beside metrics.jsonl
    listen/         what was spoken at evaluations
    best/           the best on held-out data: an adapter, or a whole model
    adapter/        of lora and qlora: the best, or the last where nothing is held out
    model/          of other modes, where nothing is held out
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from faster_higgs.checkpoint.adapter import write_adapter
from faster_higgs.checkpoint.appearing import copy_beside
from faster_higgs.checkpoint.load import holds_text_head, load_model
from faster_higgs.checkpoint.replacing import replacing, replacing_whole, standing
from faster_higgs.checkpoint.save import save_model
from faster_higgs.checkpoint.tensors import open_tensors
from faster_higgs.errors import OutputPlaceError
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.train.learner import Learner
from faster_higgs.train.state import Checkpoints

CONFIG, ABOUT = "config.yaml", "run.json"
BEST, ADAPTER, MODEL = "best", "adapter", "model"
_RUNS = ("stable", "curves", "listen", "latest", "metrics.jsonl")
_OURS = (BEST, ADAPTER, MODEL, CONFIG, ABOUT, *_RUNS)


class Results:
    """The folder of one tuning."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def open(self, config: str, about: Mapping[str, Any]) -> None:
        """Make the folder and say what is done in it. Raises OutputError, OutputPlaceError."""
        if self.folder.exists() and not self.folder.is_dir():
            raise OutputPlaceError(f"'{self.folder}' is a file; name a folder for the results.")
        with replacing(self.folder, "settings") as partial:
            partial(CONFIG).write_text(config, encoding="utf-8")
            partial(ABOUT).write_text(json.dumps(about, indent=1) + "\n")

    def clear(self) -> None:
        """Remove what an earlier run left, and nothing else; a folder without one is left alone.

        Raises OutputPlaceError for checkpoints that are no tuning's.
        """
        if not (self.folder / ABOUT).is_file():
            if Checkpoints(self.folder).find() is not None:
                raise OutputPlaceError(
                    f"'{self.folder}' holds checkpoints that are of no tuning; name another folder."
                )
            return
        before = [f"{name}.before" for name in (BEST, ADAPTER, MODEL)]
        for path in (*self.folder.glob("step-*"), *(self.folder / n for n in (*_OURS, *before))):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def keep_best(self, learner: Learner) -> None:
        """The model as it is now is the best."""
        _write(learner, self.folder / BEST)

    def finish(self, learner: Learner) -> Path:
        """Put the result where it is looked for; returns that place."""
        best = standing(self.folder / BEST)
        if best is not None and not learner.settings.has_adapter:
            return best
        target = self.folder / (ADAPTER if learner.settings.has_adapter else MODEL)
        if best is None:
            _write(learner, target)
            return target
        with replacing_whole(target, "adapter") as partial:
            shutil.copytree(best, partial, dirs_exist_ok=True)
        return target


def _write(learner: Learner, folder: Path) -> None:
    """An adapter or a whole model, in the place of what was there."""
    if learner.settings.has_adapter:
        with replacing_whole(folder, "adapter") as partial:
            write_adapter(partial, learner.adapter())
        return
    with replacing_whole(folder, "model") as partial, _complete(learner) as model:
        copy_beside(learner.folder, partial, list(open_tensors(learner.folder).files))
        save_model(model, learner.config, partial)


@contextmanager
def _complete(learner: Learner) -> Iterator[DualFFN]:
    """The model with its text head, which training does without, from where it was loaded."""
    model, lent = learner.model, not hasattr(learner.model, "text_head")
    if lent and holds_text_head(learner.folder):
        _, whole = load_model(learner.folder, dtype=model.norm.weight.dtype)
        model.text_head = whole.text_head
    try:
        yield model
    finally:
        if lent and hasattr(model, "text_head"):
            del model.text_head
