"""What README and guides show exists: its commands parse, its make targets and files are there, its JSON is JSON."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "docs" / "own-objects.md", ROOT / "docs" / "captures.md"]
BLOCKS = [block for file in DOCUMENTS for block in re.findall(r"```(\w*)\n(.*?)```", file.read_text(), re.DOTALL)]
SHELL = [
    line.split("#")[0].strip()
    for language, block in BLOCKS
    if language in ("sh", "bash", "shell")
    for line in block.replace("\\\n", " ").splitlines()
]


@pytest.mark.parametrize("command", [line for line in SHELL if line.startswith("python -m")])
def test_commands_are_known_with_their_options(command):
    _, _, module, *rest = shlex.split(command)
    usage = subprocess.run(
        [sys.executable, "-m", module, *([rest[0]] if rest and not rest[0].startswith("-") else []), "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert usage.returncode == 0, usage.stderr
    for option in (word for word in rest if word.startswith("--")):
        assert option in usage.stdout, f"{module} has no {option}"


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    targets = {word for line in SHELL if line.startswith("make ") for word in line.split()[1:]}
    assert {"demo", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_json_is_json():
    blocks = [block for language, block in BLOCKS if language == "json"]
    assert blocks
    for block in blocks:
        json.loads(block)


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: file.name)
def test_links_lead_to_files(file):
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)|src=\"([^\"]+)\"", file.read_text())
    local = [link for pair in links for link in pair if link and "://" not in link]
    assert local
    assert [link for link in local if not (file.parent / link).exists()] == []
