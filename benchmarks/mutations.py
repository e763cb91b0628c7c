"""What `fuzz.py` does to an input: single changes, pickles that would run code, zip bombs."""

from __future__ import annotations

import io
import os
import pickle
import random
import struct
import zipfile
from functools import lru_cache
from typing import Any

TRACE = "LASTKD_FUZZ_TRACE"
"""Where a pickle that runs leaves a file, so that running is seen."""
NAMES = ("S001C001P001R001A001", "S001C002P003R001A050")

HUGE = (0, -1, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1, 10**9, 10**12)
WORDS = (
    b"NaN", b"nan", b"inf", b"-Infinity", b"1e999", b"-1", b"24", b"26", b"0", b"999999999",
    b"99999999999999999999", b"abc", b"", b"1_0", b"0x10", b"\xff\xfe", b"null", b"{}", b"[]",
    b"'", b"\"", b"true", b"~", b"!!python/object/apply:os.system ['touch x']", b"&a [*a, *a]",
    b"2001-99-99", b"!!timestamp x", b"9" * 5000, b"[" * 3000, b"\x00",
)  # fmt: skip
MAGICS = (
    b"", b"PK\x03\x04", b"PK\x05\x06" + bytes(18), b"\x93NUMPY\x01\x00", b"\x80\x04.",
    b"\x80\x05N.",     b"\x1f\x8b\x08", b"{", b"[1, 2]", b"GIF89a", b"\x89HDF\r\n\x1a\n", bytes(8),
    struct.pack("<Q", 2**62) + b"{}", struct.pack("<Q", 100) + b"{" * 100,
)  # fmt: skip


class _Runs:
    """Leaves a trace wherever it is unpickled plainly."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f'touch "${TRACE}"',)


@lru_cache
def evil_pickles() -> list[bytes]:
    """Pickles that would run code, fill the memory or never end."""
    nested = b"(t" + b"2\x86" * 60 + b"K\x01s."  # a tuple of itself twice, 60 deep, as a key
    return [
        pickle.dumps(_Runs()),
        pickle.dumps({"split": {}, "annotations": [_Runs()]}),
        pickle.dumps([_Runs()], protocol=0),
        b"cos\nsystem\n(S'touch \"$" + TRACE.encode() + b"\"'\ntR.",
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cbuiltins\nbytes\n(I99999999999\ntR.",
        b"cbuiltins\nbytearray\n(I3000000000\ntR.",
        b"cnumpy\nndarray\n((I99999\nI99999\ntR.",
        b"}" + nested,
        b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"x.",
        b"\x80\x04r\xff\xff\xff\x7f.",
        b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"x.",
        b"\x80\x04}\x8c\x0bannotations(" + b"(" * 5000 + b"l" * 5000 + b"s.",
        b"I" + b"9" * 100_000 + b"\n.",
    ]


@lru_cache
def _bomb(megabytes: int, escapes: bool) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{NAMES[0]}.skeleton", b"1 " * (2**19 * megabytes))
        archive.writestr("../../escape.skeleton" if escapes else "x.npy", b"x")
    return packed.getvalue()


def bomb(rng: random.Random) -> bytes:
    """A zip that unpacks to far more than it holds, or says so, or says less."""
    data = bytearray(_bomb(rng.choice((1, 8, 40)), rng.random() < 0.3))
    at = data.rfind(b"PK\x01\x02", 0, data.rfind(b"PK\x01\x02"))
    if at >= 0 and rng.random() < 0.7:  # the size in the directory
        data[at + 24 : at + 28] = struct.pack("<I", rng.choice((0, 5, 2**31, 2**32 - 1)))
    return bytes(data)


def mutated(data: bytes, rng: random.Random) -> bytes:
    """One file's content, changed once or a few times."""
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        data = rng.choice(MUTATIONS)(data, rng)
    return data


def _place(data: bytes, rng: random.Random) -> int:
    # headers are short and decide much; half of the changes are there
    limit = len(data) if rng.random() < 0.5 else min(len(data), 400)
    return rng.randrange(limit) if limit else 0


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def flip(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        if changed:
            changed[_place(data, rng)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def replace_bytes(data: bytes, rng: random.Random) -> bytes:
    at, length = _place(data, rng), rng.choice((1, 4, 8, 30))
    return data[:at] + rng.randbytes(length) + data[at + length :]


def delete(data: bytes, rng: random.Random) -> bytes:
    at = _place(data, rng)
    return data[:at] + data[at + rng.choice((1, 2, 7, 100, 3000)) :]


def double(data: bytes, rng: random.Random) -> bytes:
    at, length = _place(data, rng), rng.choice((1, 10, 300, 5000))
    return data[:at] + data[at : at + length] * rng.choice((2, 3, 20)) + data[at + length :]


def huge_number(data: bytes, rng: random.Random) -> bytes:
    at, value = _place(data, rng), rng.choice(HUGE)
    form = rng.choice(("<I", "<Q", ">I", "<H"))
    raw = struct.pack("<q" if value < 0 else "<Q", value)[: struct.calcsize(form)]
    return data[:at] + raw + data[at + len(raw) :]


def other_word(data: bytes, rng: random.Random) -> bytes:
    """One word of a text, or of the text in a binary file's header, made another."""
    head = data[:6_000]
    marks = [i for i, byte in enumerate(head) if byte in b' \n,:[]{}"']
    if len(marks) < 2:
        return data + rng.choice(WORDS)
    index = rng.randrange(len(marks) - 1)
    return data[: marks[index] + 1] + rng.choice(WORDS) + data[marks[index + 1] :]


def other_number(data: bytes, rng: random.Random) -> bytes:
    head = data[:6_000]
    digits = [i for i, byte in enumerate(head) if 48 <= byte <= 57]
    if not digits:
        return data
    at = rng.choice(digits)
    return data[:at] + str(rng.choice(HUGE)).encode() + data[at + 1 :]


def other_magic(data: bytes, rng: random.Random) -> bytes:
    magic = rng.choice(MAGICS)
    return magic if rng.random() < 0.3 else magic + data[len(magic) :]


def evil(data: bytes, rng: random.Random) -> bytes:
    return rng.choice((rng.choice(evil_pickles()), bomb(rng) if rng.random() < 0.2 else data[:1]))


def lines_swapped(data: bytes, rng: random.Random) -> bytes:
    lines = data.split(b"\n")
    one, two = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[one], lines[two] = lines[two], lines[one]
    return b"\n".join(lines)


MUTATIONS = (
    cut, flip, flip, flip, replace_bytes, delete, double, huge_number, other_word, other_word,
    other_number, other_magic, evil, lines_swapped,
)  # fmt: skip
