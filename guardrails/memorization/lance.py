"""An index in a LanceDB table, embedded or in an object store, behind the protocol of `engine`.

One row a view: its sign code, and on the first view of an item its hash, picture and rights as well, so that
an addition is one commit; the postings of its key points are written before it. Scans are flat and exact. One
writer at a time (a lock beside a local table), any number of readers.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clearmark.core.closing import Closing
from clearmark.core.errors import UsageError
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

__all__ = ["LanceIndex"]

_VERSION = "1"
_TEXTS = ("key", "sha256", "source", "licence", "creator", "opt_out")
_TABLE, _POINT, _META = "picture", "point", "meta"
_POSTED = ("word", "item", "signature", "turn", "octave")
_AT_ONCE = 500
_WORDS = 2000


class LanceIndex(Closing):
    """An index in the LanceDB database `uri`: a folder, or what LanceDB takes (`s3://bucket/index`).

    Raises:
        ExtraMissing: lancedb is not installed.
        UsageError: there is no index at `uri`, or one of another version.
    """

    def __init__(self, uri: str) -> None:
        self._lancedb = import_optional("lancedb", extra="lancedb")
        self._uri = uri
        self._lock = threading.RLock()
        if "://" not in uri and not Path(uri).is_dir():
            raise UsageError(f"no index in {uri}", hint="clearmark index build makes one")
        self._database = self._lancedb.connect(uri)
        try:
            self._table = self._database.open_table(_TABLE)
            self._points = self._database.open_table(_POINT)
            self._notes = self._database.open_table(_META)
        except (ValueError, RuntimeError, OSError) as exc:
            raise UsageError(f"no index in {uri}", hint="clearmark index build makes one") from exc
        version = self._meta("schema_version")
        if version != _VERSION:
            raise UsageError(f"{uri}: an index of version {version or '?'}", hint="upgrade clearmark")

    @classmethod
    def create(cls, uri: str, *, descriptor: str) -> LanceIndex:
        """Make an empty index.

        Raises:
            UsageError: something stands there already.
        """
        lancedb = import_optional("lancedb", extra="lancedb")
        database = lancedb.connect(uri)
        with contextlib.suppress(ValueError, RuntimeError, OSError):
            database.open_table(_META)
            raise UsageError(f"{uri} holds an index", hint="clearmark index add goes on with it")
        database.create_table(_TABLE, schema=_schema(), mode="overwrite")
        database.create_table(_POINT, schema=_point_schema(), mode="overwrite")
        rows = [
            {"name": "schema_version", "value": _VERSION},
            {"name": "descriptor", "value": descriptor},
        ]
        database.create_table(_META, rows)  # last: without it there is no index
        return cls(uri)

    def close(self) -> None:
        """Let go of the table."""
        with self._lock:
            self._table = self._points = self._notes = None

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
        row = [{"name": "calibration", "value": json.dumps(document)}]
        with self._writing():
            merge = self._notes.merge_insert("name").when_matched_update_all().when_not_matched_insert_all()
            merge.execute(row)

    @property
    def digest(self) -> str:
        """A SHA-256 over the digests of all items."""
        return digest_of(row["digest"] for row in self._first_views(["digest"]))

    def __len__(self) -> int:
        with self._reading():
            return int(self._table.count_rows("view = 0"))

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.holds_any(keys=[key])

    def item(self, number: int) -> Item:
        """Return an item by its id.

        Raises:
            UsageError: there is none.
        """
        rows = self._first_views(["id", *_TEXTS], f"id = {int(number)}")
        if not rows:
            raise UsageError(f"no item {number} in the index")
        return Item(**rows[0])

    def picture(self, number: int) -> bytes:
        """Return the small picture of an item, empty where none was kept."""
        rows = self._first_views(["picture"], f"id = {int(number)}")
        return bytes(rows[0]["picture"]) if rows else b""

    def near_hashes(self, codes: NDArray[np.uint8], count: int) -> list[Hit]:
        """Return the items whose PDQ is nearest to any of `codes` [n, 32], nearest first; exact."""
        found: list[tuple[int, int]] = []
        with self._reading():
            for code in codes if len(self) else ():
                asked = self._table.search(code, vector_column_name="pdq").distance_type("hamming")
                rows = asked.where("view = 0", prefilter=True).select(["id", "_distance"]).limit(count)
                found += [(row["id"], int(row["_distance"])) for row in rows.to_list()]
        return nearest_of(found, count)

    def near_vectors(self, vectors: NDArray[np.float32], count: int, *, depth: int = 50) -> list[Hit]:
        """Return the items most like any of `vectors` [n, 512], with the cosine as `cosines` estimates it."""
        import numpy as np

        found = []
        with self._reading():
            for place, code in enumerate(sign_codes(vectors)) if len(self) else ():
                asked = self._table.search(code, vector_column_name="code").distance_type("hamming")
                rows = asked.select(["id", "code", "_distance"]).limit(depth).to_arrow()
                codes = rows["code"].combine_chunks().flatten().to_numpy().reshape(-1, 64)
                found.append((place, rows["id"].to_pylist(), np.ascontiguousarray(codes)))
        return ranked(vectors, found, count)

    def near_features(self, query: Features, count: int) -> list[Hit]:
        """Return the items that share most key points with `query` or its mirror image, with their votes."""
        words = asked_words(query)
        columns: dict[str, list[int]] = {name: [] for name in _POSTED}
        with self._reading():
            for first in range(0, len(words) if len(self) else 0, _WORDS):
                some = ", ".join(map(str, words[first : first + _WORDS]))
                found = self._points.search().where(f"word IN ({some})").limit(None).to_arrow()
                for name, column in columns.items():
                    column.extend(found[name].to_pylist())
        return most_shared(query, list(columns.values()), count)

    def kept(self, number: int) -> tuple[bytes, bytes]:
        """Return the packed features and the small picture of an item; either may be empty."""
        rows = self._first_views(["features", "picture"], f"id = {int(number)}")
        return (bytes(rows[0]["features"]), bytes(rows[0]["picture"])) if rows else (b"", b"")

    def add(self, entries: Iterable[Entry]) -> int:
        """Add entries in one commit; keys that are there already are passed over. Return how many."""
        given: dict[str, Entry] = {}
        for entry in entries:
            check_entry(entry)
            given.setdefault(entry.item.key, entry)
        with self._writing():
            held = self._ids_of(keys=list(given))
            fresh = [entry for key, entry in given.items() if key not in held]
            if fresh:
                rows, points = self._rows_of(fresh)
                # What no row of the other table belongs to is in no answer, so a cut in between does no harm.
                if len(points):
                    self._points.add(points)
                self._table.add(rows)
            return len(fresh)

    def remove(self, *, keys: Sequence[str] = (), sha256: Sequence[str] = (), erase: bool = True) -> Removal:
        """Take items out in one commit; with `erase` the table is written anew and old versions are dropped.

        Readers that opened the table before an erasure have to open it again.

        Raises:
            UsageError: nothing of that name is in the index.
        """
        with self._writing():
            before = self.digest
            numbers = sorted(set(self._ids_of(keys=keys, sha256=sha256).values()))
            if not numbers:
                raise UsageError("none of these items is in the index")
            for first in range(0, len(numbers), _AT_ONCE):
                some = ", ".join(map(str, numbers[first : first + _AT_ONCE]))
                self._table.delete(f"id IN ({some})")
                self._points.delete(f"item IN ({some})")
            if erase:
                self._rewrite()
            return Removal(items=len(numbers), rewritten=int(erase), before=before, after=self.digest)

    def _rewrite(self) -> None:
        """Write the table anew: LanceDB marks rows as deleted, and its compaction passes over few of them."""
        for name, schema in ((_TABLE, _schema()), (_POINT, _point_schema())):
            kept = self._database.open_table(name).to_arrow()
            table = self._database.create_table(name, kept, schema=schema, mode="overwrite")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it warns that old versions go, which is what is wanted
                table.optimize(cleanup_older_than=timedelta(0), delete_unverified=True)
        self._table = self._database.open_table(_TABLE)
        self._points = self._database.open_table(_POINT)

    def holds_any(self, *, keys: Sequence[str] = (), sha256: Sequence[str] = ()) -> bool:
        """Return whether any such item is in the index."""
        with self._reading():
            return bool(self._ids_of(keys=keys, sha256=sha256))

    def entries(self) -> Iterator[Entry]:
        """Return everything that the index holds, in the order of its ids, some at a time."""
        import numpy as np

        numbers = sorted(row["id"] for row in self._first_views(["id"]))
        for first in range(0, len(numbers), _AT_ONCE):
            some = ", ".join(map(str, numbers[first : first + _AT_ONCE]))
            with self._reading():
                found = self._table.search().where(f"id IN ({some})").limit(None).to_list()
            codes: dict[int, dict[int, Any]] = {}
            for row in found:
                codes.setdefault(row["id"], {})[row["view"]] = row["code"]
            for row in sorted((row for row in found if row["view"] == 0), key=lambda row: row["id"]):
                item = Item(id=row["id"], **{name: row[name] for name in _TEXTS})
                views = np.array([codes[row["id"]][place] for place in sorted(codes[row["id"]])], np.uint8)
                yield Entry(item, bytes(row["pdq"]), views, bytes(row["picture"]), bytes(row["features"]))

    def stats(self) -> dict[str, Any]:
        """Count items, rows and bytes; `licences` counts the items of each licence."""
        licences: dict[str, int] = {}
        for row in self._first_views(["licence"]):
            licences[row["licence"]] = licences.get(row["licence"], 0) + 1
        with self._reading():
            rows = int(self._table.count_rows())
        return {
            "engine": "lancedb",
            "items": len(self),
            "rows": rows,
            "descriptor": self.descriptor,
            "digest": self.digest,
            "licences": dict(sorted(licences.items(), key=lambda row: -row[1])[:50]),
            "calibration": self.calibration,
        }

    def _ids_of(self, *, keys: Sequence[str] = (), sha256: Sequence[str] = ()) -> dict[str, int]:
        found: dict[str, int] = {}
        for column, values in (("key", keys), ("sha256", sha256)):
            for first in range(0, len(values), _AT_ONCE):
                some = ", ".join(_quoted(value) for value in values[first : first + _AT_ONCE])
                found |= {
                    row["key"]: row["id"] for row in self._first_views(["key", "id"], f"{column} IN ({some})")
                }
        return found

    def _rows_of(self, entries: Sequence[Entry]) -> tuple[Any, Any]:
        """Return the rows of both tables."""
        import numpy as np

        pa = import_optional("pyarrow", extra="lancedb")
        columns: dict[str, list[Any]] = {name: [] for name in _schema().names}
        posted: dict[str, list[int]] = {name: [] for name in _POSTED}
        taken = {row["id"] for row in self._first_views(["id"], _among(map(_number, entries)))}
        for entry in entries:
            number = _number(entry)
            while number in taken:  # two keys in 2^63 that meet
                number = (number + 1) % (1 << 63)
            taken.add(number)
            for place, code in enumerate(entry.codes):
                first = place == 0
                columns["id"].append(number)
                columns["view"].append(place)
                columns["code"].append(np.asarray(code))
                columns["pdq"].append(np.frombuffer(entry.pdq, dtype=np.uint8) if first else None)
                for name in _TEXTS:
                    columns[name].append(getattr(entry.item, name) if first else "")
                columns["features"].append(entry.features if first else b"")
                columns["picture"].append(entry.picture if first else b"")
                columns["digest"].append(row_digest(entry) if first else b"")
            points = postings_of(entry)
            posted["word"] += points.words.tolist()
            posted["item"] += [number] * len(points)
            posted["signature"] += points.signatures.view("<i8").tolist()
            posted["turn"] += points.turns.tolist()
            posted["octave"] += points.octaves.tolist()
        return pa.table(columns, schema=_schema()), pa.table(posted, schema=_point_schema())

    def _first_views(self, columns: list[str], where: str = "") -> list[dict[str, Any]]:
        with self._reading():
            asked = self._table.search().where(f"view = 0 AND {where}" if where else "view = 0")
            return list(asked.select(columns).limit(None).to_list())

    def _meta(self, name: str) -> str:
        with self._reading():
            rows = self._notes.search().limit(None).to_list()
        return next((str(row["value"]) for row in rows if row["name"] == name), "")

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock:
            if self._table is None:
                raise UsageError("the index is closed")
            try:
                yield
            except (RuntimeError, OSError) as exc:  # what LanceDB raises for files that are gone or damaged
                raise IndexDamaged(
                    f"{self._uri}: {(str(exc).splitlines() or ['?'])[0][:200]}",
                    hint="open it again; if that fails, restore it or build it anew",
                ) from exc

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._lock)
            if "://" not in self._uri:
                held = stack.enter_context((Path(self._uri) / ".writer").open("a"))
                fcntl.flock(held, fcntl.LOCK_EX)
            stack.enter_context(self._reading())
            self._table.checkout_latest()
            self._points.checkout_latest()
            yield


def _number(entry: Entry) -> int:
    """Return the id of an item: 63 bits of its key, so that no counter is shared between writers."""
    return int.from_bytes(hashlib.sha256(entry.item.key.encode()).digest()[:8], "big") >> 1


def _among(numbers: Iterable[int]) -> str:
    return f"id IN ({', '.join(map(str, numbers))})"


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _schema() -> Any:
    pa = import_optional("pyarrow", extra="lancedb")
    texts = [pa.field(name, pa.string()) for name in _TEXTS]
    return pa.schema(
        [
            pa.field("id", pa.int64()),
            pa.field("view", pa.int32()),
            pa.field("code", pa.list_(pa.uint8(), 64)),
            pa.field("pdq", pa.list_(pa.uint8(), 32)),
            *texts,
            pa.field("features", pa.binary()),
            pa.field("picture", pa.binary()),
            pa.field("digest", pa.binary()),
        ]
    )


def _point_schema() -> Any:
    pa = import_optional("pyarrow", extra="lancedb")
    kinds = (pa.int32(), pa.int64(), pa.int64(), pa.int16(), pa.int16())
    return pa.schema([pa.field(name, kind) for name, kind in zip(_POSTED, kinds, strict=True)])
