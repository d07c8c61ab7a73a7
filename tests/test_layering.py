"""Each file stands on a floor and imports from its own or lower floors only, without circles.

Read from the syntax trees, so imports hidden in functions count and nothing has to be installed.
"""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "src" / "panoptic_deeplab"
NAME = PACKAGE.name

# Words, parts, wholes, work, doors. A folder stands for the files in it that are not listed.
FLOORS: dict[str, int] = {
    "version": 0,
    "files": 0,
    "labels": 0,
    "structures": 0,
    "config": 0,
    "memory": 0,
    "provenance": 1,
    "meta": 1,
    "layers": 1,
    "depthwise": 1,
    "dilated": 1,
    "areas": 1,
    "backbones": 1,
    "backends": 1,
    "decoder": 1,
    "kernels": 1,
    "transforms": 1,
    "targets": 1,
    "losses": 1,
    "processes": 0,
    "distributed": 0,
    "sharding": 0,
    "shared_norm": 1,
    "loss_scale": 1,
    "moving_average": 1,
    "stepping": 2,
    "grouping": 1,
    "grouping_cells": 1,
    "grouping_grid": 1,
    "grouping_numba": 1,
    "grouping_plain": 1,
    "grouping_tensor": 1,
    "inference": 1,
    "interpolation": 1,
    "torch_resize": 1,
    "views": 1,
    "tiles": 1,
    "looks": 2,
    "inputs": 2,
    "signals": 0,
    "tiled": 2,
    "metrics": 1,
    "captions": 1,
    "render": 1,
    "boards": 1,
    "curves": 1,
    "page": 1,
    "options": 1,
    "counting": 2,
    "family": 2,
    "model": 2,
    "checkpoint": 2,
    "backbone_weights": 2,
    "convert": 2,
    "averaging": 2,
    "hub": 2,
    "data": 2,
    "recipes": 2,
    "scaling": 1,
    "published_settings": 1,
    "settings": 2,
    "find_weights": 2,
    "prediction": 2,
    "predict": 3,
    "predict_files": 3,
    "tracks": 2,
    "video": 3,
    "assessment": 2,
    "assessment_tables": 2,
    "counts_file": 2,
    "oracle": 3,
    "evaluation_page": 3,
    "run_page": 3,
    "comparison": 3,
    "journal": 3,
    "paper_figure": 3,
    "evaluate": 3,
    "family_report": 3,
    "family_docs": 3,
    "weights_docs": 3,
    "bench": 3,
    "doctor": 3,
    "demo": 3,
    "dry_run": 3,
    "resuming": 3,
    "training": 3,
    "train": 3,
    "terminal": 4,
    "commands": 4,
    "cli": 4,
    "__init__": 4,
    "__main__": 4,
}


def module_files() -> dict[str, Path]:
    """Module name below the package -> file; `data/__init__.py` is "data"."""
    files = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
        files[name] = path
    return files


FILES = module_files()


def floor(module: str) -> int | None:
    """The floor of a file, or of the folder it lies in."""
    return FLOORS.get(module, FLOORS.get(module.split(".")[0]))


def imports(module: str) -> set[str]:
    """Files of the package that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        if isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute"
            names = [f"{node.module}.{a.name}" for a in node.names]
        else:
            continue
        found |= {target for n in names if (target := file_of(n)) and target != module}
    return found


def file_of(dotted: str) -> str | None:
    """`panoptic_deeplab.data.base.read_image` -> "data.base"; None for other packages."""
    parts = dotted.split(".")
    if parts[0] != NAME:
        return None
    for end in range(len(parts), 1, -1):
        name = ".".join(parts[1:end])
        if name in FILES:
            return name
    return "__init__"


@pytest.mark.parametrize("module", sorted(FILES))
def test_imports_go_down(module: str) -> None:
    own = floor(module)
    assert own is not None, f"{module} has no floor; add it to FLOORS in this file"
    for target in sorted(imports(module)):
        below = floor(target)
        if module == "__main__" or target == "version":
            continue
        assert below is not None, f"{module} imports {target}, which has no floor"
        assert below <= own, f"{module} (floor {own}) imports {target} (floor {below})"


def test_no_circles() -> None:
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, "circle: " + " -> ".join((*path, module))
        if module in done:
            return
        for target in sorted(imports(module)):
            visit(target, (*path, module))
        done.add(module)

    for module in sorted(FILES):
        visit(module, ())


def test_floors_name_only_what_may_exist() -> None:
    """A file that was removed or renamed must not keep its place."""
    assert set(FLOORS) <= {m.split(".")[0] for m in FILES}


def test_no_file_below_the_doors_prints() -> None:
    """Programs that use the package decide what is shown; only the command line prints."""
    for module, path in FILES.items():
        if floor(module) == 4:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            assert not (called and node.func.id == "print"), f"{module}:{node.lineno} prints"
