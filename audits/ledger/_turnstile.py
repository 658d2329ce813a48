"""A fair queue of processes in front of a lock that knows none: two empty files and `flock`.

SQLite gives its write lock to whoever asks at the right moment; a process that commits in a loop takes it
again before those that sleep have looked. Here one process is at work, one is next, and all others stand
behind the one that is next, as the kernel queued them: who has just been at work has to pass that place too.
The kernel gives both locks back when a process dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["TurnNotCome", "Turnstile"]


class TurnNotCome(Exception):
    """Others were at work for longer than one was willing to wait."""


class _Wait:
    """One thread that waits for the locks, and the other that asked it to."""

    def __init__(self) -> None:
        self.come = threading.Event()
        self.abandoned = False


class Turnstile:
    """The queue beside the file at `path`. Of one process, one thread at a time may stand in it."""

    def __init__(self, path: Path) -> None:
        self._paths = (path.with_name(path.name + "-next"), path.with_name(path.name + "-turn"))
        self._files: tuple[int, int] | None = None
        self._gate = threading.Lock()
        _ALL.add(self)

    @contextmanager
    def turn(self, timeout_s: float) -> Iterator[None]:
        """Wait for the turn of this process, and keep it while the block runs.

        Where there can be no such files, the block runs at once: what is behind has a lock of its own.

        Raises:
            TurnNotCome: when it has not come in time.
        """
        if not self._gate.acquire(timeout=timeout_s):
            raise TurnNotCome
        try:
            files = self._open()
            if files is None:
                yield
                return
            self._take(files, timeout_s)
            try:
                yield
            finally:
                _release(files[1])
        finally:
            self._gate.release()

    def close(self) -> None:
        """Close the files."""
        with self._gate:
            self._forget()

    def _take(self, files: tuple[int, int], timeout_s: float) -> None:
        if _try(files[0]):
            if _try(files[1]):
                _release(files[0])
                return
            _release(files[0])
        # flock cannot wait for a time, so a thread of its own waits, and gives back what comes too late.
        wait = _Wait()
        threading.Thread(target=self._stand, args=(files, wait), daemon=True).start()
        if wait.come.wait(timeout_s):
            return
        with _DECIDING:
            if wait.come.is_set():
                return
            wait.abandoned = True
            # The thread that waits owns these files from now on, and closes them.
            self._files = None
        raise TurnNotCome

    @staticmethod
    def _stand(files: tuple[int, int], wait: _Wait) -> None:
        with contextlib.suppress(OSError):
            fcntl.flock(files[0], fcntl.LOCK_EX)
            fcntl.flock(files[1], fcntl.LOCK_EX)
            fcntl.flock(files[0], fcntl.LOCK_UN)
        with _DECIDING:
            if not wait.abandoned:
                wait.come.set()
                return
        _close(files)

    def _open(self) -> tuple[int, int] | None:
        if self._files is None:
            opened: list[int] = []
            try:
                for path in self._paths:
                    opened.append(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # noqa: PERF401
            except OSError:
                _close(opened)
                return None
            self._files = (opened[0], opened[1])
        return self._files

    def _forget(self) -> None:
        files, self._files = self._files, None
        _close(files or ())


_DECIDING = threading.Lock()
_ALL: weakref.WeakSet[Turnstile] = weakref.WeakSet()


def _try(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: nothing to wait for
        return True
    return True


def _release(handle: int) -> None:
    with contextlib.suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_UN)


def _close(files: tuple[int, ...] | list[int]) -> None:
    for handle in files:
        with contextlib.suppress(OSError):
            os.close(handle)


def _leave_to_parent() -> None:
    """Close the files in a forked child, which would otherwise keep its parent's place after its death."""
    for each in list(_ALL):
        each._forget()


os.register_at_fork(after_in_child=_leave_to_parent)
