"""What is remembered: the ledger of events, its receipts, and the program that checks them without us.

>>> from clearmark.audits import Ledger, NoteSigner
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if not __name__.startswith("clearmark."):
    raise ImportError("import clearmark.audits, not audits: the bare name makes a second class object")

if TYPE_CHECKING:
    from clearmark.audits.ledger import (
        Check,
        Checkpoint,
        Erased,
        Hold,
        Ledger,
        LedgerReport,
        NoteSigner,
        NoteVerifier,
        Pruned,
        Receipt,
        Reconciliation,
        Recorded,
        StoredEvent,
        verify_database,
        verify_export,
    )
    from clearmark.audits.reports import Report, transparency
    from clearmark.audits.reviews import Review, ReviewQueue, ReviewRefused, ReviewRules

__all__ = [
    "Check",
    "Checkpoint",
    "Erased",
    "Hold",
    "Ledger",
    "LedgerReport",
    "NoteSigner",
    "NoteVerifier",
    "Pruned",
    "Receipt",
    "Reconciliation",
    "Recorded",
    "Report",
    "Review",
    "ReviewQueue",
    "ReviewRefused",
    "ReviewRules",
    "StoredEvent",
    "transparency",
    "verify_database",
    "verify_export",
]

_ROOMS = {
    **dict.fromkeys(("Report", "transparency"), "reports"),
    **dict.fromkeys(("Review", "ReviewQueue", "ReviewRefused", "ReviewRules"), "reviews"),
}


def __getattr__(name: str) -> Any:
    # SQLAlchemy and cryptography take a while to load, so the ledger is resolved when it is first used.
    if name in __all__:
        import importlib

        return getattr(importlib.import_module(f"clearmark.audits.{_ROOMS.get(name, 'ledger')}"), name)
    raise AttributeError(f"module 'clearmark.audits' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
