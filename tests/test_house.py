"""The house of ARCHITECTURE.md: what stands at the top of the package, and what may import what."""

import ast
import importlib.metadata
import re
import sys
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PACKAGE = Path(__file__).resolve().parents[1] / "renyi_jax"
FILES = sorted(PACKAGE.rglob("*.py"))
COMMANDS = {path.stem for path in PACKAGE.glob("*.py") if "commands.run(main" in path.read_text()}
FLOORS = 9


def imported_by(path: Path) -> set[str]:
    """The modules of this package that a file names in an import, wherever in the file."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            modules |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {module for module in modules if module.split(".")[0] == PACKAGE.name}


def libraries() -> set[str]:
    """The distributions of which a file of this package names a module in an import."""
    names = set()
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(f"{node.module}".split(".")[0])
    owners = importlib.metadata.packages_distributions()
    others = names - sys.stdlib_module_names - {PACKAGE.name}
    return {canonicalize_name(each) for name in others for each in owners.get(name, [name])}


def room_of(module: str) -> str:
    """The room of a module, or of a name in one; the package itself is the public face of all."""
    name = f"{module}.".split(".")[1]
    is_room = name and ((PACKAGE / f"{name}.py").exists() or (PACKAGE / name).is_dir())
    return name if is_room else PACKAGE.name


def rooms() -> dict[str, set[str]]:
    """What each room imports from."""
    found: dict[str, set[str]] = {}
    for path in FILES:
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        room = PACKAGE.name if parts[0] == "__init__" else parts[0]
        found.setdefault(room, set()).update(map(room_of, imported_by(path)))
    return {room: imports - {room} for room, imports in found.items()}


def test_only_commands_the_entropy_and_the_errors_stand_at_the_top_of_the_package():
    modules = {path.stem for path in PACKAGE.glob("*.py")}
    assert modules - COMMANDS == {"__init__", "__main__", "entropy", "errors"}


def test_no_import_goes_up_and_the_floors_are_few():
    above = rooms()
    del above[PACKAGE.name]  # the public names
    floors = []
    while above:
        floor = {room for room, imports in above.items() if not imports & above.keys()}
        assert floor, f"These import each other: {above}"
        floors.append(floor)
        above = {room: imports for room, imports in above.items() if room not in floor}
    assert len(floors) <= FLOORS, floors


def test_no_file_imports_a_command_or_the_public_names():
    for path in FILES:
        rooms = {room_of(module) for module in imported_by(path)}
        assert not rooms & COMMANDS, path
        assert PACKAGE.name not in rooms or path.parent == PACKAGE, path


def test_the_block_is_the_method_on_a_screen():
    assert len((PACKAGE / "models" / "block.py").read_text().splitlines()) < 150


def test_weights_meet_a_module_and_pixels_are_normalised_in_one_place():
    merging = {path for path in FILES if "nnx.merge(" in path.read_text()}
    # A walk over prunings runs blocks one by one, and no model.
    assert merging == {PACKAGE / "models" / "forward.py", PACKAGE / "planning" / "walk.py"}
    calling = [
        path for path in FILES if re.search(r"(?<!def )normalize_images\(", path.read_text())
    ]
    assert calling == [PACKAGE / "models" / "forward.py"]


def test_pip_brings_what_is_imported_and_a_reason_stands_beside_the_rest():
    imported, brought = libraries(), set()
    for extra in ("core", "train", "plot", "onnx"):
        for line in (PACKAGE.parent / f"requirements-{extra}.txt").read_text().splitlines():
            requirement, _, reason = line.partition("#")
            if requirement.strip():
                name = canonicalize_name(Requirement(requirement).name)
                assert name in imported or reason, f"{line} is not imported, and nothing says why"
                brought.add(name)
    # jax2onnx pins an old orbax; the peers of the benchmark have a Python of their own.
    assert imported - brought == {"jax2onnx", "torch"}
