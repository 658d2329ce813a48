"""Moderation services over HTTP, against a server on this machine that answers as they do, or badly."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from tests.contract.guard_contract import GuardContract, picture

from clearmark.core import Guard, Request, Stage, Subject
from clearmark.core.errors import GuardUnavailable, UsageError
from clearmark.guardrails import run_guards
from clearmark.guardrails.adapters import (
    AzureContentSafety,
    AzureImageContentSafety,
    OpenAIImageModeration,
    OpenAIModeration,
)

KEY = "k-test"
OPENAI = (
    "sexual", "sexual/minors", "violence", "violence/graphic", "hate", "hate/threatening", "harassment",
    "harassment/threatening", "self-harm", "self-harm/intent", "self-harm/instructions", "illicit",
    "illicit/violent",
)  # fmt: skip
Answer = Callable[[str, dict[str, Any]], tuple[int, bytes]]


class Server:
    """A server whose `answer` may be changed; `asked` holds what came."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.answer: Answer = honest
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append((self.path, dict(self.headers), body))
                status, data = outer.answer(self.path, body)
                self.send_response(status)
                self.end_headers()
                try:
                    for at in range(0, len(data), 64) if status == 299 else ():
                        self.wfile.write(data[at : at + 64])
                        time.sleep(0.05)
                    self.wfile.write(data if status != 299 else b"")
                except OSError:
                    pass  # the caller has had enough

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _harm(text: str) -> float:
    return 0.9 if "bomb" in text else 0.01


def honest(path: str, body: dict[str, Any]) -> tuple[int, bytes]:
    if "contentsafety" in path:
        severity = 6 if "bomb" in body.get("text", "") else 0
        rows = [{"category": name, "severity": severity} for name in body["categories"]]
        return 200, json.dumps({"categoriesAnalysis": rows}).encode()
    results = [
        {"category_scores": {name: _harm(text if isinstance(text, str) else "") for name in OPENAI}}
        for text in body["input"]
    ]
    return 200, json.dumps({"model": body["model"], "results": results}).encode()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("AZURE_CONTENT_SAFETY_KEY", KEY)
    made = Server()
    yield made
    made.stop()


class TestOpenAI(GuardContract):
    @pytest.fixture
    def guard(self, server: Server) -> Guard:
        return OpenAIModeration(url=server.url + "/v1/moderations")


class TestOpenAIPictures(GuardContract):
    @pytest.fixture
    def guard(self, server: Server) -> Guard:
        return OpenAIImageModeration(url=server.url + "/v1/moderations")


class TestAzure(GuardContract):
    @pytest.fixture
    def guard(self, server: Server) -> Guard:
        return AzureContentSafety(endpoint=server.url)


class TestAzurePictures(GuardContract):
    @pytest.fixture
    def guard(self, server: Server) -> Guard:
        return AzureImageContentSafety(endpoint=server.url)


def _subject(text: str) -> Subject:
    return Subject(stage=Stage.PROMPT, request=Request(text))


def test_openai_is_asked_in_one_go_and_finer_categories_count(server: Server) -> None:
    guard = OpenAIModeration(url=server.url + "/v1/moderations", model="omni-moderation-2024-09-26")
    answers = guard.check([_subject("a bomb"), _subject("a bun")])
    assert len(server.asked) == 1
    _, headers, body = server.asked[0]
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert body == {"model": "omni-moderation-2024-09-26", "input": ["a bomb", "a bun"]}
    assert {finding.category: finding.score for finding in answers[0]}["illicit"] == 0.9
    assert max(finding.score for finding in answers[1]) < 0.1
    assert answers[0][0].facts["openai_model"] == "omni-moderation-2024-09-26"


def test_pictures_go_as_they_are(server: Server) -> None:
    asset = picture((80, 60))
    subject = Subject(stage=Stage.OUTPUT, request=Request("x"), asset=asset)
    OpenAIImageModeration(url=server.url + "/v1/moderations").check([subject])
    AzureImageContentSafety(endpoint=server.url).check([subject])
    (_, _, first), (path, headers, second) = server.asked
    assert first["input"][0]["image_url"]["url"].startswith("data:image/png;base64,")
    assert path == "/contentsafety/image:analyze?api-version=2024-09-01"
    assert headers["Ocp-Apim-Subscription-Key"] == KEY
    assert first["input"][0]["image_url"]["url"].endswith(second["image"]["content"])


def test_azure_reads_a_long_prompt_to_its_end(server: Server) -> None:
    (findings,) = AzureContentSafety(endpoint=server.url).check([_subject("a " * 9900 + "bomb")])
    assert max(finding.score for finding in findings) == pytest.approx(6 / 7)
    assert all(len(body["text"]) <= 10_000 for _, _, body in server.asked)


def _give(status: int, data: bytes) -> Answer:
    return lambda path, body: (status, data)


def _score(value: object) -> Answer:
    document = {"results": [{"category_scores": dict.fromkeys(OPENAI, value)}]}
    return _give(200, json.dumps(document).encode())


@pytest.mark.parametrize(
    "answer",
    [
        _give(500, b"{}"),
        _give(401, b"{}"),
        _give(302, b"{}"),
        _give(200, b"not json"),
        _give(200, b"[1]"),
        _give(200, b'{"results": []}'),
        _give(200, b'{"results": [{}]}'),
        _give(200, b'{"results": [{"category_scores": {}}]}'),
        _give(200, b'{"results": [' * 20_000),
        _give(200, b" " * (2 << 20)),
        _score("0.1"),
        _score(-1),
        _score(None),
        _score(True),
    ],
)
def test_a_bad_answer_is_no_answer(server: Server, answer: Answer) -> None:
    server.answer = answer
    with pytest.raises(GuardUnavailable):
        OpenAIModeration(url=server.url).check([_subject("x")])
    with pytest.raises(GuardUnavailable):
        AzureContentSafety(endpoint=server.url).check([_subject("x")])


def test_a_busy_service_is_asked_once_more(server: Server) -> None:
    def once_busy(path: str, body: dict[str, Any]) -> tuple[int, bytes]:
        return (429, b"{}") if len(server.asked) == 1 else honest(path, body)

    server.answer = once_busy
    assert OpenAIModeration(url=server.url).check([_subject("a bun")])[0][0].score < 0.1
    assert len(server.asked) == 2


def test_silence_and_dripping_end_in_time(server: Server) -> None:
    hold = threading.Event()

    def silent(path: str, body: dict[str, Any]) -> tuple[int, bytes]:
        hold.wait(20)
        return 200, b"{}"

    for answer in (silent, _give(299, b" " * 100_000)):
        server.answer = answer
        with pytest.raises(GuardUnavailable):
            OpenAIModeration(url=server.url, timeout_s=0.3).check([_subject("x")])
    hold.set()
    (seen,) = run_guards([OpenAIModeration(url="http://127.0.0.1:9")], [_subject("x")])
    assert seen.findings == ()
    assert seen.failures[0].guard == "openai-moderation"


def test_keys_come_from_the_environment_and_go_nowhere_else(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError):
        OpenAIModeration(url="http://example.com/v1")
    monkeypatch.delenv("AZURE_CONTENT_SAFETY_ENDPOINT", raising=False)
    with pytest.raises(UsageError):
        AzureContentSafety()
    server.answer = _give(403, b"{}")
    with pytest.raises(GuardUnavailable) as caught:
        OpenAIModeration(url=server.url).check([_subject("x")])
    assert KEY not in caught.value.diagnostics()
    assert "OPENAI_API_KEY" in caught.value.diagnostics()
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(GuardUnavailable, match="no key"):
        OpenAIModeration(url=server.url).check([_subject("x")])
