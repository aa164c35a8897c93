"""The house rules that a reviewer would otherwise have to remember."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FORBIDDEN = {"index": {"trainer", "service", "fastapi"}, "trainer": {"service"}, "service": {"trainer"}}


def imported(path: Path) -> set[str]:
    """The top-level names of every module that a file imports, anywhere in it."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("package", FORBIDDEN)
def test_data_flows_trainer_to_index_to_service(package):
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    wrong = {str(f.relative_to(ROOT)): sorted(imported(f) & FORBIDDEN[package]) for f in files}
    assert {name: found for name, found in wrong.items() if found} == {}


@pytest.mark.parametrize("module", ["service.app", "index.predict", "index.store", "index.encoder"])
def test_answering_needs_no_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_pipelines_help_waits_for_no_stage():
    code = (
        "import sys, trainer.cli; trainer.cli._parser(); sys.exit(bool({'torch', 'cv2', 'faiss'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_nothing_is_pickled():
    for path in (p for package in FORBIDDEN for p in (ROOT / package).rglob("*.py")):
        assert "pickle" not in imported(path), path
        assert "allow_pickle=True" not in path.read_text(), path
