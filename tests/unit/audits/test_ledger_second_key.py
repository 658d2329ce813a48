"""The second signature, of ML-DSA-44: carried from its first checkpoint on, demanded where asked for."""

import importlib.util
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearmark.audits import Ledger, NoteSigner, verify_database
from clearmark.audits.ledger._cosign import Cosigner, WitnessKey, cosigned_by
from clearmark.audits.ledger._notes import NoteVerifier, open_note
from clearmark.core import Event
from clearmark.core.errors import KeyUnavailable, UsageError

SIGNER = NoteSigner.generate("example.com/pictures")
SECOND = Cosigner.generate_pem()
VAULT_KEY = bytes(32)
PROGRAM = Path(__file__).parents[3] / "audits" / "verify_standalone.py"

_spec = importlib.util.spec_from_file_location("verify_standalone", PROGRAM)
standalone = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(standalone)


def opened(path, **options):
    return Ledger.open(path, **{"signer": SIGNER, "vault_key": VAULT_KEY, **options})


def event():
    return Event(kind="a", request_id="r")


@pytest.fixture(name="path")
def fresh_path(tmp_path):
    return tmp_path / "ledger.db"


def test_receipts_carry_both_and_every_verifier_takes_them(path, tmp_path):
    with opened(path, second_key=SECOND) as ledger:
        recorded = ledger.append([event() for _ in range(5)])
        receipt = ledger.receipt(recorded[2].event_id)
        envelope = ledger.get(recorded[2].event_id).envelope
        key = ledger.second_key
        report = ledger.verify()
        assert report.ok, report.to_dict()
        assert "second-signature" in {check.name for check in report.checks}
    stranger = str(Cosigner(SIGNER.name, Cosigner.generate_pem()).key)
    assert receipt.verify(SIGNER.verifier_key, envelope=envelope, witnesses=[key])
    assert receipt.verify(SIGNER.verifier_key)
    assert not receipt.verify(SIGNER.verifier_key, witnesses=[stranger])
    assert open_note(receipt.note, [NoteVerifier.parse(SIGNER.verifier_key)])
    assert standalone.check(receipt.text, SIGNER.verifier_key, envelope, [key])["ok"]
    with pytest.raises(standalone.Refused, match="not cosigned"):
        standalone.check(receipt.text, SIGNER.verifier_key, envelope, [stranger])
    files = {"receipt": receipt.text, "second": key}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    command = [sys.executable, str(PROGRAM), str(tmp_path / "receipt"), "--key", SIGNER.verifier_key]
    done = subprocess.run([*command, "--witness", str(tmp_path / "second")], check=False, timeout=100)
    assert done.returncode == 0
    report = verify_database(path, verifier_key=SIGNER.verifier_key, second_key=key)
    assert report.ok, report.to_dict()
    assert verify_database(path, verifier_key=SIGNER.verifier_key).ok
    report = verify_database(path, verifier_key=SIGNER.verifier_key, second_key=stranger)
    assert [check.name for check in report.checks if not check.ok] == ["second-signature"]


def test_it_begins_with_an_event_and_does_not_end(path):
    with opened(path) as ledger:
        ledger.append([event()])
    with opened(path) as other:
        with opened(path, second_key=SECOND) as ledger:
            assert [stored.kind for stored in ledger.events()] == ["a", "ledger.key-added"]
            assert next(ledger.events(kind="ledger.key-added")).body["second_key"] == ledger.second_key
            assert ledger.verify().ok
        with pytest.raises(KeyUnavailable, match="another process"):
            other.append([event()])
    with opened(path, second_key=SECOND) as ledger:
        assert ledger.size == 2
        ledger.append([event()])
        assert ledger.verify().ok
    with pytest.raises(KeyUnavailable, match="second time"):
        opened(path)
    with pytest.raises(KeyUnavailable, match="second time"):
        opened(path, second_key=Cosigner.generate_pem())


@pytest.mark.parametrize("last", [True, False])
def test_a_signature_that_was_taken_away_or_changed_is_missed(path, last):
    with opened(path, second_key=SECOND) as ledger:
        for _ in range(4):
            ledger.append([event()])
    with sqlite3.connect(path) as conn:
        triggers = conn.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            conn.execute(f"DROP TRIGGER {name}")
        size, note = conn.execute(
            f"SELECT size, note FROM checkpoint ORDER BY size {'DESC' if last else ''} LIMIT 1 OFFSET 1"
        ).fetchone()
        lines = note.splitlines(keepends=True)
        assert len(lines) == 6
        conn.execute("UPDATE checkpoint SET note = ? WHERE size = ?", ("".join(lines[:-1]), size))
        for _, sql in triggers:
            conn.execute(sql)
    conn.close()
    with opened(path, second_key=SECOND) as ledger:
        report = ledger.verify()
    bad = {check.name: check.detail for check in report.checks if not check.ok}
    assert set(bad) <= {"second-signature"}
    # The first checkpoint may have been signed before there was the key; the copy outside says otherwise.
    assert bad


def test_keys_and_their_text():
    cosigner = Cosigner(SIGNER.name, SECOND)
    assert WitnessKey.parse(str(cosigner.key)) == cosigner.key
    text = f"{SIGNER.name}\n7\n{'A' * 43}=\n"
    line = cosigner.cosign(text)
    assert cosigned_by(f"{text}\n{line}", [cosigner.key])
    assert not cosigned_by(f"{text.replace('7', '8')}\n{line}", [cosigner.key])
    # Extension lines are no part of what is signed (C2SP tlog-cosignature), but the origin is.
    assert cosigned_by(f"{text}more\n\n{line}", [cosigner.key])
    assert not cosigned_by(f"{text.replace('pictures', 'other')}\n{line}", [cosigner.key])
    for wrong in (str(cosigner.key)[:-4], str(cosigner.key).replace("+", "+0", 1), "x"):
        with pytest.raises(UsageError):
            WitnessKey.parse(wrong)
    for pem in (b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"):
        with pytest.raises(KeyUnavailable):
            Cosigner("a", pem)


@given(at=st.integers(0, 2419), bit=st.integers(0, 7), message=st.binary(max_size=40))
@settings(max_examples=25, deadline=None)
def test_the_standard_library_verifier_agrees(at, bit, message):
    cosigner = Cosigner(SIGNER.name, SECOND)
    signature = cosigner._key.sign(message)
    public = cosigner.key.public
    assert standalone.mldsa44_verify(public, signature, message)
    changed = bytearray(signature)
    changed[at] ^= 1 << bit
    assert not standalone.mldsa44_verify(public, bytes(changed), message)
    assert not standalone.mldsa44_verify(public, signature, message + b"x")
    assert not standalone.mldsa44_verify(public, signature[:-1], message)
