"""What waits to be written is bounded: who comes then waits outside; nothing is dropped, nobody forgotten."""

import os
import threading
import time

import pytest

from clearmark.audits import Ledger, NoteSigner
from clearmark.audits.ledger import _intake, _queue, _writer
from clearmark.core import Event
from clearmark.core.errors import LedgerError, UsageError

SIGNER = NoteSigner.generate("example.com/pictures")


def event(number, size=1000):
    return Event(kind="a", request_id=f"r-{number}", body={"number": number, "text": "x" * size})


@pytest.fixture(name="ledger")
def opened(tmp_path):
    with Ledger.open(tmp_path / "ledger.db", signer=SIGNER, vault_key=os.urandom(32)) as ledger:
        yield ledger


def run(ledger, numbers, work):
    threads = [threading.Thread(target=work, args=(number,)) for number in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=100)
    assert not any(thread.is_alive() for thread in threads)


def test_producers_wait_when_too_much_waits_and_nothing_is_lost(ledger, monkeypatch):
    monkeypatch.setattr(_queue, "MAX_WAITING", 5000)
    queue = ledger._writer._queue
    most, records = [], []
    take = queue._take

    def watched():
        most.append(queue.waiting)
        time.sleep(0.002)
        return take()

    monkeypatch.setattr(queue, "_take", watched)

    def work(number):
        for turn in range(5):
            records.extend(ledger.append([event(number * 5 + turn)]))

    run(ledger, range(40), work)
    assert sorted(record.seq for record in records) == list(range(200))
    assert max(most) <= 5000
    assert max(most) > 2000
    assert queue.waiting == 0
    assert ledger.verify().ok


def test_one_larger_than_all_that_may_wait_gets_through(ledger, monkeypatch):
    monkeypatch.setattr(_queue, "MAX_WAITING", 100)
    run(ledger, range(12), lambda number: ledger.append([event(number, size=20_000)]))
    assert ledger.size == 12
    assert ledger._writer._queue.waiting == 0


def test_a_group_that_is_heavier_than_it_looked_is_written_in_parts(ledger, monkeypatch):
    for module in (_writer, _intake):
        monkeypatch.setattr(module, "MAX_WAITING", 50_000)
    parts = []
    write = ledger._writer._write

    def watched(conn, jobs, *, lookup):
        parts.append(sum(len(entry.envelope) for job in jobs for entry in job.entries))
        return write(conn, jobs, lookup=lookup)

    monkeypatch.setattr(ledger._writer, "_write", watched)

    def work(number):
        body = {"nested": [["x" * 20_000]]}  # of which only the outside is looked at before it is its turn
        ledger.append([Event(kind="a", request_id=f"r-{number}", body=body)])

    run(ledger, range(40), work)
    assert ledger.size == 40
    assert sum(parts) > 40 * 20_000
    assert max(parts) <= 50_000 + 21_000
    assert ledger.verify().ok


def test_an_event_that_cannot_be_recorded_fails_alone(ledger):
    """It is raised where it came from, and the others of the group are recorded."""
    failed, done = [], []

    def work(number):
        try:
            body = {"number": 0.5} if number % 4 == 0 else {"number": number}
            done.extend(ledger.append([Event(kind="a", request_id=f"r-{number}", body=body)]))
        except UsageError:
            failed.append(number)

    run(ledger, range(64), work)
    assert sorted(failed) == list(range(0, 64, 4))
    assert len(done) == ledger.size == 48
    assert ledger.verify().ok


def test_a_group_that_fails_tells_every_one_of_its_threads(ledger, monkeypatch):
    ledger.append([event(0)])
    failed = []

    def broken(*_, **__):
        time.sleep(0.01)
        raise LedgerError("the disk is gone")

    monkeypatch.setattr(ledger._writer, "_write", broken)

    def work(number):
        try:
            ledger.append([event(number)])
        except LedgerError as error:
            failed.append(error.message)

    run(ledger, range(64), work)
    assert failed == ["the disk is gone"] * 64
    monkeypatch.undo()
    assert ledger.append([event(1)])[0].seq == 1


def test_threads_that_gave_up_waiting_break_no_chain(ledger, monkeypatch):
    """An interrupted thread is passed over when those of its group are woken one by another."""
    queue = ledger._writer._queue
    done, given_up = [], []
    real = queue._await
    waited = threading.local()

    class Interrupted(BaseException):
        pass

    class Impatient:
        """The lock of a job whose thread is interrupted while it waits."""

        def __init__(self, lock):
            self.lock = lock

        def acquire(self):
            self.lock.acquire(timeout=0.001)
            raise Interrupted

        def release(self):
            self.lock.release()

    def awaiting(job):
        if getattr(waited, "impatient", False):
            job.wake = Impatient(job.wake)
        return real(job)

    monkeypatch.setattr(queue, "_await", awaiting)

    def work(number):
        waited.impatient = number % 3 == 0
        try:
            done.extend(ledger.append([event(number)]))
        except Interrupted:
            given_up.append(number)

    run(ledger, range(90), work)
    assert len(done) + len(given_up) == 90
    assert len(done) >= 60
    # What was given up may be on record, but nothing twice, and the ledger goes on.
    ledger.append([event(1000)])
    assert len(done) + 1 <= ledger.size <= 91
    assert ledger.verify().ok
