"""`higgs merge`: what is written and told, the comparison, old flag names, refusals."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from faster_higgs.audio.files import read
from faster_higgs.checkpoint import merge as merging
from faster_higgs.checkpoint.adapter import read_adapter, write_adapter
from faster_higgs.checkpoint.load import load_model
from faster_higgs.checkpoint.tensors import INDEX
from tests.checkpoint.adapters import an_adapter

SHORT = ["--seed", 3, "--max_new_tokens", 30, "--device", "cpu"]


@pytest.fixture
def adapter(here: Path, tiny: Path) -> Path:
    """The folder of one that fits the tiny model and names it as its base."""
    write_adapter(here / "mine", an_adapter(load_model(tiny)[1], base=str(tiny)))
    return here / "mine"


def sound(run, out, *flags):
    assert run("say", "Hello.", "-o", out, *flags, *SHORT).code == 0
    return Path(out).read_bytes()


def test_a_merged_model_speaks_as_the_adapter(run, here, tiny, adapter):
    ended = run("merge", "--adapter", f"{adapter}=0.5", "--scale", "0.5", "--out", "out")
    assert ended.code == 0 and ended.out == f"{here / 'out'}\n"
    assert re.search(r"audio_mlp\.down +\d+ +\d+\.\d+%", ended.err) and "codec was" in ended.err
    merged = sound(run, "a.wav", "--model", "out")
    assert merged == sound(run, "b.wav", "--model", tiny, "--adapter", f"{adapter}=0.25")
    assert merged != sound(run, "c.wav", "--model", tiny)


def test_weights_are_cut_into_files_of_a_size_and_speak_the_same(run, here, tiny, adapter):
    flags = ["--adapter", adapter, "--verify", "--out"]
    assert run("merge", *flags, "one").code == 0
    assert run("merge", *flags, "many", "--shard-size", "0.02MB").code == 0
    assert not (here / "one" / INDEX).exists()
    named = set(json.loads((here / "many" / INDEX).read_text())["weight_map"].values())
    assert named == {path.name for path in (here / "many").glob("model*.safetensors")}
    assert len(named) > 3
    assert sound(run, "a.wav", "--model", "one") == sound(run, "b.wav", "--model", "many")


@pytest.mark.parametrize("name", ["--lora_adapter_path", "--lora_path"])
def test_the_old_flags_do_the_same(run, here, tiny, adapter, name):
    old = ["--base_model_path", tiny, name, adapter, "--output_path", "old", "--no_save_tokenizer"]
    assert run("merge", *old).code == 0
    assert run("merge", "--base", tiny, "--adapter", adapter, "--out", "out", "--verify").code == 0
    weights = [(here / folder / "model.safetensors").read_bytes() for folder in ("old", "out")]
    assert weights[0] == weights[1]
    assert not (here / "old" / "tokenizer.json").exists()
    assert (here / "out" / "tokenizer.json").exists()


def test_the_comparison_is_one(run, here, tiny, adapter):
    flags = ["--compare_models", "--test_input", "Hi <b>.", "--dtype", "bf16", "--device", "cpu"]
    ended = run("merge", "--adapter", adapter, "--out", "out", *flags)
    assert ended.code == 0, ended.err
    folder = here / "out" / "comparison"
    found = json.loads((folder / "comparison.json").read_text())
    assert found["base_divergence"] > 0.01 > found["merged_divergence"] >= -1e-6
    assert found["base_agreement"] < found["merged_agreement"] == 1
    assert found["merged_difference"] <= 1e-3
    for name in ("base", "adapter", "merged"):
        assert len(read(folder / f"{name}.wav"))
    page = (folder / "report.html").read_text()
    assert page.count("data:audio/wav;base64,") == 3 and "The merge is exact" in page
    assert "Hi &lt;b&gt;." in page and "http" not in page


@pytest.mark.parametrize("defect", ["narrow", "scale"])
def test_the_comparison_finds_a_wrong_merge(run, here, tiny, adapter, monkeypatch, defect):
    right = merging.folded_all

    def wrong(name, weight, adapters):
        if defect == "scale":
            return right(name, weight, [one._replace(factor=0.99) for one in adapters])
        return right(name, weight.bfloat16(), adapters).bfloat16().float()

    monkeypatch.setattr(merging, "folded_all", wrong)
    flags = ["--compare-models", "--test-input", "Hi.", "--dtype", "fp32", "--device", "cpu"]
    ended = run("merge", "--adapter", adapter, "--out", "out", *flags)
    assert ended.code == 1 and "is not what its adapter makes" in ended.err
    assert "The merge is wrong" in (here / "out" / "comparison" / "report.html").read_text()


def test_an_adapter_is_taken_out_again(run, here, tiny, adapter):
    merged = ["merge", "--adapter", adapter, "--out", "out", "--dtype", "fp32"]
    assert run(*merged, "--layout", "boson").code == 0
    ended = run("merge", "--extract", "out", "--base", tiny, "--rank", 4, "--out", "again")
    assert ended.code == 0 and "100.00% of the squared change" in ended.err
    name = "layers.1.q_proj.weight"
    whole = load_model(here / "out")[1].get_parameter(name)
    from faster_higgs.checkpoint.adapter import Weighted

    found = load_model(tiny, adapters=[Weighted(read_adapter(here / "again"))])[1]
    torch.testing.assert_close(found.get_parameter(name), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ([], "Missing option '--out'"),
        (["--out", "o"], "nothing to merge"),
        (["--out", "o", "--adapter", "none"], "no folder 'none'"),
        (["--out", "o", "--adapter", "mine", "--dtype", "int8"], "'int8'; use one of bf16"),
        (["--out", "o", "--adapter", "mine", "--layout", "gguf"], "use hf or boson"),
        (["--out", "o", "--adapter", "mine", "--rank", 4], "--rank belongs to --extract"),
        (["--out", "o", "--adapter", "mine", "--test_input", "Hi"], "belongs to --compare-models"),
        (["--out", "no/o", "--adapter", "mine"], "make it first"),
        (["--out", "mine", "--adapter", "mine"], "is not empty"),
        (["--out", "o", "--extract", "x"], "give --base"),
        (["--out", "o", "--extract", "x", "--adapter", "mine"], "--adapter does not go with"),
        (["--out", "o", "--extract", "x", "--scale", 0], "--scale does not go with"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(run, here, adapter, flags, told):
    ended = run("merge", *flags)
    assert ended.code == 2 and told in ended.error
    assert sorted(path.name for path in here.iterdir()) == ["mine"]


def test_an_adapter_that_names_no_base_needs_one(run, here, tiny):
    write_adapter(here / "mine", an_adapter(load_model(tiny)[1]))
    assert "name no model as their base" in run("merge", "--adapter", "mine", "--out", "o").error
    write_adapter(here / "mine", an_adapter(load_model(tiny)[1], base="no/such"))
    ended = run("merge", "--adapter", "mine", "--out", "o")
    assert ended.code == 2 and "'no/such'" in ended.error and "name it with --base." in ended.error


def test_the_folder_of_a_training_will_do(run, here, tiny, adapter):
    (here / "run").mkdir()
    adapter.rename(here / "run" / "adapter")
    assert sound(run, "a.wav", "--adapter", "run") == sound(
        run, "b.wav", "--model", tiny, "--adapter", here / "run" / "adapter"
    )
    ended = run("merge", "--base_model_path", "run", "--lora_path", "run", "--output_path", "out")
    assert ended.code == 0 and "the base is the one that it names" in ended.err
