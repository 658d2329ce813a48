"""The Soft Binding Resolution API over a loopback server: recovery end to end, and hostile requests."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import sqlite3
import sys
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clearmark.core.errors import Unavailable, UsageError
from clearmark.provenance import (
    CredentialReader,
    ManifestRepository,
    Marker,
    MarkJob,
    Verifier,
    conclude,
    image_code,
    new_mark_id,
)
from clearmark.provenance.resolution import ResolutionApp, ResolutionClient
from clearmark.provenance.watermark import Found, get_codec

sys.path.insert(0, str(Path(__file__).parents[2]))
from contract.watermark_contract import scene

KEY = b"key"


def read_marks(pixels):
    found = get_codec("clearmark", KEY).extract([pixels])[0]
    return [Found(codec="clearmark", mark_id=found.mark_id, confidence=found.confidence)] if found else []


def call(app, method, path, *, query=b"", body=b"", chunks=None, headers=()):
    """Send one request to an ASGI application; return status, media type and body."""
    waiting = [{"type": "http.request", "body": part, "more_body": True} for part in (chunks or [body])] + [
        {"type": "http.request", "body": b"", "more_body": False}
    ]
    sent = []

    async def receive():
        return waiting.pop(0)

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "query_string": query, "headers": list(headers)}
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"])[b"content-type"].decode(), sent[1]["body"]


@pytest.fixture(scope="module")
def marked(signer, development, asset_of, encoded):
    marker = Marker(signer=signer, codec=get_codec("clearmark", KEY), trust_anchors_pem=development.root_pem)
    picture = asset_of(encoded(array=scene(512, 640, seed=5)))
    return marker.mark([MarkJob(asset=picture, mark_id=new_mark_id())])[0]


@pytest.fixture(scope="module")
def app(marked, tmp_path_factory):
    with ManifestRepository(tmp_path_factory.mktemp("sbr") / "manifests.db") as repository:
        code = image_code(Image.open(io.BytesIO(marked.asset.data)))
        repository.put(marked.mark.id, marked.mark.manifest.store, media_type="image/png", fingerprint=code)
        yield ResolutionApp(repository, extract=read_marks)


@pytest.fixture(scope="module")
def url(app):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            status, kind, answer = call(
                app,
                self.command,
                urllib.request.unquote(parts.path),
                query=parts.query.encode(),
                body=body,
            )
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def worn(data):
    """Cut to three quarters of each side, halved, JPEG 50: nothing but pixels is left."""
    picture = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    height, width = (side * 3 // 4 for side in picture.shape[:2])
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    part = picture[top : top + height, left : left + width]
    small = cv2.resize(part, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    out = io.BytesIO()
    Image.fromarray(small).save(out, "JPEG", quality=50)
    return out.getvalue()


def test_a_worn_picture_is_led_back_through_the_api(url, marked, development):
    verifier = Verifier(development.root_pem, extract=read_marks, repository=ResolutionClient(url))
    found = verifier.verify([worn(marked.asset.data)])[0]
    assert found.credentials.state == "absent"
    assert (found.recovered.via, found.recovered.signer_state) == ("watermark", "trusted")
    assert found.recovered.mark_id == marked.mark.id
    assert not found.recovered.unchanged
    assert "changed since" in conclude(found)


def test_the_fingerprint_leads_back_through_the_api(url, marked, development):
    out = io.BytesIO()
    Image.open(io.BytesIO(marked.asset.data)).save(out, "JPEG", quality=60)
    blind = Verifier(development.root_pem, extract=lambda pixels: (), repository=ResolutionClient(url))
    found = blind.verify([out.getvalue()])[0]
    assert (found.recovered.via, found.recovered.signer_state) == ("fingerprint", "trusted")
    assert found.recovered.distance <= 6


def test_content_is_matched_by_the_service(url, marked):
    request = urllib.request.Request(f"{url}/matches/byContent", data=worn(marked.asset.data))
    with urllib.request.urlopen(request) as answer:
        rows = json.load(answer)["matches"]
    assert rows[0] == {"manifestId": marked.mark.manifest.label, "similarityScore": 100}


def test_the_active_manifest_alone_is_a_store(app, marked, development):
    path = f"/manifests/{marked.mark.manifest.label}"
    status, kind, whole = call(app, "GET", path)
    assert (status, kind, whole) == (200, "application/c2pa", marked.mark.manifest.store)
    status, _, alone = call(app, "GET", path, query=b"returnActiveManifest=true")
    assert status == 200
    read = CredentialReader(development.root_pem).read(marked.asset.data, "image/png", store=alone)
    assert read.manifest == marked.mark.manifest.label


def test_what_it_supports(url, app):
    assert ResolutionClient(url).algorithms() == (
        "io.clearmark.clearmark",
        "io.clearmark.dwt-dct-svd",
        "io.iscc.v0",
    )
    assert call(app, "HEAD", "/services/supportedAlgorithms")[::2] == (200, b"")


def test_bindings_by_post(app, marked):
    value = base64.b64encode(marked.mark.id.encode()).decode()
    asked = {"alg": "io.clearmark.clearmark", "value": value, "maxResults": 3}
    status, _, body = call(app, "POST", "/matches/byBinding", body=json.dumps(asked).encode())
    assert (status, len(json.loads(body)["matches"])) == (200, 1)
    other = base64.b64encode(b"0" * 16).decode()
    status, _, body = call(
        app, "GET", "/matches/byBinding", query=urlencode({**asked, "value": other}).encode()
    )
    assert (status, json.loads(body)) == (200, {"matches": []})


@pytest.mark.parametrize(
    ("method", "path", "query", "body", "status"),
    [
        ("GET", "/", b"", b"", 404),
        ("GET", "/manifests/", b"", b"", 404),
        ("GET", "/manifests/../../etc/passwd", b"", b"", 404),
        ("GET", "/manifests/x' OR '1'='1", b"", b"", 404),
        ("DELETE", "/services/supportedAlgorithms", b"", b"", 405),
        ("GET", "/matches/byContent", b"", b"", 405),
        ("GET", "/matches/byBinding", b"", b"", 400),
        ("GET", "/matches/byBinding", b"alg=com.other.1&value=AA==", b"", 400),
        ("GET", "/matches/byBinding", b"alg=io.iscc.v0&value=%21%21", b"", 400),
        ("GET", "/matches/byBinding", b"alg=io.iscc.v0&value=AAAA", b"", 400),
        ("GET", "/matches/byBinding", b"a=" + b"x" * 70_000, b"", 414),
        ("GET", "/matches/byBinding", b"&".join(b"a%d=1" % n for n in range(40)), b"", 400),
        ("POST", "/matches/byBinding", b"", b"[" * 60_000, 400),
        ("POST", "/matches/byBinding", b"", b"[]", 400),
        ("POST", "/matches/byBinding", b"", b"x" * 70_000, 413),
        ("POST", "/matches/byBinding", b"", b'{"alg": 1, "value": []}', 400),
        ("POST", "/matches/byContent", b"", b"", 415),
        ("POST", "/matches/byContent", b"", b"no picture", 415),
        ("POST", "/matches/byContent", b"alg=com.other.1", b"no picture", 400),
        ("POST", "/matches/byContent", b"maxResults=-1", b"", 400),
    ],
)
def test_hostile_requests_get_a_status(app, method, path, query, body, status):
    answer = call(app, method, path, query=query, body=body)
    assert answer[0] == status
    assert json.loads(answer[2])["error"]


def test_bodies_are_bounded_before_they_are_read(app, marked):
    small = ResolutionApp(app._repository, extract=read_marks, max_body=1000)
    declared = [(b"content-length", b"999999999999999999999999")]
    assert call(small, "POST", "/matches/byContent", headers=declared)[0] == 413
    endless = [b"x" * 400] * 50
    assert call(small, "POST", "/matches/byContent", chunks=endless)[0] == 413


@settings(max_examples=60, deadline=None)
@given(query=st.binary(max_size=200), body=st.binary(max_size=200), path=st.text(max_size=40))
def test_any_request_gets_an_answer(query, body, path):
    with ManifestRepository(":memory:") as repository:
        app = ResolutionApp(repository, extract=lambda pixels: ())
        for where in ("/matches/byBinding", "/matches/byContent", "/manifests/" + path, path):
            for method in ("GET", "POST"):
                assert call(app, method, where, query=query, body=body)[0] in {200, 400, 404, 405, 415}


def test_a_service_that_lies_or_is_gone_is_told():
    with pytest.raises(UsageError):
        ResolutionClient("file:///etc/passwd")
    with pytest.raises(Unavailable):
        ResolutionClient("http://127.0.0.1:9", timeout_s=2).get("0" * 16)

    class Liar(BaseHTTPRequestHandler):
        def do_GET(self):
            if "redirect" in self.path:
                self.send_response(302)
                self.send_header("location", "http://127.0.0.1:9/")
                self.end_headers()
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"matches": [{"manifestId": 5}]}' if "alg=" in self.path else b"<html>")

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Liar) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        where = f"http://127.0.0.1:{server.server_port}"
        for asked in (ResolutionClient(where).algorithms, lambda: ResolutionClient(where).get("0" * 16)):
            with pytest.raises(Unavailable):
                asked()
        with pytest.raises(Unavailable):
            ResolutionClient(f"{where}/redirect").get("0" * 16)
        server.shutdown()
        thread.join()


def test_a_repository_of_an_earlier_version_is_brought_up(tmp_path, marked):
    path = tmp_path / "old.db"
    with sqlite3.connect(path) as old:
        old.execute(
            "CREATE TABLE manifest (mark_id TEXT PRIMARY KEY, media_type TEXT NOT NULL, "
            "fingerprint INTEGER, store BLOB NOT NULL) STRICT"
        )
        rows = [("0" * 16, marked.mark.manifest.store), ("1" * 16, b"no store")]
        old.executemany("INSERT INTO manifest VALUES (?, 'image/png', NULL, ?)", rows)
    old.close()
    with ManifestRepository(path) as repository:
        assert repository.by_manifest(marked.mark.manifest.label).mark_id == "0" * 16
        assert repository.get("1" * 16).manifest == ""
        assert repository.by_manifest("") is None
    assert quote(marked.mark.manifest.label, safe="") != marked.mark.manifest.label
