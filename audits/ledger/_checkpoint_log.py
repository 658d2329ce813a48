"""The checkpoints outside the database: a file that only grows, one JSON line per signed note.

A database that was rolled back or rewritten contradicts it. It is worth most on another disk or host than the
database; a copy from time to time is enough.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from clearmark.core.errors import LedgerUnavailable

__all__ = ["CheckpointLog", "sync_folder"]

MAX_LINE = 200_000
TAIL = 262_144
SYNC_EVERY_S = 1.0
SECTOR = 512
_ZEROS = re.compile(rb"\x00+")
_BEGIN = b'{"note": '


class CheckpointLog:
    """The file at `path`; made, with mode 0600, by the first note."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._synced = time.monotonic()

    def append(self, note: str, *, sync: bool = False) -> None:
        """Add a note; with `sync` it is on the disk when this returns.

        Raises:
            LedgerUnavailable: when it cannot be written; a half-written line is taken back.
        """
        line = json.dumps({"note": note}, ensure_ascii=False).encode() + b"\n"
        try:
            handle = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                end = os.fstat(handle).st_size
                if end and os.pread(handle, 1, end - 1) != b"\n":
                    end = _whole_lines(handle, end)
                    os.ftruncate(handle, end)
                try:
                    if os.write(handle, line) != len(line):
                        raise OSError(28, "the disk is full")
                    # The first note must last: without any, the file looks as if somebody had removed it.
                    if sync or not end or time.monotonic() - self._synced > SYNC_EVERY_S:
                        os.fsync(handle)
                        self._synced = time.monotonic()
                    if not end:
                        sync_folder(self.path.parent)
                except OSError:
                    os.ftruncate(handle, end)
                    raise
            finally:
                os.close(handle)
        except OSError as exc:
            raise LedgerUnavailable(
                f"the checkpoint log {self.path} cannot be written: {exc.strerror}",
                hint="the events are on record, but not acknowledged; free some space and send them again",
            ) from exc

    def sync(self) -> None:
        """Bring what was added to the disk."""
        try:
            handle = os.open(self.path, os.O_RDWR)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        except FileNotFoundError:
            return
        except OSError as exc:
            raise LedgerUnavailable(
                f"the checkpoint log {self.path} cannot be written: {exc.strerror}", hint="check the disk"
            ) from exc

    def notes(self) -> Iterator[str | None]:
        """Yield every note, and None for a line without one; what a crash left unfinished is passed over."""
        try:
            with self.path.open("rb") as stream:
                at = 0
                while line := stream.readline(MAX_LINE):
                    start, at = at, at + len(line)
                    if not line.endswith(b"\n") and len(line) < MAX_LINE:
                        return
                    note = _note(line)
                    if note is not None or not _is_torn(line, start):
                        yield note
        except FileNotFoundError:
            return
        except OSError as exc:
            raise LedgerUnavailable(f"the checkpoint log {self.path} cannot be read: {exc.strerror}") from exc

    def last(self) -> str | None:
        """Return the last whole note, if any."""
        try:
            with self.path.open("rb") as stream:
                end = stream.seek(0, os.SEEK_END)
                stream.seek(max(0, end - TAIL))
                lines = stream.read().split(b"\n")[:-1]
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise LedgerUnavailable(f"the checkpoint log {self.path} cannot be read: {exc.strerror}") from exc
        return next((note for line in reversed(lines) if (note := _note(line)) is not None), None)


def sync_folder(folder: Path) -> None:
    """Make it durable that a new file stands in a folder, where the system can do that."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _is_torn(line: bytes, start: int) -> bool:
    """Tell whether a power cut left this line, at `start` in the file: zeros for whole sectors of it.

    Such zeros begin with a sector or with the line, and end with a sector or where the next line began.
    """
    runs = list(_ZEROS.finditer(line))
    return bool(runs) and all(
        (run.start() == 0 or (start + run.start()) % SECTOR == 0)
        and ((start + run.end()) % SECTOR == 0 or _begins(line, run.end(), start))
        for run in runs
    )


def _begins(line: bytes, at: int, start: int) -> bool:
    """Tell whether a note begins at `at`; of its first bytes there may be only those before a sector ends."""
    kept = min(len(_BEGIN), SECTOR - (start + at) % SECTOR)
    return line.startswith(_BEGIN[:kept], at)


def _note(line: bytes) -> str | None:
    try:
        row = json.loads(line.lstrip(b"\x00"))
    except (ValueError, RecursionError):
        return None
    note = row.get("note") if isinstance(row, dict) else None
    return note if isinstance(note, str) else None


def _whole_lines(handle: int, end: int) -> int:
    """Return the length of the file up to its last newline."""
    at = end
    while at > 0:
        start = max(0, at - 65_536)
        found = os.pread(handle, at - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        at = start
    return 0
