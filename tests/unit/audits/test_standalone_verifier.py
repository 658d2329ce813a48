"""The one-file verifier: run as a stranger would, without our package, and against forged receipts."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

import clearmark.audits
from clearmark.audits import Ledger, NoteSigner, verify_standalone
from clearmark.audits.ledger._cosign import Cosigner
from clearmark.core import Event

PROGRAM = Path(clearmark.audits.__file__).with_name("verify_standalone.py")
SIGNER = NoteSigner.generate("example.com/pictures")


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    folder = tmp_path_factory.mktemp("receipt")
    with Ledger.open(folder / "ledger.db", signer=SIGNER, vault_key=os.urandom(32)) as ledger:
        records = ledger.append(
            [Event(kind="mark.written", request_id="r", body={"text": "é 🍎", "n": n}) for n in range(11)]
        )
        receipt = ledger.receipt(records[6].event_id)
        envelope = ledger.get(records[6].event_id).envelope
        ledger.export(folder / "export.jsonl")
    (folder / "receipt.tlog-proof").write_text(receipt.text, encoding="utf-8")
    (folder / "event.json").write_bytes(envelope)
    (folder / "pretty.json").write_text(json.dumps(json.loads(envelope), indent=2))
    (folder / "other.json").write_bytes(envelope.replace(b'"n":6', b'"n":7'))
    (folder / "key").write_text(SIGNER.verifier_key + "\n")
    return folder, receipt, envelope


def run(folder, *arguments):
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(PROGRAM), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PYTHONIOENCODING": "utf-8"},
    )
    assert "Traceback" not in done.stderr
    return done


def test_it_imports_only_the_standard_library():
    lines = [
        line.split()[1] for line in PROGRAM.read_text().splitlines() if line.startswith(("import ", "from "))
    ]
    assert set(lines) <= sys.stdlib_module_names


def test_a_good_receipt(case):
    folder, receipt, _ = case
    done = run(folder, "receipt.tlog-proof", "--key", SIGNER.verifier_key)
    assert done.returncode == 0
    assert f"entry 6 of 11 in the log {SIGNER.name}" in done.stdout
    for event in ("event.json", "pretty.json"):
        done = run(folder, "receipt.tlog-proof", "--key", "key", "--event", event, "--json")
        assert done.returncode == 0
        said = json.loads(done.stdout)
        assert said["ok"]
        assert said["event_checked"]
        assert (said["event_id"], said["root"]) == (receipt.event_id, receipt.root)


def test_an_export(case):
    folder, _, _ = case
    done = run(folder, "export.jsonl", "--key", "key")
    assert done.returncode == 0
    assert "11 events" in done.stdout
    lines = (folder / "export.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    for changed in (lines[:5], [*lines[:3], lines[3].replace("é", "e"), *lines[4:]], lines[:3] + lines[4:]):
        (folder / "changed.jsonl").write_text("".join(changed), encoding="utf-8")
        assert run(folder, "changed.jsonl", "--key", "key", "--json").returncode == 1


def test_a_witness(case):
    folder, receipt, _ = case
    witness = Cosigner("witness.example", NoteSigner.generate("w").to_pem())
    text = receipt.note.rpartition("\n\n")[0] + "\n"
    (folder / "cosigned.tlog-proof").write_text(receipt.text + witness.cosign(text), encoding="utf-8")
    assert run(folder, "cosigned.tlog-proof", "--key", "key", "--witness", str(witness.key)).returncode == 0
    done = run(folder, "receipt.tlog-proof", "--key", "key", "--witness", str(witness.key))
    assert done.returncode == 1
    assert "not cosigned by witness.example" in done.stderr
    stranger = Cosigner("witness.example", NoteSigner.generate("w").to_pem())
    assert run(folder, "cosigned.tlog-proof", "--key", "key", "--witness", str(stranger.key)).returncode == 1


def test_what_does_not_hold(case):
    folder, _, _ = case
    done = run(folder, "receipt.tlog-proof", "--key", "key", "--event", "other.json")
    assert done.returncode == 1
    assert "this event is not entry 6" in done.stderr
    stranger = NoteSigner.generate(SIGNER.name).verifier_key
    done = run(folder, "receipt.tlog-proof", "--key", stranger, "--json")
    assert done.returncode == 1
    assert not json.loads(done.stdout)["ok"]
    for arguments in (
        ["event.json", "--key", "key"],
        ["absent", "--key", "key"],
        ["event.json", "--key", "a+b+c"],
    ):
        assert run(folder, *arguments).returncode == 2


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_no_changed_receipt_is_accepted_and_both_verifiers_agree(case, data):
    _, receipt, envelope = case
    raw = bytearray(receipt.text.encode())
    if data.draw(st.booleans()):
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    else:
        start = data.draw(st.integers(0, len(raw)))
        raw[start : start + data.draw(st.integers(0, 60))] = data.draw(st.binary(max_size=60))
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return
    if text == receipt.text:
        return
    for event in (None, envelope):
        try:
            verify_standalone.check(text, SIGNER.verifier_key, event)
            ours = True
        except (verify_standalone.Refused, verify_standalone.Unusable):
            ours = False
        try:
            theirs = clearmark.audits.Receipt.parse(text).verify(SIGNER.verifier_key, envelope=event)
        except clearmark.core.errors.LedgerError:
            theirs = False
        # The extra line proves nothing by itself, so a change there can leave a receipt that holds.
        extra_only = text.split("\n")[2:] == receipt.text.split("\n")[2:]
        assert not (ours or theirs) or extra_only or "extra" not in text


@given(st.binary(max_size=200), st.integers(0, 63), st.integers(0, 7))
@settings(max_examples=25, deadline=None)
def test_its_ed25519_agrees_with_a_library(message, at, bit):
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    signature = bytearray(key.sign(message))
    assert verify_standalone.ed25519_verify(public, bytes(signature), message)
    signature[at] ^= 1 << bit
    assert not verify_standalone.ed25519_verify(public, bytes(signature), message)


def test_its_ed25519_on_the_vectors_of_rfc_8032():
    public = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
    signature = bytes.fromhex(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    assert verify_standalone.ed25519_verify(public, signature, b"\x72")
    # The same signature with the group order added to its scalar is refused, and so is a key of small order.
    scalar = int.from_bytes(signature[32:], "little") + verify_standalone.L
    assert not verify_standalone.ed25519_verify(
        public, signature[:32] + scalar.to_bytes(32, "little"), b"\x72"
    )
    neutral = b"\x01" + bytes(31)
    assert not verify_standalone.ed25519_verify(neutral, neutral + bytes(32), b"anything")


def test_base64_is_read_in_one_spelling_only():
    with pytest.raises(verify_standalone.Refused):
        verify_standalone.unbase64("AB==")
    assert verify_standalone.unbase64(base64.b64encode(b"abc").decode()) == b"abc"
