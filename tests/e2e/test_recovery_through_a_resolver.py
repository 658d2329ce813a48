"""Strip, crop, halve, JPEG 50: `clearmark verify --resolver` leads back over a real server."""

from __future__ import annotations

import asyncio
import io
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from PIL import Image

from clearmark.provenance import ManifestRepository
from clearmark.provenance.resolution import ResolutionApp
from clearmark.sdk.home import Home

sys.path.insert(0, str(Path(__file__).parents[1]))
from contract.watermark_contract import scene


class Bridge(BaseHTTPRequestHandler):
    """Hands requests of a socket to an ASGI application."""

    app: ResolutionApp

    def _answer(self):
        parts, sent = urlsplit(self.path), []
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        waiting = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive():
            return waiting.pop(0)

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": self.command, "path": unquote(parts.path), "headers": []}
        asyncio.run(self.app(scope | {"query_string": parts.query.encode()}, receive, send))
        self.send_response(sent[0]["status"])
        for name, value in sent[0]["headers"]:
            self.send_header(name.decode(), value.decode())
        self.end_headers()
        self.wfile.write(sent[1]["body"])

    do_GET = do_POST = _answer  # noqa: N815

    def log_message(self, *_):
        pass


@pytest.fixture
def marked(clearmark, tmp_path):
    """A picture of 640 x 512, marked from the command line."""
    Image.fromarray(scene(512, 640, seed=5)).save(tmp_path / "park.png")
    done = clearmark("mark", tmp_path / "park.png", "--out", tmp_path / "marked", "--json")
    assert done.code == 0, done.err
    return done.json


@contextmanager
def serving(home):
    """The operator's service, over the manifests that marking has kept."""
    with ManifestRepository(home.manifests) as repository:
        handler = type("Handler", (Bridge,), {"app": ResolutionApp(repository, keys=(home.watermark_key,))})
        http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        http.server_close()
        thread.join()


@pytest.fixture
def server(clearmark, marked):
    with serving(Home(clearmark.home)) as address:
        yield address


@pytest.fixture
def copy(marked, tmp_path):
    picture = Image.open(marked["out"]).convert("RGB")
    width, height = picture.size
    part = picture.crop((width // 8, height // 8, width - width // 8, height - height // 8))
    out = io.BytesIO()
    part.resize((part.width // 2, part.height // 2), Image.Resampling.LANCZOS).save(out, "JPEG", quality=50)
    path = tmp_path / "copy.jpg"
    path.write_bytes(out.getvalue())
    return path


def test_the_manifest_comes_back_and_the_change_is_named(clearmark, marked, server, copy, tmp_path):
    home = Home(clearmark.home)
    kept = home.manifests.rename(tmp_path / "moved.db")  # so that only the service knows
    read = clearmark("verify", copy, "--resolver", server, "--json")
    kept.rename(home.manifests)
    assert read.json["recovered"]["via"] == "watermark", read.out
    assert read.json["recovered"]["mark_id"] == marked["mark"]["id"]
    assert read.json["recovered"]["signer_state"] == "trusted"
    assert read.json["recovered"]["unchanged"] is False
    assert "Recovered from the watermark" in read.json["conclusion"]
    assert "changed since" in read.json["conclusion"]


def copy_of(path, box, target):
    """Strip, crop to three quarters of each side, halve, JPEG 50."""
    picture = Image.open(path).convert("RGB")
    width, height = picture.size
    left, top = round(width * box[0]), round(height * box[1])
    part = picture.crop((left, top, left + width * 3 // 4, top + height * 3 // 4))
    half = part.resize((part.width // 2, part.height // 2), Image.Resampling.LANCZOS)
    half.save(target, "JPEG", quality=50)
    return target


PICTURES = {
    # name: height, width, seed, where the crop begins
    "square.png": (512, 512, 11, (0.0, 0.0)),
    "wide.png": (576, 1024, 12, (0.25, 0.25)),
    "tall.jpg": (960, 720, 13, (0.125, 0.25)),
    "large.webp": (1200, 1600, 14, (0.2, 0.05)),
    "odd.png": (601, 787, 15, (0.1, 0.15)),
}


def test_several_pictures_of_several_sizes_come_back(clearmark, tmp_path):
    """Marked together, copied each in its own way, verified together by a machine that has the key alone."""
    (tmp_path / "in").mkdir()
    (tmp_path / "copies").mkdir()
    for name, (height, width, seed, _) in PICTURES.items():
        Image.fromarray(scene(height, width, seed=seed)).save(tmp_path / "in" / name, quality=95)
    done = clearmark("mark", tmp_path / "in", "--out", tmp_path / "marked", "--json", limit=600)
    assert done.code == 0, done.err
    ids = {}
    for row in done.lines:
        name = Path(row["path"]).name
        copy_of(row["out"], PICTURES[name][3], tmp_path / "copies" / f"{Path(name).stem}.jpg")
        ids[Path(name).stem] = row["mark"]["id"]
    assert len(ids) == len(PICTURES)
    home = Home(clearmark.home)
    with serving(home) as address:
        kept = home.manifests.rename(tmp_path / "moved.db")
        read = clearmark("verify", tmp_path / "copies", "--resolver", address, "--json", limit=600)
        kept.rename(home.manifests)
    assert len(read.lines) == len(PICTURES), read.out
    for row in read.lines:
        recovered = row["recovered"]
        assert recovered, row["path"]
        assert (recovered["via"], recovered["signer_state"]) == ("watermark", "trusted"), row["path"]
        assert recovered["mark_id"] == ids[Path(row["path"]).stem]
        assert recovered["unchanged"] is False
        assert "the pixels or the file were changed since" in row["conclusion"]
        assert row["ledger"]["inclusion"] == "verified"


def test_a_stranger_without_the_key_sends_the_picture(clearmark, marked, server, copy, tmp_path):
    root = Home(clearmark.home).keys / "ca-root.pem"
    env = {"CLEARMARK_HOME": str(tmp_path / "nobody")}
    alone = clearmark("verify", copy, "--resolver", server, "--json", env=env)
    assert (alone.code, alone.json["recovered"]) == (5, None)
    read = clearmark("verify", copy, "--trust", root, "--resolver", server, "--upload", "--json", env=env)
    assert read.json["recovered"]["via"] == "service", read.out
    assert read.json["recovered"]["signer_state"] == "trusted"
    assert "the service's word" in read.json["conclusion"]
    words = clearmark("verify", copy, "--trust", root, "--resolver", server, "--upload", env=env)
    assert "recovered    service" in words.out


def test_a_service_that_does_not_answer_is_an_error(clearmark, marked, copy, tmp_path):
    env = {"CLEARMARK_HOME": str(tmp_path / "nobody")}
    read = clearmark("verify", copy, "--resolver", "http://127.0.0.1:9", "--json", env=env)
    assert read.code == 6
    assert "does not answer" in read.err
    assert clearmark("verify", copy, "--upload", env=env).code == 2
