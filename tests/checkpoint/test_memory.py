"""Loading takes little more memory than the weights have, whatever file they come from."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from faster_higgs.checkpoint.codec_files import load_codec, save_codec
from faster_higgs.checkpoint.load import load_model
from faster_higgs.checkpoint.save import save_model
from faster_higgs.codec.codec import Codec
from faster_higgs.model.dual_ffn import DualFFN
from tests.codec.conftest import TINY
from tests.fresh import Fresh
from tests.model.tiny_model import tiny_config, tiny_model

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")

# Peak memory of loading, in a process that has loaded `small` before, over that of weights.
MEASURE = r"""
import re, sys, torch
from pathlib import Path
from faster_higgs.checkpoint.codec_files import load_codec
from faster_higgs.checkpoint.load import load_model
what, small, large, dtype = sys.argv[1:]
def high():  # getrusage would count what the parent process held, too
    return int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) * 1024
def load(folder):
    if what == "model":
        return load_model(folder, dtype=getattr(torch, dtype))[1]
    return load_codec(Path(folder), dtype=getattr(torch, dtype), encoder=what == "codec")
load(small)
before = high()
weights = load(large).state_dict().values()
total = sum(float(weight.sum()) for weight in weights)
print((high() - before) / sum(weight.nbytes for weight in weights))
"""


def as_torch_file(folder: Path) -> None:
    tensors = {}
    for path in sorted(folder.glob("model*.safetensors")):
        tensors |= load_file(path)
        path.unlink()
    (folder / "model.safetensors.index.json").unlink(missing_ok=True)
    torch.save(tensors, folder / "model.pth")


@pytest.fixture(scope="module", params=["safetensors", "pth"])
def models(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A small model, and one of about 300 MB, in several shards or one torch file."""
    small, large = tmp_path_factory.mktemp("small"), tmp_path_factory.mktemp("large")
    sizes = {"hidden_size": 512, "intermediate_size": 2048, "vocab_size": 2000}
    config = tiny_config(**sizes, num_hidden_layers=12)
    with torch.device("meta"):
        model = DualFFN(config)
    model.to_empty(device="cpu").initialize()
    save_model(tiny_model(), tiny_config(), small, "original")
    save_model(model, config, large, "original", shard_bytes=60_000_000)
    assert sum(path.stat().st_size for path in large.iterdir()) > 300_000_000
    if request.param == "pth":
        as_torch_file(small)
        as_torch_file(large)
    return small, large


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_model_takes_its_weights_and_little_more(
    fresh: Fresh, models: tuple[Path, Path], dtype: str
) -> None:
    assert float(fresh(MEASURE, "model", *models, dtype)) < 1.1


@pytest.fixture(scope="module", params=["original", "transformers"])
def codecs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A small codec, and one with the published decoder and a HuBERT of two layers."""
    small, large = tmp_path_factory.mktemp("small"), tmp_path_factory.mktemp("large")
    hubert = replace(
        TINY.hubert,
        hidden_size=768,
        num_attention_heads=12,
        intermediate_size=3072,
        conv_dim=(512,) * 7,
        num_conv_pos_embeddings=128,
        num_conv_pos_embedding_groups=16,
    )
    config = replace(
        TINY, encoder_hidden_size=32, decoder_hidden_size=1024, hidden_size=256, hubert=hubert
    )
    with torch.device("meta"):
        codec = Codec(config, training_parts=True)
    codec.to_empty(device="cpu")
    for value in codec.state_dict().values():
        value.fill_(0.01)
    save_codec(Codec(TINY), small, request.param)
    save_codec(codec, large, request.param)
    return small, large


@pytest.mark.parametrize("what", ["codec", "decoder"])
def test_a_codec_takes_its_weights_and_little_more(
    fresh: Fresh, codecs: tuple[Path, Path], what: str
) -> None:
    assert float(fresh(MEASURE, what, *codecs, "float32")) < 1.1


def test_rows_put_together_are_the_tensor(tmp_path: Path) -> None:
    config = replace(TINY, encoder_hidden_size=16, decoder_hidden_size=256, hidden_size=64)
    codec = Codec(config, training_parts=True)
    assert max(value.numel() for value in codec.state_dict().values()) > 200_000
    save_codec(codec, tmp_path, "original")
    loaded = load_codec(tmp_path, training_parts=True).state_dict()
    for name, value in codec.state_dict().items():
        assert torch.equal(loaded[name], value), name


def test_a_torch_file_is_cast_while_it_is_read(tmp_path: Path) -> None:
    save_model(tiny_model(), tiny_config(), tmp_path, "original")
    expected = load_model(tmp_path, dtype=torch.bfloat16)[1].state_dict()
    as_torch_file(tmp_path)
    found = load_model(tmp_path, dtype=torch.bfloat16)[1].state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
