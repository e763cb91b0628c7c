"""Which bodies of a batch a model computes, as an index that the host makes where it can."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lastkd.data.transfer import to_device

BodyCounts: TypeAlias = Tensor | NDArray[np.int64]
"""Each clip's number of bodies, `(B,)`, of which the first ones are present. As an array of NumPy
they stay in main memory (DDP moves a tensor to its device), and no GPU has to be waited for."""


@dataclass(frozen=True)
class BodyIndex:
    """The R bodies of a batch that are computed, clip by clip.

    Attributes:
        clip, body: of each, `(R,)` int64.
        per_clip: how many each clip has, `(B, 1)` int64.
    """

    clip: Tensor
    body: Tensor
    per_clip: Tensor

    @classmethod
    def of(cls, joint: Tensor, bodies: BodyCounts | None, *, every: bool) -> BodyIndex:
        """The index of a batch, on the device of its streams.

        Args:
            joint: `(B, 3, T, V, M)`.
            bodies: the clips' body counts; without them, a body that is all zeros in `joint` is
                absent.
            every: whether absent bodies are computed too.
        """
        B, M = joint.shape[0], joint.shape[-1]
        if every:
            present = torch.ones(B, M, dtype=torch.bool)
        elif bodies is not None:
            counts = torch.as_tensor(bodies)
            present = torch.arange(M, device=counts.device) < counts[:, None]
        else:
            present = joint.flatten(1, 3).any(dim=1)
        clip, body = present.nonzero().unbind(dim=1)
        parts = (clip, body, present.sum(dim=1))
        # one copy in place of three
        on_device = to_device(torch.cat(parts), joint.device).split([len(x) for x in parts])
        return cls(on_device[0], on_device[1], on_device[2].unsqueeze(1))

    def __len__(self) -> int:
        return len(self.clip)

    def sum_by_clip(self, rows: Tensor) -> Tensor:
        """Rows `(R, K)` summed over each clip's bodies, `(B, K)`."""
        return rows.new_zeros(len(self.per_clip), rows.shape[1]).index_add(0, self.clip, rows)
