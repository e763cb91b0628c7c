"""The rooms of the package and the order of imports between them, as docs/design.md draws it.

Every import statement counts as an arrow: at the top of a module, inside a function or under
`TYPE_CHECKING`. A reader who follows one needs both modules, and a circle that is hidden in a
function is still a circle.
"""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from package_imports import FACADE, PACKAGE, Import, circle, reached, read_package, room

MODULES = read_package()
IMPORTS = [one for module in MODULES.values() for one in module.imports]
INSIDE = [one for one in IMPORTS if one.target in MODULES]

LAYERS = [
    {"errors", "files", "losses", "entry_point", "process_start", "rng", "settings", "terminal"}
    | {"plugins", "version"},
    {"data", "distributed", "models", "runs"},
    {"evaluation", "training"},
    {"export", "kaggle", "live", "monitor", "pipeline", "report", "show"},
    {"cli", "distill", "train"},
    {FACADE, "__main__"},
]
"""From the ground up: a room imports from its own layer and from those before it."""

WITHOUT_TORCH = ("settings", "runs", "monitor", "report", "kaggle", "cli")

SLOW_TO_IMPORT = {
    "PIL": {"numpy"},
    "accelerate": {"torch", "numpy"},
    "kaggle": {"requests"},
    "kagglesdk": {"requests"},
    "matplotlib": {"numpy", "PIL"},
    "numpy": set(),
    "onnx": {"numpy"},
    "onnxruntime": {"numpy"},
    "onnxscript": {"onnx", "numpy"},
    "pydantic": set(),
    "requests": {"urllib3"},
    "rich": set(),
    "scipy": {"numpy"},
    "tensorboard": {"numpy"},
    "textual": {"rich"},
    "torch": {"numpy"},
    "urllib3": set(),
}
"""Packages that take 30 ms or more to import, each with those that it imports itself."""


def layer(module: str) -> int:
    """The place of a module's room in `LAYERS`."""
    for place, rooms in enumerate(LAYERS):
        if room(module) in rooms:
            return place
    raise AssertionError(f"{module} lies in no layer; give its room a place in LAYERS")


def slow_packages(modules: set[str]) -> set[str]:
    """The packages of `SLOW_TO_IMPORT` among modules, and those that they bring along."""
    direct = {module.split(".")[0] for module in modules} & SLOW_TO_IMPORT.keys()
    return direct.union(*(SLOW_TO_IMPORT[package] for package in direct))


def test_the_top_of_the_package_holds_at_most_twelve_modules() -> None:
    top = sorted(path.name for path in PACKAGE.glob("*.py"))
    assert len(top) <= 12, top


def test_no_module_has_a_name_that_says_nothing() -> None:
    vague = re.compile(r"(^|_)(utils?|helpers?|common|misc|managers?|handlers?)(_|$)")
    assert not [name for name in MODULES if vague.search(name.rsplit(".", 1)[-1])]


def test_no_import_runs_back_up() -> None:
    assert not [str(one) for one in INSIDE if layer(one.target) > layer(one.source)]


def test_no_modules_import_each_other_in_a_circle() -> None:
    arrows: dict[str, set[str]] = {}
    for one in INSIDE:
        arrows.setdefault(one.source, set()).add(one.target)
    assert not circle(arrows)


def test_no_rooms_import_each_other_in_a_circle() -> None:
    arrows: dict[str, set[str]] = {}
    for one in INSIDE:
        if room(one.source) != room(one.target):
            arrows.setdefault(room(one.source), set()).add(room(one.target))
    assert not circle(arrows)


def test_reading_an_event_log_knows_nothing_of_the_screen() -> None:
    assert not [
        str(one)
        for one in INSIDE
        if one.source.startswith("lastkd.monitor.log")
        and one.target.startswith("lastkd.monitor.screen")
    ]


def test_an_import_inside_a_function_spares_the_start_a_slow_package() -> None:
    def spares(one: Import) -> bool:
        before = slow_packages(reached(one.source, MODULES))
        return bool(slow_packages(reached(one.target, MODULES)) - before)

    assert not [str(one) for one in IMPORTS if one.in_function and not spares(one)]


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_a_room_is_imported_without_torch(name: str) -> None:
    inside = [module for module in MODULES if room(module) == name]
    assert inside
    for module in inside:
        chain = reached(module, MODULES)
        assert "torch" not in slow_packages(chain), f"{module} reaches torch"


def test_python_imports_those_rooms_without_torch() -> None:
    names = [module for module in MODULES if room(module) in WITHOUT_TORCH]
    program = (
        "import importlib, sys\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
        "    assert 'torch' not in sys.modules, f'{name} imports torch'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
