"""A process that is killed at any moment loses nothing that it acknowledged, and doubles nothing.

`make chaos` kills by the thousand; CLEARMARK_CRASH_ROUNDS sets the number here.
"""

import os
import signal

import pytest

from clearmark.audits import Ledger, NoteSigner
from clearmark.benchmarks._chaos_kills import kills
from clearmark.core import Event

ROUNDS = int(os.environ.get("CLEARMARK_CRASH_ROUNDS", "12"))


@pytest.fixture
def key(tmp_path):
    signer = NoteSigner.generate("example.com/pictures")
    (tmp_path / "key.pem").write_bytes(signer.to_pem())
    return signer


def test_killed_at_random_moments():
    done = kills(ROUNDS, seed=19, moved=lambda _: None)
    assert done["acknowledged"] > ROUNDS
    assert not any(done[name] for name in ("lost", "doubled", "gaps", "tampered", "unopened")), done


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
