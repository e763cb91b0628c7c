"""One raw clip to the streams of its evaluation view, in torch alone, so that it can be exported.

The same as `normalise`, the store and `Views.evaluation` one after the other, in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lastkd.data.layouts import MEAN_BONE, Layout
from lastkd.settings.views import ViewSettings

_NEGLIGIBLE = 1e-6  # in the data's own unit, as in `normalise`
_LARGE = 1 << 30


class SingleClip(nn.Module):
    """Raw joints of one clip to the MIB dict of a batch of one.

    The number of frames may differ from call to call.

    Args:
        layout: of the skeleton.
        views: how many frames a view has, and what share of the clip it spans.
    """

    steps: Tensor
    parents: Tensor

    def __init__(self, layout: Layout, views: ViewSettings) -> None:
        super().__init__()
        self.layout = layout
        self.test_crop = views.test_crop
        self.register_buffer("steps", torch.linspace(0, 1, views.frames), persistent=False)
        parents = [j if p < 0 else p for j, p in enumerate(layout.parents)]
        self.register_buffer("parents", torch.tensor(parents), persistent=False)

    def forward(self, joints: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Streams `(1, 3, T', V, M)` and the number of bodies `(1,)`, as a store counts them.

        A body that keeps its slot may be absent before one that is there, and counts too.

        Args:
            joints: `(T, M, V, 3)` in the data's own unit and coordinates, the bodies chosen and
                actor 1 first; an absent body is all zeros.
        """
        centred = self.centred(joints.float())
        x, present = self.resampled(centred)
        there = (joints != 0).flatten(2).any(dim=-1).any(dim=0)
        return self.streams(x, present), _last(there)

    def centred(self, joints: Tensor) -> Tensor:
        """`normalise.centre_and_scale`, same shape."""
        layout = self.layout
        D = layout.dimensions
        seen = (joints != 0).any(dim=-1)  # (T, M, V)
        if D == 3:
            seen = seen.any(dim=-1, keepdim=True).expand_as(seen)
        present = seen.any(dim=-1)  # (T, M)
        actor = _first(present.any(dim=0))
        points = joints[..., :D]
        body = points.index_select(1, actor).squeeze(1)  # (T, V, D)
        body_seen = seen.index_select(1, actor).squeeze(1)
        first = _first(body_seen.any(dim=-1))
        start = body.index_select(0, first).squeeze(0)
        start_seen = body_seen.index_select(0, first).squeeze(0).to(joints.dtype)

        origin = _mean(start[list(layout.origin)], start_seen[list(layout.origin)])
        anywhere = start_seen[list(layout.origin)].sum() > 0
        moved = points - torch.where(anywhere, origin, _mean(start, start_seen))
        if D == 3 and layout.across is not None:
            left, right = layout.across
            moved = _turned(moved, start[right] - start[left])
        moved = moved / self.unit_of_length(body, body_seen)
        moved = moved * seen.unsqueeze(-1).to(joints.dtype)
        return moved if D == 3 else torch.cat((moved, joints[..., D:]), dim=-1)

    def unit_of_length(self, points: Tensor, seen: Tensor) -> Tensor:
        """The torso length of one body's `(T, V, D)`, as `normalise` measures it; a scalar."""
        layout = self.layout
        child, parent = (list(ends) for ends in zip(*layout.bones, strict=True))
        unit = _mean_length(
            (points[:, child] - points[:, parent]).flatten(0, 1),
            (seen[:, child] & seen[:, parent]).flatten(),
        )
        if layout.torso is not None:
            unit = unit / MEAN_BONE
            if layout.rulers:
                starts, ends, lengths = (
                    list(column) for column in zip(*layout.rulers, strict=True)
                )
                measured = _mean_length(
                    points[:, starts] - points[:, ends], seen[:, starts] & seen[:, ends]
                )
                longest = (measured / measured.new_tensor(lengths)).amax(dim=0)
                unit = torch.where(longest > _NEGLIGIBLE, longest, unit)
            upper, lower = (list(group) for group in layout.torso)
            torso = _mean_length(
                points[:, upper].mean(dim=1) - points[:, lower].mean(dim=1),
                seen[:, upper + lower].all(dim=1),
            )
            unit = torch.where(torso > _NEGLIGIBLE, torso, unit)
        return torch.where(unit > _NEGLIGIBLE, unit, torch.ones_like(unit))

    def resampled(self, joints: Tensor) -> tuple[Tensor, Tensor]:
        """`Views._resample` of the centre crop: `(1, 3, T', V, M)` and presence `(T', M)`."""
        seen = (joints != 0).flatten(2).any(dim=-1)  # (T, M)
        last = torch.ones_like(joints[:, 0, 0, 0]).sum() - 1
        span = last * self.test_crop
        at = (last - span) * 0.5 + span * self.steps
        before = torch.minimum(at.floor(), last)
        after = torch.minimum(before + 1, last)
        here, there = before.long(), after.long()
        seen_here, seen_there = seen.index_select(0, here), seen.index_select(0, there)
        both = seen_here & seen_there
        weight = (at - before).unsqueeze(-1)
        # where a body comes or goes, the nearer frame counts: a mixture with zeros is no pose
        weight = torch.where(both, weight, weight.round())
        nearer = weight < 0.5
        present = (nearer & seen_here) | (~nearer & seen_there) | both
        a, b = joints.index_select(0, here), joints.index_select(0, there)
        x = a + (b - a) * weight[..., None, None]
        x = x * present[..., None, None].to(x.dtype)
        return x.permute(3, 0, 2, 1).unsqueeze(0), present

    def streams(self, joint: Tensor, present: Tensor) -> dict[str, Tensor]:
        """`Views._streams`, of `(1, 3, T', V, M)`."""
        both = (present[1:] & present[:-1]).to(joint.dtype)[None, None, :, None]
        steps = (joint[:, :, 1:] - joint[:, :, :-1]) * both
        parent = joint.index_select(3, self.parents)
        bone = joint - parent
        if self.layout.dimensions == 2:
            score = torch.minimum(joint[:, 2:, 1:], joint[:, 2:, :-1])
            steps = torch.cat((steps[:, :2], score), dim=1)
            bone = torch.cat((bone[:, :2], torch.minimum(joint[:, 2:], parent[:, 2:])), dim=1)
        velocity = torch.cat((steps, torch.zeros_like(joint[:, :, :1])), dim=2)
        return {"joint": joint, "velocity": velocity, "bone": bone}


def _first(there: Tensor) -> Tensor:
    """Index of the first true element of `(N,)`, 0 where there is none, `(1,)`."""
    places = torch.cumsum(torch.ones_like(there, dtype=torch.int64), dim=0) - 1
    place = torch.where(there, places, torch.full_like(places, _LARGE)).amin(dim=0, keepdim=True)
    return torch.where(place < _LARGE, place, torch.zeros_like(place))


def _last(there: Tensor) -> Tensor:
    """Number of the last true element of `(N,)`, counted from 1, `(1,)`; 0 where there is none."""
    numbers = torch.cumsum(torch.ones_like(there, dtype=torch.int64), dim=0)
    return (numbers * there).amax(dim=0, keepdim=True)


def _mean_length(lines: Tensor, seen: Tensor) -> Tensor:
    """Mean over the first axis of the lengths of lines `(N, ..., D)` that are seen `(N, ...)`."""
    weight = seen.to(lines.dtype)
    lengths = lines.square().sum(dim=-1).sqrt()
    return (lengths * weight).sum(dim=0) / weight.sum(dim=0).clamp(min=1)


def _mean(points: Tensor, seen: Tensor) -> Tensor:
    """Mean of the points `(N, D)` that are seen `(N,)`, `(D,)`."""
    return (points * seen[:, None]).sum(dim=0) / seen.sum().clamp(min=1)


def _turned(points: Tensor, line: Tensor) -> Tensor:
    """Points `(..., 3)` turned about y so that `line` `(3,)`, seen from above, lies along +x."""
    length = (line[0].square() + line[2].square()).sqrt()
    short = length < _NEGLIGIBLE
    safe = torch.where(short, torch.ones_like(length), length)
    cos = torch.where(short, torch.ones_like(length), line[0] / safe)
    sin = torch.where(short, torch.zeros_like(length), line[2] / safe)
    x, y, z = points.unbind(dim=-1)
    return torch.stack((cos * x + sin * z, y, cos * z - sin * x), dim=-1)
