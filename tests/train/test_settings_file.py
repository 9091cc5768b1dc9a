"""Settings in a file and over it: typed, complete; a wrong name is met with the right one."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from faster_higgs.errors import SettingError
from faster_higgs.train.settings_file import as_yaml, built, checked, flattened, given, read, schema
from faster_higgs.train.tune_config import FREE, PRESETS, TuneSettings, completed


def settled(**values: object) -> TuneSettings:
    named = {name.replace("__", "."): value for name, value in values.items()}
    return built(TuneSettings, completed(checked(named, TuneSettings, "test")))


def test_what_is_written_is_read_back_equal(tmp_path: Path) -> None:
    settings = settled(run__steps="2000", training__loss__codebook_weights=[1, 2], data="a b")
    path = tmp_path / "run.yaml"
    path.write_text(as_yaml(settings))
    assert built(TuneSettings, completed(read(path, TuneSettings))) == settings
    assert settings.training.loss.codebook_weights == (1.0, 2.0)


def test_numbers_are_read_as_people_write_them(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("training:\n  optimizer: {learning_rate: 1e-4}\nrun: {steps: 20}\n")
    values = {**read(path, TuneSettings), **given(["run.steps=30", "data=7"], TuneSettings)}
    settings = built(TuneSettings, completed(values))
    assert settings.training.optimizer.learning_rate == 1e-4
    assert (settings.run.steps, settings.run.epochs, settings.data) == (30, None, "7")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("run: {stepz: 5}", "no setting 'run.stepz'.*did you mean run.steps"),
        ("learning_rate: 1", "did you mean training.optimizer.learning_rate"),
        ("run: {steps: many}", "run.steps is 'many'.*it should be a valid integer"),
        ("mode: lorra", "mode is 'lorra'.*'lora'"),
        ("run: [1", "are not YAML"),
        ("- 1", "must be names with values"),
        ("adapter: 5", "no setting 'adapter'"),
    ],
)
def test_what_is_no_setting_is_told_in_a_sentence(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(SettingError, match=says):
        read(path, TuneSettings)


def test_a_setting_without_a_value_and_a_file_that_is_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="NAME=VALUE"):
        given(["run.steps"], TuneSettings)
    with pytest.raises(SettingError, match="cannot be read"):
        read(tmp_path / "none.yaml", TuneSettings)


def test_what_follows_from_other_settings_is_filled_in() -> None:
    rates = {
        "voice": settled(adapter__rank=16),
        "wide": settled(adapter__rank=64),
        "full": settled(mode="full"),
        "audio": settled(mode="audio_path"),
    }
    found = {name: one.training.optimizer.learning_rate for name, one in rates.items()}
    assert found == {"voice": 2e-4, "wide": 1e-4, "full": 1e-5, "audio": 1e-5}
    assert rates["wide"].adapter.alpha == 128
    assert settled(adapter__rank=16, adapter__rslora=True).adapter.alpha == 8
    assert settled(run__warmup=7).run.warmup_share is None
    assert settled(run__eval_every=7).run.evaluations is None
    assert settled(run__minutes=5).run.schedule == "trapezoid"
    assert settled(training__seed=4).mixture.seed == 4


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_settings(name: str) -> None:
    settings = built(TuneSettings, completed(PRESETS[name]))
    assert settings.mode == ("lora" if "adapter.rank" in PRESETS[name] else name)
    assert settings.adapter.alpha == 2 * settings.adapter.rank


def test_the_schema_and_the_free_settings_name_what_there_is() -> None:
    assert json.loads(schema(TuneSettings))["properties"].keys() >= {"mode", "run", "adapter"}
    assert flattened(TuneSettings()).keys() >= FREE


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"mode": "qlora", "adapter__init": "pissa"}, "changes the base"),
        ({"mode": "qlora", "adapter__dora": True}, "dora needs"),
        ({"adapter__parts": ["audio_head"]}, "one or more of"),
        ({"adapter__parts": ["attention"], "adapter__whole": ["attention"]}, "in whole too"),
        ({"adapter__rank": 0, "adapter__alpha": 1}, "rank must be"),
        ({"adapter__dropout": 1}, "dropout is"),
        ({"run__steps": 5, "run__epochs": 2}, "leave one out"),
        ({"run__patience": 0}, "patience is 0"),
        ({"batch_clips": 0}, "batch_clips is 0"),
        ({"replay_data": ["a"], "mixture__replay": 0}, "mixture.replay is 0"),
        ({"run__minutes": math.nan}, "minutes is nan"),
        ({"training__optimizer__weight_decay": math.nan}, "weight_decay is nan"),
    ],
)
def test_contradictions_are_refused(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(SettingError, match=says):
        settled(**wrong)
