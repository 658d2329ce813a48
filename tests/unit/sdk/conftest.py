"""A Studio on a fresh state folder, with a generator that paints what a test asks for. All else is real."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from clearmark.core import Asset, Origin, Request
from clearmark.core.pixels import encode_png
from clearmark.generation import ModelInfo
from clearmark.sdk import Home, Studio

sys.path.insert(0, str(Path(__file__).parents[2] / "assets"))

from make_flagged_picture import flagged_picture


def apple(seed: int = 0) -> Image.Image:
    picture = Image.new("RGB", (256, 256), "white")
    draw = ImageDraw.Draw(picture)
    draw.ellipse((50 + seed % 20, 70, 200, 220), fill=(200, 30, 30), outline=(90, 10, 10))
    draw.rectangle((122, 40, 132, 80), fill=(90, 60, 20))
    return picture


class Painter:
    """A generator that paints. `flagged` says for which call (from 0) the picture gets flagged."""

    name = "painter"
    model = ModelInfo(id="painter", version="1", digest="sha256:" + "0" * 64, licence="CC0-1.0")
    defaults = None

    def __init__(self, flagged: Callable[[int], bool] = lambda call: False) -> None:
        self.requests: list[Request] = []
        self._calls = 0
        self._flagged = flagged

    def generate(self, requests: Sequence[Request]) -> list[list[Asset]]:
        made = []
        for request in requests:
            self.requests.append(request)
            picture = flagged_picture() if self._flagged(self._calls) else apple(request.seed or 0)
            self._calls += 1
            asset = Asset(
                data=encode_png(picture),
                media_type="image/png",
                width=picture.width,
                height=picture.height,
                origin=Origin(generator=self.name, model=self.model.id, seed=request.seed),
            )
            made.append([asset] * request.n)
        return made


@pytest.fixture(scope="session")
def ready_home(tmp_path_factory) -> Home:
    return Home(tmp_path_factory.mktemp("home") / "state").ensure()


@pytest.fixture
def home(tmp_path, ready_home) -> Home:
    # Keys are made once for all tests: what differs between them is the ledger.
    import shutil

    shutil.copytree(ready_home.path, tmp_path / "state")
    return Home(tmp_path / "state")


@pytest.fixture
def painter() -> Painter:
    return Painter()


@pytest.fixture
def studio(home, painter) -> Iterator[Studio]:
    with Studio.from_policy("default", home=home, backend=painter) as opened:
        yield opened
