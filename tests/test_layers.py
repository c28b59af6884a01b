"""Imports point down, methods keep to themselves, and importing the package does nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "idiolect"
LAYERS = (
    {"equality"}, {"records", "artifact", "completion"}, {"types", "peers", "inside", "trainable"}, {"errors"},
    {"registry", "worker", "turns", "hashing"},
    {"config", "models", "journal"}, {"text", "measure"}, {"store", "sources", "training", "decoding"}, {"backends"},
    {"prompting", "memory", "adaptation", "alignment"}, {"evidence"}, {"opening", "control", "tracing", "letting_go"},
    {"pipeline"}, {"bench", "trust", "scale", "moving", "ranking"}, {"serve"}, {"cli"}, {"__init__", "__main__"},
)  # fmt: skip
METHOD_FOLDERS = ("prompting", "memory", "adaptation", "alignment")
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
FILES = sorted(SOURCE.rglob("*.py"))


def module_of(path: Path) -> tuple[str, ...]:
    return path.relative_to(SOURCE).with_suffix("").parts


def imported(path: Path) -> set[tuple[str, ...]]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "idiolect":
            inside = tuple((node.module or "").split(".")[1:])
            found |= {inside or (alias.name,) for alias in node.names}
            assert node.level == 0, f"{path}: relative import"
        if isinstance(node, ast.Import):
            found |= {tuple(a.name.split(".")[1:]) for a in node.names if a.name.startswith("idiolect.")}
    return {name for name in found if name and name[0] in LEVEL}


@pytest.mark.parametrize("path", FILES, ids=lambda p: "/".join(module_of(p)))
def test_imports_point_down(path):
    own = module_of(path)[0]
    assert own in LEVEL, f"{own} has no layer; add it to LAYERS"
    for other in imported(path):
        assert LEVEL[other[0]] <= LEVEL[own], f"{path} imports {'.'.join(other)}, which lies above it"


@pytest.mark.parametrize("folder", [f for f in METHOD_FOLDERS if (SOURCE / f).is_dir()])
def test_methods_know_neither_each_other_nor_store_nor_backends(folder):
    methods = {m for f in METHOD_FOLDERS for m in _registering(SOURCE / f)}
    for path in (SOURCE / folder).rglob("*.py"):
        for other in imported(path):
            assert other[0] not in ("store", "backends", "sources"), f"{path} imports {'.'.join(other)}"
            assert other not in methods or other == module_of(path), f"{path} imports the method {'.'.join(other)}"


def _registering(folder: Path) -> list[tuple[str, ...]]:
    return [module_of(p) for p in folder.glob("*.py") if "@method(" in p.read_text("utf-8")] if folder.is_dir() else []


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


def test_importing_the_package_loads_nothing_heavy_and_touches_nothing(tmp_path):
    code = f"""
import sys, os
os.chdir({str(tmp_path)!r}); os.environ["HOME"] = {str(tmp_path)!r}
opened = []
def watch(name, args):
    if name == "open" and any(c in str(args[1]) for c in "wax+"):
        opened.append(args[0])
sys.addaudithook(watch)
import idiolect
heavy = "numpy torch onnxruntime xllamacpp aiohttp starlette pydantic typer sqlite3".split()
print(sorted(set(heavy) & set(sys.modules)), opened, os.listdir("."))
"""
    assert run(code) == "[] [] []"


def test_every_public_name_can_be_had():
    import idiolect

    for name in idiolect.__all__:
        assert getattr(idiolect, name) is not None
    with pytest.raises(AttributeError):
        _ = idiolect.nothing


def test_files_are_small_and_functions_short():
    long_files = [p.name for p in FILES if p.read_text("utf-8").count("\n") > 520]
    long_functions = [
        f"{path.name}:{node.name}"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (node.end_lineno or 0) - node.lineno > 70
    ]
    assert (long_files, long_functions) == ([], [])
