"""Appending with a future, or in a task: bounded, finished at the end, nothing promised that is not so."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from clearmark.audits import Ledger, NoteSigner
from clearmark.audits.ledger import _sending
from clearmark.core import Event
from clearmark.core.errors import LedgerError, LedgerUnavailable

SIGNER = NoteSigner.generate("example.com/pictures")


def event(number, size=10):
    return Event(kind="a", request_id=f"r-{number}", body={"number": number, "text": "x" * size})


def opened(path):
    return Ledger.open(path, signer=SIGNER, vault_key=bytes(32))


@pytest.fixture(name="ledger")
def fresh(tmp_path):
    with opened(tmp_path / "ledger.db") as ledger:
        yield ledger


@pytest.fixture(name="held")
def holding(ledger):
    """Hold the lock of those who write: what is sent meanwhile waits."""
    with ledger._writer._lock:
        yield ledger._writer._lock


def test_nothing_is_told_before_it_is_on_the_disk(ledger, monkeypatch):
    seen = []
    publish = ledger._writer._publish

    def watched(note):
        seen.append((future.done(), ledger.size))
        publish(note)

    monkeypatch.setattr(ledger._writer, "_publish", watched)
    with ledger._writer._lock:
        future = ledger.enqueue([event(0)])
        time.sleep(0.02)
        assert not future.done()
    assert future.result(timeout=60)[0].seq == 0
    assert seen == [(False, 1)]


def test_a_group_that_fails_tells_all_and_the_next_is_recorded(ledger, monkeypatch):
    def broken(*_, **__):
        raise LedgerError("the disk is gone")

    async def both(ledger):
        return await asyncio.gather(
            *(ledger.append_async([event(n)]) for n in range(20)), return_exceptions=True
        )

    monkeypatch.setattr(ledger._writer, "_write", broken)
    assert [str(error) for error in asyncio.run(both(ledger))] == ["the disk is gone"] * 20
    assert str(ledger.enqueue([event(1)]).exception(timeout=60)) == "the disk is gone"

    def worse(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(ledger._writer, "_write", worse)
    error = ledger.enqueue([event(1)]).exception(timeout=60)
    assert isinstance(error, LedgerUnavailable)
    assert isinstance(error.__cause__, ZeroDivisionError)
    monkeypatch.undo()
    assert ledger.enqueue([event(1)]).result(timeout=60)[0].seq == 0


def test_what_could_be_cancelled_is_not_recorded(ledger, held):
    first = ledger.enqueue([event(0)])
    while not first.running():
        time.sleep(0.001)
    futures = [ledger.enqueue([event(number)]) for number in range(1, 10)]
    assert [future.cancel() for future in futures[::2]] == [True] * 5
    assert not first.cancel()
    held.release()
    try:
        records = [future.result(timeout=60)[0].seq for future in [first, *futures[1::2]]]
    finally:
        held.acquire()
    assert records == [0, 1, 2, 3, 4]
    assert [stored.body["number"] for stored in ledger.events()] == [0, 2, 4, 6, 8]


def test_a_cancelled_task_harms_no_other(ledger):
    async def main():
        tasks = [asyncio.create_task(ledger.append_async([event(number)])) for number in range(40)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    done = asyncio.run(main())
    assert all(isinstance(each, asyncio.CancelledError) for each in done[::2])
    recorded = {stored.body["number"]: stored.seq for stored in ledger.events()}
    assert all(recorded[number] == done[number][0].seq for number in range(1, 40, 2))
    assert ledger.verify().ok


def test_threads_wait_when_too_much_waits(ledger, monkeypatch):
    monkeypatch.setattr(_sending, "MAX_WAITING", 5000)
    sender, most, futures = ledger._writer._sender, [], []
    take = sender._take

    def watched():
        most.append(sender.waiting)
        time.sleep(0.002)
        return take()

    monkeypatch.setattr(sender, "_take", watched)

    def work(number):
        futures.extend(ledger.enqueue([event(number * 5 + turn, size=1000)]) for turn in range(5))

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(work, range(40)))
    assert sorted(future.result(timeout=60)[0].seq for future in futures) == list(range(200))
    assert 2000 < max(most) <= 5000
    assert sender.waiting == 0


def test_tasks_wait_when_too_much_waits_and_the_loop_goes_on(ledger, monkeypatch):
    monkeypatch.setattr(_sending, "MAX_WAITING", 5000)
    sender, most = ledger._writer._sender, []

    async def work(number):
        record = await ledger.append_async([event(number, size=20_000 if number == 7 else 1000)])
        most.append(sender.waiting)
        return record[0].seq

    async def main():
        return await asyncio.gather(*(work(number) for number in range(200)))

    assert sorted(asyncio.run(main())) == list(range(200))
    assert max(most) <= 25_000
    assert sender.waiting == 0
    assert not sender._asking


def test_closing_finishes_what_was_sent(tmp_path):
    ledger = opened(tmp_path / "ledger.db")
    futures = [ledger.enqueue([event(number)]) for number in range(3000)]
    ledger.close()
    assert [future.result(timeout=0)[0].seq for future in futures] == list(range(3000))
    with pytest.raises(LedgerUnavailable, match="closed"):
        ledger.enqueue([event(0)])
    with pytest.raises(LedgerUnavailable, match="closed"):
        asyncio.run(ledger.append_async([event(0)]))
    with opened(tmp_path / "ledger.db") as again:
        assert again.size == 3000


def test_closing_lets_go_those_who_wait_for_room(tmp_path, monkeypatch):
    monkeypatch.setattr(_sending, "MAX_WAITING", 100)
    ledger = opened(tmp_path / "ledger.db")
    refused = []

    def late():
        try:
            ledger.enqueue([event(2)])
        except LedgerUnavailable as error:
            refused.append(error.message)

    with ledger._writer._lock:
        first = ledger.enqueue([event(0)])
        while not first.running():
            time.sleep(0.001)
        second = ledger.enqueue([event(1)])
        waiter = threading.Thread(target=late)
        waiter.start()
        time.sleep(0.05)
        closer = threading.Thread(target=ledger.close)
        closer.start()
        waiter.join(timeout=60)
    closer.join(timeout=60)
    assert refused == ["this ledger was closed"]
    assert [each.result(timeout=0)[0].seq for each in (first, second)] == [0, 1]


def test_a_callback_may_close_the_ledger(tmp_path):
    ledger = opened(tmp_path / "ledger.db")
    closed = threading.Event()
    future = ledger.enqueue([event(0)])
    future.add_done_callback(lambda _: (ledger.close(), closed.set()))
    assert closed.wait(60)


def test_the_thread_ends_when_nobody_sends_and_begins_again(ledger, monkeypatch):
    monkeypatch.setattr(_sending, "IDLE_S", 0.01)
    for number in range(3):
        assert ledger.enqueue([event(number)]).result(timeout=60)[0].seq == number
        thread = ledger._writer._sender._thread
        if thread is not None:
            thread.join(timeout=60)
        assert ledger._writer._sender._thread is None


def test_after_a_fork_only_the_parent_sends(ledger):
    assert ledger.enqueue([event(0)]).result(timeout=60)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            ledger.enqueue([event(1)])
        except LedgerUnavailable as error:
            os.write(write, error.message.encode())
        try:
            asyncio.run(ledger.append_async([event(1)]))
        except LedgerUnavailable:
            ledger._writer.close()
            os.write(write, b" twice")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    said = os.read(read, 1000)
    os.close(read)
    os.close(write)
    assert b"forked" in said
    assert said.endswith(b" twice")
    assert ledger.enqueue([event(2)]).result(timeout=60)[0].seq == 1


FORGETFUL = """
import sys
from clearmark.audits import Ledger, NoteSigner
from clearmark.core import Event
from pathlib import Path
signer = NoteSigner.from_pem(Path(sys.argv[2]).read_bytes(), "example.com/pictures")
ledger = Ledger.open(sys.argv[1], signer=signer, vault_key=bytes(32))
for number in range(500):
    ledger.enqueue([Event(kind="a", request_id="r", body={"n": number})])
"""


def test_a_program_that_ends_without_waiting_still_writes_what_it_sent(tmp_path):
    path, key = tmp_path / "ledger.db", tmp_path / "key.pem"
    key.write_bytes(SIGNER.to_pem())
    subprocess.run([sys.executable, "-c", FORGETFUL, str(path), str(key)], check=True, timeout=100)
    with opened(path) as ledger:
        assert ledger.size == 500
        assert ledger.verify().ok
