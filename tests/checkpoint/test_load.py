"""Loading: every tensor in its place or one sentence that says which is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from faster_higgs.checkpoint.load import load_model
from faster_higgs.checkpoint.save import save_model
from faster_higgs.errors import CheckpointError, CheckpointNotFound
from faster_higgs.model.dual_ffn import DualFFN
from tests.model.tiny_model import tiny_config, tiny_model

LAYOUTS = ("original", "transformers")


@pytest.fixture(params=LAYOUTS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    save_model(tiny_model(), tiny_config(), tmp_path, request.param)
    return tmp_path


def rewrite(folder: Path, change: Any) -> None:
    """Store the tensors again after `change` has edited the dict."""
    tensors = {
        name: value.clone() for name, value in load_file(folder / "model.safetensors").items()
    }
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def same(left: DualFFN, right: DualFFN) -> None:
    for name, value in left.state_dict().items():
        assert torch.equal(value, right.state_dict()[name]), name


def message(folder: Path, error: type[CheckpointError] = CheckpointError) -> str:
    with pytest.raises(error) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_loaded_model_has_no_empty_weight(folder: Path) -> None:
    config, model = load_model(folder)
    assert config == tiny_config()
    same(tiny_model(), model)
    assert not any(tensor.is_meta for tensor in [*model.parameters(), *model.buffers()])


def test_dtype_and_text_head_are_chosen_while_loading(folder: Path) -> None:
    _, model = load_model(folder, dtype=torch.bfloat16, text_head=False)
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    assert "text_head.weight" not in model.state_dict()


def test_extra_prefix_split_tensors_and_rotary_buffers_are_accepted(tmp_path: Path) -> None:
    save_model(tiny_model(), tiny_config(), tmp_path, "original")

    def change(tensors: dict[str, Tensor]) -> None:
        table = tensors.pop("embed_tokens.weight")
        tensors["embed_tokens.embedding_frozen.weight"] = table[:40].clone()
        tensors["embed_tokens.embedding_trainable.weight"] = table[40:].clone()
        head = tensors.pop("audio_decoder_proj.audio_lm_head.weight")
        tensors["audio_lm_head.linear_frozen.weight"] = head[:3].clone()
        tensors["audio_lm_head.linear_trainable.weight"] = head[3:].clone()
        tensors["layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
        for name in list(tensors):
            tensors[f"model.{name}"] = tensors.pop(name)

    rewrite(tmp_path, change)
    same(tiny_model(), load_model(tmp_path)[1])


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_torch_file_is_read_as_tensors_only(folder: Path, wrapped: bool) -> None:
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save({"state_dict": tensors} if wrapped else tensors, folder / "model.pth")
    same(tiny_model(), load_model(folder)[1])


class Danger:
    """Runs code when unpickled without care."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (pytest.fail, ("a pickle was run",))


def test_a_torch_file_with_code_is_not_run(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"weight": Danger()}, folder / "model.pth")
    assert "holds more than tensors" in message(folder)


def test_a_missing_folder_and_an_empty_one_are_told_apart(tmp_path: Path) -> None:
    assert message(tmp_path / "none", CheckpointNotFound).startswith(
        "There is no checkpoint folder"
    )
    assert "holds no weights" in message(tmp_path, CheckpointNotFound)


def test_a_folder_without_config_says_so(folder: Path) -> None:
    (folder / "config.json").unlink()
    assert "has no config.json" in message(folder, CheckpointNotFound)
    (folder / "config.json").write_text("{")
    assert "is not JSON" in message(folder)


@pytest.mark.parametrize("keep", [0, 5, 200, -100])
def test_a_truncated_file_is_named_with_its_size(folder: Path, keep: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    assert f"of {path.stat().st_size:,} bytes is cut short or damaged" in message(folder)


def test_a_truncated_torch_file_is_named(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "model.pth")
    (folder / "model.safetensors").unlink()
    path = folder / "model.pth"
    path.write_bytes(path.read_bytes()[:2000])
    assert "model.pth' is cut short or damaged" in message(folder)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    save_model(tiny_model(), tiny_config(), tmp_path, "transformers", shard_bytes=20_000)
    shard = sorted(tmp_path.glob("model-00002-of-*.safetensors"))[0]
    shard.unlink()
    assert f"The shard '{shard.name}' named in" in message(tmp_path, CheckpointError)
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    assert "is not a list of shards" in message(tmp_path)


def test_a_wrong_shape_tells_name_found_and_expected(folder: Path) -> None:
    name = next(
        n for n in load_file(folder / "model.safetensors") if n.endswith("1.mlp.up_proj.weight")
    )
    rewrite(folder, lambda tensors: tensors.update({name: torch.zeros(7, 32)}))
    found = message(folder)
    assert f"{name} in" in found and "[7, 32]" in found and "[48, 32]" in found


def test_pieces_that_do_not_fit_are_named(tmp_path: Path) -> None:
    save_model(tiny_model(), tiny_config(), tmp_path, "original")

    def change(tensors: dict[str, Tensor]) -> None:
        del tensors["embed_tokens.weight"]
        tensors["embed_tokens.embedding_frozen.weight"] = torch.zeros(40, 32)
        tensors["embed_tokens.embedding_trainable.weight"] = torch.zeros(10, 31)

    rewrite(tmp_path, change)
    assert "do not fit together: embed_tokens.embedding_frozen.weight [40, 32]" in message(tmp_path)


def test_missing_and_unknown_tensors_are_counted_and_five_of_them_named(folder: Path) -> None:
    def change(tensors: dict[str, Tensor]) -> None:
        for name in [name for name in tensors if ".audio_mlp." in name][:7]:
            del tensors[name]
        tensors["audio_tower.weight"] = torch.ones(1)

    rewrite(folder, change)
    found = message(folder)
    assert "7 missing (" in found and " and 2 more)" in found
    assert "1 not known (audio_tower.weight)" in found


def test_a_config_of_another_size_is_not_quietly_accepted(folder: Path) -> None:
    data = json.loads((folder / "config.json").read_text())
    body = data.get("text_config", data)
    body["num_hidden_layers"] = 2
    data["audio_dual_ffn_layers"] = [0, 1]
    (folder / "config.json").write_text(json.dumps(data))
    assert "does not fit its config.json: tensors 14 not known" in message(folder)
    body["num_hidden_layers"] = 4
    data["audio_dual_ffn_layers"] = [0, 1, 2, 3]
    (folder / "config.json").write_text(json.dumps(data))
    assert "does not fit its config.json: tensors 14 missing" in message(folder)


def test_a_codec_where_the_model_should_be_is_recognised(folder: Path) -> None:
    save_file(
        {"quantizer.quantizers.0.codebook.embed": torch.ones(2)}, folder / "model.safetensors"
    )
    assert "holds a codec where the language model should be" in message(folder)


def test_any_other_model_is_refused_with_its_names(folder: Path) -> None:
    save_file({"model.layers.0.weight": torch.ones(2)}, folder / "model.safetensors")
    assert "is not a Higgs Audio v2 language model" in message(folder)
