"""Events that wait on the disk: durable when left, never dropped, sealed, in order, erased like others."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading

import pytest

from clearmark.audits import Ledger, NoteSigner
from clearmark.audits.ledger._spool import Spool
from clearmark.audits.ledger._vault import Vault
from clearmark.core import Event
from clearmark.core.errors import LedgerTampered, LedgerUnavailable, UsageError

SIGNER = NoteSigner.generate("example.com/pictures")
KEY = bytes(range(32))


def event(number, **values):
    return Event(
        kind="output.decided", request_id=f"r-{number}", body={"number": number, "list": (1, 2)}, **values
    )


def opened(folder, **options):
    values = {"signer": SIGNER, "vault_key": KEY, "busy_timeout_s": 0.3, **options}
    return Ledger.open(folder / "ledger.db", **values)


def numbers(ledger):
    return [stored.body["number"] for stored in ledger.events(kind="output.decided")]


class Locked:
    """Holds the write lock of the database, as a process that hangs does."""

    def __init__(self, folder):
        self.folder = folder

    def __enter__(self):
        self.conn = sqlite3.connect(self.folder / "ledger.db", isolation_level=None)
        self.conn.execute("BEGIN IMMEDIATE")

    def __exit__(self, *_):
        self.conn.close()


def test_what_cannot_be_recorded_waits_and_comes_first(tmp_path):
    with opened(tmp_path) as ledger:
        assert ledger.submit([event(0)])[0].seq == 0
        with Locked(tmp_path):
            rich = event(2, mark_ids=("aa",), personal={"p": b"\xff"}, subject="s")
            assert ledger.submit([event(1), rich]) == []
            assert ledger.submit([event(3)]) == []
            assert numbers(ledger) == [0]
            with pytest.raises(LedgerUnavailable):
                ledger.settle()
        assert ledger.submit([event(4)])[0].seq == 4
        assert numbers(ledger) == [0, 1, 2, 3, 4]
        assert ledger.personal(rich.event_id) == {"p": b"\xff"}
        assert [stored.event_id for stored in ledger.find_mark("aa")] == [rich.event_id]
        assert ledger.settle() == 0
        assert ledger.verify().ok
    assert (tmp_path / "ledger.spool").stat().st_mode & 0o777 == 0o700


def test_another_process_puts_it_on_record_once(tmp_path):
    with opened(tmp_path) as ledger:
        with Locked(tmp_path):
            ledger.submit([event(1)])
    spool = Spool(tmp_path / "ledger.spool", vault=Vault(KEY))
    (waiting,) = spool.waiting()
    with opened(tmp_path) as ledger:
        # On record, and killed before the file was removed: it is there again.
        ledger.append(spool.read(waiting))
        assert ledger.settle() == 1
        assert numbers(ledger) == [1]
        assert spool.waiting() == []


WRITER = """
import sys
from pathlib import Path
from clearmark.audits.ledger._spool import Spool
from clearmark.audits.ledger._vault import Vault
from clearmark.core import Event
spool = Spool(Path(sys.argv[1]), vault=Vault(bytes(range(32))))
number = int(sys.argv[2])
while True:
    spool.put([Event(kind="output.decided", request_id="r", body={"number": number})])
    print(number, flush=True)
    number += 1
"""


def test_what_was_acknowledged_outlasts_kill_9(tmp_path):
    acknowledged = []
    for start in range(0, 5000, 1000):
        words = [sys.executable, "-c", WRITER, str(tmp_path / "ledger.spool"), str(start)]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        acknowledged += [int(process.stdout.readline()) for _ in range(7 + start // 1000)]
        os.kill(process.pid, signal.SIGKILL)
        acknowledged += [int(line) for line in process.stdout.read().splitlines()]
        process.wait()
        process.stdout.close()
    with opened(tmp_path) as ledger:
        ledger.settle()
        found = numbers(ledger)
    assert found == sorted(set(found))
    assert set(acknowledged) <= set(found)
    assert len(found) <= len(acknowledged) + 5  # one may have been left and not yet acknowledged


def test_who_comes_when_it_is_full_waits_and_nothing_is_dropped(tmp_path):
    spool = Spool(tmp_path / "spool", vault=Vault(KEY), limit_bytes=2000, timeout_s=0.2)
    spool.put([event(0)])
    big = Event(kind="a", request_id="r", body={"text": "x" * 1800})
    with pytest.raises(LedgerUnavailable, match="no room"):
        spool.put([big])
    assert len(spool.waiting()) == 1
    patient = Spool(tmp_path / "spool", vault=Vault(KEY), limit_bytes=2000, timeout_s=60)
    thread = threading.Thread(target=patient.put, args=([big],))
    thread.start()
    recorded = []
    spool.drain(recorded.extend)
    thread.join()
    spool.drain(recorded.extend)
    assert [each.event_id for each in recorded][1:] == [big.event_id]
    # What is larger than all the room gets through when nothing else waits.
    spool.put([Event(kind="a", request_id="r", body={"text": "x" * 9000})])


def test_what_waits_is_sealed_and_what_was_changed_is_refused(tmp_path):
    spool = Spool(tmp_path / "spool", vault=Vault(KEY))
    spool.put([event(1, personal={"prompt": b"an apple"}, subject="ada")])
    spool.put([event(2)])
    first, second = spool.waiting()
    raw = first.read_bytes()
    assert b"an apple" not in raw
    assert b"ada" not in raw
    assert b"output.decided" not in raw
    with pytest.raises(LedgerTampered):
        Spool(tmp_path / "spool", vault=Vault(bytes(32))).drain(lambda _: None)
    for changed in (raw[:-1], raw[:40] + bytes([raw[40] ^ 1]) + raw[41:], second.read_bytes(), b""):
        first.write_bytes(changed)
        got = []
        with pytest.raises(LedgerTampered, match="not as it was left"):
            spool.drain(got.append)
        assert got == []
        assert len(spool.waiting()) == 2


def test_erasing_a_person_reaches_what_waits(tmp_path):
    with opened(tmp_path) as ledger:
        with Locked(tmp_path):
            ledger.submit([event(1, personal={"prompt": b"an apple"}, subject="ada")])
        (waiting,) = (tmp_path / "ledger.spool").iterdir()
        handle = waiting.open("rb")  # the file as the disk still has it after it is gone
        assert ledger.erase("ada").values == 1
        assert list((tmp_path / "ledger.spool").iterdir()) == []
        assert handle.read(32) == bytes(32)  # without its salt there is no key
        handle.close()
        (stored,) = ledger.events(kind="output.decided")
        assert ledger.personal(stored.event_id) == {"prompt": None}
        assert ledger.verify().ok


def test_what_can_never_be_recorded_does_not_wait(tmp_path):
    spool = Spool(tmp_path / "spool", vault=Vault(KEY))
    with pytest.raises(UsageError):
        spool.put([Event(kind="", request_id="r")])
    assert spool.waiting() == []


def test_a_disk_that_takes_nothing_is_an_error_before_acknowledgement(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LedgerUnavailable, match=r"cannot be (written|read)"):
        Spool(tmp_path / "file" / "spool", vault=Vault(KEY)).put([event(1)])


def test_what_a_killed_process_left_half_written_goes(tmp_path):
    spool = Spool(tmp_path / "spool", vault=Vault(KEY))
    spool.put([event(1)])
    old, new = (tmp_path / "spool" / f"{name}.part" for name in ("old", "new"))
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    assert spool.drain(lambda _: None) == 1
    assert (old.exists(), new.exists()) == (False, True)
