"""Asking a witness for its cosignature (C2SP tlog-witness, the client's side)."""

from __future__ import annotations

import base64

import httpx

from clearmark.audits.ledger._cosign import WitnessKey, cosigned_by
from clearmark.audits.ledger._merkle import consistency_proof
from clearmark.audits.ledger._notes import Checkpoint
from clearmark.audits.ledger._tree import Tree
from clearmark.core.errors import LedgerError, LedgerTampered, LedgerUnavailable

__all__ = ["ask_witness"]

MAX_ANSWER = 100_000


def ask_witness(
    url: str, key: WitnessKey, head: Checkpoint, tree: Tree, *, old: int, timeout_s: float
) -> str:
    """Return the signature line of a witness over `head`; `old` is the size that it cosigned last.

    Raises:
        LedgerUnavailable: when it does not answer.
        LedgerTampered: when it has seen another or a longer history of this log than we have.
        LedgerError: when it refuses, or what it answers is no cosignature of `key`.
    """
    answer = _post(url, head, tree, old, timeout_s)
    known = answer.text.strip()[:20]
    if answer.status_code == 409 and known.isdecimal() and old != int(known) <= head.size:
        answer = _post(url, head, tree, int(known), timeout_s)
    if answer.status_code == 409:
        raise LedgerTampered(
            f"the witness {key.name} has cosigned another history of this log, of {known} events",
            hint="run `clearmark ledger verify`: the ledger was rolled back or rewritten",
        )
    if answer.status_code == 422:
        raise LedgerTampered(
            f"the witness {key.name} says that this log does not extend what it cosigned before",
            hint="run `clearmark ledger verify`: the ledger was rewritten",
        )
    if answer.status_code != 200 or len(answer.content) > MAX_ANSWER:
        raise LedgerError(
            f"the witness {key.name} refused with status {answer.status_code}",
            hint="does it know this log's verifier key?",
        )
    for line in answer.text.splitlines(keepends=True):
        try:
            if cosigned_by(head.note + line, [key]):
                return line
        except LedgerTampered:
            continue
    raise LedgerError(f"the witness {key.name} answered without a cosignature of its key")


def _post(url: str, head: Checkpoint, tree: Tree, old: int, timeout_s: float) -> httpx.Response:
    proof = consistency_proof(old, head.size, tree.node)
    lines = "".join(f"{base64.b64encode(item).decode()}\n" for item in proof)
    body = f"old {old}\n{lines}\n{head.note}".encode()
    try:
        return httpx.post(f"{url.rstrip('/')}/add-checkpoint", content=body, timeout=timeout_s)
    except httpx.HTTPError as exc:
        raise LedgerUnavailable(
            f"the witness at {url} does not answer: {type(exc).__name__}", hint="try again later"
        ) from exc
