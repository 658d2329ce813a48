"""How threads share one commit: they queue up, one of them leads, and the others wake one another in a chain.

The first thread that comes leads: it commits everything queued in one go, wakes one of those whose events are
durable, and hands the lead to one that still waits. Whoever wakes first wakes the next. Many threads so share
one synchronisation of the disk, none waits for the work of a later group, and no two of them are up at once
to fight for the interpreter.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from clearmark.audits.ledger._entries import Entry, weigh
from clearmark.audits.ledger._records import Recorded
from clearmark.core.errors import LedgerUnavailable
from clearmark.core.events import Event

__all__ = ["MAX_GROUP", "MAX_WAITING", "Job", "Queue"]

MAX_GROUP = 1000
"""Most events of one group commit; a single larger append is a group of its own."""

MAX_WAITING = 64 << 20
"""Most bytes of events that wait to be written. Who comes then waits outside; nothing is ever dropped."""

GATHER_S = 0.005
"""Longest time that a leader waits for those whose events were in the group before."""

WOKEN_AT_ONCE = 2
"""Threads that are woken at once after a commit; each wakes the next. Hundreds at once would fight."""

_NOBODY = 1 << 60


class Job:
    """The events of one call, and how the thread that made it is told about them."""

    relay: deque[Job] | None = None
    """Those of the group who are still to be woken."""
    error: Exception | None = None
    done = False
    leads = False
    woken = False
    abandoned = False

    def __init__(self, events: Sequence[Event], entries: Sequence[Entry] = ()) -> None:
        self.events = events
        self.entries = entries
        self.result: list[Recorded] = []
        self.ident = threading.get_ident()
        self.weight = sum(map(weigh, events))
        self.wake = threading.Lock()
        self.wake.acquire()


class Queue:
    """Hands jobs in groups to `commit`, which fills in their results or errors; one group at a time."""

    def __init__(self, commit: Callable[[Sequence[Job]], None]) -> None:
        self._commit = commit
        self._jobs: deque[Job] = deque()
        self._led = False
        self._last: tuple[set[int], set[int]] = (set(), set())
        self._gate = threading.Lock()  # guards the queue and the lead, for moments only
        self._room = threading.Condition(self._gate)
        self._expected = _NOBODY
        self._come = threading.Lock()
        self._come.acquire()
        self.waiting = 0
        """Bytes of events that wait, about."""
        self.lock = threading.Lock()
        """Held while a group is committed, and by whoever else writes."""

    def add(self, job: Job) -> None:
        """Return when `job` is done."""
        with self._gate:
            while self._led and self.waiting and self.waiting + job.weight > MAX_WAITING:
                self._room.wait()
            self._jobs.append(job)
            self.waiting += job.weight
            if not self._led:
                self._led = job.leads = True
            elif len(self._jobs) >= self._expected:
                self._expected = _NOBODY
                if self._come.locked():
                    self._come.release()
        if not job.leads:
            self._await(job)
        if job.leads:
            try:
                while not job.done:
                    self._gather()
                    with self.lock:
                        self._lead()
            finally:
                self._hand_over()

    def _await(self, job: Job) -> None:
        try:
            job.wake.acquire()
        except BaseException:
            # Interrupted: the events may still be recorded, but this thread must not be given the lead.
            with self._gate:
                job.abandoned = True
                leads = job.leads
            if leads:
                self._hand_over()
            elif job.woken:
                self._wake_next(job.relay)
            raise
        if job.relay:
            self._wake_next(job.relay)

    def _wake_next(self, relay: deque[Job] | None) -> None:
        """Wake the next thread of a group whose events are durable.

        Who is interrupted sets `abandoned` before it looks at `woken`, and here it is the other way round:
        one of the two goes on with the chain.
        """
        while relay:
            try:
                job = relay.popleft()
            except IndexError:  # another thread was faster
                return
            job.woken = True
            if not job.abandoned:
                job.wake.release()
                return

    def _gather(self) -> None:
        """Give those time to come back who were in the last two groups, so that all share one commit.

        Otherwise they fall into two halves, one of which prepares its events while the other is written:
        twice as many commits, and both in each other's way. It ends early when nobody comes any more.
        """
        end = time.monotonic() + GATHER_S
        expected = len(self._last[0] | self._last[1]) * 7 // 8
        with self._gate:
            here = len(self._jobs)
            if here >= expected:
                return
            self._expected = expected
        while not self._come.acquire(timeout=GATHER_S / 4):
            before, here = here, len(self._jobs)
            if here == before or time.monotonic() >= end:
                with self._gate:
                    self._expected = _NOBODY
                self._come.acquire(blocking=False)
                return

    def _hand_over(self) -> None:
        """Give the lead to the first thread that still waits; without one, the next to append takes it."""
        with self._gate:
            heir = next((job for job in self._jobs if not job.abandoned), None)
            self._led = heir is not None
            if heir is not None:
                heir.leads = True
                heir.wake.release()
            else:
                self._room.notify_all()

    def _lead(self) -> None:
        jobs = self._take()
        try:
            self._commit(jobs)
        except BaseException:
            unavailable = LedgerUnavailable("the ledger was interrupted while it wrote", hint="send it again")
            for job in jobs:
                job.error = job.error or unavailable
            raise
        finally:
            relay = deque(job for job in jobs if not job.leads)
            for job in jobs:
                job.relay = relay
                job.done = True
            for _ in range(WOKEN_AT_ONCE):
                self._wake_next(relay)

    def _take(self) -> list[Job]:
        with self._gate:
            jobs = [self._jobs.popleft()]
            total = len(jobs[0].events)
            while self._jobs and total + len(self._jobs[0].events) <= MAX_GROUP:
                jobs.append(self._jobs.popleft())
                total += len(jobs[-1].events)
            self._last = (self._last[1], {job.ident for job in jobs})
            self.waiting -= sum(job.weight for job in jobs)
            self._room.notify_all()
        return jobs
