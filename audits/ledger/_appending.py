"""The ways into a ledger: waiting in a thread, with a future, in a task of an event loop, or by the spool."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from concurrent.futures import Future

from clearmark.audits.ledger._custody import Custody
from clearmark.audits.ledger._records import Recorded
from clearmark.audits.ledger._spool import Spool
from clearmark.core.errors import LedgerUnavailable, UsageError
from clearmark.core.events import Event

__all__ = ["Appending"]


class Appending(Custody, ABC):
    """Recording events. Whatever way they come, one is acknowledged only when it is durable."""

    _spool: Spool | None

    def append(self, events: Sequence[Event]) -> list[Recorded]:
        """Record events, all or none, and return once they are durable.

        An event whose id is already on record is not recorded twice: the same content gives the same record.

        Raises:
            UsageError: for an event that cannot be recorded.
            LedgerError: when an id is on record with other content; nothing of this call is then recorded.
            LedgerUnavailable: when they could not be made durable. Sending them again is safe.
            LedgerTampered: when the ledger is damaged.
        """
        self._refuse_damaged()
        return self._writer.append(events)

    def enqueue(self, events: Sequence[Event]) -> Future[list[Recorded]]:
        """Record events like `append`, and return at once: the future is done when they are durable.

        Its errors are those of `append`. Calls of one thread are recorded in their order. A future that
        could be cancelled is of events that are not recorded. While 64 MiB of events wait, this call waits;
        in an event loop, await `append_async` instead. `close` first finishes what was taken.

        Raises:
            LedgerUnavailable: when the ledger was closed, or opened before a fork.
            LedgerTampered: when the ledger is damaged.
        """
        self._refuse_damaged()
        return self._writer.enqueue(events)

    async def append_async(self, events: Sequence[Event]) -> list[Recorded]:
        """Record events like `append`, for a task of an event loop, which is free meanwhile.

        A task that is cancelled while it waits may still have its events recorded; sending them again is
        safe. Raises what `append` raises.
        """
        self._refuse_damaged()
        return await self._writer.append_async(events)

    def submit(self, events: Sequence[Event]) -> list[Recorded]:
        """Record events, or leave them in the spool while the ledger cannot be reached.

        They are durable when this returns, and nothing is dropped. Without records in the answer they wait:
        the next call, `settle` and `erase` put them on record, in their order.

        Raises:
            UsageError: for an event that cannot be recorded, or without a spool.
            LedgerUnavailable: when neither the ledger nor the spool takes them. Sending them again is safe.
            LedgerTampered: when the ledger or the spool is damaged.
        """
        self._refuse_damaged()
        if self._spool is None:
            raise UsageError("this ledger has no spool", hint="open it with a folder for one")
        try:
            self.settle()
            return self._writer.append(events)
        except LedgerUnavailable:
            self._spool.put(events)
            return []

    def settle(self) -> int:
        """Put on record what waits in the spool; return how many events that were.

        Raises:
            LedgerUnavailable: when the ledger still cannot be reached; what is left waits on.
            LedgerTampered: when the ledger or the spool is damaged.
        """
        self._refuse_damaged()
        return 0 if self._spool is None else self._spool.drain(self._writer.append)
