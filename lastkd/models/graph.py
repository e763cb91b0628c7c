"""Adjacency matrices of a skeleton's graph."""

from __future__ import annotations

import torch
from torch import Tensor

from lastkd.data.layouts import Layout


def subset_adjacency(layout: Layout) -> Tensor:
    """The three fixed subsets of a layout's graph, `(3, V, V)` float32.

    Subset 0 is the identity, 1 passes messages inward (`A[1, child, parent]`), 2 outward. Used as
    `out[w] = sum_v x[v] A[v, w]`, so each column is normalised to sum to one (or is all zero: the
    outermost joints receive nothing from further out), as in 2s-AGCN and CTR-GCN.
    """
    V = layout.num_joints
    A = torch.zeros(3, V, V)
    A[0] = torch.eye(V)
    for child, parent in layout.bones:
        A[1, child, parent] = 1
        A[2, parent, child] = 1
    return A / A.sum(dim=1, keepdim=True).clamp(min=1)


def symmetric_normalised(weights: Tensor) -> Tensor:
    """`D^-1/2 |W| D^-1/2` of a `(V, V)` matrix, D the row sums of |W| (at least 1e-6)."""
    A = weights.abs()
    scale = A.sum(dim=1).clamp(min=1e-6).rsqrt()
    return scale[:, None] * A * scale[None, :]
