"""NTU RGB+D's raw `.skeleton` text, parsed in whole arrays.

Line 1 is the frame count. Each frame: a line with its body count (may be 0); each body: a line of
10 values (its id of 17 digits first), a line with the joint count 25, and 25 lines of 12 values
whose first three are x, y, z in metres (camera frame, y up). Texts of the same form with the 20
joints of a Kinect v1 or the 32 of an Azure Kinect are read too.

NTU 60 alone is 5.8 GB of such lines, so nothing here runs once for each line except where a file is
malformed and the place has to be named.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lastkd.data.bodies import BodyTrack
from lastkd.data.clip import FloatArray

NUM_JOINTS = 25
KNOWN_JOINTS = (25, 20, 32)
BODY_VALUES, JOINT_VALUES = 10, 12

_POWERS_OF_TEN = 10.0 ** np.arange(17)
_BITS_BEFORE = np.array([63, 56, 48, 40, 32, 24, 16, 8, *[0] * 9], np.uint64)
"""What a word of eight characters is shifted by so that its last 0 to 8 are left (or all of them,
of more)."""

Indices = NDArray[np.intp]
Words = NDArray[np.uint64]


class MalformedError(ValueError):
    """What is wrong with a text, without its file's name."""


class Recording(NamedTuple):
    """All bodies of one text: `tracks` in the order of their first appearance, with joints
    `(N, V, 3)` float32 in metres; their frames count from 0 within `total_frames`."""

    tracks: list[BodyTrack]
    total_frames: int
    num_joints: int = NUM_JOINTS


def parse_skeleton(text: bytes) -> Recording:
    """The bodies of a `.skeleton` text.

    Raises:
        MalformedError: the text is not of the form that the module describes, or a position is not
            a finite number.
    """
    try:
        return _parse(_Lines(text))
    except MalformedError:
        # odd spacing (tabs, blanks at a line's end) is no reason to refuse a file
        tidy = b"\n".join(b" ".join(line.split()) for line in text.splitlines())
        if tidy == text.replace(b"\r\n", b"\n").rstrip(b"\n"):
            raise
    return _parse(_Lines(tidy))


class _Lines:
    """A text with the place of every line and value.

    Attributes:
        starts, ends: `(L,)`, each line is `text[start:end]`.
        breaks: where blanks and newlines are; `first[line]` is a line's first one among them.
        values: `(L,)` how many values each line has.
    """

    def __init__(self, text: bytes) -> None:
        ends_well = text[-1:] == b"\n" and not text[-2:-1].isspace()
        self.text = text if ends_well else text.rstrip() + b"\n"
        self.chars = np.frombuffer(self.text, np.uint8)
        # one comparison of all characters, and the others of the few that are left
        breaks = np.flatnonzero(self.chars <= ord(" "))
        which = self.chars[breaks]
        is_newline = which == ord("\n")
        is_break = is_newline | (which == ord(" "))
        if not is_break.all():  # tabs and carriage returns belong to the values
            breaks, is_newline = breaks[is_break], is_newline[is_break]
        self.breaks = breaks
        newlines = np.flatnonzero(is_newline)
        self.ends = self.breaks[newlines]
        self.starts = np.concatenate([[0], self.ends[:-1] + 1])
        self.first = np.concatenate([[0], newlines[:-1] + 1])
        self.values = newlines - self.first + 1

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, line: int) -> bytes:
        return self.text[self.starts[line] : self.ends[line]]

    def value(self, line: int, index: int) -> bytes:
        """One value, before the last, of a line."""
        at = self.first[line] + index
        begin = self.breaks[at - 1] + 1 if index else self.starts[line]
        return self.text[begin : self.breaks[at]]

    def count(self, line: int, what: str) -> int:
        if line >= len(self):
            raise MalformedError(f"it ends after line {len(self)}, where a {what} should follow")
        word = self[line].strip()
        if not word and len(self) == 1:
            raise MalformedError("it is empty")
        # int() alone would take "+1" and "1_0"; no count has more than a few digits
        if not word.isdigit() or len(word) > 9:
            raise MalformedError(f"line {line + 1} has {_shown(word)} for a {what}")
        return int(word)


def _parse(lines: _Lines) -> Recording:
    total_frames = lines.count(0, "frame count")
    V = _joint_count(lines)
    body_lines, frames = _regular_outline(lines, total_frames, V) or _outline(
        lines, total_frames, V
    )
    if not len(body_lines):
        return Recording([], total_frames)
    joint_lines = (body_lines[:, None] + np.arange(2, 2 + V)).ravel()
    _check_values(lines, body_lines, BODY_VALUES)
    _check_values(lines, joint_lines, JOINT_VALUES)

    first = lines.first[joint_lines]
    ends = lines.breaks[first + np.arange(3)[:, None]]
    begins = np.stack([lines.starts[joint_lines], ends[0] + 1, ends[1] + 1])
    positions = _read_numbers(lines, begins.ravel(), ends.ravel()).reshape(3, -1)
    with np.errstate(over="ignore"):  # what a float32 can't hold becomes infinite, and is reported
        joints: FloatArray = positions.T.astype(np.float32, order="C")
    if not np.isfinite(joints).all():
        row, axis = np.argwhere(~np.isfinite(joints))[0]
        line = int(joint_lines[row])
        word = _shown(lines.value(line, axis))
        raise MalformedError(f"line {line + 1} has {word} for a position")
    joints = joints.reshape(-1, V, 3)
    return Recording(_tracks(lines, body_lines, frames, joints), total_frames, V)


def _joint_count(lines: _Lines) -> int:
    """How many joints the first body has; the usual number where there is none to see."""
    is_body = lines.values == BODY_VALUES
    body = int(is_body.argmax())
    if is_body[body] and body + 1 < len(lines):
        word = lines[body + 1].strip()
        for count in KNOWN_JOINTS:
            if word == b"%d" % count:
                return count
    return NUM_JOINTS


def _regular_outline(lines: _Lines, total_frames: int, V: int) -> tuple[Indices, Indices] | None:
    """Body lines and the frame of each, found by how many values the lines have.

    None if the counts contradict it; `_outline` then reads the counts one after the other.
    """
    body_lines = np.flatnonzero(lines.values == BODY_VALUES)
    is_count = lines.values == 1
    is_count[:1] = False  # the frame count
    joint_counts = body_lines + 1
    if len(joint_counts) and joint_counts[-1] >= len(lines):
        return None
    is_count[joint_counts] = False
    frame_lines = np.flatnonzero(is_count)
    if len(frame_lines) != total_frames or not len(body_lines):
        return None
    starts = lines.starts
    bodies = lines.chars[starts[frame_lines]].astype(np.intp) - ord("0")
    widths = (lines.ends - starts) - (lines.chars[lines.ends - 1] == ord("\r"))
    regular = (
        (widths[frame_lines] == 1).all()
        and ((bodies >= 0) & (bodies <= 9)).all()
        and (widths[joint_counts] == 2).all()
        and (lines.chars[starts[joint_counts]] == ord("0") + V // 10).all()
        and (lines.chars[starts[joint_counts] + 1] == ord("0") + V % 10).all()
    )
    after = 1 + np.cumsum(1 + (2 + V) * bodies)
    if not regular or after[-1] != len(lines) or frame_lines[0] != 1:
        return None
    frames = np.repeat(np.arange(total_frames), bodies)
    place = np.arange(len(frames)) - np.repeat(np.cumsum(bodies) - bodies, bodies)
    expected = frame_lines[frames] + 1 + (2 + V) * place
    if (frame_lines[1:] != after[:-1]).any() or not np.array_equal(expected, body_lines):
        return None
    return body_lines, frames


def _outline(lines: _Lines, total_frames: int, V: int) -> tuple[Indices, Indices]:
    """The same, from count to count, so that the first wrong one can be named."""
    body_lines: list[int] = []
    frames: list[int] = []
    line = 1
    for frame in range(total_frames):
        bodies = lines.count(line, "body count")
        line += 1
        for _ in range(bodies):
            num_joints = lines.count(line + 1, "joint count")
            if num_joints != V:
                raise MalformedError(f"line {line + 2} has {num_joints} joints, not {V}")
            body_lines.append(line)
            frames.append(frame)
            line += 2 + V
            if line > len(lines):
                raise MalformedError(f"it ends after line {len(lines)}, inside a body's joints")
    if line < len(lines):
        raise MalformedError(f"it goes on after the {total_frames} frames that line 1 announces")
    return np.array(body_lines, np.intp), np.array(frames, np.intp)


def _check_values(lines: _Lines, which: Indices, expected: int) -> None:
    wrong = which[lines.values[which] != expected]
    if len(wrong):
        found = lines.values[wrong[0]]
        raise MalformedError(f"line {wrong[0] + 1} has {found} values, not {expected}")


def _read_numbers(lines: _Lines, begins: Indices, ends: Indices) -> NDArray[np.float64]:
    """`(N,)` decimal numbers at `text[begin:end]`, NaN where there is none.

    Nearly all have the form -1.2345678: one digit, a point, at most 16 decimals. Their decimals are
    read eight at a time inside one 64-bit word; a call of `float` for each would take longer than
    everything else together.
    """
    chars = lines.chars
    minus = chars[begins] == ord("-")
    whole_at = begins + minus
    whole = chars[whole_at] - np.uint8(ord("0"))  # whatever isn't a digit wraps round to above 9
    decimals = ends - whole_at - 2
    plain = (whole < 10) & (chars[whole_at + 1] == ord(".")) & (decimals > 0) & (decimals <= 16)

    # every number has 20 and more characters before it: its body's line and the joint count
    words = np.ndarray((len(chars) - 7,), "<u8", lines.text, strides=(1,))
    decimals = np.minimum(np.maximum(decimals, 0), 16)
    value, are_digits = _eight_digits(words[ends - 8], decimals)
    plain &= are_digits
    long = np.flatnonzero(plain & (decimals > 8))
    if len(long):
        high, are_digits = _eight_digits(words[ends[long] - 16], decimals[long] - 8)
        value[long] += high * 1e8
        plain[long] &= are_digits
    numbers: NDArray[np.float64] = value / _POWERS_OF_TEN[decimals] + whole
    np.negative(numbers, out=numbers, where=minus)

    for at in np.flatnonzero(~plain):  # 0, 12.5, 5e-05 and what is no number at all
        numbers[at] = _read_number(lines.text[begins[at] : ends[at]])
    return numbers


def _eight_digits(words: Words, length: Indices) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The number that the last `length` (at most 8, though 16 may be given) of eight characters
    spell, and whether all of these are digits. `words` are little-endian: the last character is the
    highest byte."""
    u = np.uint64
    before = _BITS_BEFORE[length]
    w = ((words ^ u(0x3030303030303030)) >> before) << before
    are_digits = ((w + u(0x7676767676767676)) | w) & u(0x8080808080808080) == 0
    # neighbours join to 2, then 4, then 8 digits, all of a word at once
    w = (w * u(10) + (w >> u(8))) & u(0x00FF00FF00FF00FF)
    w = (w * u(100) + (w >> u(16))) & u(0x0000FFFF0000FFFF)
    w = (w * u(10000) + (w >> u(32))) & u(0x00000000FFFFFFFF)
    return w.astype(np.float64), are_digits


def _read_number(word: bytes) -> float:
    try:
        return float("nan") if b"_" in word else float(word)
    except ValueError:
        return float("nan")


def _tracks(
    lines: _Lines, body_lines: Indices, frames: Indices, joints: NDArray[np.float32]
) -> list[BodyTrack]:
    """One track for each id; ids stay text, for a float64 doesn't hold their 17 digits."""
    begins, ends = lines.starts[body_lines], lines.breaks[lines.first[body_lines]]
    ids = [lines.text[a:b] for a, b in zip(begins.tolist(), ends.tolist(), strict=True)]
    order: dict[bytes, int] = {}
    codes = np.array([order.setdefault(body_id, len(order)) for body_id in ids], np.intp)
    for body_id in order:
        if not body_id.isdigit():
            line = body_lines[ids.index(body_id)]
            raise MalformedError(f"line {line + 1} has {_shown(body_id)} for a body id")
    names = [body_id.decode("ascii")[:32] for body_id in order]
    if len(names) == 1:
        return [BodyTrack(frames, joints, names[0])]
    chosen = [codes == code for code in range(len(names))]
    return [
        BodyTrack(frames[rows], joints[rows], name)
        for name, rows in zip(names, chosen, strict=True)
    ]


def _shown(word: bytes) -> str:
    """A word for a message, cut where it is long."""
    return repr(word[:30].decode("latin-1"))
