"""An index in PostgreSQL with the extension pgvector, behind the protocol of `engine`.

Codes are `bit(512)` and hashes `bit(256)`; both are scanned in order of Hamming distance (`<~>`) without an
approximate index on purpose: such indexes lose a quarter of the near-copies. A removal is a transaction like
any other; with `erase` the tables are written anew (`VACUUM FULL`), but what the server's write-ahead log,
replicas and backups still hold is theirs to expire.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from clearmark.core.closing import Closing
from clearmark.core.errors import Error, UsageError
from clearmark.core.optional import import_optional
from clearmark.guardrails.memorization._items import Entry, Hit, Item, Removal
from clearmark.guardrails.memorization._segment import IndexDamaged
from clearmark.guardrails.memorization.descriptor import sign_codes
from clearmark.guardrails.memorization.engine import (
    asked_words,
    check_entry,
    digest_of,
    most_shared,
    nearest_of,
    postings_of,
    ranked,
    row_digest,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from clearmark.guardrails.memorization._keypoints import Features

__all__ = ["IndexUnavailable", "PostgresIndex"]

_VERSION = "1"
_TABLES = ("item", "view", "point")
_COLUMNS = ("key", "sha256", "source", "licence", "creator", "opt_out")
_SCHEMA = """
CREATE SCHEMA clearmark_index;
CREATE TABLE clearmark_index.meta (name text PRIMARY KEY, value text NOT NULL);
CREATE TABLE clearmark_index.item (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key text NOT NULL UNIQUE, sha256 text NOT NULL,
  source text NOT NULL, licence text NOT NULL, creator text NOT NULL, opt_out text NOT NULL,
  pdq bit(256) NOT NULL, features bytea NOT NULL,
  picture bytea NOT NULL, digest bytea NOT NULL);
CREATE INDEX item_sha256 ON clearmark_index.item (sha256);
CREATE TABLE clearmark_index.view (
  item bigint NOT NULL REFERENCES clearmark_index.item ON DELETE CASCADE, place int NOT NULL,
  code bit(512) NOT NULL, PRIMARY KEY (item, place));
CREATE TABLE clearmark_index.point (
  word int NOT NULL, item bigint NOT NULL REFERENCES clearmark_index.item ON DELETE CASCADE,
  signature bigint NOT NULL, turn smallint NOT NULL, octave smallint NOT NULL);
CREATE INDEX point_word ON clearmark_index.point (word);
CREATE INDEX point_item ON clearmark_index.point (item);
"""


class IndexUnavailable(Error):
    """The engine that holds the index does not answer."""


class PostgresIndex(Closing):
    """An index in the schema `clearmark_index` of a PostgreSQL database; any number of readers and writers.

    Raises:
        ExtraMissing: psycopg is not installed.
        IndexUnavailable: the server does not answer.
        UsageError: there is no index in the database, or one of another version.
    """

    def __init__(self, url: str) -> None:
        self._lock = threading.RLock()
        self._psycopg, self._connection = _connect(url)
        with self._using():
            found = self._connection.execute("SELECT to_regclass('clearmark_index.meta')").fetchone()
        if found is None or found[0] is None:
            self._connection.close()
            raise UsageError("no index in this database", hint="clearmark index build makes one")
        version = self._meta("schema_version")
        if version != _VERSION:
            self._connection.close()
            raise UsageError(f"an index of version {version or '?'}", hint="upgrade clearmark")

    @classmethod
    def create(cls, url: str, *, descriptor: str) -> PostgresIndex:
        """Make an empty index in the database, whole or not at all.

        Raises:
            UsageError: there is one already, or the server lacks pgvector.
        """
        psycopg, connection = _connect(url)
        with connection:
            try:
                with connection.transaction():
                    connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
                    connection.execute(_SCHEMA)
                    rows = (("schema_version", _VERSION), ("descriptor", descriptor))
                    for row in rows:
                        connection.execute("INSERT INTO clearmark_index.meta VALUES (%s, %s)", row)
            except psycopg.errors.DuplicateSchema as exc:
                raise UsageError(
                    "this database holds an index", hint="clearmark index add goes on with it"
                ) from exc
            except psycopg.Error as exc:
                raise UsageError(
                    f"the index could not be made: {_first_line(exc)}",
                    hint="the server needs the extension pgvector (apt-get install postgresql-17-pgvector)",
                ) from exc
        return cls(url)

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()

    @property
    def descriptor(self) -> str:
        """The `ref` of the descriptor whose codes the index holds."""
        return self._meta("descriptor")

    @property
    def calibration(self) -> dict[str, Any]:
        """What `set_calibration` stored; empty before."""
        out = json.loads(self._meta("calibration") or "{}")
        return out if isinstance(out, dict) else {}

    def set_calibration(self, document: dict[str, Any]) -> None:
        """Store what `calibrate` found."""
        row = ("calibration", json.dumps(document))
        self._run(
            "INSERT INTO clearmark_index.meta VALUES (%s, %s)"
            " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            row,
        )

    @property
    def digest(self) -> str:
        """A SHA-256 over the digests of all items."""
        return digest_of(bytes(row[0]) for row in self._rows("SELECT digest FROM clearmark_index.item"))

    def __len__(self) -> int:
        return int(self._rows("SELECT count(*) FROM clearmark_index.item")[0][0])

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.holds_any(keys=[key])

    def item(self, number: int) -> Item:
        """Return an item by its id.

        Raises:
            UsageError: there is none.
        """
        query = f"SELECT {', '.join(_COLUMNS)} FROM clearmark_index.item WHERE id = %s"  # noqa: S608
        rows = self._rows(query, (number,))
        if not rows:
            raise UsageError(f"no item {number} in the index")
        return Item(id=number, **dict(zip(_COLUMNS, rows[0], strict=True)))

    def picture(self, number: int) -> bytes:
        """Return the small picture of an item, empty where none was kept."""
        rows = self._rows("SELECT picture FROM clearmark_index.item WHERE id = %s", (number,))
        return bytes(rows[0][0]) if rows else b""

    def near_hashes(self, codes: NDArray[np.uint8], count: int) -> list[Hit]:
        """Return the items whose PDQ is nearest to any of `codes` [n, 32], nearest first; exact."""
        rows = self._rows(
            "SELECT near.id, near.distance FROM unnest(%s::text[]) AS asked (code) CROSS JOIN LATERAL ("
            " SELECT id, pdq <~> asked.code::bit(256) AS distance FROM clearmark_index.item"
            " ORDER BY 2, 1 LIMIT %s) AS near",
            ([_bits(code) for code in codes], count),
        )
        return nearest_of(((number, int(distance)) for number, distance in rows), count)

    def near_vectors(self, vectors: NDArray[np.float32], count: int, *, depth: int = 50) -> list[Hit]:
        """Return the items most like any of `vectors` [n, 512], with the cosine as `cosines` estimates it."""
        rows = self._rows(
            "SELECT asked.place, near.item, near.code::text FROM unnest(%s::text[]) WITH ORDINALITY"
            " AS asked (code, place) CROSS JOIN LATERAL ("
            " SELECT item, code FROM clearmark_index.view"
            " ORDER BY code <~> asked.code::bit(512), item, place LIMIT %s) AS near",
            ([_bits(code) for code in sign_codes(vectors)], depth),
        )
        found = []
        for place in range(len(vectors)):
            mine = [row for row in rows if row[0] == place + 1]
            found.append((place, [row[1] for row in mine], _codes([row[2] for row in mine])))
        return ranked(vectors, found, count)

    def near_features(self, query: Features, count: int) -> list[Hit]:
        """Return the items that share most key points with `query` or its mirror image, with their votes."""
        rows = self._rows(
            "SELECT word, item, signature, turn, octave FROM clearmark_index.point WHERE word = ANY(%s)",
            (asked_words(query),),
        )
        return most_shared(query, list(zip(*rows, strict=True)) or [[]] * 5, count)

    def kept(self, number: int) -> tuple[bytes, bytes]:
        """Return the packed features and the small picture of an item; either may be empty."""
        rows = self._rows("SELECT features, picture FROM clearmark_index.item WHERE id = %s", (number,))
        return (bytes(rows[0][0]), bytes(rows[0][1])) if rows else (b"", b"")

    def add(self, entries: Iterable[Entry]) -> int:
        """Add entries in one transaction; keys that are there already are passed over. Return how many."""
        given = {entry.item.key: entry for entry in reversed(list(entries))}
        for entry in given.values():
            check_entry(entry)
        insert = (
            f"INSERT INTO clearmark_index.item ({', '.join(_COLUMNS)}, pdq, features, picture, digest)"  # noqa: S608
            " VALUES (%s, %s, %s, %s, %s, %s, %s::bit(256), %s, %s, %s)"
            " ON CONFLICT (key) DO NOTHING RETURNING id"
        )
        added = 0
        with self._using(), self._connection.transaction():
            for entry in reversed(list(given.values())):
                values = [getattr(entry.item, name) for name in _COLUMNS]
                pdq = "x" + entry.pdq.hex()
                row = self._connection.execute(
                    insert, (*values, pdq, entry.features, entry.picture, row_digest(entry))
                ).fetchone()
                if row is None:
                    continue
                added += 1
                with self._connection.cursor() as cursor:
                    cursor.executemany(
                        "INSERT INTO clearmark_index.view VALUES (%s, %s, %s::bit(512))",
                        [(row[0], place, _bits(code)) for place, code in enumerate(entry.codes)],
                    )
                    points = postings_of(entry)
                    with cursor.copy(
                        "COPY clearmark_index.point (word, item, signature, turn, octave) FROM STDIN"
                    ) as copy:
                        for word, signature, turn, octave in zip(
                            points.words.tolist(),
                            points.signatures.view("<i8").tolist(),
                            points.turns.tolist(),
                            points.octaves.tolist(),
                            strict=True,
                        ):
                            copy.write_row((word, row[0], signature, turn, octave))
        return added

    def remove(self, *, keys: Sequence[str] = (), sha256: Sequence[str] = (), erase: bool = True) -> Removal:
        """Take items out in one transaction; with `erase` the tables are written anew without them.

        Raises:
            UsageError: nothing of that name is in the index.
        """
        before = self.digest
        with self._using(), self._connection.transaction():
            gone = self._connection.execute(
                "DELETE FROM clearmark_index.item WHERE key = ANY(%s) OR sha256 = ANY(%s) RETURNING id",
                (list(keys), list(sha256)),
            ).fetchall()
        if not gone:
            raise UsageError("none of these items is in the index")
        if erase:
            for table in _TABLES:
                self._run(f"VACUUM FULL clearmark_index.{table}")
        return Removal(
            items=len(gone), rewritten=len(_TABLES) if erase else 0, before=before, after=self.digest
        )

    def holds_any(self, *, keys: Sequence[str] = (), sha256: Sequence[str] = ()) -> bool:
        """Return whether any such item is in the index."""
        query = "SELECT 1 FROM clearmark_index.item WHERE key = ANY(%s) OR sha256 = ANY(%s) LIMIT 1"
        return bool(self._rows(query, (list(keys), list(sha256))))

    def entries(self) -> Iterator[Entry]:
        """Return everything that the index holds, in the order of its ids, some at a time."""
        last = 0
        while True:
            rows = self._rows(
                f"SELECT id, {', '.join(_COLUMNS)}, pdq::text, features, picture,"  # noqa: S608
                " (SELECT array_agg(code::text ORDER BY place) FROM clearmark_index.view WHERE item = id)"
                " FROM clearmark_index.item WHERE id > %s ORDER BY id LIMIT 500",
                (last,),
            )
            if not rows:
                return
            for number, *values, pdq, features, picture, codes in rows:
                item = Item(id=number, **dict(zip(_COLUMNS, values, strict=True)))
                yield Entry(item, _codes([pdq])[0].tobytes(), _codes(codes), bytes(picture), bytes(features))
                last = number

    def stats(self) -> dict[str, Any]:
        """Count items, rows and bytes; `licences` counts the items of each licence."""
        licences = self._rows(
            "SELECT licence, count(*) FROM clearmark_index.item GROUP BY licence ORDER BY 2 DESC LIMIT 50"
        )
        sizes = self._rows(
            "SELECT pg_total_relation_size('clearmark_index.item'),"
            " pg_total_relation_size('clearmark_index.view'),"
            " pg_total_relation_size('clearmark_index.point'), (SELECT count(*) FROM clearmark_index.view)"
        )[0]
        return {
            "engine": "postgresql",
            "items": len(self),
            "rows": sizes[3],
            "bytes_items": sizes[0],
            "bytes_codes": sizes[1],
            "bytes_points": sizes[2],
            "descriptor": self.descriptor,
            "digest": self.digest,
            "licences": dict(licences),
            "calibration": self.calibration,
        }

    def _meta(self, name: str) -> str:
        rows = self._rows("SELECT value FROM clearmark_index.meta WHERE name = %s", (name,))
        return str(rows[0][0]) if rows else ""

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._using():
            return list(self._connection.execute(query, values).fetchall())

    def _run(self, query: str, values: Sequence[Any] = ()) -> None:
        with self._using():
            self._connection.execute(query, values)

    @contextlib.contextmanager
    def _using(self) -> Iterator[None]:
        """Hold the connection; what the server says against it becomes our error."""
        with self._lock:
            try:
                yield
            except (self._psycopg.OperationalError, self._psycopg.InterfaceError) as exc:
                raise IndexUnavailable(
                    f"the index in PostgreSQL does not answer: {_first_line(exc)}", hint="try again"
                ) from exc
            except self._psycopg.Error as exc:
                raise IndexDamaged(
                    f"the index in PostgreSQL is not as it was made: {_first_line(exc)}",
                    hint="restore it from its backup, or build it again",
                ) from exc


def _connect(url: str) -> tuple[Any, Any]:
    psycopg = import_optional("psycopg", extra="postgres")
    try:
        return psycopg, psycopg.connect(url, autocommit=True, connect_timeout=10)
    except psycopg.Error as exc:
        # The message of the driver can quote the whole URL, and a password in it.
        raise IndexUnavailable(
            f"no connection to PostgreSQL ({type(exc).__name__})",
            hint="check host, user and database of the URL, and that the server runs",
        ) from exc


def _first_line(exc: BaseException) -> str:
    return (str(exc).splitlines() or [type(exc).__name__])[0]


def _bits(code: NDArray[np.uint8]) -> str:
    return "x" + code.tobytes().hex()


def _codes(texts: Sequence[str]) -> NDArray[np.uint8]:
    """Read bit strings of one length as packed rows."""
    import numpy as np

    if not texts:
        return np.zeros((0, 64), dtype=np.uint8)
    flat = np.frombuffer("".join(texts).encode("ascii"), dtype=np.uint8) - ord("0")
    return np.packbits(flat.reshape(len(texts), -1), axis=1)
