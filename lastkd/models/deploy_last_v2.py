"""LAST-v2 for export: the logits of `LastV2`, with shapes that don't depend on the data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from lastkd.models.blocks import Weights
from lastkd.models.bodies import BodyCounts
from lastkd.models.last_v2_layers import classified
from lastkd.settings.architecture import STREAMS


class DeployLastV2(nn.Module):
    """A `LastV2` in evaluation that computes absent bodies too and gives them no weight.

    Which bodies are present would decide about shapes, and an exported graph has none that depend
    on the data.

    Args:
        data_bn, backbone, fc: the parts of the trained model, shared with it.
        average_present: whether logits are averaged over the present bodies, else over all.
    """

    def __init__(
        self,
        data_bn: Iterable[nn.Module],
        backbone: nn.Sequential,
        fc: nn.Module,
        average_present: bool,
    ) -> None:
        super().__init__()
        self.data_bn = nn.ModuleList(data_bn)
        self.backbone, self.fc = backbone, fc
        self.average_present = average_present

    def forward(self, streams: Mapping[str, Tensor], bodies: BodyCounts | None = None) -> Tensor:
        """Logits `(1, K)` of one clip.

        Args:
            streams: `joint`, `velocity` and `bone`, each `(1, 3, T, V, M)`.
            bodies: the number of bodies, `(1,)`; the first ones are present. Without it, a body
                that is all zeros in `joint` is absent.
        """
        folded = []
        for norm, name in zip(self.data_bn, STREAMS, strict=True):
            folded.append(norm(streams[name].permute(0, 4, 1, 2, 3).flatten(0, 1)))
        x = torch.cat(folded)
        logits = classified(x, self.backbone, self.fc, Weights(self, x.dtype))
        by_body = logits.unflatten(0, (len(STREAMS), -1)).sum(dim=0)
        weight = torch.ones_like(by_body)
        if self.average_present:
            joint = streams["joint"]
            if bodies is None:
                present = (joint != 0).flatten(1, 3).any(dim=1)  # (1, M)
            else:
                counts = torch.as_tensor(bodies, device=joint.device)
                present = torch.arange(joint.shape[-1], device=joint.device) < counts[:, None]
            weight = present.t().to(by_body.dtype)
        mean: Tensor = (by_body * weight).sum(dim=0, keepdim=True)
        return mean / weight.sum(dim=0, keepdim=True).clamp(min=1)
