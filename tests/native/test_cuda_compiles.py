"""What Triton's interpreter takes and its compiler refuses is found without a card."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.model.fused import fused_step
from faster_higgs.model.paged import PagedBatch
from faster_higgs.native.cuda import TOGETHER, CudaKernels
from faster_higgs.quant.apply import swap
from faster_higgs.quant.linear import PackedLinear
from faster_higgs.quant.quantization import Quantization
from tests.engine.conftest import CONFIG

pytestmark = pytest.mark.slow

SIZES = {"hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 1}
HEADS = {"num_attention_heads": 24, "num_key_value_heads": 8, "head_dim": 128}
PUBLISHED = replace(CONFIG, **SIZES, **HEADS)  # in all that a kernel is compiled for
UNEVEN = replace(CONFIG, hidden_size=328, intermediate_size=200, num_hidden_layers=1)
TYPES = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.float16: "*fp16"}


class OnlyCompiled(CudaKernels):
    """Compiles for a card of some capability what it is asked to start."""

    def __init__(self, capability):
        super().__init__()
        self.capability = capability
        self.sizes = {}  # of shared memory, by what was compiled

    def _start(self, name, grid, tensors, numbers, warps=8, **constants):
        from triton import compile
        from triton.backends.compiler import GPUTarget
        from triton.compiler import ASTSource

        kernel = getattr(self._triton, name)
        types, hints, constants = dict.fromkeys(constants, "constexpr"), {}, dict(constants)
        given = [*tensors, *numbers]
        for parameter, value in zip(kernel.params, given, strict=False):
            argument, place = parameter.name, (parameter.num,)
            if isinstance(value, torch.Tensor):
                types[argument] = TYPES.get(value.dtype, "*i32")
                hints[place] = [["tt.divisibility", 16]]
            elif isinstance(value, float):
                types[argument] = "fp32"
            elif value == 1 and not parameter.do_not_specialize:
                types[argument], constants[argument] = "constexpr", 1
            else:
                types[argument] = "i32"
                if value % 16 == 0 and not parameter.do_not_specialize:
                    hints[place] = [["tt.divisibility", 16]]
        if (key := (name, str(types), str(constants), str(hints))) not in self.sizes:
            source = ASTSource(kernel, types, constants, hints)
            target = GPUTarget("cuda", self.capability, 32)
            made = compile(source, target=target, options={"num_warps": warps})
            self.sizes[key] = made.metadata.shared


@torch.inference_mode()
@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("precision", [None, "int8", "int4", "fp8"])
@pytest.mark.parametrize("config", [PUBLISHED, UNEVEN])
def test_every_kernel_compiles_and_fits_into_small_cards(
    monkeypatch, config, precision, capability
):
    pytest.importorskip("triton")
    kernels = OnlyCompiled(capability)
    monkeypatch.setattr("faster_higgs.model.fused.load", lambda: kernels)
    with torch.device("meta"):
        model = DualFFN(config, text_head=False).bfloat16()
        if precision is not None:
            swap(model, Quantization(audio=precision))
        step = fused_step(model, model.new_pool(100))
        for rows in range(1, TOGETHER + 1):
            columns = torch.empty(rows, config.num_codebooks, dtype=torch.long)
            table = torch.empty(rows, 16 if rows == 1 else 64, dtype=torch.int32)
            batch = PagedBatch(model.new_pool(100), table, torch.empty(rows, dtype=torch.int32))
            step.logits(columns, batch)
        if isinstance(layer := model.layers[0].q_proj, PackedLinear):
            kernels.linear(torch.empty(3, config.hidden_size, dtype=torch.bfloat16), layer.stored())
            kernels.unpack(layer.stored(), torch.bfloat16)
    assert {"beside", "place", "attend", "together", "linear", "gated"} <= {
        key[0] for key in kernels.sizes
    }
    assert max(kernels.sizes.values()) < 99 * 1024
