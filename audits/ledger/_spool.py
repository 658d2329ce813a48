"""Events that wait on this host's disk while their ledger cannot be reached: bounded, sealed, never dropped.

Each call leaves one file, which is there as a whole or not at all: written beside, synchronised, renamed, and
the folder synchronised. It is sealed with AES-256-GCM under a key of its own, derived from the vault key and
a salt at its beginning; when its events are on record, the salt is overwritten before the file goes. What
is put there twice, or was on record already when a process died, is recorded once: event ids see to that.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from clearmark.audits.ledger._checkpoint_log import sync_folder
from clearmark.audits.ledger._entries import Entry
from clearmark.audits.ledger._vault import Vault
from clearmark.core.errors import LedgerError, LedgerTampered, LedgerUnavailable
from clearmark.core.events import Event

__all__ = ["LIMIT", "Spool"]

LIMIT = 256 << 20
"""Most bytes that wait on the disk; who comes then waits for room."""

_SALT = 32
_NONCE = bytes(12)  # each key seals one file
_SUFFIX = ".events"
_POLL_S = 0.02
_ABANDONED_S = 60.0


class Spool:
    """The folder at `folder`, mode 0700; made by the first call that leaves something there."""

    def __init__(
        self, folder: Path, *, vault: Vault, limit_bytes: int = LIMIT, timeout_s: float = 10.0
    ) -> None:
        self.folder = folder
        self._vault = vault
        self._limit = limit_bytes
        self._timeout_s = timeout_s
        self._naming = threading.Lock()
        self._latest = 0

    def waiting(self) -> list[Path]:
        """Return the files that wait, in the order in which they came."""
        try:
            return sorted(path for path in self.folder.iterdir() if path.suffix == _SUFFIX)
        except FileNotFoundError:
            return []
        except OSError as exc:
            raise LedgerUnavailable(f"the spool {self.folder} cannot be read: {exc.strerror}") from exc

    def put(self, events: Sequence[Event]) -> None:
        """Leave events here; they are durable when this returns.

        Raises:
            UsageError: for an event that can never be recorded.
            LedgerUnavailable: when they could not be made durable, or there was no room for too long.
        """
        if not events:
            return
        for event in events:
            Entry.of(event)
        salt = os.urandom(_SALT)
        raw = json.dumps([_plain(event) for event in events]).encode()
        name = self._next_name()
        sealed = salt + AESGCM(self._vault.spool_key(salt)).encrypt(_NONCE, raw, name.encode())
        self._await_room(len(sealed))
        part, path = self.folder / f"{name}.part", self.folder / f"{name}{_SUFFIX}"
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                handle = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
                with os.fdopen(handle, "wb") as stream:
                    stream.write(sealed)
                    stream.flush()
                    os.fsync(stream.fileno())
                part.rename(path)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
            sync_folder(self.folder)
            sync_folder(self.folder.parent)
        except OSError as exc:
            raise LedgerUnavailable(
                f"the spool {self.folder} cannot be written: {exc.strerror}",
                hint="free some space; sending the events again is safe",
            ) from exc

    def _next_name(self) -> str:
        """Return a name behind all that this value gave before, also when the clock jumps back."""
        with self._naming:
            self._latest = max(self._latest + 1, time.time_ns())
            return f"{self._latest:020d}-{secrets.token_hex(8)}"

    def drain(self, record: Callable[[Sequence[Event]], Any]) -> int:
        """Hand what waits to `record`, file by file, and remove each once that returns; count the events.

        Raises:
            LedgerTampered: at a file that is not as it was left; it stays, and so does what came after it.
        """
        done = 0
        self._tidy()
        for path in self.waiting():
            events = self.read(path)
            if events is None:
                continue  # another process was faster
            record(events)
            done += len(events)
            self._remove(path)
        return done

    def read(self, path: Path) -> list[Event] | None:
        """Return the events of one file; None when it is gone."""
        try:
            sealed = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise LedgerUnavailable(f"the spool {self.folder} cannot be read: {exc.strerror}") from exc
        salt, sealed = sealed[:_SALT], sealed[_SALT:]
        try:
            raw = AESGCM(self._vault.spool_key(salt)).decrypt(_NONCE, sealed, path.stem.encode())
            return [_event(row) for row in json.loads(raw)]
        except (InvalidTag, ValueError, KeyError, TypeError) as exc:
            if not path.exists():
                return None
            raise LedgerTampered(
                f"{path} is not as it was left, or belongs to another vault key",
                hint="keep it for whoever looks into this; what came after it waits until it is moved away",
            ) from exc

    def _tidy(self) -> None:
        """Remove what a process left half written that was killed: nobody was told that it is durable."""
        with contextlib.suppress(OSError):
            for path in self.folder.glob("*.part"):
                if time.time() - path.stat().st_mtime > _ABANDONED_S:
                    self._remove(path)

    def _remove(self, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            try:
                handle = os.open(path, os.O_WRONLY)
                try:
                    os.write(handle, bytes(_SALT))
                    os.fsync(handle)
                finally:
                    os.close(handle)
                path.unlink()
                sync_folder(self.folder)
            except FileNotFoundError:
                raise
            except OSError as exc:
                raise LedgerError(f"{path} is on record and cannot be removed: {exc.strerror}") from exc

    def _await_room(self, size: int) -> None:
        end = time.monotonic() + self._timeout_s
        while (held := self._bytes()) and held + size > self._limit:
            if time.monotonic() > end:
                raise LedgerUnavailable(
                    f"{held:,} bytes wait in the spool {self.folder}, and there was no room for more in time",
                    hint="see why the ledger cannot be reached; nothing was dropped, send this again",
                )
            time.sleep(_POLL_S)

    def _bytes(self) -> int:
        total = 0
        for path in self.waiting():
            with contextlib.suppress(OSError):
                total += path.stat().st_size
        return total


def _plain(event: Event) -> dict[str, Any]:
    return {
        "kind": event.kind,
        "request_id": event.request_id,
        "tenant": event.tenant,
        "body": _lists(event.body),
        "personal": {name: base64.b64encode(bytes(raw)).decode() for name, raw in event.personal.items()},
        "subject": event.subject,
        "mark_ids": list(event.mark_ids),
        "event_id": event.event_id,
        "ts_us": event.ts_us,
    }


def _lists(value: Any) -> Any:
    """Return a body as plain dictionaries and lists."""
    if isinstance(value, str | int | None):
        return value
    if hasattr(value, "items"):
        return {name: _lists(item) for name, item in value.items()}
    return [_lists(item) for item in value]


def _event(row: dict[str, Any]) -> Event:
    personal = {name: base64.b64decode(raw) for name, raw in row.pop("personal").items()}
    return Event(**{**row, "personal": personal, "mark_ids": tuple(row["mark_ids"])})
