"""One raw clip to the streams of its evaluation view, in torch alone, so that it can be exported.

The same as `normalise`, the store and `Views.evaluation` one after the other, in float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lastkd.data.layouts import MEAN_BONE, Layout
from lastkd.settings.views import ViewSettings

_NEGLIGIBLE = 1e-6  # in the data's own unit, as in `normalise`

Combination = Sequence[tuple[int, float]]
"""A weighted sum of joints: (joint, weight) pairs."""


class SingleClip(nn.Module):
    """Raw joints of one clip to the MIB dict of a batch of one.

    The number of frames may differ from call to call. Of so few numbers, starting an operation
    costs as much as the operation: whatever is linear in the joints is one product with a constant
    matrix, and channels come first, `(C, M, T, V)`, so that factors of a channel or a frame are
    spread over one piece of memory.

    Args:
        layout: of the skeleton.
        views: how many frames a view has, and what share of the clip it spans.
    """

    steps: Tensor
    next_frame: Tensor
    has_next: Tensor
    marks: Tensor
    turn: Tensor
    lines: Tensor
    line_ends: Tensor
    bones: Tensor
    parents: Tensor

    def __init__(self, layout: Layout, views: ViewSettings) -> None:
        super().__init__()
        self.layout = layout
        self.test_crop = views.test_crop
        V, frames = layout.num_joints, views.frames
        left, right = layout.across or (0, 0)
        lines = [*_torso(layout), *_rulers(layout), *_bones(layout)]
        parents = [joint if p < 0 else p for joint, p in enumerate(layout.parents)]
        constants = {
            "steps": torch.linspace(0, 1, frames),
            "next_frame": torch.arange(1, frames + 1).clamp(max=frames - 1),
            "has_next": (torch.arange(frames) < frames - 1).float()[:, None],
            "marks": _columns(V, [_mean(layout.origin), _line(left, right)]),
            # (cos, sin, 1) to a rotation about y, row by row
            "turn": torch.tensor(
                [
                    [1.0, 0, 0, 0, 0, 0, 0, 0, 1],
                    [0.0, 0, 1, 0, 0, 0, -1, 0, 0],
                    [0.0, 0, 0, 0, 1, 0, 0, 0, 0],
                ]
            ),
            "lines": _columns(V, lines),
            "line_ends": (_columns(V, lines) != 0).float(),
            "bones": _columns(V, [_line(parent, joint) for joint, parent in enumerate(parents)]),
            "parents": torch.tensor(parents),
        }
        for name, values in constants.items():
            self.register_buffer(name, values, persistent=False)

    def forward(self, joints: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Streams `(1, 3, T', V, M)` and the number of bodies `(1,)`, as a store counts them.

        A body that keeps its slot may be absent before one that is there, and counts too.

        Args:
            joints: `(T, M, V, 3)` in the data's own unit and coordinates, the bodies chosen and
                actor 1 first; an absent body is all zeros.
        """
        x = joints.float().permute(3, 1, 0, 2)  # (C, M, T, V)
        size = x.abs()
        present = (size.amax(dim=(0, 3)) > 0).to(x.dtype)  # (M, T)
        # in space a joint may well lie at the origin; only a whole body is absent
        planar = self.layout.dimensions == 2
        seen = (size.amax(dim=0) > 0).to(x.dtype) if planar else present[..., None]
        resampled, there = self.resampled(self.centred(x, seen, present), present)
        streams = {
            name: stream.permute(0, 2, 3, 1).unsqueeze(0)
            for name, stream in self.streams(resampled, there).items()
        }
        return streams, _last(present.amax(dim=1) > 0)

    def centred(self, x: Tensor, seen: Tensor, present: Tensor) -> Tensor:
        """`normalise.centre_and_scale`, same shape; what isn't seen is 0 in the image plane alone.

        Args:
            x: `(C, M, T, V)`.
            seen: 1 and 0, `(M, T, V)` in the image plane, `(M, T, 1)` in space.
            present: 1 and 0, `(M, T)`.
        """
        if x.shape[1] == 1:
            body, body_seen, body_present = x[:, 0], seen[0], present[0]
        else:
            actor = _first(present.amax(dim=1))
            body = x.index_select(1, actor).squeeze(1)
            body_seen = seen.index_select(0, actor).squeeze(0)
            body_present = present.index_select(0, actor).squeeze(0)
        first = _first(body_present)
        start = body.index_select(1, first).squeeze(1)  # (C, V)
        unit = self.unit_of_length(body[: self.layout.dimensions], body_seen)
        if self.layout.dimensions == 2:
            origin = self._seen_origin(start[:2], body_seen.index_select(0, first).squeeze(0))
            moved = (x[:2] - origin[:, None, None, None]) / unit * seen
            return torch.cat((moved, x[2:]))
        origin, across = (start @ self.marks).unbind(dim=1)
        moved = x - origin[:, None, None, None]
        if self.layout.across is None:
            return moved / unit
        turned = (self._turn(across) / unit) @ moved.reshape(3, -1)
        return turned.view_as(moved)

    def unit_of_length(self, points: Tensor, seen: Tensor) -> Tensor:
        """The torso length of one body, as `normalise` measures it; a scalar.

        Args:
            points: `(D, T, V)`.
            seen: 1 and 0, `(T, V)`, or `(T, 1)` where a body is seen whole or not at all.
        """
        lengths = torch.linalg.vector_norm(points @ self.lines, dim=0)  # (T, lines)
        if seen.shape[1] == 1:
            whole = seen.expand_as(lengths)
        else:
            whole = ((1 - seen) @ self.line_ends == 0).to(points.dtype)
        total, count = (lengths * whole).sum(dim=0), whole.sum(dim=0)
        mean = total / count.clamp(min=1)
        torsos, rulers = len(_torso(self.layout)), len(_rulers(self.layout))
        bones = torsos + rulers
        unit = total[bones:].sum() / count[bones:].sum().clamp(min=1)
        if rulers:
            longest = mean[torsos:bones].amax(dim=0)
            unit = torch.where(longest > _NEGLIGIBLE, longest, unit)
        if torsos:
            unit = torch.where(mean[0] > _NEGLIGIBLE, mean[0], unit)
        return torch.where(unit > _NEGLIGIBLE, unit, torch.ones_like(unit))

    def resampled(self, x: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """`Views._resample` of the centre crop: `(C, M, T', V)` and presence `(M, T')`, 1 and 0."""
        last = torch.ones_like(present[0]).sum() - 1
        span = last * self.test_crop
        at = (last - span) * 0.5 + span * self.steps
        before = torch.minimum(at.floor(), last)
        here, there = before.long(), torch.minimum(before + 1, last).long()
        seen_here, seen_there = present.index_select(1, here), present.index_select(1, there)
        weight = at - before
        # where a body comes or goes, the nearer frame counts: a mixture with zeros is no pose
        weight = torch.where(seen_here * seen_there > 0, weight, weight.round())
        of_here, of_there = (1 - weight) * seen_here, weight * seen_there  # (M, T')
        a, b = x.index_select(2, here), x.index_select(2, there)
        mixed = a * of_here.unsqueeze(-1) + b * of_there.unsqueeze(-1)
        return mixed, (of_here + of_there > 0).to(x.dtype)

    def streams(self, joint: Tensor, present: Tensor) -> dict[str, Tensor]:
        """`Views._streams`, `(C, M, T', V)` each.

        Args:
            joint: `(C, M, T', V)`.
            present: 1 and 0, `(M, T')`.
        """
        following = joint.index_select(2, self.next_frame)
        both = (present * present.index_select(1, self.next_frame)).unsqueeze(-1)
        if self.layout.dimensions == 3:
            return {
                "joint": joint,
                "velocity": (following - joint) * both,
                "bone": joint @ self.bones,
            }
        score, parent = joint[2:], joint[2:].index_select(3, self.parents)
        steps = torch.cat((following[:2] - joint[:2], torch.minimum(following[2:], score)))
        bone = torch.cat((joint[:2] @ self.bones, torch.minimum(score, parent)))
        return {"joint": joint, "velocity": steps * both * self.has_next, "bone": bone}

    def _seen_origin(self, start: Tensor, seen: Tensor) -> Tensor:
        """`(2,)`: the mean of the origin's joints that are seen, else of all that are."""
        whole = (start * seen).sum(dim=1) / seen.sum().clamp(min=1)
        place = self.marks[:, 0] * seen
        share = place.sum()
        safe = torch.where(share > 0, share, torch.ones_like(share))
        return torch.where(share > 0, (start @ place) / safe, whole)

    def _turn(self, line: Tensor) -> Tensor:
        """`(3, 3)` rotation about y that turns a line `(3,)`, seen from above, to +x."""
        flat = line[0::2]
        length = torch.linalg.vector_norm(flat)
        ahead = torch.ones_like(line[:1])
        none = torch.cat((ahead, torch.zeros_like(ahead)))
        direction = torch.where(length < _NEGLIGIBLE, none, flat / length.clamp(min=_NEGLIGIBLE))
        return (torch.cat((direction, ahead)) @ self.turn).view(3, 3)


def _torso(layout: Layout) -> list[Combination]:
    """From the middle of the hips to that of the shoulders, where the layout names them."""
    if layout.torso is None:
        return []
    upper, lower = layout.torso
    return [[*_mean(upper), *((joint, -weight) for joint, weight in _mean(lower))]]


def _rulers(layout: Layout) -> list[Combination]:
    """The layout's rulers, each as long as a torso."""
    if layout.torso is None:
        return []
    return [_line(start, end, 1 / length) for start, end, length in layout.rulers]


def _bones(layout: Layout) -> list[Combination]:
    """The bones, their mean as long as a torso where the layout names one."""
    scale = 1.0 if layout.torso is None else 1 / MEAN_BONE
    return [_line(parent, child, scale) for child, parent in layout.bones]


def _line(start: int, end: int, scale: float = 1.0) -> Combination:
    return [(end, scale), (start, -scale)]


def _mean(joints: Sequence[int]) -> Combination:
    return [(joint, 1 / len(joints)) for joint in joints]


def _columns(joints: int, combinations: Sequence[Combination]) -> Tensor:
    """`(joints, combinations)` for a product with `(..., joints)`."""
    matrix = torch.zeros(joints, len(combinations))
    for column, combination in enumerate(combinations):
        for joint, weight in combination:
            matrix[joint, column] += weight
    return matrix


def _first(there: Tensor) -> Tensor:
    """Index of the first 1 among 1 and 0 `(N,)`, 0 where there is none, `(1,)`."""
    return there.argmax(dim=0, keepdim=True)


def _last(there: Tensor) -> Tensor:
    """Number of the last true element of `(N,)`, counted from 1, `(1,)`; 0 where there is none."""
    numbers = torch.cumsum(torch.ones_like(there, dtype=torch.int64), dim=0)
    return (numbers * there).amax(dim=0, keepdim=True)
