"""Ask a Soft Binding Resolution API, ours or another's, for the manifest of a mark id or a fingerprint."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from clearmark.core.errors import Unavailable, UsageError
from clearmark.provenance.credentials.store import MAX_STORE
from clearmark.provenance.fingerprints import ISCC_ALG
from clearmark.provenance.marking import soft_binding_alg
from clearmark.provenance.repository import MAX_DISTANCE, KeptManifest

__all__ = ["ResolutionClient"]

_MAX_ANSWER = 1024 * 1024
_READING_S = 60.0
"""How long a service may take that has to read a picture first, in seconds at least."""


class _NoRedirect(HTTPRedirectHandler):
    """What is asked is the server that was configured, and no other that it names."""

    def redirect_request(self, *_: Any) -> None:
        """Go nowhere."""
        return


class ResolutionClient:
    """A repository of manifests behind the API at `url`; reads only.

    The answer is believed no more than a file is: whoever uses a manifest checks its signature. Redirects and
    the `endpoint` that a match may name are not followed. `codecs` are the watermarks that are asked for.

    Raises:
        UsageError: when `url` is not an http or https address.
    """

    def __init__(
        self, url: str, *, timeout_s: float = 10.0, codecs: tuple[str, ...] = ("clearmark", "dwt-dct-svd")
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.netloc:
            raise UsageError(f"not an address of a resolution service: {url[:200]!r}", hint="https://…")
        self._url = url.rstrip("/")
        self._timeout = timeout_s
        self._reading_timeout = max(timeout_s, _READING_S)
        self._algs = tuple(soft_binding_alg(name) for name in codecs)
        self._opener = build_opener(_NoRedirect)

    def get(self, mark_id: str) -> KeptManifest | None:
        """Return the manifest of a mark id, or None.

        Raises:
            Unavailable: when the service does not answer as the API says.
        """
        for alg in self._algs:
            for match in self._matches(alg, mark_id, 1):
                return self._fetched(match, mark_id)
        return None

    def find(
        self, fingerprint: str, *, max_distance: int = MAX_DISTANCE, limit: int = 10
    ) -> tuple[KeptManifest, ...]:
        """Return the manifests whose pictures look like this one, as `ManifestRepository.find` does.

        Raises:
            Unavailable: when the service does not answer as the API says.
        """
        out = []
        for match in self._matches(ISCC_ALG, fingerprint, limit):
            kept = self._fetched(match, "")
            if kept is not None and kept.distance is not None and kept.distance <= max_distance:
                out.append(kept)
        return tuple(out)

    def by_content(self, data: bytes, *, limit: int = 1) -> tuple[KeptManifest, ...]:
        """Send the picture itself, and return the manifests that the service finds for it, the best first.

        Which binding led there the service does not tell; that they belong together is its word.

        Raises:
            Unavailable: when the service does not answer as the API says.
        """
        answer = self._json(f"/matches/byContent?maxResults={limit}", body=data)
        found = (self._fetched(match, "") for match in _rows(answer, "matches")[:limit])
        return tuple(kept for kept in found if kept is not None)

    def by_manifest(self, manifest: str) -> KeptManifest | None:
        """Return the manifest store whose active manifest has this label, or None.

        Raises:
            Unavailable: when the service does not answer as the API says.
        """
        store = self._ask(f"/manifests/{quote(manifest, safe='')}", MAX_STORE)
        if store is None:
            return None
        return KeptManifest(mark_id="", media_type="", store=store, manifest=manifest)

    def newest(self, limit: int) -> tuple[str, ...]:
        """Return nothing: the API does not tell what a service holds."""
        del limit
        return ()

    def algorithms(self) -> tuple[str, ...]:
        """Return the soft binding algorithms that the service resolves.

        Raises:
            Unavailable: when the service does not answer as the API says.
        """
        answer = self._json("/services/supportedAlgorithms")
        rows = [*_rows(answer, "watermarks"), *_rows(answer, "fingerprints")]
        return tuple(row["alg"] for row in rows if isinstance(row.get("alg"), str))

    def close(self) -> None:
        """Do nothing: no connection is kept open."""

    def _matches(self, alg: str, value: str, limit: int) -> list[dict[str, Any]]:
        text = base64.b64encode(value.encode()).decode()
        asked = urlencode({"alg": alg, "value": text, "maxResults": limit})
        return _rows(self._json(f"/matches/byBinding?{asked}"), "matches")[:limit]

    def _fetched(self, match: dict[str, Any], mark_id: str) -> KeptManifest | None:
        manifest, score = match.get("manifestId"), match.get("similarityScore", 100)
        if not isinstance(manifest, str) or not isinstance(score, int | float):
            raise Unavailable(f"{self._url} answers with a match that has no manifestId")
        kept = self.by_manifest(manifest)
        if kept is None:
            return None
        distance = None if mark_id else round(64 * (100 - score) / 100)
        return KeptManifest(
            mark_id=mark_id, media_type="", store=kept.store, manifest=manifest, distance=distance
        )

    def _json(self, path: str, *, body: bytes | None = None) -> Any:
        answer = self._ask(path, _MAX_ANSWER, body=body)
        try:
            return json.loads(answer or b"{}")
        except (ValueError, RecursionError) as exc:
            raise Unavailable(f"{self._url} does not answer in JSON") from exc

    def _ask(self, path: str, limit: int, *, body: bytes | None = None) -> bytes | None:
        """Return the body, None where the service knows no such thing."""
        kind = {} if body is None else {"content-type": "application/octet-stream"}
        asked = Request(self._url + path, data=body, headers=kind)  # noqa: S310  http or https, see above
        try:
            patience = self._timeout if body is None else self._reading_timeout
            with self._opener.open(asked, timeout=patience) as answer:
                found: bytes = answer.read(limit + 1)
        except HTTPError as exc:
            exc.close()
            if exc.code in {400, 404, 415}:  # an algorithm, manifest or kind of file that it does not have
                return None
            raise Unavailable(f"{self._url} answers {exc.code}") from exc
        except (URLError, OSError, ValueError) as exc:
            raise Unavailable(f"{self._url} does not answer: {exc}", hint="is the service running?") from exc
        if len(found) > limit:
            raise Unavailable(f"{self._url} answers with more than {limit:,} bytes")
        return found


def _rows(answer: Any, name: str) -> list[dict[str, Any]]:
    rows = answer.get(name) if isinstance(answer, dict) else None
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
