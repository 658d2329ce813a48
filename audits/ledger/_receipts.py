"""Receipts: that one event is in the log, in a form that a stranger can check (C2SP tlog-proof)."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clearmark.audits.ledger._cosign import WitnessKey, cosigned_by
from clearmark.audits.ledger._merkle import HASH_SIZE, MAX_PROOF, hash_leaf, verify_inclusion
from clearmark.audits.ledger._notes import NoteVerifier, decode_base64, parse_checkpoint, split_note
from clearmark.core.canonical import canonical_json
from clearmark.core.errors import LedgerError, LedgerTampered, UsageError

__all__ = ["Receipt"]

HEADER = "c2sp.org/tlog-proof@v1"
MAX_TEXT = 200_000
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})")
_HEX_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """The proof that the event with `leaf_hash` is entry `seq` of the log whose tree head is `note`.

    `root` and `leaf_hash` are hex; `proof` runs from the leaf's sibling up. `text` is the portable form.
    """

    event_id: str
    seq: int
    leaf_hash: str
    tree_size: int
    root: str
    proof: tuple[bytes, ...] = field(repr=False)
    note: str = field(repr=False)

    @property
    def origin(self) -> str:
        """The name of the log."""
        return self.note.partition("\n")[0]

    @property
    def text(self) -> str:
        """The `.tlog-proof` text. Its extra line names the event; nothing in that line is proof by itself."""
        extra = base64.b64encode(
            canonical_json({"event_id": self.event_id, "leaf_hash": self.leaf_hash})
        ).decode()
        hashes = "".join(f"{base64.b64encode(item).decode()}\n" for item in self.proof)
        return f"{HEADER}\nextra {extra}\nindex {self.seq}\n{hashes}\n{self.note}"

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, hashes as hex."""
        return {
            "event_id": self.event_id,
            "seq": self.seq,
            "leaf_hash": self.leaf_hash,
            "tree_size": self.tree_size,
            "root": self.root,
            "proof": [item.hex() for item in self.proof],
            "checkpoint": self.note,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Receipt:
        """Read the JSON form.

        Raises:
            LedgerError: when it is no receipt.
        """
        try:
            hashes = "".join(f"{base64.b64encode(bytes.fromhex(item)).decode()}\n" for item in data["proof"])
            extra = base64.b64encode(
                canonical_json({"event_id": data["event_id"], "leaf_hash": data["leaf_hash"]})
            ).decode()
            text = f"{HEADER}\nextra {extra}\nindex {data['seq']}\n{hashes}\n{data['checkpoint']}"
            made = cls.parse(text)
        except (KeyError, TypeError, ValueError, UsageError) as exc:
            raise LedgerError("not a receipt") from exc
        if (data.get("tree_size"), data.get("root")) != (made.tree_size, made.root):
            raise LedgerError("not a receipt: it contradicts its own checkpoint")
        return made

    @classmethod
    def parse(cls, text: str) -> Receipt:
        """Read the text form. What it says is believed only after `verify`.

        Raises:
            LedgerError: when it is malformed.
        """
        head, gap, note = text.partition("\n\n")
        lines = head.split("\n")
        if len(text) > MAX_TEXT or not gap or lines[0] != HEADER or len(lines) < 3:
            raise LedgerError("not a tlog-proof")
        index = _INDEX.fullmatch(lines[2])
        if not lines[1].startswith("extra ") or index is None or len(lines) - 3 > MAX_PROOF:
            raise LedgerError("not a tlog-proof of this ledger")
        try:
            extra = json.loads(decode_base64(lines[1].removeprefix("extra ")))
            proof = tuple(decode_base64(line) for line in lines[3:])
            event_id, leaf = extra["event_id"], extra["leaf_hash"]
            _, size, root = split_note(note)[0].split("\n")[:3]
            head_size, head_root = int(size), decode_base64(root).hex()
        except (ValueError, KeyError, TypeError, RecursionError, LedgerTampered) as exc:
            raise LedgerError("not a tlog-proof of this ledger") from exc
        if any(len(item) != HASH_SIZE for item in proof) or not isinstance(event_id, str):
            raise LedgerError("not a tlog-proof: a hash is not 32 bytes")
        if not isinstance(leaf, str) or not _HEX_HASH.fullmatch(leaf):
            raise LedgerError("not a tlog-proof of this ledger")
        return cls(
            event_id=event_id,
            seq=int(index[1]),
            leaf_hash=leaf,
            tree_size=head_size,
            root=head_root,
            proof=proof,
            note=note,
        )

    def verify(
        self, verifier_key: str, *, envelope: bytes | None = None, witnesses: Sequence[str] = ()
    ) -> bool:
        """Tell whether the receipt holds under `verifier_key`, for the event's bytes where given.

        Every one of `witnesses` (their public keys) must have cosigned its checkpoint.
        """
        return not self.explain(verifier_key, envelope=envelope, witnesses=witnesses)

    def cosigned_by(self, witnesses: Sequence[str]) -> dict[str, int]:
        """Return which of these witnesses (public keys) cosigned it, and when (seconds since 1970)."""
        try:
            return cosigned_by(self.note, [WitnessKey.parse(key) for key in witnesses])
        except LedgerTampered:
            return {}

    def explain(
        self, verifier_key: str, *, envelope: bytes | None = None, witnesses: Sequence[str] = ()
    ) -> str:
        """Say what is wrong with the receipt; empty when it holds.

        Raises:
            UsageError: when a key is none.
        """
        verifier = NoteVerifier.parse(verifier_key)
        try:
            head = parse_checkpoint(self.note, verifier)
            leaf = bytes.fromhex(self.leaf_hash)
        except (LedgerTampered, ValueError) as exc:
            return str(exc)
        if (head.size, head.root) != (self.tree_size, self.root):
            return "the receipt contradicts its own checkpoint"
        if envelope is not None:
            if hash_leaf(envelope) != leaf:
                return "the event is not the one that the receipt is for"
            if json.loads(envelope).get("event_id") != self.event_id:
                return "the receipt names another event"
        if not verify_inclusion(leaf, self.seq, head.size, self.proof, bytes.fromhex(head.root)):
            return "the proof does not lead to the signed root"
        missing = [key for key in witnesses if str(WitnessKey.parse(key)) not in self.cosigned_by(witnesses)]
        return f"it is not cosigned by {WitnessKey.parse(missing[0]).name}" if missing else ""
