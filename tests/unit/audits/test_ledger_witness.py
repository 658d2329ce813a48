"""A witness cosigns a log that grows, and never one that was cut, rewritten or forked."""

import os
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import pytest

from clearmark.audits import Ledger, NoteSigner, verify_standalone
from clearmark.audits.ledger._cosign import Cosigner, WitnessKey, cosigned_by
from clearmark.audits.ledger._merkle import consistency_proof
from clearmark.audits.witness import Witness, serve
from clearmark.core import Event
from clearmark.core.errors import LedgerError, LedgerTampered, LedgerUnavailable, UsageError

SIGNER = NoteSigner.generate("example.com/pictures")
VAULT_KEY = os.urandom(32)


def opened(path, signer=SIGNER):
    return Ledger.open(path, signer=signer, vault_key=VAULT_KEY)


def grow(ledger, count):
    return ledger.append([Event(kind="a", request_id="r", body={"n": n}) for n in range(count)])


@pytest.fixture
def witness(tmp_path):
    pem = NoteSigner.generate("witness.example/w1").to_pem()
    return Witness(tmp_path / "witness.json", Cosigner("witness.example/w1", pem), [SIGNER.verifier_key])


@pytest.fixture
def served(witness):
    server = serve(witness, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", str(witness._cosigner.key)
    server.shutdown()
    server.server_close()
    thread.join()


def test_receipts_carry_the_cosignature(tmp_path, served):
    url, key = served
    with opened(tmp_path / "ledger.db") as ledger:
        first = grow(ledger, 5)[0]
        plain = ledger.receipt(first.event_id)
        assert not plain.verify(SIGNER.verifier_key, witnesses=[key])
        head = ledger.witness(url, key)
        assert cosigned_by(head.note, [WitnessKey.parse(key)])
        grow(ledger, 300)
        assert ledger.witness(url, key).size == 305
        assert ledger.witness(url, key).size == 305
        for record in (first, *grow(ledger, 1)):
            ledger.witness(url, key)
            receipt = ledger.receipt(record.event_id)
            assert receipt.verify(SIGNER.verifier_key, witnesses=[key])
            # Who knows nothing of witnesses passes over their signatures.
            assert receipt.verify(SIGNER.verifier_key)
            assert verify_standalone.check(receipt.text, SIGNER.verifier_key)["ok"]
            assert len(receipt.text) < 2048
        stranger = str(Cosigner("witness.example/w1", NoteSigner.generate("w").to_pem()).key)
        assert "not cosigned" in receipt.explain(SIGNER.verifier_key, witnesses=[key, stranger])
        assert ledger.verify().ok


def test_a_log_that_was_rolled_back_or_forked_gets_no_cosignature(tmp_path, served):
    url, key = served
    path = tmp_path / "ledger.db"
    with opened(path) as ledger:
        grow(ledger, 10)
        ledger.witness(url, key)
    for file in tmp_path.glob("ledger.*"):
        shutil.copy(file, tmp_path / f"old-{file.name}")
    with opened(path) as ledger:
        grow(ledger, 7)
        ledger.witness(url, key)
    # The keeper puts an old copy back, with an old checkpoint log to match, and writes another history.
    for file in tmp_path.glob("old-*"):
        shutil.copy(file, tmp_path / file.name.removeprefix("old-"))
    with opened(path) as ledger:
        assert ledger.verify().ok
        grow(ledger, 3)
        with pytest.raises(LedgerTampered, match="another history"):
            ledger.witness(url, key)
        grow(ledger, 4)
        with pytest.raises(LedgerTampered, match=r"another history|does not extend"):
            ledger.witness(url, key)
        grow(ledger, 40)
        with pytest.raises(LedgerTampered, match="does not extend"):
            ledger.witness(url, key)


def test_answers_of_the_protocol(tmp_path, witness):
    with opened(tmp_path / "ledger.db") as ledger:
        grow(ledger, 4)
        four = ledger.checkpoint()
        grow(ledger, 4)
        eight = ledger.checkpoint()
        tree = ledger._writer.tree

        def ask(old, head, proof=(), note=None):
            lines = "".join(f"{line}\n" for line in proof)
            return witness.add_checkpoint(f"old {old}\n{lines}\n{note or head.note}".encode())

        def encoded(old, new):
            import base64

            return [base64.b64encode(item).decode() for item in consistency_proof(old, new, tree.node)]

        assert ask(5, four).status == 400
        assert ask(3, four).body == "0\n"
        assert ask(0, four, ["AAAA"]).status == 422
        assert ask(0, four).status == 200
        assert ask(4, four).status == 200
        assert (ask(0, eight).status, ask(0, eight).body, ask(0, eight).content_type) == (
            409,
            "4\n",
            "text/x.tlog.size",
        )
        assert ask(4, eight).status == 422
        assert ask(4, eight, encoded(2, 8)).status == 422
        assert ask(4, eight, encoded(4, 8)).status == 200
        assert ask(4, four).status == 409
        other = NoteSigner.generate(SIGNER.name)
        assert ask(8, eight, note=other.sign(eight.text)).status == 403
        unknown = NoteSigner.generate("example.com/other")
        assert ask(0, eight, note=unknown.sign(eight.text.replace(SIGNER.name, unknown.name))).status == 404
        # Another tree of the same size, signed by the log itself: the split view that witnesses are for.
        forked = eight.text.replace(eight.text.split("\n")[2], four.text.split("\n")[2])
        assert ask(8, eight, note=SIGNER.sign(forked)).status == 409
        for body in (
            b"",
            b"\xff",
            b"old 1",
            b"old 01\n\nx",
            b"new 1\n\n" + eight.note.encode(),
            b"old 8\n!\n\nx",
        ):
            assert witness.add_checkpoint(body).status == 400


def test_state_outlives_the_witness_and_is_not_forgotten(tmp_path, witness):
    with opened(tmp_path / "ledger.db") as ledger:
        grow(ledger, 4)
        note = ledger.checkpoint().note
    assert witness.add_checkpoint(f"old 0\n\n{note}".encode()).status == 200
    again = Witness(tmp_path / "witness.json", witness._cosigner, [SIGNER.verifier_key])
    assert again.add_checkpoint(f"old 0\n\n{note}".encode()).status == 409
    (tmp_path / "witness.json").write_text("{")
    with pytest.raises(LedgerTampered):
        Witness(tmp_path / "witness.json", witness._cosigner, [SIGNER.verifier_key])


def test_the_program(tmp_path):
    child = subprocess.Popen(
        [
            *(sys.executable, "-m", "clearmark.audits.witness", "--name", "witness.example/w1"),
            *("--state", str(tmp_path / "state.json"), "--key", str(tmp_path / "key.pem")),
            *("--log", SIGNER.verifier_key, "--listen", "127.0.0.1:0"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        key, url = child.stdout.readline().strip(), child.stdout.readline().strip()
        assert (tmp_path / "key.pem").stat().st_mode & 0o777 == 0o600
        with opened(tmp_path / "ledger.db") as ledger:
            record = grow(ledger, 3)[0]
            ledger.witness(url, key)
            assert ledger.receipt(record.event_id).verify(SIGNER.verifier_key, witnesses=[key])
        for path, data in (("/other", b""), ("/add-checkpoint", b"nonsense")):
            with pytest.raises(urllib.error.HTTPError) as raised:
                urllib.request.urlopen(url + path, data=data, timeout=30)
            raised.value.close()
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def test_a_witness_that_does_not_answer_or_lies(tmp_path, served):
    url, key = served
    with opened(tmp_path / "ledger.db") as ledger:
        grow(ledger, 3)
        with pytest.raises(LedgerUnavailable):
            ledger.witness("http://127.0.0.1:9", key)
        stranger = str(Cosigner("witness.example/w1", NoteSigner.generate("w").to_pem()).key)
        with pytest.raises(LedgerError, match="without a cosignature"):
            ledger.witness(url, stranger)
        for wrong in ("", SIGNER.verifier_key, key[:-3] + "AA="):
            with pytest.raises(UsageError):
                ledger.witness(url, wrong)
