"""Where sketches of refused prompts are kept for a while: a small SQLite file, sealed row by row.

People stand in it as keyed digests (HMAC-SHA-256), sketches sealed with AES-256-GCM (NIST SP 800-38D), bound
to the person and the kind. Rows end after `keep_s`; each person has few, and all together have a limit.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from clearmark.core.errors import GuardUnavailable, UsageError
from clearmark.guardrails.sessions._sketch import Sketch

__all__ = ["Kept", "SessionStore"]

_NONCE_BYTES = 12
_KEY_BYTES = 32
_MOST_REFUSED, _MOST_RECENT = 16, 4
_MOST_ROWS = 100_000
_REFUSED, _RECENT = 1, 0


@dataclass(frozen=True, slots=True)
class Kept:
    """One prompt of a person: its sketch, and when it came, in seconds of Unix time."""

    sketch: Sketch
    at: float


class SessionStore:
    """Sketches by person. Safe for threads, and for processes on one file.

    Kept are the last 16 refused prompts of a person, and the last four that were let through after one was
    refused. Of people who were never refused anything nothing is kept.
    """

    def __init__(
        self,
        path: str | Path,
        key: bytes,
        *,
        keep_s: float = 24 * 3600,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open the file at `path` under a key of 32 bytes, from which all others are derived.

        Raises:
            UsageError: for a key of another length, or a time that is none.
            GuardUnavailable: when the file cannot be opened.
        """
        if len(key) != _KEY_BYTES or not keep_s > 0:
            raise UsageError("a session store needs a key of 32 bytes and a time above 0")
        self._actor_key, self._seal_key, self.word_key = (
            hmac.digest(key, b"clearmark sessions v1 " + what, "sha256")
            for what in (b"actor", b"seal", b"word")
        )
        self._keep_s, self._clock = keep_s, clock
        self._lock = threading.RLock()
        try:
            if str(path) != ":memory:":
                os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            self._db = sqlite3.connect(path, timeout=5, isolation_level=None, check_same_thread=False)
            self._db.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as exc:
            raise GuardUnavailable(
                f"sessions: {type(exc).__name__} while opening the store", hint="restore or delete its file"
            ) from exc

    @classmethod
    def in_memory(cls, **options: float) -> SessionStore:
        """Return a store that ends with the process, under a key that nobody else has."""
        return cls(":memory:", os.urandom(_KEY_BYTES), **options)  # type: ignore[arg-type]  # the clock is no float

    def refused(self, actor: str) -> list[Kept]:
        """Return what of `actor` was refused and is still kept, the latest first."""
        return self._kept(actor, _REFUSED)

    def recent(self, actor: str) -> list[Kept]:
        """Return what `actor` asked for after a refusal and was let through, the latest first."""
        return self._kept(actor, _RECENT)

    def remember(self, actor: str, sketch: Sketch, *, refused: bool) -> None:
        """Keep a sketch; the oldest of the person's go, and what has ended of everybody's."""
        kind, most = (_REFUSED, _MOST_REFUSED) if refused else (_RECENT, _MOST_RECENT)
        who, now = self._who(actor), self._clock()
        with self._lock, self._guarded():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.execute("DELETE FROM seen WHERE at < ?", (now - self._keep_s,))
                self._db.execute(
                    "INSERT INTO seen (actor, kind, at, sealed) VALUES (?, ?, ?, ?)",
                    (who, kind, now, self._seal(sketch.to_bytes(), who, kind)),
                )
                self._db.execute(
                    "DELETE FROM seen WHERE actor = ? AND kind = ? AND id NOT IN "
                    "(SELECT id FROM seen WHERE actor = ? AND kind = ? ORDER BY id DESC LIMIT ?)",
                    (who, kind, who, kind, most),
                )
                self._db.execute("DELETE FROM seen WHERE id <= (SELECT max(id) FROM seen) - ?", (_MOST_ROWS,))
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise

    def forget(self, actor: str) -> int:
        """Erase all that is kept of `actor`, and return how many prompts that was."""
        with self._lock, self._guarded():
            return self._db.execute("DELETE FROM seen WHERE actor = ?", (self._who(actor),)).rowcount

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _kept(self, actor: str, kind: int) -> list[Kept]:
        who = self._who(actor)
        with self._lock, self._guarded():
            rows = self._db.execute(
                "SELECT at, sealed FROM seen WHERE actor = ? AND kind = ? AND at >= ? ORDER BY id DESC",
                (who, kind, self._clock() - self._keep_s),
            ).fetchall()
        return [Kept(Sketch.from_bytes(self._open(sealed, who, kind)), at) for at, sealed in rows]

    def _who(self, actor: str) -> bytes:
        return hmac.new(self._actor_key, actor.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()[:16]

    def _seal(self, plain: bytes, who: bytes, kind: int) -> bytes:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(_NONCE_BYTES)
        return nonce + AESGCM(self._seal_key).encrypt(nonce, plain, who + bytes([kind]))

    def _open(self, sealed: bytes, who: bytes, kind: int) -> bytes:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            return AESGCM(self._seal_key).decrypt(
                sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], who + bytes([kind])
            )
        except (InvalidTag, ValueError) as exc:
            raise GuardUnavailable(
                "sessions: a row does not open with the key", hint="restore the key, or delete the file"
            ) from exc

    @staticmethod
    def _guarded() -> _Guarded:
        return _Guarded()


class _Guarded:
    """Turns what SQLite raises into our error."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, sqlite3.Error):
            raise GuardUnavailable(
                f"sessions: {type(error).__name__} in the store", hint="restore or delete its file"
            ) from error


_SCHEMA = """
PRAGMA secure_delete = ON;
CREATE TABLE IF NOT EXISTS seen (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    actor BLOB NOT NULL,
    kind INTEGER NOT NULL,
    at REAL NOT NULL,
    sealed BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS seen_by_actor ON seen (actor, kind, id);
CREATE INDEX IF NOT EXISTS seen_by_time ON seen (at);
"""
