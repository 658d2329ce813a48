"""The ledger: an append-only record of events that the one who keeps it cannot rewrite unseen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import Connection, func, select

from clearmark.audits.ledger._appending import Appending
from clearmark.audits.ledger._checkpoint_log import CheckpointLog
from clearmark.audits.ledger._cosign import Cosigner, WitnessKey, with_signatures
from clearmark.audits.ledger._databases import open_store
from clearmark.audits.ledger._fencing import is_epoch
from clearmark.audits.ledger._merkle import EMPTY_ROOT, consistency_proof, inclusion_proof
from clearmark.audits.ledger._notes import Checkpoint, NoteSigner, parse_checkpoint
from clearmark.audits.ledger._receipts import Receipt
from clearmark.audits.ledger._records import LedgerReport
from clearmark.audits.ledger._schema import CHECKPOINT, COSIGNATURE, META, SECOND_KEY
from clearmark.audits.ledger._spool import Spool
from clearmark.audits.ledger._store import Store
from clearmark.audits.ledger._timestamping import Timestamp, TimestampLog
from clearmark.audits.ledger._vault import Vault
from clearmark.audits.ledger._verify import verify_store
from clearmark.audits.ledger._writer import Writer
from clearmark.core.closing import Closing
from clearmark.core.errors import KeyUnavailable, LedgerError, LedgerTampered, UsageError

__all__ = ["KEY_ADDED", "Ledger"]

KEY_ADDED = "ledger.key-added"
"""The kind of the event from which on checkpoints carry a second signature."""


class Ledger(Closing, Appending):
    """One ledger. Made by `open`; a context manager; safe to use from many threads.

    >>> with Ledger.open("ledger.db", signer=signer, vault_key=key) as ledger:
    ...     recorded = ledger.append([Event(kind="request.received", request_id="r-1")])
    ...     receipt = ledger.receipt(recorded[0].event_id)
    """

    def __init__(
        self,
        store: Store,
        *,
        signer: NoteSigner,
        vault: Vault,
        log: CheckpointLog | None,
        checkpoint_every_s: float,
        second: Cosigner | None = None,
        spool: Spool | None = None,
    ) -> None:
        self._store = store
        self._spool = spool
        self._signer = signer
        self._second = second
        self._vault = vault
        self._log = log
        self._writer = Writer(
            store,
            signer=signer,
            vault=vault,
            log=log,
            checkpoint_every_s=checkpoint_every_s,
            second=second,
        )
        self._stamps = None if log is None else TimestampLog(log.path.with_suffix(".timestamps"))
        self._damage = ""
        self._begins_second = False

    @classmethod
    def open(
        cls,
        database: str | Path,
        *,
        signer: NoteSigner,
        vault_key: bytes,
        create: bool = True,
        checkpoint_log: str | Path | None = None,
        checkpoint_every_s: float = 0.0,
        busy_timeout_s: float = 10.0,
        second_key: bytes | None = None,
        spool: str | Path | None = None,
    ) -> Ledger:
        """Open the ledger in `database`, a path or an SQLAlchemy URL; make it if absent and `create` is set.

        `signer` signs its checkpoints, `vault_key` (32 bytes) wraps the keys of personal data. Signed
        checkpoints also go to `checkpoint_log`, by default `<name>.checkpoints.log` beside a SQLite file and
        nowhere for a server. Each commit is signed; `checkpoint_every_s` signs less often, which leaves the
        newest events open to rewriting for that long. `second_key`, the PEM of an ML-DSA-44 key, signs them a
        second time; that it does from now on goes on record, and the ledger then opens with it only.

        `spool` is the folder in which `submit` leaves events while the ledger cannot be reached, by default
        `<name>.spool` beside a SQLite file and none for a server.

        A ledger that is damaged or was rolled back still opens, so that `verify` can say what is wrong; it
        takes no more events.

        Raises:
            LedgerUnavailable: when it cannot be opened or made.
            LedgerError: when it is absent and not to be made, or of another format.
            KeyUnavailable: when it belongs to another signer or vault key, or another second key.
        """
        vault = Vault(vault_key)
        second = Cosigner(signer.name, second_key) if second_key is not None else None
        store, beside = open_store(database, create=create, busy_timeout_s=busy_timeout_s)
        log_path = Path(checkpoint_log) if checkpoint_log else beside
        log = CheckpointLog(log_path) if log_path else None
        folder = Path(spool) if spool else beside and beside.with_suffix("").with_suffix(".spool")
        made = cls(
            store,
            signer=signer,
            vault=vault,
            log=log,
            checkpoint_every_s=checkpoint_every_s,
            second=second,
            spool=Spool(folder, vault=vault, timeout_s=busy_timeout_s) if folder else None,
        )
        try:
            made._enter()
        except BaseException:
            store.close()
            raise
        return made

    def close(self) -> None:
        """Finish what was sent, sign what no checkpoint covers yet, where that is possible, and close."""
        self._writer.close()
        try:
            if not self._damage and not self._covered():
                self._writer.checkpoint()
        except (LedgerError, KeyUnavailable):
            # Closing must not fail; what is durable stays durable, and the next commit signs it.
            pass
        finally:
            self._store.close()

    @property
    def origin(self) -> str:
        """The name of this log in its checkpoints."""
        return self._signer.name

    @property
    def verifier_key(self) -> str:
        """The public key by which others check receipts and checkpoints."""
        return self._signer.verifier_key

    @property
    def second_key(self) -> str:
        """The public key of the second signature, or nothing; `witnesses` of a receipt can demand it."""
        return "" if self._second is None else str(self._second.key)

    def checkpoint(self) -> Checkpoint:
        """Return the signed head of the tree over all events on record."""
        self._refuse_damaged()
        return self._writer.checkpoint()

    def consistency(self, old: int, new: int | None = None) -> list[bytes]:
        """Return the proof that the first `old` events are the beginning of the first `new`, or of all."""
        tree = self._writer.refresh()
        try:
            return consistency_proof(old, tree.size if new is None else new, tree.node)
        except (ValueError, IndexError) as exc:
            raise UsageError(f"no sizes of this ledger: {old}, {new}") from exc

    def witness(self, url: str, key: str, *, timeout_s: float = 10.0) -> Checkpoint:
        """Have the present checkpoint cosigned by the witness at `url`, and keep what it signed.

        `key` is the witness's public key. Receipts under that checkpoint carry the cosignature from then on.

        Raises:
            LedgerUnavailable: when the witness does not answer.
            LedgerTampered: when it has seen another history of this log than ours.
            LedgerError: when it refuses.
        """
        from clearmark.audits.ledger._witnessing import ask_witness

        witness = WitnessKey.parse(key)
        head = self.checkpoint()
        tree = self._writer.tree
        mine = COSIGNATURE.c.witness == str(witness)
        with self._store.reading() as conn:
            old = conn.execute(select(func.max(COSIGNATURE.c.size)).where(mine)).scalar() or 0
        line = ask_witness(url, witness, head, tree, old=old, timeout_s=timeout_s)
        return self._writer.cosigned(head, line, str(witness))

    def timestamp(self, url: str, *, roots_pem: bytes = b"", timeout_s: float = 10.0) -> Timestamp:
        """Have the present checkpoint stamped by the RFC 3161 authority at `url`, and keep the token.

        With `roots_pem`, one of these certificates must stand above the authority.

        Raises:
            LedgerUnavailable: when it does not answer, or the token cannot be kept.
            LedgerError: when it refuses, or its answer does not hold.
        """
        from cryptography import x509

        from clearmark.audits.ledger._timestamping import ask_authority

        if self._stamps is None:
            raise UsageError("this ledger has no checkpoint log, beside which time stamps are kept")
        try:
            roots = x509.load_pem_x509_certificates(roots_pem) if roots_pem else []
        except ValueError as exc:
            raise UsageError("the roots cannot be read", hint="give certificates as PEM") from exc
        stamp = ask_authority(url, self.checkpoint().note, roots=roots, timeout_s=timeout_s)
        if roots and not stamp.trusted:
            raise LedgerError(f"the authority {stamp.authority} is not under one of the given roots")
        self._stamps.append(stamp)
        return stamp

    def receipt(self, event_id: str) -> Receipt:
        """Return the proof that an event is on record.

        It stands under the earliest cosigned checkpoint that covers the event, or else under the earliest.

        Raises:
            LedgerError: when there is no such event.
            LedgerTampered: when the record does not give a valid proof.
        """
        event = self.get(event_id)
        tree = self._writer.tree if self._writer.tree.size > event.seq else self._writer.refresh()
        head = self._head_over(event.seq, tree.size)
        if head is None:
            head = self.checkpoint()
            tree = self._writer.tree
        receipt = Receipt(
            event_id=event_id,
            seq=event.seq,
            leaf_hash=event.leaf_hash,
            tree_size=head.size,
            root=head.root,
            proof=tuple(inclusion_proof(event.seq, head.size, tree.node)),
            note=head.note,
        )
        problem = receipt.explain(self.verifier_key, envelope=None if event.pruned else event.envelope)
        if problem:
            raise LedgerTampered(
                f"there is no valid proof for event {event.seq}: {problem}",
                hint="run `clearmark ledger verify`; it names what was changed",
            )
        return receipt

    def verify(self) -> LedgerReport:
        """Check every event, hash and checkpoint; never raises for damage, which is what it reports."""
        return verify_store(
            self._store,
            verifier=self._signer.verifier,
            vault=self._vault,
            log=self._log,
            damage=self._damage,
            stamps=self._stamps,
            second=None if self._second is None else self._second.key,
        )

    def _enter(self) -> None:
        """Make or check the tables, the keys, and that the database is not older than its checkpoint log."""
        last = self._log.last() if self._log else None
        try:
            self._store.create()
            self._check_keys()
            self._writer.refresh()
            self._check_rollback(last)
            if last is None and self._log is not None and not self._writer.tree.size:
                # From the start there is a note outside, so that a missing file always means something.
                empty = Checkpoint(origin=self.origin, size=0, root=EMPTY_ROOT.hex())
                self._log.append(self._signer.sign(empty.text), sync=True)
            if self._begins_second:
                self._begin_second()
        except LedgerTampered as exc:
            self._damage = exc.message
        except (TypeError, ValueError, KeyError, AttributeError) as exc:
            # A value of another type than any that we write.
            self._damage = f"stored values are malformed ({type(exc).__name__})"

    def _check_keys(self) -> None:
        mine = {"verifier_key": self.verifier_key, "vault_check": self._vault.check}
        with self._store.reading() as conn:
            known = {row.name: row.value for row in conn.execute(select(META))}
        if not known:
            with self._store.writing() as conn:
                known = {row.name: row.value for row in conn.execute(select(META))}
                if not known and self._store.size(conn) == 0:
                    conn.execute(
                        META.insert(), [{"name": name, "value": value} for name, value in mine.items()]
                    )
                    known = mine
        self._writer.epoch = max(filter(is_epoch, known), default="")
        known = {name: value for name, value in known.items() if not is_epoch(name)}
        second = known.pop(SECOND_KEY, "")
        if known.keys() != mine.keys():
            raise LedgerTampered(f"the ledger {self._store.name} does not say to which keys it belongs")
        if known["verifier_key"] != mine["verifier_key"]:
            raise KeyUnavailable(
                f"the ledger {self._store.name} was signed by another key than {self.origin}",
                hint="open it with the name and the key that it was made with",
            )
        if known["vault_check"] != mine["vault_check"]:
            raise KeyUnavailable(
                f"the vault key is not the one of the ledger {self._store.name}",
                hint="open it with the vault key that it was made with",
            )
        if second != self.second_key and second:
            raise KeyUnavailable(
                f"the ledger {self._store.name} is signed a second time, by another key than was given",
                hint="open it with its ML-DSA-44 key",
            )
        self._begins_second = bool(self.second_key) and not second

    def _begin_second(self) -> None:
        """Put on record that checkpoints carry a second signature from here on."""

        def work(conn: Connection, _: str) -> tuple[None, Mapping[str, str] | None]:
            name = META.c.name == SECOND_KEY
            if conn.execute(select(META.c.value).where(name)).scalar() is not None:
                return None, None
            conn.execute(META.insert(), {"name": SECOND_KEY, "value": self.second_key})
            return None, {"second_key": self.second_key}

        self._writer.transact(work, kind=KEY_ADDED)

    def _check_rollback(self, last: str | None) -> None:
        if last is None:
            return
        head = parse_checkpoint(last, self._signer.verifier)
        tree = self._writer.tree
        if head.size > tree.size:
            raise LedgerTampered(
                f"the ledger {self._store.name} was rolled back: it holds {tree.size} events, "
                f"its checkpoint log covers {head.size}"
            )
        if tree.roots(head.size).hex() != head.root:
            raise LedgerTampered(
                f"the ledger {self._store.name} contradicts its checkpoint log: it was rewritten"
            )

    def _covered(self) -> bool:
        with self._store.reading() as conn:
            size = self._store.size(conn)
            signed = conn.execute(select(func.max(CHECKPOINT.c.size))).scalar()
        return size == (signed or 0)

    def _head_over(self, seq: int, size: int) -> Checkpoint | None:
        point, line = CHECKPOINT.c, COSIGNATURE.c
        earliest = select(point.size, point.note).where(point.size > seq, point.size <= size)
        earliest = earliest.order_by(point.size).limit(1)
        cosigned = earliest.where(point.size.in_(select(line.size)))
        with self._store.reading() as conn:
            row = conn.execute(cosigned).first() or conn.execute(earliest).first()
            if row is None:
                return None
            lines = select(line.line).where(line.size == row.size).order_by(line.line)
            note = with_signatures(row.note, list(conn.execute(lines).scalars()))
        return parse_checkpoint(note, self._signer.verifier)
