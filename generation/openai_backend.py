"""Any server that speaks the OpenAI images API: `POST /v1/images/generations`, pictures as base64.

https://platform.openai.com/docs/api-reference/images/create
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import os
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from clearmark.core import Asset, Origin, Request, Task
from clearmark.core.errors import (
    BackendUnavailable,
    GenerationFailed,
    InvalidRequest,
    KeyUnavailable,
    MediaError,
    UsageError,
)
from clearmark.core.pixels import encode_png, open_image
from clearmark.generation._backend import Defaults, ModelInfo

__all__ = ["OpenAIGenerator"]

_KEY_VARIABLES = ("CLEARMARK_OPENAI_API_KEY", "OPENAI_API_KEY")
_MAX_BYTES_PER_PICTURE = 32 * 1024 * 1024
_MAX_PICTURES_PER_CALL = 10
_HTTP_REFUSED = frozenset({400, 404, 413, 422})
_HTTP_NO_ENTRY = frozenset({401, 403})


class OpenAIGenerator:
    """Ask the server at `url` for pictures of `model`.

    `url` may end in `/v1` or not. The key is read from `CLEARMARK_OPENAI_API_KEY`, else `OPENAI_API_KEY`, at
    every call, and is never sent without TLS to another machine. The API knows neither seeds nor negative
    prompts: a seed is not passed on and the origin has none; a negative prompt is refused.
    """

    name = "openai"

    def __init__(self, url: str, *, model: str, timeout_s: float = 300.0) -> None:
        self._url, self._local, self._tls = _endpoint(url)
        if not model:
            raise UsageError(
                "openai: no model is named", hint="openai:URL#model, such as openai:https://host/v1#flux"
            )
        self.model = ModelInfo(id=model)
        self.defaults = Defaults(width=1024, height=1024)
        self._timeout_s = timeout_s

    def generate(self, requests: Sequence[Request]) -> list[list[Asset]]:
        """Ask for the pictures of each request in turn."""
        bodies = [self._bodies(request) for request in requests]
        headers = self._headers()
        return [[asset for body in calls for asset in self._call(body, headers)] for calls in bodies]

    def _bodies(self, request: Request) -> list[dict[str, Any]]:
        if request.task is not Task.TEXT_TO_IMAGE:
            raise InvalidRequest(
                f"openai: {request.task.value} is not offered", hint="use a diffusers backend"
            )
        if request.negative_prompt:
            raise InvalidRequest("openai: the API has no negative prompt", hint="say it in the prompt")
        if request.steps is not None or request.guidance is not None:
            raise InvalidRequest("openai: the API has neither steps nor guidance", hint="leave them out")
        body: dict[str, Any] = {"model": self.model.id, "prompt": request.prompt}
        if request.width is not None or request.height is not None:
            width, height = request.width or self.defaults.width, request.height or self.defaults.height
            body["size"] = f"{width}x{height}"
        if not self.model.id.startswith("gpt-image"):
            # The newer models of the vendor answer in base64 always and refuse to be told so.
            body["response_format"] = "b64_json"
        left, bodies = request.n, []
        while left:
            part = min(left, _MAX_PICTURES_PER_CALL)
            bodies.append({**body, "n": part})
            left -= part
        return bodies

    def _headers(self) -> dict[str, str]:
        key = next(
            (os.environ[name].strip() for name in _KEY_VARIABLES if os.environ.get(name, "").strip()), ""
        )
        if not key:
            return {}
        if not (key.isascii() and key.isprintable()):
            raise KeyUnavailable("openai: the API key holds characters that no key has", hint="set it again")
        if not self._tls and not self._local:
            raise KeyUnavailable(
                "openai: the API key is not sent without TLS",
                hint="use https, or unset the key for this server",
            )
        return {"Authorization": f"Bearer {key}"}

    def _call(self, body: dict[str, Any], headers: dict[str, str]) -> list[Asset]:
        payload = self._post(body, headers)
        try:
            rows = json.loads(payload)["data"]
            encoded = [row["b64_json"] for row in rows]
        except (ValueError, KeyError, TypeError, RecursionError) as exc:
            raise GenerationFailed("openai: the answer holds no pictures in base64") from exc
        if len(encoded) != body["n"]:
            raise GenerationFailed(f"openai: asked for {body['n']} pictures, got {len(encoded)}")
        return [self._asset(text) for text in encoded]

    def _post(self, body: dict[str, Any], headers: dict[str, str]) -> bytes:
        import httpx

        limit = _MAX_BYTES_PER_PICTURE * body["n"]
        timeout = httpx.Timeout(self._timeout_s, connect=min(10.0, self._timeout_s))
        data = bytearray()
        try:
            with httpx.stream("POST", self._url, json=body, headers=headers, timeout=timeout) as answer:
                if answer.status_code != httpx.codes.OK:
                    raise _refusal(answer.status_code)
                for piece in answer.iter_bytes():
                    data += piece
                    if len(data) > limit:
                        raise GenerationFailed(f"openai: the answer is longer than {limit:,} bytes")
        except httpx.TimeoutException as exc:
            raise BackendUnavailable(
                f"openai: no answer within {self._timeout_s:g} s",
                hint="is the server busy? ask for fewer pictures",
            ) from exc
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise BackendUnavailable(
                f"openai: the server cannot be reached ({type(exc).__name__})",
                hint="check the address; is it up?",
            ) from exc
        return bytes(data)

    def _asset(self, text: Any) -> Asset:
        try:
            data = base64.b64decode(text, validate=True)
            picture = open_image(data)
            if picture.mode not in {"RGB", "RGBA", "L"}:
                picture = picture.convert("RGB")
            png = encode_png(picture)
        except (MediaError, binascii.Error, ValueError, TypeError) as exc:
            raise GenerationFailed("openai: the answer holds something that is no picture") from exc
        return Asset(
            data=png,
            media_type="image/png",
            width=picture.width,
            height=picture.height,
            origin=Origin(generator=self.name, model=self.model.id),
        )


def _endpoint(url: str) -> tuple[str, bool, bool]:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query:
        raise UsageError(
            "openai: not an http or https address", hint="openai:URL#model; a key belongs in the environment"
        )
    base = url.rstrip("/")
    base = base if base.endswith("/v1") else f"{base}/v1"
    return f"{base}/images/generations", _is_local(parts.hostname), parts.scheme == "https"


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refusal(status: int) -> Exception:
    # What the server says is not repeated: it may quote the prompt.
    if status in _HTTP_NO_ENTRY:
        return BackendUnavailable(
            f"openai: the server refused the key (HTTP {status})", hint=f"set {_KEY_VARIABLES[0]}"
        )
    if status in _HTTP_REFUSED:
        return InvalidRequest(
            f"openai: the server refused the request (HTTP {status})", hint="see its own log"
        )
    return BackendUnavailable(f"openai: the server failed (HTTP {status})", hint="try again later")
