"""The flags of the original's trainer in our settings: taken, translated with a note, or refused.

Knows nothing of the command line; it is given what was said by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from faster_higgs.errors import SettingError
from faster_higgs.train.config import TASKS

_NO_TOWER = "it changes nothing: the model has no such tower."
_NO_LOADERS = "it changes nothing: the data are coded already, and no process has to read ahead."
_SCHEDULES = {
    "constant": "constant",
    "constant_with_warmup": "constant",
    "cosine": "cosine",
    "cosine_with_restarts": "cosine",
    "cosine_with_min_lr": "cosine",
    "linear": "trapezoid",
}


@dataclass(frozen=True)
class Meaning:
    """Settings by full name, and what is to be told."""

    values: Mapping[str, Any]
    note: str = ""


def translated(said: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Settings and notes for the flags that were given. Raises SettingError."""
    values: dict[str, Any] = {}
    notes = []
    _refuse_frozen_base(said)
    for name, value in said.items():
        if value is None:
            continue
        meaning = _MEANINGS[name](value)
        values.update(meaning.values)
        if meaning.note:
            notes.append(f"Note: --{name.replace('_', '-')}: {meaning.note}")
    return values, notes


def truth(name: str, value: str) -> bool:
    """What "True" or "0" means."""
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if value.lower() not in known:
        raise SettingError(f"--{name} is {value!r}; it can be True or False.")
    return known[value.lower()]


def is_truth(word: str) -> bool:
    """Whether a word can be the value of a flag that may stand alone."""
    return word.lower() in ("true", "false", "1", "0", "yes", "no")


def _refuse_frozen_base(said: Mapping[str, Any]) -> None:
    freezes, lora = (said.get(name) for name in ("freeze_llm", "use_lora"))
    if freezes is None or lora is None:
        return
    if truth("freeze-llm", freezes) and truth("use-lora", lora):
        raise SettingError(
            "--freeze-llm and --use-lora contradict each other: with pairs the whole model is "
            "frozen; leave --freeze-llm out."
        )


def _use_lora(value: str) -> Meaning:
    return Meaning({"mode": "lora" if truth("use-lora", value) else "full"})


def _freeze_llm(value: str) -> Meaning:
    if not truth("freeze-llm", value):
        return Meaning({}, "nothing is frozen by it.")
    return Meaning(
        {"mode": "audio_only"},
        "mode audio_only: the audio feed-forward, its norms, the codes' embedding and head learn.",
    )


def _tower(name: str) -> Callable[[str], Meaning]:
    def meaning(value: str) -> Meaning:
        truth(name, value)
        return Meaning({}, _NO_TOWER)

    return meaning


def _fp16(value: str) -> Meaning:
    if not truth("fp16", value):
        return Meaning({})
    return Meaning({"dtype": "bfloat16"}, "bfloat16 is taken, which needs no scaling of the loss.")


def _bf16(value: str) -> Meaning:
    return Meaning({"dtype": "bfloat16"} if truth("bf16", value) else {})


def _checkpointing(value: str) -> Meaning:
    return Meaning({"training.checkpointing": truth("gradient-checkpointing", value)})


def _task(value: str) -> Meaning:
    if value not in TASKS:
        raise SettingError(f"--task-type is {value!r}; it can be {', '.join(TASKS)}.")
    return Meaning({f"mixture.{task}": float(task == value) for task in TASKS})


def _clips(value: int) -> Meaning:
    return Meaning(
        {"batch_clips": value}, "clips are packed without padding; a batch has about so many."
    )


def _in_system(value: str) -> Meaning:
    return Meaning({"mixture.in_system": float(truth("ref-audio-in-system-message", value))})


def _report(value: str) -> Meaning:
    asked = {word.strip() for word in value.split(",")} - {""}
    if unknown := asked - {"tensorboard", "all", "none"}:
        raise SettingError(
            f"--report-to {', '.join(sorted(unknown))} is not there; the figures go to TensorBoard "
            "and to metrics.jsonl in the folder of the results."
        )
    told = "" if asked == {"tensorboard"} else "the figures go to TensorBoard and metrics.jsonl."
    return Meaning({}, told)


def _schedule(value: str) -> Meaning:
    if value not in _SCHEDULES:
        raise SettingError(f"--lr-scheduler-type is {value!r}; it can be {', '.join(_SCHEDULES)}.")
    ours = _SCHEDULES[value]
    more = {"run.decay": 1.0, "run.floor": 0.0} if value == "linear" else {}
    exact = value in ("constant", "constant_with_warmup", "cosine")
    return Meaning({"run.schedule": ours, **more}, "" if exact else f"the schedule is {ours}.")


def _length(value: int) -> Meaning:
    raise SettingError(
        f"--max-length {value} is not there: no clip is cut. Positions of a batch are set by "
        "--batch-positions, and long clips are left out by `higgs prepare`."
    )


def _note(text: str) -> Callable[[Any], Meaning]:
    return lambda value: Meaning({}, text)


_MEANINGS: Mapping[str, Callable[[Any], Meaning]] = {
    "use_lora": _use_lora,
    "freeze_llm": _freeze_llm,
    "freeze_audio_tower": _tower("freeze-audio-tower"),
    "freeze_audio_encoder_proj": _tower("freeze-audio-encoder-proj"),
    "fp16": _fp16,
    "bf16": _bf16,
    "gradient_checkpointing": _checkpointing,
    "task_type": _task,
    "ref_audio_in_system_message": _in_system,
    "per_device_train_batch_size": _clips,
    "per_device_eval_batch_size": _note(
        "it changes nothing: evaluation is packed to as many positions as training."
    ),
    "report_to": _report,
    "lr_scheduler_type": _schedule,
    "max_length": _length,
    "logging_dir": _note("it changes nothing: the curves are in the folder of the results."),
    "dataloader_num_workers": _note(_NO_LOADERS),
}
NAMES = tuple(_MEANINGS)
