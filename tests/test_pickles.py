"""Pickles are read without running what is in them."""

from __future__ import annotations

import os
import pickle
from collections import Counter, OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lastkd.data.formats.datasets.pickled import load_pickle
from lastkd.errors import UserError


def dump(path: Path, content: Any, protocol: int | None = None) -> Path:
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_numbers_strings_and_containers_come_back(tmp_path: Path, protocol: int) -> None:
    content = {
        "half": np.arange(6, dtype=np.float16).reshape(1, 2, 3),
        "columns": np.asfortranarray(np.eye(3)[:2]),
        "big endian": np.array([1, 2], ">i4"),
        "words": np.array(["a", "bc"]),
        "none": np.zeros((0, 3)),
        "scalar": np.float32(1.5),
        "plain": [1, 2.5, True, None, "é", b"\xff", b"", (1j, {3}, frozenset([4]), 2**80)],
    }
    back = load_pickle(dump(tmp_path / "a.pkl", content, protocol))
    assert back.keys() == content.keys()
    assert back["plain"] == content["plain"]
    for name in ("half", "columns", "big endian", "words", "none", "scalar"):
        np.testing.assert_array_equal(back[name], content[name])
        assert type(back[name]) is type(content[name])


@pytest.mark.parametrize("core", [b"numpy.core", b"numpy._core"])
def test_pickles_of_numpy_1_and_2_are_both_read(tmp_path: Path, core: bytes) -> None:
    written = pickle.dumps(np.arange(3.0), protocol=0)
    for own in (b"numpy.core", b"numpy._core"):
        written = written.replace(b"c" + own, b"c" + core)
    path = tmp_path / "a.pkl"
    path.write_bytes(written)
    assert load_pickle(path).tolist() == [0, 1, 2]


class Runs:
    """Runs a command wherever it is unpickled plainly."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@pytest.mark.parametrize("where", ["bare", "in a list", "in an array"])
def test_nothing_in_a_malicious_pickle_runs(tmp_path: Path, where: str) -> None:
    trace = tmp_path / "trace"
    attack = Runs(f'echo > "{trace}"')
    content = {"bare": attack, "in a list": [attack], "in an array": np.array([attack], object)}
    path = dump(tmp_path / "bad.pkl", content[where])
    with pytest.raises(UserError, match=r"bad\.pkl holds .*, and reading that may run code; save"):
        load_pickle(path)
    assert not trace.exists()
    pickle.loads(path.read_bytes())
    assert trace.exists(), "loaded plainly it does run, so this test can fail"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (Counter("aab"), "a collections.Counter"),
        (print, "a builtins.print"),
        (Path("x"), "a pathlib"),
        (np.array([1, Path("x")], object), "a pathlib"),
        (np.zeros(2, [("a", object)]), "an array of dtype"),
        (np.ma.zeros(2), "a numpy.ma.core._mareconstruct"),
    ],
)
def test_whatever_is_not_data_is_refused_by_name(tmp_path: Path, content: Any, told: str) -> None:
    with pytest.raises(UserError, match=rf"a\.pkl holds {told}.*may run code"):
        load_pickle(dump(tmp_path / "a.pkl", content))


def test_object_arrays_asked_for_by_opcode_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(b"cnumpy\nndarray\n((I5\ntVO\ntR.")
    with pytest.raises(UserError, match=r"a call of numpy\.ndarray"):
        load_pickle(path)


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps([1] * 99)[:-20]])
def test_what_is_no_pickle_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"{path} isn't a readable pickle"):
        load_pickle(path)
    with pytest.raises(UserError, match="can't be read"):
        load_pickle(tmp_path / "absent.pkl")


@pytest.mark.parametrize("lazily", [False, True])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_dicts_of_the_collections_module_are_dicts(
    tmp_path: Path, protocol: int, lazily: bool
) -> None:
    content = {"o": OrderedDict(b=1, a=2), "d": defaultdict(list, {"x": [1]})}
    back = load_pickle(dump(tmp_path / "a.pkl", content, protocol), lazily=lazily)
    assert back == {"o": {"b": 1, "a": 2}, "d": {"x": [1]}}
    assert list(back["o"]) == ["b", "a"]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_objects_hold_what_was_put_into_them(tmp_path: Path, protocol: int) -> None:
    array = np.empty((2, 1), object)
    array[0, 0], array[1, 0] = np.arange(3), [None, "a"]
    path = dump(tmp_path / "a.pkl", array, protocol)
    for back in (load_pickle(path), load_pickle(path, lazily=True).read()):
        assert back.shape == (2, 1) and back[1, 0] == [None, "a"]
        first = back[0, 0]
        np.testing.assert_array_equal(
            first if isinstance(first, np.ndarray) else first.read(), array[0, 0]
        )


def test_an_array_of_objects_cannot_be_made_from_bytes(tmp_path: Path) -> None:
    written = pickle.dumps(np.array([1, 2], "i8"), protocol=2)
    assert written.count(b"i8") == 1
    path = tmp_path / "a.pkl"
    path.write_bytes(written.replace(b"i8", b"O8"))
    with pytest.raises(UserError, match="an array of Python objects without them"):
        load_pickle(path)
