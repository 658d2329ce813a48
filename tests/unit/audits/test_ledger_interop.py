"""Go's own golang.org/x/mod/sumdb/{note,tlog} agrees with us on checkpoints and proofs, good and forged.

Needs Debian's golang-go and golang-golang-x-mod-dev; built offline from those.
"""

import base64
import json
import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from clearmark.audits import Ledger, NoteSigner, NoteVerifier
from clearmark.audits.ledger._cosign import Cosigner
from clearmark.audits.ledger._merkle import consistency_proof, verify_consistency
from clearmark.audits.ledger._notes import open_note
from clearmark.core import Event

SOURCES = Path("/usr/share/gocode")
if shutil.which("go") is None or not (SOURCES / "src/golang.org/x/mod/sumdb/tlog").is_dir():
    pytest.skip("apt-get install golang-go golang-golang-x-mod-dev", allow_module_level=True)

PROGRAM = Path(__file__).with_suffix(".go")


def asked(tmp_path, document):
    """Run the Go program on one document."""
    source = tmp_path / "interop.go"
    shutil.copy(PROGRAM, source)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "GO111MODULE": "off",
        "GOPATH": str(SOURCES),
        "GOCACHE": os.environ.get("GOCACHE", str(tmp_path / "cache")),
        "GOFLAGS": "-p=1",
        "CGO_ENABLED": "0",
    }
    done = subprocess.run(
        ["go", "run", str(source)],
        input=json.dumps(document),
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def encoded(items):
    return [base64.b64encode(item).decode() for item in items]


def test_go_agrees_on_proofs_and_notes(tmp_path):
    signer = NoteSigner.generate("example.com/pictures")
    rng = random.Random(5)
    records, expected, growths, grown = [], [], [], []
    # The second signature is one that Go passes over.
    second = Cosigner.generate_pem()
    path = tmp_path / "ledger.db"
    with Ledger.open(path, signer=signer, vault_key=bytes(32), second_key=second) as ledger:
        made, heads = [], []
        for start in range(0, 700, 35):
            made += ledger.append(
                [Event(kind="a", request_id="r", body={"n": n, "é": "🍎"}) for n in range(start, start + 35)]
            )
            heads.append(ledger.checkpoint())
        made += ledger.append([Event(kind="a", request_id="r")])
        heads.append(ledger.checkpoint())
        tree = ledger._writer.refresh()
        for turn in range(200):
            receipt = ledger.receipt(rng.choice(made).event_id)
            data = ledger.get(receipt.event_id).envelope
            index, proof, note = receipt.seq, list(receipt.proof), receipt.note
            forgery = turn % 5
            if forgery == 1:
                data = data.replace(b'"kind":"a"', b'"kind":"b"')
            elif forgery == 2:
                index = (index + 1) % receipt.tree_size
            elif forgery == 3 and proof:
                at = rng.randrange(len(proof))
                proof[at] = bytes([proof[at][0] ^ 1]) + proof[at][1:]
            elif forgery == 4:
                note = note.replace(f"\n{receipt.tree_size}\n", f"\n{receipt.tree_size + 1}\n", 1)
            records.append(
                {
                    "Note": note,
                    "Index": index,
                    "Data": base64.b64encode(data).decode(),
                    "Proof": encoded(proof),
                }
            )
            changed = (note, index, proof) != (receipt.note, receipt.seq, list(receipt.proof)) or forgery == 1
            expected.append(not changed)
        for old in heads:
            for new in heads[heads.index(old) :: 4]:
                proof = consistency_proof(old.size, new.size, tree.node)
                if len(growths) % 3 == 2 and proof:
                    proof[-1] = bytes(32)
                growths.append({"Old": old.note, "New": new.note, "Proof": encoded(proof)})
                roots = bytes.fromhex(old.root), bytes.fromhex(new.root)
                grown.append(verify_consistency(old.size, new.size, *roots, proof))
    assert True in expected
    assert False in expected
    assert True in grown
    assert False in grown
    text = "go.example/log\n7\nmade by Go, read by us\n"
    document = {"Key": signer.verifier_key, "Records": records, "Growths": growths, "Sign": text}
    answer = asked(tmp_path, document)
    assert [said == "" for said in answer["Records"]] == expected
    assert [said == "" for said in answer["Growths"]] == grown
    assert open_note(answer["Note"], [NoteVerifier.parse(answer["Key"])]) == text
