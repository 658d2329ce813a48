"""Appending without a thread for each caller: one thread commits for all, and tells each when it is durable.

What hundreds of threads cost is mostly waking them one by one. Here the callers go on at once, with a future,
or are tasks of an event loop that is told once for each group of events. Who would have more wait than
`MAX_WAITING` bytes waits first. The thread begins with the first call, and ends when nobody sends any more.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeAlias

from clearmark.audits.ledger._queue import MAX_WAITING, Job, next_group
from clearmark.audits.ledger._records import Recorded
from clearmark.core.errors import LedgerUnavailable
from clearmark.core.events import Event

if TYPE_CHECKING:
    import asyncio

__all__ = ["Sender"]

IDLE_S = 2.0
"""Time without work after which the thread ends; the next call begins another."""

Promised: TypeAlias = Future[list[Recorded]]


class _Sent(Job):
    """The events of one call, and the future that waits for them: of `loop`, or of any thread."""

    def __init__(
        self,
        events: Sequence[Event],
        future: Promised | asyncio.Future[list[Recorded]],
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(events, awaited=False)
        self.future = future
        self.loop = loop

    def taken_up(self) -> bool:
        """Tell whether the caller still wants this recorded; from here on it cannot be called back."""
        return not isinstance(self.future, Future) or self.future.set_running_or_notify_cancel()

    def tell(self) -> None:
        """Fill in the future, unless the task that waited was cancelled meanwhile."""
        if self.loop is not None and self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


class Sender:
    """Hands what is sent, in its order, to `commit`, which fills in results or errors of a group of jobs."""

    def __init__(self, commit: Callable[[Sequence[Job]], None]) -> None:
        self._commit = commit
        self._jobs: deque[_Sent] = deque()
        self._gate = threading.Lock()  # held for moments only
        self._more = threading.Condition(self._gate)
        self._room = threading.Condition(self._gate)
        self._asking: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._thread: threading.Thread | None = None
        self._idle = False
        self._closed = False
        self._pid = os.getpid()
        self.waiting = 0
        """Bytes of events that wait, about."""
        _ALL.add(self)

    def send(self, events: Sequence[Event]) -> Promised:
        """Return a future of the records; waits while too much waits already."""
        future: Promised = Future()
        if not events:
            future.set_result([])
            return future
        job = _Sent(events, future)
        with self._gate:
            while not self._add(job):
                self._room.wait()
        return future

    async def sent(self, events: Sequence[Event]) -> list[Recorded]:
        """Return the records once they are durable, without holding up the event loop."""
        if not events:
            return []
        loop = _running_loop()()
        future: asyncio.Future[list[Recorded]] = loop.create_future()
        job = _Sent(events, future, loop)
        while True:
            with self._gate:
                if self._add(job):
                    break
                room: asyncio.Future[None] = loop.create_future()
                self._asking.append((loop, room))
            await room
        return await future

    def close(self) -> None:
        """Take nothing more, and return when all that was taken is durable or has failed."""
        if os.getpid() != self._pid:
            return  # the thread is the parent's, and so is the work
        with self._gate:
            self._closed = True
            self._make_room()
            self._more.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _add(self, job: _Sent) -> bool:
        """Put `job` in the queue, if there is room; called with the gate held."""
        if self._closed:
            raise LedgerUnavailable("this ledger was closed", hint="open it again")
        if self.waiting and self.waiting + job.weight > MAX_WAITING:
            return False
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="clearmark-ledger", daemon=True)
            thread.start()
            self._thread = thread
        self._jobs.append(job)
        self.waiting += job.weight
        if self._idle:
            self._idle = False
            self._more.notify()
        return True

    def _run(self) -> None:
        while jobs := self._take():
            wanted = [job for job in jobs if job.taken_up()]
            try:
                if wanted:
                    self._commit(wanted)
            except BaseException as exc:  # noqa: BLE001  it has to reach those who wait, and them only
                failed = LedgerUnavailable("the ledger failed while it wrote", hint="send it again")
                failed.__cause__ = exc
                for job in wanted:
                    job.error = job.error or failed
            _tell(wanted)

    def _take(self) -> list[_Sent]:
        """Return the next group, in the order in which it came; nothing when the thread is to end."""
        with self._gate:
            while not self._jobs:
                self._idle = not self._closed
                if self._closed or not self._more.wait(IDLE_S):
                    if self._jobs:
                        break
                    self._idle, self._thread = False, None
                    return []
            self._idle = False
            jobs = next_group(self._jobs)
            self.waiting -= sum(job.weight for job in jobs)
            self._make_room()
        return jobs

    def _make_room(self) -> None:
        self._room.notify_all()
        asking, self._asking = self._asking, []
        for loop, room in asking:
            with contextlib.suppress(RuntimeError):  # that loop is closed
                loop.call_soon_threadsafe(_let_in, room)


@functools.cache
def _running_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    from asyncio import get_running_loop  # importing it takes long, and most who open a ledger have no loop

    return get_running_loop


def _let_in(room: asyncio.Future[None]) -> None:
    if not room.done():
        room.set_result(None)


def _tell(jobs: Sequence[_Sent]) -> None:
    """Fill in the futures: those of one loop in one call to it."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Sent]] = {}
    for job in jobs:
        if job.loop is None:
            job.tell()
        else:
            by_loop.setdefault(job.loop, []).append(job)
    for loop, theirs in by_loop.items():
        with contextlib.suppress(RuntimeError):  # that loop is closed: nobody is left to be told
            loop.call_soon_threadsafe(_tell_here, theirs)


def _tell_here(jobs: Sequence[_Sent]) -> None:
    for job in jobs:
        job.tell()


_ALL: weakref.WeakSet[Sender] = weakref.WeakSet()


@atexit.register
def _finish() -> None:
    """Write what was sent and not waited for: the thread would end with the interpreter."""
    for each in list(_ALL):
        each.close()
