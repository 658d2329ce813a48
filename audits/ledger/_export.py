"""Export: events with their proofs in one JSON Lines file that can be checked without the ledger.

The first line names the log and holds its signed checkpoint; every other line is one event with its inclusion
proof under that checkpoint, in the order of the log. The last line says how many there were and holds the
seal: a note by the log's key over that number and the SHA-256 of all lines before. Each event proves itself;
only the seal proves that none was left out. Personal data is never in it: bodies hold commitments.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from clearmark.audits.ledger._merkle import MAX_PROOF, hash_leaf, inclusion_proof, verify_inclusion
from clearmark.audits.ledger._notes import Checkpoint, NoteSigner, NoteVerifier, open_note, parse_checkpoint
from clearmark.audits.ledger._records import StoredEvent
from clearmark.audits.ledger._tree import Tree
from clearmark.core.errors import LedgerError, LedgerTampered

__all__ = ["FORMAT", "export_lines", "verify_export"]

FORMAT = "clearmark ledger export v2"
MAX_LINE = 4_000_000


def export_lines(
    events: Iterable[StoredEvent], *, head: Checkpoint, tree: Tree, signer: NoteSigner
) -> Iterator[str]:
    """Yield the lines of an export of `events`, all of which `head` covers, sealed by `signer`."""
    digest = hashlib.sha256()
    count = -1
    for line in _lines(events, head, tree, signer.verifier_key):
        digest.update(line.encode())
        count += 1
        yield line
    yield _line({"events": count, "seal": signer.sign(_sealed(head.origin, count, digest.digest()))})


def _lines(events: Iterable[StoredEvent], head: Checkpoint, tree: Tree, verifier_key: str) -> Iterator[str]:
    yield _line(_heading(head, verifier_key))
    for event in events:
        proof = inclusion_proof(event.seq, head.size, tree.node)
        row: dict[str, Any] = {"seq": event.seq, "event_id": event.event_id, "leaf_hash": event.leaf_hash}
        if event.pruned:
            row["pruned"] = event.pruned
        else:
            row["envelope"] = event.envelope.decode()
        yield _line({**row, "proof": [item.hex() for item in proof]})


def _sealed(origin: str, count: int, digest: bytes) -> str:
    """Return the text that the seal signs. Its first line is no log's name, so it is never a checkpoint."""
    return f"{origin}/export\n{count}\n{base64.b64encode(digest).decode()}\n"


def verify_export(path: str | Path, verifier_key: str) -> int:
    """Check every line of an export under `verifier_key`; return the number of events.

    Raises:
        LedgerTampered: when a line does not hold; the message names it.
        LedgerError: when the file is no export or cannot be read.
    """
    verifier = NoteVerifier.parse(verifier_key)
    try:
        with Path(path).open("rb") as stream:
            line = stream.readline(MAX_LINE)
            digest = hashlib.sha256(line)
            first = _parse(line, 1)
            if first.get("format") != FORMAT or not isinstance(first.get("checkpoint"), str):
                raise LedgerError(f"{path} is no export of a ledger, or one of another version than {FORMAT}")
            head = _first_line(first, verifier)
            last = -1
            for count, line in enumerate(iter(lambda: stream.readline(MAX_LINE), b"")):
                number = count + 2
                row = _parse(line, number)
                if _line(row).encode("utf-8", "replace") != line:
                    raise LedgerTampered(f"line {number}: not as an export writes it")
                if "events" in row:
                    text = _sealed(head.origin, count, digest.digest())
                    if not _is_sealed(row, count, text, verifier) or stream.read(1):
                        raise LedgerTampered(f"line {number}: the export is not what was sealed, or not all")
                    return count
                seq = _check(row, number, head)
                if seq <= last:
                    raise LedgerTampered(f"line {number}: event {seq} stands behind event {last}")
                last = seq
                digest.update(line)
    except OSError as exc:
        raise LedgerError(f"{path} cannot be read: {exc.strerror}") from exc
    raise LedgerTampered(f"{path} ends before its last line: it was cut short")


def _heading(head: Checkpoint, verifier_key: str) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "origin": head.origin,
        "verifier_key": verifier_key,
        "size": head.size,
        "root": head.root,
        "checkpoint": head.note,
    }


def _first_line(row: dict[str, Any], verifier: NoteVerifier) -> Checkpoint:
    try:
        head = parse_checkpoint(row["checkpoint"], verifier)
    except LedgerTampered as exc:
        raise LedgerTampered(f"line 1: {exc.message}") from exc
    if row != _heading(head, verifier.verifier_key):
        raise LedgerTampered("line 1: what it says of the log is not what the signed checkpoint says")
    return head


def _is_sealed(row: dict[str, Any], count: int, text: str, verifier: NoteVerifier) -> bool:
    seal = row.get("seal")
    if row.keys() != {"events", "seal"} or row["events"] != count or not isinstance(seal, str):
        return False
    try:
        return open_note(seal, [verifier]) == text
    except LedgerTampered:
        return False


def _check(row: dict[str, Any], number: int, head: Checkpoint) -> int:
    """Check the line of one event; return its sequence number."""
    try:
        leaf = bytes.fromhex(row["leaf_hash"])
        proof = [bytes.fromhex(item) for item in row["proof"][: MAX_PROOF + 1]]
        if [leaf.hex(), *(item.hex() for item in proof)] != [row["leaf_hash"], *row["proof"]]:
            raise LedgerTampered(f"line {number}: not as an export writes it")
        if "pruned" not in row:
            envelope = row["envelope"].encode()
            if hash_leaf(envelope) != leaf or json.loads(envelope)["event_id"] != row["event_id"]:
                raise LedgerTampered(f"line {number}: the event is not what its hash says")
        held = verify_inclusion(leaf, row["seq"], head.size, proof, bytes.fromhex(head.root))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as exc:
        raise LedgerTampered(f"line {number}: not an event with its proof") from exc
    if not held:
        raise LedgerTampered(
            f"line {number}: the proof of event {row['seq']} does not lead to the signed root"
        )
    seq: int = row["seq"]
    return seq


def _parse(line: bytes, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise LedgerTampered(f"line {number}: not JSON") from exc
    if not isinstance(row, dict):
        raise LedgerTampered(f"line {number}: not an object")
    return row


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n"
