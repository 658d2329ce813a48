"""A process that is killed at any moment loses nothing that it acknowledged, and doubles nothing."""

import os
import random
import signal
import subprocess
import sys

import pytest

from clearmark.audits import Ledger, NoteSigner
from clearmark.core import Event

ROUNDS = int(os.environ.get("CLEARMARK_CRASH_ROUNDS", "6"))

CHILD = """
import os, sys, threading
from pathlib import Path
from clearmark.audits import Ledger, NoteSigner
from clearmark.core import Event
signer = NoteSigner.from_pem(Path(sys.argv[2]).read_bytes(), "example.com/pictures")
ledger = Ledger.open(sys.argv[1], signer=signer, vault_key=bytes(32))
print("ready", flush=True)
def work(name):
    number = 0
    while True:
        number += 1
        body = {"n": number, "text": "x" * 300}
        batch = [
            Event(kind="a", request_id=name, body=body, mark_ids=("0f",), personal={"p": b"y"}, subject=name)
            for _ in range(1 + number % 4)
        ]
        for record in ledger.append(batch):
            os.write(1, f"{record.seq} {record.event_id} {record.leaf_hash}\\n".encode())
for name in ("one", "two", "three"):
    threading.Thread(target=work, args=(name,), daemon=True).start()
threading.Event().wait()
"""


@pytest.fixture
def key(tmp_path):
    signer = NoteSigner.generate("example.com/pictures")
    (tmp_path / "key.pem").write_bytes(signer.to_pem())
    return signer


def test_killed_at_random_moments(tmp_path, key):
    path = tmp_path / "home" / "ledger.db"
    rng = random.Random(19)
    acknowledged = {}
    for _ in range(ROUNDS):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path), str(tmp_path / "key.pem")],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout.readline() == "ready\n"
        for _ in range(rng.randrange(1, 120)):
            take(acknowledged, child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        # What it wrote before it died counts as acknowledged, too; a line may be cut.
        for line in child.stdout.read().splitlines(keepends=True):
            if line.endswith("\n"):
                take(acknowledged, line)
        child.wait()
        child.stdout.close()
        with Ledger.open(path, signer=key, vault_key=bytes(32)) as ledger:
            report = ledger.verify()
            assert report.ok, report.to_dict()
            stored = {event.event_id: event for event in ledger.events()}
            assert len(stored) == ledger.size == report.events
            for event_id, (seq, leaf) in acknowledged.items():
                assert (stored[event_id].seq, stored[event_id].leaf_hash) == (seq, leaf)
    assert len(acknowledged) > 20


def take(acknowledged, line):
    seq, event_id, leaf = line.split()
    assert event_id not in acknowledged
    acknowledged[event_id] = (int(seq), leaf)


def test_sending_again_after_a_crash_doubles_nothing(tmp_path, key):
    path = tmp_path / "ledger.db"
    events = [Event(kind="a", request_id="r", body={"n": n}) for n in range(40)]
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            ledger = Ledger.open(path, signer=key, vault_key=bytes(32))
            for event in events[:25]:
                ledger.append([event])
            os.write(write, b"x")
        finally:
            # Without closing: like a crash after the commit and before the answer.
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert os.read(read, 1) == b"x"
    os.close(read)
    os.close(write)
    with Ledger.open(path, signer=key, vault_key=bytes(32)) as ledger:
        records = ledger.append(events)
        assert [record.seq for record in records] == list(range(40))
        assert ledger.verify().ok
