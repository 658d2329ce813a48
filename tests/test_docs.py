"""What the documents say about the command line is what the command line is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_command_line_reference_is_up_to_date(tmp_path) -> None:
    made = tmp_path / "cli.md"
    typer = Path(sys.executable).with_name("typer")
    words = ["clearmark.sdk.cli._app", "utils", "docs", "--name", "clearmark", "--output", str(made)]
    subprocess.run([typer, *words], check=True, capture_output=True)
    assert made.read_text() == (ROOT / "docs" / "cli.md").read_text(), "run `make docs`"


def test_every_command_that_is_shown_exists() -> None:
    known = set(re.findall(r"^## `clearmark ([a-z]+)`", (ROOT / "docs" / "cli.md").read_text(), re.MULTILINE))
    for document in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")):
        text = document.read_text()
        shown = re.findall(r"^clearmark ([a-z]+)", text, re.MULTILINE) + re.findall(
            r"`clearmark ([a-z]+)", text
        )
        assert set(shown) <= known, document.name


def test_every_link_leads_somewhere() -> None:
    for document in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name}: {target}"
