"""LAST-v2 computed plainly, layer by layer, on `(N, C, T, V)`: the oracle of the fast one.

It calls the modules of a `LastV2` one after the other, as the public design is written down.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from lastkd.models import STREAMS, LastV2
from lastkd.models.blocks import symmetric_normalised
from lastkd.models.last_v2_layers import (
    AdaptiveGraphConv,
    LastV2Attention,
    LastV2Block,
    LinearAttention,
)

HEADS = 4


def plain_last_v2(model: LastV2, streams: Mapping[str, Tensor], bodies: Tensor) -> Tensor:
    """Logits `(B, K)` of streams `(B, 3, T, V, M)` and body counts `(B,)`."""
    B, M = streams["joint"].shape[0], streams["joint"].shape[-1]
    every = model.architecture.body_average == "all"
    counts = [M if every else int(count) for count in bodies]
    rows = [(clip, body) for clip in range(B) for body in range(counts[clip])]
    if not rows:
        return streams["joint"].new_zeros(B, model.num_classes)
    parts = [
        norm(torch.stack([streams[name][clip, ..., body] for clip, body in rows]))
        for norm, name in zip(model.data_bn, STREAMS, strict=True)
    ]
    x = torch.cat(parts)
    for block in model.backbone:
        x = plain_block(block, x)
    by_body = sum(model.fc(x.mean(dim=(2, 3))).chunk(len(STREAMS)))
    means = []
    for clip in range(B):
        own = [by_body[i] for i, row in enumerate(rows) if row[0] == clip]
        means.append(sum(own) / counts[clip] if own else by_body.new_zeros(model.num_classes))
    return torch.stack(means)


def plain_block(block: LastV2Block, x: Tensor) -> Tensor:
    y = plain_gates(block.st_att, F.relu(block.gcn_bn(plain_graph_conv(block.gcn, x))))
    if isinstance(block.tcn, LinearAttention):
        y = plain_linear_attention(block.tcn, y)
    else:
        for layer in block.tcn:
            y = layer(y.clone())
    return F.relu(y + block.residual_path(x))


def plain_graph_conv(gcn: AdaptiveGraphConv, x: Tensor) -> Tensor:
    nodes = F.normalize(gcn.node_proj(x.mean(dim=2, keepdim=True)).squeeze(2), dim=1)
    by_clip = (nodes.transpose(1, 2) @ nodes).softmax(dim=-1).unsqueeze(1)
    graphs = [*gcn.A_physical, symmetric_normalised(gcn.A_learned), by_clip]
    return sum(conv(x @ A) for conv, A in zip(gcn.subset_convs, graphs, strict=True))


def plain_gates(attention: LastV2Attention, x: Tensor) -> Tensor:
    gated = x * attention.temporal_att(x) * attention.spatial_att(x)
    return x + attention.alpha * (gated - x)


def plain_linear_attention(attention: LinearAttention, x: Tensor) -> Tensor:
    N, C, T, V = x.shape
    qkv = attention.qkv(x.permute(0, 3, 2, 1)).view(N, V, T, 3, HEADS, C // HEADS)
    q, k, v = qkv.permute(3, 0, 1, 4, 2, 5)
    q, k = F.elu(q) + 1, F.elu(k) + 1
    numerator = q @ (k.transpose(-1, -2) @ v)
    normaliser = (q @ k.sum(dim=-2).unsqueeze(-1)).clamp(min=1e-4)
    mixed = (numerator / normaliser).transpose(2, 3).reshape(N, V, T, C)
    image = attention.dropout(attention.proj(mixed)).permute(0, 3, 2, 1)
    if attention.stride == 1:
        return image
    return F.avg_pool2d(image, (3, 1), stride=(attention.stride, 1), padding=(1, 0))
