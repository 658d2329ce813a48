"""Checkpoints stamped by an RFC 3161 authority: asked over HTTP, kept, checked, and missed when changed."""

from __future__ import annotations

import base64
import json

import pytest
from typer.testing import CliRunner

from clearmark.audits import Ledger, NoteSigner, verify_database
from clearmark.audits.ledger._timestamping import read_token
from clearmark.core import Event
from clearmark.core.errors import LedgerError, LedgerTampered, LedgerUnavailable, UsageError
from clearmark.provenance.credentials import TimestampAuthority, make_development_ca
from clearmark.sdk import Home
from clearmark.sdk.cli._app import app
from clearmark.sdk.studio import open_ledger

SIGNER = NoteSigner.generate("example.com/pictures")


@pytest.fixture(scope="module", name="authority")
def served_authority():
    credentials = make_development_ca()
    with TimestampAuthority.from_development(credentials).serve() as url:
        yield url, credentials.root_pem


def opened(path):
    return Ledger.open(path, signer=SIGNER, vault_key=bytes(32))


def test_a_stamped_checkpoint_is_checked_with_the_ledger(tmp_path, authority):
    url, root = authority
    path = tmp_path / "ledger.db"
    with opened(path) as ledger:
        ledger.append([Event(kind="a", request_id="r") for _ in range(5)])
        stamp = ledger.timestamp(url, roots_pem=root)
        assert stamp.trusted
        assert stamp.size == 5
        assert not ledger.timestamp(url).trusted
        with pytest.raises(LedgerError, match="not under"):
            ledger.timestamp(url, roots_pem=make_development_ca().root_pem)
        with pytest.raises(UsageError):
            ledger.timestamp(url, roots_pem=b"nonsense")
        with pytest.raises(LedgerUnavailable):
            ledger.timestamp("http://127.0.0.1:1/", timeout_s=2)
        report = ledger.verify()
        assert report.ok, report.to_dict()
        (check,) = [check for check in report.checks if check.name == "timestamps"]
        assert "2 stamped checkpoints" in check.detail
    assert verify_database(path, verifier_key=SIGNER.verifier_key).ok


def test_a_rewritten_log_contradicts_its_time_stamp(tmp_path, authority):
    path, other = tmp_path / "ledger.db", tmp_path / "other.db"
    for each in (path, other):
        with opened(each) as ledger:
            ledger.append([Event(kind="a", request_id="r") for _ in range(5)])
            ledger.timestamp(authority[0])
    kept = tmp_path / "ledger.checkpoints.timestamps"
    kept.write_bytes((tmp_path / "other.checkpoints.timestamps").read_bytes())
    with opened(path) as ledger:
        report = ledger.verify()
    assert [check.name for check in report.checks if not check.ok] == ["timestamps"]
    assert report.first_bad == 0


def test_tokens_that_were_changed_do_not_hold(tmp_path, authority):
    path = tmp_path / "ledger.db"
    with opened(path) as ledger:
        ledger.append([Event(kind="a", request_id="r")])
        stamp = ledger.timestamp(authority[0])
        note = stamp.note
        assert read_token(stamp.token, note).time == stamp.time
        with pytest.raises(LedgerTampered, match="something else"):
            read_token(stamp.token, note.replace("\n1\n", "\n2\n"))
        held = 0
        for at in range(0, len(stamp.token), 7):
            changed = bytearray(stamp.token)
            changed[at] ^= 1
            try:
                held += read_token(bytes(changed), note).time != stamp.time
            except LedgerTampered:
                continue
        assert held == 0
        for cut in range(0, len(stamp.token), 31):
            with pytest.raises(LedgerTampered):
                read_token(stamp.token[:cut], note)
        kept = tmp_path / "ledger.checkpoints.timestamps"
        row = json.loads(kept.read_text())
        row["token"] = base64.b64encode(stamp.token[:-1] + bytes([stamp.token[-1] ^ 1])).decode()
        kept.write_text(json.dumps(row) + "\n")
        assert not ledger.verify().ok
        kept.write_text("{}\n")
        assert not ledger.verify().ok


def test_the_command(tmp_path, authority):
    url, root = authority
    place = Home(tmp_path / "home").ensure()
    with open_ledger(place) as ledger:
        ledger.append([Event(kind="a", request_id="r")])
    roots = tmp_path / "roots.pem"
    roots.write_bytes(root)
    command = ["ledger", "timestamp", url, "--roots", str(roots), "--home", str(place.path)]
    done = CliRunner().invoke(app, [*command, "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["tree_size"], said["trusted"]) == (1, True)
    assert CliRunner().invoke(app, command).exit_code == 0
    done = CliRunner().invoke(app, ["ledger", "verify", "--home", str(place.path), "--json"])
    assert "timestamps" in {check["name"] for check in json.loads(done.stdout)["checks"]}
