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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from faster_higgs.checkpoint.adapter import ADAPTER_CONFIG, ADAPTER_WEIGHTS, write_adapter
from faster_higgs.checkpoint.appearing import copy_beside
from faster_higgs.checkpoint.load import holds_text_head, load_model
from faster_higgs.checkpoint.replacing import replacing
from faster_higgs.checkpoint.save import save_model
from faster_higgs.checkpoint.tensors import open_tensors
from faster_higgs.errors import OutputPlaceError
from faster_higgs.train.learner import Learner

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
        """Remove what earlier runs left, and nothing else."""
        for path in (*self.folder.glob("step-*"), *(self.folder / name for name in _OURS)):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def keep_best(self, learner: Learner) -> None:
        """The model as it is now is the best."""
        _write(learner, self.folder / BEST)

    def finish(self, learner: Learner) -> Path:
        """Put the result where it is looked for; returns that place."""
        best = self.folder / BEST
        if not learner.settings.has_adapter:
            target = best if best.is_dir() else self.folder / MODEL
            if target != best:
                _write(learner, target)
            return target
        if best.is_dir():
            with replacing(self.folder / ADAPTER, "adapter") as partial:
                for name in (ADAPTER_WEIGHTS, ADAPTER_CONFIG):
                    shutil.copyfile(best / name, partial(name))
        else:
            _write(learner, self.folder / ADAPTER)
        return self.folder / ADAPTER


def _write(learner: Learner, folder: Path) -> None:
    if learner.settings.has_adapter:
        write_adapter(folder, learner.adapter())
        return
    model, lent = learner.model, not hasattr(learner.model, "text_head")
    if lent and holds_text_head(learner.folder):
        _, whole = load_model(learner.folder, dtype=model.norm.weight.dtype)
        model.text_head = whole.text_head
    try:
        if not folder.is_dir():
            folder.mkdir(parents=True)
            copy_beside(learner.folder, folder, list(open_tensors(learner.folder).files))
        save_model(model, learner.config, folder)
    finally:
        if lent and hasattr(model, "text_head"):
            del model.text_head
