"""`--adapter`: a model with something on top."""

from __future__ import annotations

from pathlib import Path

import pytest

from faster_higgs.checkpoint.adapter import Weighted, folded_all, write_adapter
from faster_higgs.checkpoint.load import load_model
from faster_higgs.checkpoint.save import save_model
from faster_higgs.cli import adapters
from faster_higgs.errors import SettingError
from tests.checkpoint.adapters import an_adapter

SHORT = ["--seed", 3, "--max_new_tokens", 30, "--device", "cpu"]


@pytest.fixture
def adapter(here: Path, tiny: Path) -> Path:
    """The folder of one that fits the tiny model."""
    write_adapter(here / "mine", an_adapter(load_model(tiny)[1], fingerprint="other"))
    return here / "mine"


def test_it_speaks_as_the_model_with_the_change_in_its_files(run, here, tiny, adapter):
    import shutil

    shutil.copytree(tiny, here / "changed")
    config, model = load_model(tiny)
    change = [Weighted(an_adapter(model), 0.5)]
    values = model.state_dict().items()
    model.load_state_dict({name: folded_all(name, value, change) for name, value in values})
    save_model(model, config, here / "changed")
    ended = run("say", "Hi.", "--model", tiny, "--adapter", f"{adapter}=0.5", "-o", "a.wav", *SHORT)
    assert ended.code == 0 and "trained on other weights" in ended.err
    assert run("say", "Hi.", "--model", "changed", "-o", "b.wav", *SHORT).code == 0
    assert run("say", "Hi.", "--model", tiny, "-o", "c.wav", *SHORT).code == 0
    with_adapter, changed, plain = ((here / f"{name}.wav").read_bytes() for name in "abc")
    assert with_adapter == changed != plain


def test_what_cannot_be_is_told_in_one_line(run, here, tiny, adapter):
    for given, told in [("none", "no folder 'none'"), (f"{adapter}=much", "'much' is no number")]:
        ended = run("say", "Hello.", "--model", tiny, "--adapter", given, *SHORT)
        assert ended.code == 2 and told in ended.error
    assert run("export", "--to", "int8", tiny, "small").code == 0
    ended = run("say", "Hello.", "--model", "small", "--adapter", adapter, "--quiet", *SHORT)
    assert ended.code == 2 and "higgs merge" in ended.error


def test_a_folder_may_have_an_equals_sign_in_its_name(here):
    (here / "a=2").mkdir()
    assert adapters.named(["a=2", "a=2=0.5", "b=2"]) == [("a=2", 1.0), ("a=2", 0.5), ("b", 2.0)]
    assert adapters.named(None) == []
    with pytest.raises(SettingError, match="no number"):
        adapters.named(["b="])


def test_a_server_elsewhere_takes_none(run, here):
    ended = run("serve", "--engine", "http://127.0.0.1:9", "--port", 0, "--adapter", "a")
    assert ended.code == 2 and "--adapter belongs to a model here" in ended.err
