"""Dropout whose masks are cheap on a CPU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEVELS = 1 << 16
"""A rate is kept to 1/65536 on a CPU: 0.1 becomes 0.100006."""


class Dropout(nn.Dropout):
    """`nn.Dropout`, with four mask elements to each 64-bit draw on a CPU.

    torch draws a CPU mask element by element, which is a tenth of a small model's training step.
    The masks are a function of torch's seed here too, but not those of `nn.Dropout`.
    """

    def forward(self, x: Tensor) -> Tensor:
        """`x` of any shape."""
        if not self.training or self.p == 0 or x.device.type != "cpu" or self.p == 1:
            return F.dropout(x, self.p, self.training)
        dropped = round(self.p * LEVELS)
        draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        kept = draws.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - LEVELS // 2
        # for autograd `kept` is a constant, and its product in x's own type is the fastest
        return x * kept * (LEVELS / (LEVELS - dropped))
