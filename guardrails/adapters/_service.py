"""One question to a moderation service: bounded in time and size, and whatever goes wrong is unavailable."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from clearmark.core import Finding, Subject
from clearmark.core.errors import GuardUnavailable, UsageError
from clearmark.core.pixels import open_image
from clearmark.guardrails._media import unavailable

__all__ = ["Service", "findings_of", "picture_of", "score_of"]

_MAX_ANSWER = 1 << 20
_TRIES = 2


class Service:
    """A service that takes JSON and answers JSON. Its key comes from the environment, never from a file."""

    def __init__(self, guard: str, url: str, *, key_variable: str, timeout_s: float) -> None:
        """Keep where to ask. `timeout_s` bounds one answer as a whole, tries included.

        Raises:
            UsageError: for an address that is neither https nor on this machine: the key would be readable.
        """
        parts = urlsplit(url)
        local = parts.hostname in {"localhost", "127.0.0.1", "::1"}
        if parts.scheme != "https" and not (parts.scheme == "http" and local):
            raise UsageError(f"{guard}: {url!r} is no https address", hint="use https")
        if timeout_s <= 0:
            raise UsageError(f"{guard}: a timeout of {timeout_s} s", hint="give a number above 0")
        self._guard, self._url, self._variable, self._timeout = guard, url, key_variable, timeout_s
        self._client: Any = None

    def ask(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
        """Post `body`; `{key}` in a header stands for the key. Busy services are asked once more.

        Raises:
            GuardUnavailable: without a key, without an answer in time, or with one that is no JSON object.
        """
        import httpx

        key = os.environ.get(self._variable, "")
        if not key:
            raise GuardUnavailable(f"{self._guard}: no key", hint=f"set {self._variable}")
        sent = {name: value.replace("{key}", key) for name, value in headers.items()}
        deadline = time.monotonic() + self._timeout
        try:
            if self._client is None:  # kept: making one reads the certificates of the system
                self._client = httpx.Client(follow_redirects=False, trust_env=False)
            for number in range(_TRIES):
                status, data = self._once(self._client, body, sent, deadline)
                if status == 200:
                    break
                if status not in {429, 500, 502, 503} or number + 1 == _TRIES:
                    raise GuardUnavailable(
                        f"{self._guard}: the service answers {status}", hint=_hint(status, self._variable)
                    )
                time.sleep(max(0.0, min(0.2, deadline - time.monotonic())))
            answer = json.loads(data)
        except httpx.HTTPError as exc:  # its text may hold the address with what stands in it
            raise GuardUnavailable(f"{self._guard}: no answer: {type(exc).__name__}") from exc
        except (ValueError, RecursionError) as exc:
            raise GuardUnavailable(f"{self._guard}: the service's answer is no JSON") from exc
        if not isinstance(answer, dict):
            raise GuardUnavailable(f"{self._guard}: the service's answer is no JSON object")
        return answer

    def _once(
        self, client: Any, body: Mapping[str, Any], headers: Mapping[str, str], deadline: float
    ) -> tuple[int, bytes]:
        left = deadline - time.monotonic()
        if left <= 0:
            raise GuardUnavailable(f"{self._guard}: no answer within {self._timeout:g} s")
        data = bytearray()
        with client.stream("POST", self._url, json=body, headers=headers, timeout=left) as answer:
            for chunk in answer.iter_bytes():
                data += chunk
                if len(data) > _MAX_ANSWER:
                    raise GuardUnavailable(f"{self._guard}: the service's answer is too long")
                if time.monotonic() > deadline:  # a server that drips keeps every single read in time
                    raise GuardUnavailable(f"{self._guard}: no answer within {self._timeout:g} s")
            return int(answer.status_code), bytes(data)


def _hint(status: int, variable: str) -> str:
    if status in {401, 403}:
        return f"check the key in {variable}"
    return "ask less often" if status == 429 else "try again later"


def picture_of(guard: str, subject: Subject) -> tuple[bytes, str]:
    """Return bytes and media type of a picture, as PNG where the services do not take its format.

    Raises:
        GuardUnavailable: when there is none, or it cannot be read.
    """
    import io

    if subject.asset is None:
        raise GuardUnavailable(f"{guard}: no picture to look at")
    with unavailable(guard, "reading a picture"):
        picture = open_image(subject.asset.data)
        if picture.format in {"PNG", "JPEG", "WEBP"} and picture.mode in {"RGB", "RGBA", "L"}:
            kind = f"image/{str(picture.format).lower()}"
            if min(picture.size) >= 50:  # what the services ask for at least
                return subject.asset.data, kind
        picture = picture.convert("RGBA")
        if min(picture.size) < 50:
            scale = 50 / min(picture.size)
            picture = picture.resize(
                (min(2048, round(picture.width * scale)), min(2048, round(picture.height * scale)))
            )
        out = io.BytesIO()
        picture.save(out, "PNG")
        return out.getvalue(), "image/png"


def score_of(guard: str, value: object) -> float:
    """Return a score that a service gave, in [0, 1].

    Raises:
        GuardUnavailable: when it is no number, or outside: what is not understood must not read as harmless.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise GuardUnavailable(f"{guard}: the service gives a score that is none")
    return float(value)


def findings_of(
    guard: str,
    version: str,
    scores: Mapping[str, float],
    *,
    categories: Sequence[str],
    model: str = "",
    facts: Mapping[str, bool | int | float | str] | None = None,
    ms: float = 0.0,
) -> list[Finding]:
    """Return one finding for each category, facts and cost on the first."""
    return [
        Finding(
            category=category,
            score=min(1.0, max(0.0, scores.get(category, 0.0))),
            guard=guard,
            guard_version=version,
            model=model,
            threshold=0.5,
            facts=MappingProxyType(dict(facts or {})) if number == 0 else MappingProxyType({}),
            ms=ms if number == 0 else 0.0,
        )
        for number, category in enumerate(categories)
    ]
