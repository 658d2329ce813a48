"""The installed command in a fresh home: what a user types, what comes out, and which exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "assets"))

COMMAND = Path(sys.executable).with_name("clearmark")


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def json(self) -> Any:
        (document,) = self.lines
        return document


@dataclass(frozen=True)
class Shell:
    """Runs `clearmark` in `folder` with the home that lies there."""

    folder: Path
    home: Path

    def __call__(self, *words: str | Path, env: dict[str, str] | None = None, limit: float = 240) -> Outcome:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("CLEARMARK_")}
        done = subprocess.run(
            [str(COMMAND), *map(str, words)],
            cwd=self.folder,
            env={**kept, "CLEARMARK_HOME": str(self.home), **(env or {})},
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    @property
    def pictures(self) -> list[Path]:
        return sorted(self.folder.glob("out/*.png"))


@pytest.fixture
def clearmark(tmp_path) -> Shell:
    return Shell(tmp_path, tmp_path / "home")


@pytest.fixture
def apple(tmp_path) -> Path:
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (256, 256), "white")
    draw = ImageDraw.Draw(picture)
    draw.ellipse((50, 70, 200, 220), fill=(200, 30, 30), outline=(90, 10, 10))
    draw.rectangle((122, 40, 132, 80), fill=(90, 60, 20))
    picture.save(tmp_path / "apple.png")
    return tmp_path / "apple.png"


@pytest.fixture
def flagged(tmp_path) -> Path:
    from make_flagged_picture import flagged_picture

    flagged_picture().save(tmp_path / "flagged.png")
    return tmp_path / "flagged.png"
