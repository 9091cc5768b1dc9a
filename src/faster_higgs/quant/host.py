"""Linear layers whose weights stay in main memory and visit the device only while they are used.

Knows nothing of files, nor when a model reads its text side.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from faster_higgs.errors import SettingError
from faster_higgs.quant.apply import precision_of
from faster_higgs.quant.quantization import Quantization

_TEXT_SIDE = Quantization(text="int8")  # asked for names only


class HostLinear(nn.Module):
    """y = x W^T without a bias; W is copied to where x is, for the one call.

    Decoding reads no such layer, so a prompt pays for the journey and the card has the room.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.weight = nn.Parameter(torch.empty(out_features, in_features), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight.to(x.device, non_blocking=True))

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}"

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> HostLinear:
        """Follows a cast of the model, not its move to a device."""
        if self.weight.is_meta:
            super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        else:
            like = fn(self.weight.new_empty(0))
            cast = on_host(self.weight.to(like.dtype), like.device)
            self.weight = nn.Parameter(cast, requires_grad=False)
        return self


def on_host(value: Tensor, device: torch.device | str) -> Tensor:
    """The tensor in main memory, pinned where that makes its way to `device` quicker."""
    value = value.cpu()
    pinned = torch.device(device).type == "cuda" and not value.is_pinned()
    return value.pin_memory() if pinned else value


def keep_text_on_host(model: nn.Module, device: torch.device | str) -> None:
    """Put host layers in place of the text side's linear ones, on meta; the loader fills them.

    Raises SettingError where the model runs in main memory anyway.
    """
    if torch.device(device).type == "cpu":
        raise SettingError(
            "On the processor the text side is in main memory already, so it cannot be kept on "
            "the host for it; take int8 or int4 to make it smaller."
        )
    linears = [
        (name, found) for name, found in model.named_modules() if isinstance(found, nn.Linear)
    ]
    for name, linear in linears:
        if precision_of(name, _TEXT_SIDE) is not None:
            assert linear.bias is None and linear.weight.is_meta
            with torch.device("meta"):
                model.set_submodule(name, HostLinear(linear.in_features, linear.out_features))
