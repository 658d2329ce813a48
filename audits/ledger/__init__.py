"""The ledger: event v1 in a Merkle tree with signed checkpoints and receipts (RFC 6962, C2SP formats).

>>> from clearmark.audits.ledger import Ledger, NoteSigner
>>> signer = NoteSigner.generate("example.com/pictures")
>>> with Ledger.open("ledger.db", signer=signer, vault_key=os.urandom(32)) as ledger:
...     ledger.append([Event(kind="request.received", request_id="r-1")])
"""

from __future__ import annotations

from clearmark.audits.ledger._cosign import Cosigner
from clearmark.audits.ledger._databases import grant_database_roles, upgrade_database, verify_database
from clearmark.audits.ledger._export import verify_export
from clearmark.audits.ledger._ledger import Ledger
from clearmark.audits.ledger._notes import Checkpoint, NoteSigner, NoteVerifier
from clearmark.audits.ledger._receipts import Receipt
from clearmark.audits.ledger._reconcile import Reconciliation
from clearmark.audits.ledger._records import Check, Erased, LedgerReport, Recorded, StoredEvent
from clearmark.audits.ledger._retention import Hold, Pruned
from clearmark.audits.ledger._timestamping import Timestamp

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
    "StoredEvent",
    "Timestamp",
    "grant_database_roles",
    "new_second_key",
    "upgrade_database",
    "verify_database",
    "verify_export",
]

new_second_key = Cosigner.generate_pem
"""Return a new ML-DSA-44 key as PEM, for `Ledger.open(second_key=…)`."""
