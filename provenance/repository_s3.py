"""Manifests in a bucket of an S3-compatible object store, for platforms of many machines.

    s3://BUCKET/PREFIX                                     at Amazon, in the region of AWS_REGION
    s3://BUCKET/PREFIX?endpoint=https://HOST:PORT          at any other
    s3://BUCKET/PREFIX?endpoint=http://127.0.0.1:9000&region=eu-central-1

Keys come from where such clients look for them: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the files of the
AWS tools, or the role of the machine. They never stand in the address.

Three kinds of objects are under the prefix. `manifests/MARK-ID` is a manifest store with what is known of it,
`labels/DIGEST` leads from an active manifest's label to its mark id, and the empty
`index/TIME-MARK-ID-FINGERPRINT` are what is searched for pictures that look alike: their names are read once,
a thousand with each call, and afterwards only those that came since. They are written in this order: what is
found is there. Nothing is believed because it is in the bucket; names that are none of ours are passed over.
"""

from __future__ import annotations

import hashlib
import io
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, urlsplit

import numpy as np

from clearmark.core.closing import Closing
from clearmark.core.errors import Unavailable, UsageError
from clearmark.core.optional import import_optional
from clearmark.provenance.credentials.jumbf import label_of
from clearmark.provenance.credentials.store import MAX_STORE
from clearmark.provenance.fingerprints import code_bits
from clearmark.provenance.ids import is_mark_id
from clearmark.provenance.repository import MAX_DISTANCE, KeptManifest

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["S3ManifestRepository"]

_ENTRY = re.compile(r"(\d{19})-([0-9a-f]{16})-([0-9a-f]{16}|none)")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_MOST_ENTRIES = 50_000_000
_OVERLAP_NS = 10 * 60 * 10**9
"""How far the clocks of those who write may be apart: the names of the last ten minutes are read again."""

_TIMEOUT_S = 20.0
_TRIES = 3


class S3ManifestRepository(Closing):
    """Manifests by mark id and by fingerprint, as `ManifestRepository`. Safe to share between threads.

    `client` is a `minio.Minio`. Made by `from_url`.

    Raises:
        Unavailable: when there is no such bucket, or it does not answer.
    """

    def __init__(self, client: Any, bucket: str, prefix: str = "") -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[str, int | None]] = {}
        self._last = ""
        with self._answering():
            if not client.bucket_exists(bucket):
                raise Unavailable(f"there is no bucket {bucket}", hint="make it first, with the rights to it")

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Open `s3://BUCKET/PREFIX?endpoint=…&region=…`.

        Raises:
            ExtraMissing: the package minio is not installed.
            UsageError: an address that is none.
            Unavailable: no such bucket, or no answer.
        """
        parts = urlsplit(url)
        asked = parse_qs(parts.query)
        if parts.scheme != "s3" or not _BUCKET.fullmatch(parts.netloc) or set(asked) - {"endpoint", "region"}:
            raise UsageError(
                f"not the address of a bucket: {parts.scheme}://{(parts.hostname or '')[:63]}",
                hint="s3://BUCKET/PREFIX?endpoint=https://HOST&region=NAME; keys stand in the environment",
            )
        return cls(_client(asked), parts.netloc, parts.path)

    def put(self, mark_id: str, store: bytes, *, media_type: str, fingerprint: str = "") -> None:
        """Keep a manifest store; one that is there under the same mark id is replaced.

        Raises:
            UsageError: a malformed mark id or fingerprint.
            Unavailable: when it could not be written.
        """
        if not is_mark_id(mark_id):
            raise UsageError(f"a mark id is 16 lower-case hex digits, not {mark_id[:32]!r}")
        code = f"{code_bits(fingerprint):016x}" if fingerprint else "none"
        label = label_of(store)
        about = {"media-type": media_type, "label": label}
        with self._answering():
            self._write(f"manifests/{mark_id}", store, about)
            if label:
                self._write(_label_key(label), mark_id.encode(), {})
            self._write(f"index/{time.time_ns():019d}-{mark_id}-{code}", b"", {})

    def get(self, mark_id: str) -> KeptManifest | None:
        """Return the manifest of a mark id, or None."""
        if not is_mark_id(mark_id):
            return None
        with self._answering():
            found = self._read(f"manifests/{mark_id}", MAX_STORE)
        if found is None:
            return None
        store, about = found
        return KeptManifest(
            mark_id=mark_id,
            media_type=about.get("x-amz-meta-media-type", ""),
            store=store,
            manifest=label_of(store),
        )

    def by_manifest(self, manifest: str) -> KeptManifest | None:
        """Return the manifest store whose active manifest has this label, or None."""
        if not manifest:
            return None
        with self._answering():
            found = self._read(_label_key(manifest), 64)
        kept = self.get(found[0].decode("ascii", "replace")) if found else None
        return kept if kept is not None and kept.manifest == manifest else None

    def newest(self, limit: int) -> tuple[str, ...]:
        """Return the mark ids that came last, the newest first."""
        names = sorted(self._entries(), reverse=True)
        return tuple(dict.fromkeys(_ENTRY.fullmatch(name).group(2) for name in names))[:limit]  # type: ignore[union-attr]

    def find(
        self, fingerprint: str, *, max_distance: int = MAX_DISTANCE, limit: int = 10
    ) -> tuple[KeptManifest, ...]:
        """Return the manifests whose pictures look like this one, the nearest first.

        Raises:
            UsageError: a malformed fingerprint.
        """
        wanted = np.uint64(code_bits(fingerprint))
        latest: dict[str, int | None] = {}
        for _, (mark_id, bits) in sorted(self._entries().items()):
            latest[mark_id] = bits
        held = [(mark_id, bits) for mark_id, bits in latest.items() if bits is not None]
        if not held:
            return ()
        codes: npt.NDArray[np.uint64] = np.array([bits for _, bits in held], np.uint64)
        distances = np.bitwise_count(codes ^ wanted)
        near = sorted((int(distances[at]), held[at][0]) for at in np.flatnonzero(distances <= max_distance))
        out = []
        for distance, mark_id in near[:limit]:
            kept = self.get(mark_id)
            if kept is not None:
                out.append(
                    KeptManifest(
                        mark_id=mark_id,
                        media_type=kept.media_type,
                        store=kept.store,
                        distance=distance,
                        manifest=kept.manifest,
                    )
                )
        return tuple(out)

    def close(self) -> None:
        """Forget what was read."""
        with self._lock:
            self._seen.clear()
            self._last = ""

    def _entries(self) -> dict[str, tuple[str, int | None]]:
        """Return the index by the names of its objects, after reading those that came since."""
        with self._lock, self._answering():
            start = f"{self._prefix}index/"
            after = f"{start}{max(0, int(self._last[:19] or 0) - _OVERLAP_NS):019d}"
            for item in self._client.list_objects(
                self._bucket, prefix=start, start_after=after, recursive=True
            ):
                name = str(item.object_name).removeprefix(start)
                match = _ENTRY.fullmatch(name)
                if match is None:
                    continue
                code = match.group(3)
                self._seen[name] = (match.group(2), None if code == "none" else int(code, 16))
                self._last = max(self._last, name)
                if len(self._seen) > _MOST_ENTRIES:
                    raise Unavailable(f"more than {_MOST_ENTRIES:,} manifests in one bucket")
            return dict(self._seen)

    def _write(self, name: str, data: bytes, about: dict[str, str]) -> None:
        self._client.put_object(
            self._bucket, self._prefix + name, io.BytesIO(data), len(data), metadata=dict(about) or None
        )

    def _read(self, name: str, limit: int) -> tuple[bytes, dict[str, str]] | None:
        """Return an object and its headers, None where there is none."""
        from minio.error import S3Error

        try:
            answer = self._client.get_object(self._bucket, self._prefix + name)
        except S3Error as exc:
            if exc.code in {"NoSuchKey", "NoSuchObject"}:
                return None
            raise
        try:
            data: bytes = answer.read(limit + 1)
            if len(data) > limit:
                raise Unavailable(f"{name} in the bucket has more than {limit:,} bytes")
            return data, {key.lower(): value for key, value in answer.headers.items()}
        finally:
            answer.close()
            answer.release_conn()

    @contextmanager
    def _answering(self) -> Iterator[None]:
        from minio.error import MinioException
        from urllib3.exceptions import HTTPError

        try:
            yield
        except (MinioException, HTTPError, OSError) as exc:
            raise Unavailable(
                f"the bucket {self._bucket} does not answer: {_words(exc)}",
                hint="check the endpoint, the keys in the environment, and the rights to the bucket",
            ) from exc


def _client(asked: dict[str, list[str]]) -> Any:
    minio = import_optional("minio", extra="s3")
    import urllib3
    from minio.credentials import providers

    endpoint = urlsplit(asked.get("endpoint", ["https://s3.amazonaws.com"])[0])
    if endpoint.scheme not in {"http", "https"} or not endpoint.netloc or endpoint.path.strip("/"):
        raise UsageError("the endpoint of a bucket is an http or https address", hint="https://HOST:PORT")
    found: list[Callable[[], Any]] = [
        providers.EnvAWSProvider,
        providers.EnvMinioProvider,
        providers.AWSConfigProvider,
        providers.IamAwsProvider,
    ]
    return minio.Minio(
        endpoint=endpoint.netloc,
        secure=endpoint.scheme == "https",
        region=asked.get("region", [None])[0],
        credentials=providers.ChainedProvider([make() for make in found]),
        http_client=urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=5.0, read=_TIMEOUT_S),
            retries=urllib3.Retry(total=_TRIES, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504]),
        ),
    )


def _label_key(label: str) -> str:
    return f"labels/{hashlib.sha256(label.encode()).hexdigest()}"


def _words(exc: Exception) -> str:
    return (str(exc) or type(exc).__name__)[:300]
