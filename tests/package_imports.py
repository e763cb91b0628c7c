"""The import statements of the package, read from its source without importing it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import lastkd

PACKAGE = Path(lastkd.__file__).parent

FACADE = "lastkd"


@dataclass(frozen=True)
class Import:
    """One module imported by another.

    A statement under `TYPE_CHECKING` is `for_types`: it isn't executed, but a reader of the module
    depends on it all the same.
    """

    source: str
    target: str
    line: int
    in_function: bool
    for_types: bool

    def __str__(self) -> str:
        return f"{self.source} imports {self.target}"


@dataclass
class Module:
    """A module of the package and what it imports."""

    name: str
    imports: list[Import] = field(default_factory=list)

    @property
    def at_import_time(self) -> list[str]:
        """The modules that importing this one executes, in this package or outside it."""
        parents = [self.name.rsplit(".", depth)[0] for depth in range(1, self.name.count(".") + 1)]
        executed = [one.target for one in self.imports if not one.in_function and not one.for_types]
        return [parent for parent in parents if parent != FACADE] + executed


def read_package(folder: Path = PACKAGE) -> dict[str, Module]:
    """Every module below `folder`, by its dotted name."""
    paths = {_name(path, folder): path for path in sorted(folder.rglob("*.py"))}
    return {
        name: Module(name, list(_imports(name, path, set(paths)))) for name, path in paths.items()
    }


def room(module: str) -> str:
    """The folder directly below the package that holds a module, or the top-level module itself.

    `lastkd.data.formats.npy` lies in `data`, `lastkd.errors` in `errors`.
    """
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else FACADE


def reached(module: str, modules: dict[str, Module]) -> set[str]:
    """All modules that importing `module` executes, those outside the package included."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += modules[name].at_import_time if name in modules else []
    return seen


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """Nodes of which each points to the next and the last is the first; empty if there are none."""
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        nodes: list[str] = error.args[1]
        return nodes[::-1]  # the sorter takes arrows for predecessors
    return []


def _name(path: Path, folder: Path) -> str:
    parts = [folder.name, *path.relative_to(folder).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(name: str, path: Path, modules: set[str]) -> Iterator[Import]:
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    for node, in_function, for_types in _statements(tree, False, False):
        for target in _targets(node, modules):
            yield Import(name, target, node.lineno, in_function, for_types)


def _statements(
    node: ast.AST, in_function: bool, for_types: bool
) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, in_function, for_types
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for statement in child.body:
                yield from _statements(ast.Module([statement], []), in_function, True)
            for statement in child.orelse:
                yield from _statements(ast.Module([statement], []), in_function, for_types)
        else:
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            yield from _statements(child, in_function or inside, for_types)


def _targets(node: ast.Import | ast.ImportFrom, modules: set[str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    assert node.level == 0 and node.module, f"line {node.lineno}: a relative import"
    # `from lastkd.kaggle import history` names a module, `from lastkd.errors import UserError` not
    inner = {f"{node.module}.{alias.name}" for alias in node.names}
    yield from sorted(inner & modules)
    if not inner <= modules:
        yield node.module
