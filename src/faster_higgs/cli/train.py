"""`higgs train`: flags and a file to settings, and a run of them. Knows nothing of training."""

# ruff: noqa: RUF009  what is called here returns a dataclass field

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faster_higgs.cli.command import Command, as_command, flag, verbose
from faster_higgs.errors import HiggsError, SettingError

if TYPE_CHECKING:
    from faster_higgs.train.tune import Again, Tuned
    from faster_higgs.train.tune_config import TuneSettings

_what = partial(flag, "What is trained, and on what")
_how = partial(flag, "How")
_pace = partial(flag, "How long, and what is written")
_seed = partial(flag, "Flags of the original's trainer")
_SWITCH = "[TRUE|FALSE]"


@dataclass(frozen=True)
class TrainFlags:
    """What stands on the command line."""

    preset: str | None = _what("--preset", "NAME", "What the other settings begin with.")
    data: str | None = _what(
        "--data --train-data-dir --data-dir", "FOLDER", "What `higgs prepare` made."
    )
    eval_data: str | None = _what(
        "--eval-data --eval-data-dir", "FOLDER", "Another, whose clips are held out."
    )
    out: str | None = _what("--out --output-dir", "FOLDER", "Where the results go.")
    model: str | None = _what(
        "--model --model-path", "MODEL", "A folder or hub id. [default: the model that speaks]"
    )
    codec: str | None = _what(
        "--codec --audio-tokenizer-path",
        "CODEC",
        "The codec's folder or hub id. [default: the model's own]",
    )
    config: Path | None = _what("--config", "FILE", "Settings in YAML, over those of the preset.")
    set: list[str] | None = _what(
        "--set", "NAME=VALUE", "One setting by its full name, as in run.steps=2000."
    )

    mode: str | None = _how("--mode", "MODE", "Pairs beside the weights, or which weights.")
    rank: int | None = _how("--rank --lora-rank", "N", "Of the pairs.")
    alpha: float | None = _how(
        "--alpha --lora-alpha", "X", "Of the pairs. [default: twice the rank]"
    )
    dropout: float | None = _how("--dropout --lora-dropout", "X", "Before the pairs.")
    lr: float | None = _how(
        "--lr --learning-rate", "X", "The highest learning rate. [default: by mode and rank]"
    )
    weight_decay: float | None = _how("--weight-decay", "X", "Of matrices but embeddings.")
    clip: float | None = _how("--clip --max-grad-norm", "X", "Of the gradient's norm; 0 for none.")
    optimizer: str | None = _how("--optimizer", "NAME", "adamw or adamw8bit.")
    batch_positions: int | None = _how(
        "--batch-positions", "N", "Text tokens and codes' columns of a batch."
    )
    accumulate: int | None = _how(
        "--accumulate --gradient-accumulation-steps", "N", "Batches that make one step."
    )
    seed: int | None = _how("--seed", "N", "Of the order, the mixture and the pairs.")
    parallel: str | None = _how(
        "--parallel", "WAY", "Of several processes: auto, ddp (copies) or fsdp (a share each)."
    )
    device: str | None = _how("--device", "DEVICE", "auto, cpu, cuda, cuda:N or mps.")
    dtype: str | None = _how("--dtype", "TYPE", "Of weights and products: auto, float32, bfloat16.")

    epochs: float | None = _pace("--epochs --num-train-epochs", "X", "How often all is heard.")
    steps: int | None = _pace("--steps --max-steps", "N", "Or so many steps.")
    minutes: float | None = _pace("--minutes", "X", "End after so long, whatever is done.")
    warmup: int | None = _pace("--warmup --warmup-steps", "N", "Steps until the full rate.")
    log_every: int | None = _pace("--log-every --logging-steps", "N", "Steps between lines.")
    eval_every: int | None = _pace("--eval-every --eval-steps", "N", "And between evaluations.")
    save_every: int | None = _pace("--save-every --save-steps", "N", "And between checkpoints.")
    keep: int | None = _pace("--keep --save-total-limit", "N", "Checkpoints that stay.")
    patience: int | None = _pace(
        "--patience", "N", "End after so many evaluations that are no better; 0 for never."
    )
    resume: bool = _pace(
        "--resume", None, "Go on, and refuse to begin. [default: go on if there is something]"
    )
    fresh: bool = _pace("--fresh", None, "Begin again; what earlier runs left there goes.")
    print_config: bool = _pace("--print-config", None, "Print all settings as YAML, and stop.")
    print_schema: bool = _pace("--print-schema", None, "Print their JSON schema, and stop.")

    use_lora: str | None = _seed("--use-lora", _SWITCH, "The same as --mode lora or full.")
    task_type: str | None = _seed("--task-type", "NAME", "One kind of conversation and no other.")
    ref_audio_in_system_message: str | None = _seed(
        "--ref-audio-in-system-message", _SWITCH, "References stand in the system message."
    )
    per_device_train_batch_size: int | None = _seed(
        "--per-device-train-batch-size", "N", "About so many clips a batch."
    )
    per_device_eval_batch_size: int | None = _seed(
        "--per-device-eval-batch-size", "N", "Accepted, and changes nothing."
    )
    fp16: str | None = _seed("--fp16", _SWITCH, "The same as --bf16, with a note.")
    bf16: str | None = _seed("--bf16", _SWITCH, "The same as --dtype bfloat16.")
    gradient_checkpointing: str | None = _seed(
        "--gradient-checkpointing", _SWITCH, "Less memory, more time."
    )
    lr_scheduler_type: str | None = _seed("--lr-scheduler-type", "NAME", "How the rate falls.")
    freeze_llm: str | None = _seed("--freeze-llm", _SWITCH, "The same as --mode audio_only.")
    freeze_audio_tower: str | None = _seed(
        "--freeze-audio-tower", _SWITCH, "Accepted, and changes nothing."
    )
    freeze_audio_encoder_proj: str | None = _seed(
        "--freeze-audio-encoder-proj", _SWITCH, "Accepted, and changes nothing."
    )
    report_to: str | None = _seed("--report-to", "NAME", "tensorboard; no other.")
    logging_dir: str | None = _seed("--logging-dir", "FOLDER", "Accepted, and changes nothing.")
    dataloader_num_workers: int | None = _seed(
        "--dataloader-num-workers", "N", "Accepted, and changes nothing."
    )
    max_length: int | None = _seed("--max-length", "N", "Refused: no clip is cut.")
    verbose: bool = verbose()


SETTINGS: Mapping[str, str] = {
    **{name: name for name in ("data", "eval_data", "out", "model", "codec", "mode", "device")},
    **{name: f"adapter.{name}" for name in ("rank", "alpha", "dropout")},
    **{name: f"training.optimizer.{name}" for name in ("weight_decay", "clip")},
    **{name: f"training.{name}" for name in ("accumulate", "seed", "parallel")},
    **{name: f"run.{name}" for name in ("epochs", "steps", "minutes", "warmup", "keep")},
    **{name: f"run.{name}" for name in ("log_every", "eval_every", "save_every", "patience")},
    "lr": "training.optimizer.learning_rate",
    "optimizer": "training.optimizer.kind",
    "batch_positions": "training.budget",
    "dtype": "dtype",
}
"""The setting that each flag stands for."""


def command(name: str, help: str) -> Command:
    """The command as the menu takes it."""
    from faster_higgs.train.seed_flags import is_truth

    made = as_command(TrainFlags, run, name, help, facts)
    switches = [one.name for one in fields(TrainFlags) if _is_switch(one)]
    made.value_if_none = {f"--{name.replace('_', '-')}": "true" for name in switches}
    made.is_value = is_truth
    return made


def _is_switch(one: Any) -> bool:
    return bool(one.metadata["parameter"].metavar == _SWITCH)


def facts() -> Mapping[str, str]:
    """Defaults and choices for the help page, read from where they are written."""
    from typing import get_args

    from faster_higgs.train.config import TASKS
    from faster_higgs.train.settings_file import flattened
    from faster_higgs.train.tune_config import PRESETS, Mode, TuneSettings

    defaults = flattened(TuneSettings())
    shown = {
        name: f"default: {defaults[setting]}"
        for name, setting in SETTINGS.items()
        if defaults[setting] not in (None, "") and name not in ("alpha", "lr", "warmup")
    }
    shown["warmup"] = "default: 3 % of the steps, at most 200"
    shown["mode"] = f"{', '.join(get_args(Mode))}; default: {TuneSettings().mode}"
    pace = TuneSettings().run
    shown["epochs"] = f"default: {pace.epochs:g}, but at least {pace.least_steps} steps"
    shown["eval_every"] += ", or a tenth of the steps where that is less"
    return {**shown, "preset": ", ".join(PRESETS), "task_type": ", ".join(TASKS)}


def run(flags: TrainFlags) -> None:
    """Settle what is asked, train, and say where the result is and how it is heard."""
    from faster_higgs.train.settings_file import as_yaml, schema
    from faster_higgs.train.tune_config import TuneSettings

    if flags.print_schema:
        print(schema(TuneSettings))
        return
    settings, notes = settled(flags)
    for note in notes:
        _tell(note)
    if flags.print_config:
        print(as_yaml(settings), end="")
        return
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    from faster_higgs.cli.loading import model_folder
    from faster_higgs.train.team import assembled
    from faster_higgs.train.tune import tune

    again, folder = _again(flags), model_folder(settings.model).folder
    with assembled(os.environ, settings.device) as team:
        own = replace(settings, device=team.device)
        with _enough_memory():
            tuned = tune(own, folder, _tell, again, team)
    if team.leads:
        for line in _end(tuned, settings, folder):
            print(line)


@contextmanager
def _enough_memory() -> Iterator[None]:
    """Where memory ends, say what helps. Raises HiggsError."""
    from torch import OutOfMemoryError

    try:
        yield
    except (MemoryError, OutOfMemoryError) as error:
        raise HiggsError(
            "There is not enough memory for this training. `higgs memory --data FOLDER` finds a "
            "batch, an optimizer and checkpointing that fit; begin with them and --fresh."
        ) from error


def settled(flags: TrainFlags) -> tuple[TuneSettings, list[str]]:
    """Preset, file, flags and --set, each over those before it; and notes. Raises SettingError."""
    from faster_higgs.train.seed_flags import NAMES, translated
    from faster_higgs.train.settings_file import built, checked, given, read
    from faster_higgs.train.tune_config import TuneSettings, completed

    values: dict[str, Any] = dict(_preset(flags.preset))
    if flags.config is not None:
        values |= read(flags.config, TuneSettings)
    theirs, notes = translated({name: getattr(flags, name) for name in NAMES})
    ours = checked(dict(_ours(flags)), TuneSettings, "the command line")
    said = checked(theirs, TuneSettings, "the command line")
    _refuse_both(said, ours)
    said |= ours | given(flags.set or (), TuneSettings)
    settings = built(TuneSettings, completed(values | said))
    _refuse_idle(flags.preset, said, settings)
    return settings, notes


def _refuse_both(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Raises SettingError where two flags say different things of one setting."""
    for name in theirs.keys() & ours.keys():
        if theirs[name] != ours[name]:
            raise SettingError(
                f"Two flags set {name}, one to {theirs[name]} and one to {ours[name]}; "
                "leave one of them out."
            )
    if "batch_clips" in theirs and "training.budget" in ours:
        raise SettingError(
            "--per-device-train-batch-size and --batch-positions both say how much a batch holds; "
            "leave one of them out."
        )


def _refuse_idle(preset: str | None, said: Mapping[str, Any], settings: TuneSettings) -> None:
    """Raises SettingError for what was asked for and would change nothing."""
    from faster_higgs.train.tune_config import PRESETS

    mode = settings.mode
    idle = [name for name in said if name.startswith("adapter.")]
    pairs = preset is not None and any(name.startswith("adapter.") for name in PRESETS[preset])
    if not settings.has_adapter and (idle or pairs):
        what = f"The preset '{preset}'" if pairs else idle[0]
        raise SettingError(
            f"{what} is about pairs, and mode {mode} has none; leave it out, or use lora or qlora."
        )
    if mode != "qlora" and "base" in said:
        raise SettingError(f"base is of mode qlora, and the mode is {mode}; leave it out.")


def _preset(name: str | None) -> Mapping[str, Any]:
    from faster_higgs.train.tune_config import PRESETS

    if name is None:
        return {}
    if name not in PRESETS:
        raise SettingError(f"There is no preset '{name}'; use one of {', '.join(PRESETS)}.")
    return PRESETS[name]


def _ours(flags: TrainFlags) -> Iterator[tuple[str, Any]]:
    """What the flags say by the settings' names, and what goes without saying then."""
    for name, setting in SETTINGS.items():
        if (value := getattr(flags, name)) is not None:
            yield setting, value if (name, value) != ("patience", 0) else None
    if flags.warmup is not None:
        yield "run.warmup_share", None
    if flags.steps is None and flags.epochs is not None:
        yield "run.steps", None
    if flags.epochs is None and flags.steps is not None:
        yield "run.epochs", None


def _again(flags: TrainFlags) -> Again:
    if flags.resume and flags.fresh:
        raise SettingError("--resume and --fresh contradict each other; leave one of them out.")
    return "resume" if flags.resume else "fresh" if flags.fresh else "if any"


def _end(tuned: Tuned, settings: TuneSettings, folder: Path) -> Iterator[str]:
    """What was made, and what to do with it."""
    if tuned.place is None:
        _tell("Give the same command again to go on.")
        return
    yield str(tuned.place)
    words = ["--model", str(tuned.place)]
    if settings.has_adapter:
        words = ["--model", str(folder), "--adapter", str(tuned.place)]
    recordings = sorted((tuned.place.parent / "listen" / "recording").glob("*.wav"))
    for sound in recordings[:1]:
        words += ["--voice", str(sound)]
    _tell(f'Hear it: higgs say "Hello." {shlex.join(words)}')


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
