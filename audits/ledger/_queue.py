"""How threads share one commit: they queue up, one of them leads, and the others wake one another in a chain.

The first thread that comes leads: it prepares everything queued, and commits it in one go. While the disk is
at work, one that still waits leads already, and prepares what came since. Those whose events are durable are
woken a few at a time, and each wakes the next. Many threads so share one synchronisation of the disk, none
waits for the work of a later group, and never are hundreds up at once to fight for the interpreter.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

from clearmark.audits.ledger._entries import Entry, weigh
from clearmark.audits.ledger._records import Recorded
from clearmark.core.errors import LedgerUnavailable
from clearmark.core.events import Event

__all__ = ["MAX_GROUP", "MAX_WAITING", "Job", "Queue", "next_group"]

MAX_GROUP = 1000
"""Most events of one group commit; a single larger append is a group of its own."""

MAX_WAITING = 64 << 20
"""Most bytes of events that wait to be written. Who comes then waits outside; nothing is ever dropped."""

GATHER_S = 0.005
"""Longest time that a leader waits for those whose events were in the group before."""

WOKEN_AT_ONCE = 8
"""Threads that are woken at once after a commit; each wakes the next. Hundreds at once would fight."""

_NOBODY = 1 << 60

_AnyJob = TypeVar("_AnyJob", bound="Job")


class Job:
    """The events of one call, and how the thread that made it is told about them."""

    relay: deque[Job] | None = None
    """Those of the group who are still to be woken."""
    error: Exception | None = None
    size = -1
    """Bytes of the entries, once they are prepared."""
    taken = False
    done = False
    leads = False
    woken = False
    abandoned = False

    def __init__(
        self, events: Sequence[Event], entries: Sequence[Entry] = (), *, awaited: bool = True
    ) -> None:
        self.events = events
        self.entries = entries
        self.result: list[Recorded] = []
        self.weight = sum(map(weigh, events))
        if awaited:
            self.wake = threading.Lock()
            self.wake.acquire()


def next_group(jobs: deque[_AnyJob]) -> list[_AnyJob]:
    """Take the next jobs, at least one, of at most `MAX_GROUP` events together."""
    group = [jobs.popleft()]
    total = len(group[0].events)
    while jobs and total + len(jobs[0].events) <= MAX_GROUP:
        group.append(jobs.popleft())
        total += len(group[-1].events)
    return group


class Queue:
    """Hands jobs in groups to `prepare`, then to `commit`, which fill in their results or errors.

    One group at a time is prepared, and one committed.
    """

    def __init__(
        self, prepare: Callable[[Sequence[Job]], None], commit: Callable[[Sequence[Job]], None]
    ) -> None:
        self._prepare = prepare
        self._commit = commit
        self._jobs: deque[Job] = deque()
        self._led = False
        self._last: tuple[int, int] = (0, 0)
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
                    self._lead(job)
            except BaseException:
                job.abandoned = True  # nobody is there any more to take the lead
                raise
            finally:
                if not job.taken:
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
        """Give those time to come back who were in the last group but one, so that all share one commit.

        Those of the last one wait for the disk meanwhile. It ends early when nobody comes any more.
        """
        end = time.monotonic() + GATHER_S
        expected = self._last[0] * 7 // 8
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

    def _lead(self, job: Job) -> None:
        """Do the next group, and hand the lead over while it is committed if `job` is in it."""
        jobs = self._take()
        handed = not job.taken
        try:
            self._prepare(jobs)
            with self.lock:
                if not handed:
                    self._hand_over()
                    handed = True
                self._commit(jobs)
        except BaseException:
            unavailable = LedgerUnavailable("the ledger was interrupted while it wrote", hint="send it again")
            for each in jobs:
                each.error = each.error or unavailable
            raise
        finally:
            if not handed:
                self._hand_over()
            relay = deque(each for each in jobs if not each.leads)
            for each in jobs:
                each.relay = relay
                each.done = True
            for _ in range(WOKEN_AT_ONCE):
                self._wake_next(relay)

    def _take(self) -> list[Job]:
        with self._gate:
            jobs = next_group(self._jobs)
            self._last = (self._last[1], len(jobs))
            for job in jobs:
                job.taken = True
                self.waiting -= job.weight
            self._room.notify_all()
        return jobs
