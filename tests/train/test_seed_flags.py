"""Every flag of the original's trainer does something, is translated aloud, or is refused."""

from __future__ import annotations

from typing import Any

import pytest

from faster_higgs.errors import SettingError
from faster_higgs.train.seed_flags import NAMES, translated
from faster_higgs.train.settings_file import checked
from faster_higgs.train.tune_config import TuneSettings

SAID: dict[str, Any] = {
    "use_lora": "True",
    "freeze_llm": "True",
    "freeze_audio_tower": "True",
    "freeze_audio_encoder_proj": "true",
    "fp16": "true",
    "bf16": "True",
    "gradient_checkpointing": "True",
    "task_type": "zero_shot_voice_cloning",
    "ref_audio_in_system_message": "True",
    "per_device_train_batch_size": 2,
    "per_device_eval_batch_size": 2,
    "report_to": "all",
    "lr_scheduler_type": "linear",
    "logging_dir": "logs",
    "dataloader_num_workers": 8,
}


@pytest.mark.parametrize("name", NAMES)
def test_no_flag_is_taken_in_silence(name: str) -> None:
    if name == "max_length":
        with pytest.raises(SettingError, match="no clip is cut"):
            translated({name: 1024})
        return
    values, notes = translated({name: SAID[name]})
    checked(values, TuneSettings, "test")
    assert values or notes
    assert all(note.startswith(f"Note: --{name.replace('_', '-')}: ") for note in notes)


def test_lora_is_on_or_off() -> None:
    assert translated({"use_lora": "False"})[0] == {"mode": "full"}
    assert translated({"use_lora": None})[0] == {}
    assert translated({"use_lora": "False", "freeze_llm": "True"})[0] == {"mode": "audio_only"}


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"use_lora": "maybe"}, "True or False"),
        ({"use_lora": "True", "freeze_llm": "True"}, "contradict"),
        ({"task_type": "singing"}, "can be single_speaker_smart_voice"),
        ({"report_to": "wandb"}, "wandb is not there"),
        ({"lr_scheduler_type": "polynomial"}, "can be constant"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_sentence(said: dict[str, str], says: str) -> None:
    with pytest.raises(SettingError, match=says):
        translated(said)
