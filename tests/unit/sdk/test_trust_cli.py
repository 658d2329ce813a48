"""`clearmark trust`: lists of certificates, replaced whole or not at all."""

from __future__ import annotations

import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from typer.testing import CliRunner

from clearmark.provenance import make_development_ca
from clearmark.sdk.cli.trust import app
from clearmark.sdk.home import Home


def _pem(home):
    return b"\n".join(path.read_bytes() for path in Home(home).trust_lists)


@pytest.fixture
def run(tmp_path):
    def run(*words):
        result = CliRunner().invoke(app, [*words, "--home", str(tmp_path / "home")])
        return result.exit_code, result.stdout

    return run


@pytest.fixture
def pem(tmp_path):
    path = tmp_path / "acme.pem"
    # Published lists put words between the certificates.
    path.write_bytes(b"Subject: somebody\n" + make_development_ca().root_pem)
    return path


def test_what_is_added_is_listed_and_trusted(run, pem, tmp_path):
    assert run("list", "--json") == (0, "")
    code, out = run("add", str(pem), "--json")
    assert (code, len(json.loads(out)["added"])) == (0, 1)
    row = json.loads(run("list", "--json")[1])
    assert row["list"] == "acme"
    assert len(row["sha256"]) == 64
    assert b"BEGIN CERTIFICATE" in _pem(tmp_path / "home")
    assert (tmp_path / "home/trust/acme.pem").stat().st_mode & 0o077 == 0


def test_an_update_says_what_changed(run, pem):
    run("update", "--from", str(pem))
    pem.write_bytes(make_development_ca().root_pem)
    code, out = run("update", "--from", str(pem), "--json")
    report = json.loads(out)
    assert (code, len(report["added"]), len(report["removed"])) == (0, 1, 1)


def test_what_does_not_parse_changes_nothing(run, pem, tmp_path):
    run("add", str(pem), "--name", "official")
    before = _pem(tmp_path / "home")
    pem.write_text("<html>not found</html>")
    assert run("update", "--from", str(pem))[0] == 2
    assert run("add", str(tmp_path / "missing.pem"))[0] == 2
    assert _pem(tmp_path / "home") == before


@pytest.mark.parametrize("name", ["../../up", ".hidden", "a/b", "x" * 80])
def test_a_name_stays_inside_the_folder(run, pem, tmp_path, name):
    assert run("add", str(pem), "--name", name)[0] == 2
    assert not list(tmp_path.rglob("up.pem"))


def test_it_is_fetched(run, pem, tmp_path):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        where = f"http://127.0.0.1:{server.server_port}"
        assert run("update", "--from", f"{where}/acme.pem")[0] == 0
        assert run("update", "--from", f"{where}/none.pem")[0] == 6
        server.shutdown()
        thread.join()
    assert run("update", "--from", "http://example.com/list.pem")[0] == 2
    assert run("update", "--from", "file:///etc/passwd")[0] == 2
