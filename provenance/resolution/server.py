"""The Soft Binding Resolution API as a plain ASGI application: no framework, any server.

A soft binding's value travels as base64 of the text that stands in the manifest: the mark id of our
watermarks, `ISCC:…` of a fingerprint. What a request brings is bounded before it is read, and nothing is
fetched because a request names it.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from clearmark.core.errors import Error, MediaError, UsageError
from clearmark.core.pixels import MAX_BYTES
from clearmark.provenance.credentials.jumbf import active_only
from clearmark.provenance.fingerprints import ISCC_ALG
from clearmark.provenance.ids import is_mark_id
from clearmark.provenance.marking import soft_binding_alg
from clearmark.provenance.verify import Verifier
from clearmark.provenance.watermark import codecs

if TYPE_CHECKING:
    from clearmark.provenance.repository import KeptManifest, ManifestSource
    from clearmark.provenance.verify import Extract, Verification

__all__ = ["MAX_RESULTS", "ResolutionApp"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MAX_QUERY = 64 * 1024
"""Longest query string and JSON body, in bytes."""

MAX_RESULTS = 100
DEFAULT_RESULTS = 10
AT_ONCE = 2
"""Pictures that are read at the same time: each may take a second of a processor."""

_JSON = b"application/json"
_STORE = b"application/c2pa"


class _Refused(Exception):
    """A request that gets a status other than 200."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class ResolutionApp:
    """Answers the API over `repository`.

    `keys` and `extract` are as for `Verifier`: by which watermarks are looked for in pictures that are sent.
    Whoever can reach it can fetch every manifest whose binding or id is known; who must not, is for the
    server in front to keep out.
    """

    def __init__(
        self,
        repository: ManifestSource,
        *,
        keys: Sequence[bytes] = (),
        extract: Extract | None = None,
        max_body: int = MAX_BYTES,
    ) -> None:
        self._repository = repository
        self._verifier = Verifier(keys=keys, extract=extract)
        self._max_body = max_body
        self._watermarks = tuple(soft_binding_alg(name) for name in codecs())
        self._turns: asyncio.Semaphore | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        try:
            status, kind, body = await self._answer(scope, receive)
        except _Refused as exc:
            status, kind, body = exc.status, _JSON, _json({"error": str(exc)})
        except UsageError as exc:
            status, kind, body = 400, _JSON, _json({"error": str(exc)})
        except Error as exc:  # the repository does not answer
            status, kind, body = 503, _JSON, _json({"error": str(exc)})
        headers = [
            (b"content-type", kind),
            (b"content-length", str(len(body)).encode()),
            (b"x-content-type-options", b"nosniff"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[int, bytes, bytes]:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        query = _query(scope.get("query_string", b""))
        if path == "/services/supportedAlgorithms":
            _allow(method, "GET")
            return 200, _JSON, _json(self.supported())
        if path == "/matches/byBinding":
            _allow(method, "GET", "POST")
            asked = query if method == "GET" else _object(await _body(scope, receive, MAX_QUERY))
            found = await asyncio.to_thread(self._by_binding, asked)
            return 200, _JSON, _json({"matches": found})
        if path == "/matches/byContent":
            _allow(method, "POST")
            data = await _body(scope, receive, self._max_body)
            self._turns = self._turns or asyncio.Semaphore(AT_ONCE)
            async with self._turns:
                found = await asyncio.to_thread(self._by_content, data, query)
            return 200, _JSON, _json({"matches": found})
        if path.startswith("/manifests/"):
            _allow(method, "GET")
            whole = query.get("returnActiveManifest", "false").lower() != "true"
            store = await asyncio.to_thread(self._store, path.removeprefix("/manifests/"), whole)
            return 200, _STORE, store
        raise _Refused(404, "no such route")

    def supported(self) -> dict[str, Any]:
        """Return the soft binding algorithms that lead somewhere here."""
        return {
            "watermarks": [{"alg": alg} for alg in self._watermarks],
            "fingerprints": [{"alg": ISCC_ALG}],
        }

    def _store(self, manifest: str, whole: bool) -> bytes:
        kept = self._repository.by_manifest(manifest)
        if kept is None:
            raise _Refused(404, "no such manifest")
        try:
            return kept.store if whole else active_only(kept.store)
        except MediaError as exc:
            raise _Refused(404, f"the manifest on record is broken: {exc}") from exc

    def _by_binding(self, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
        alg, value = _text(asked, "alg"), _text(asked, "value")
        return _matches(self._kept(alg, value, _results(asked)), _results(asked))

    def _kept(self, alg: str, value: str, limit: int) -> list[KeptManifest]:
        """Return what one binding leads to."""
        if alg not in {*self._watermarks, ISCC_ALG}:
            raise _Refused(400, f"soft bindings of the algorithm {alg[:64]!r} are not resolved here")
        try:
            plain = base64.b64decode(value, validate=True).decode("ascii")
        except ValueError as exc:
            raise _Refused(400, "value must be base64 of the binding's text") from exc
        if alg == ISCC_ALG:
            return list(self._repository.find(plain, limit=limit))
        if not is_mark_id(plain):
            raise _Refused(400, "the value is not 16 lower-case hex digits")
        kept = self._repository.get(plain)
        return [] if kept is None else [kept]

    def _by_content(self, data: bytes, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
        limit, alg = _results(asked), asked.get("alg", "")
        if alg and alg not in {*self._watermarks, ISCC_ALG}:
            raise _Refused(400, f"soft bindings of the algorithm {alg[:64]!r} are not resolved here")
        found = self._verifier.verify([data])[0]
        if found.problem:
            raise _Refused(415, found.problem)
        kept: list[KeptManifest] = []
        if asked.get("hintAlg") and asked.get("hintValue"):
            kept += self._kept(_text(asked, "hintAlg"), _text(asked, "hintValue"), limit)
        for name, value in _bindings(found):
            if alg in {"", name}:
                kept += self._kept(name, base64.b64encode(value.encode()).decode(), limit)
        return _matches(kept, limit)


def _bindings(found: Verification) -> list[tuple[str, str]]:
    """Return the bindings that a picture carries, the surest first."""
    marks = sorted(found.watermarks, key=lambda mark: -mark.confidence)
    named = [(soft_binding_alg(mark.codec), mark.mark_id) for mark in marks]
    return [*named, (ISCC_ALG, found.fingerprint)] if found.fingerprint else named


def _matches(kept: Iterable[KeptManifest], limit: int) -> list[dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for one in kept:
        if one.manifest:  # what cannot be named cannot be fetched
            score = 100 if one.distance is None else round(100 * (64 - one.distance) / 64)
            rows.setdefault(one.manifest, {"manifestId": one.manifest, "similarityScore": score})
    return list(rows.values())[:limit]


def _allow(method: str, *allowed: str) -> None:
    if method not in allowed:
        raise _Refused(405, f"only {' and '.join(allowed)}")


def _query(raw: bytes) -> dict[str, str]:
    if len(raw) > MAX_QUERY:
        raise _Refused(414, "the query is too long")
    try:
        return dict(parse_qsl(raw.decode("ascii"), max_num_fields=16))
    except ValueError as exc:
        raise _Refused(400, "the query cannot be read") from exc


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise _Refused(400, "the body is no JSON") from exc
    if not isinstance(found, dict):
        raise _Refused(400, "the body is no JSON object")
    return found


def _text(asked: Mapping[str, Any], name: str) -> str:
    value = asked.get(name)
    if not isinstance(value, str) or not value:
        raise _Refused(400, f"{name} is missing")
    return value


def _results(asked: Mapping[str, Any]) -> int:
    raw = str(asked.get("maxResults", DEFAULT_RESULTS))
    if not (raw.isascii() and raw.isdecimal() and len(raw) < 10 and int(raw) > 0):
        raise _Refused(400, "maxResults must be a positive number")
    return min(int(raw), MAX_RESULTS)


async def _body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """Read the body; stop as soon as it is known to be too long."""
    declared = dict(scope.get("headers") or ()).get(b"content-length", b"0")
    if declared.isdigit() and int(declared[:20]) > limit:
        raise _Refused(413, f"at most {limit:,} bytes are read")
    parts = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Refused(400, "the request broke off")
        parts += message.get("body", b"")
        if len(parts) > limit:
            raise _Refused(413, f"at most {limit:,} bytes are read")
        if not message.get("more_body", False):
            return bytes(parts)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document).encode()
