"""A witness (C2SP tlog-witness): cosigns a log's checkpoints, and only ever consistent ones.

Run it where the keeper of the log has no say, with a state of its own:

    python -m clearmark.audits.witness --name witness.example/w1 --state witness.json --key witness.pem \\
        --log 'example.com/pictures+1a2b3c4d+AQ…' --listen 127.0.0.1:8765

It remembers the largest checkpoint of each log that it cosigned, and refuses every one that does not extend
it: a log that was cut, rolled back, rewritten or forked cannot get a cosignature again.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from clearmark.audits.ledger._cosign import Cosigner
from clearmark.audits.ledger._merkle import EMPTY_ROOT, MAX_PROOF, verify_consistency
from clearmark.audits.ledger._notes import (
    Checkpoint,
    NoteSigner,
    NoteVerifier,
    decode_base64,
    parse_checkpoint,
)
from clearmark.core.errors import KeyUnavailable, LedgerTampered, LedgerUnavailable

__all__ = ["Answer", "Witness", "main", "serve"]

MAX_BODY = 150_000
TIMEOUT_S = 15
_OLD = re.compile(r"old (0|[1-9][0-9]{0,18})")


@dataclass(frozen=True)
class Answer:
    """What the witness answers to one request."""

    status: int
    body: str = ""
    content_type: str = "text/plain; charset=utf-8"


class Witness:
    """The state of one witness: its key, the logs that it knows by verifier key, and a file.

    Raises:
        LedgerTampered: when the state file is damaged: a witness that forgets is none.
    """

    def __init__(self, state: str | Path, cosigner: Cosigner, logs: Sequence[str]) -> None:
        self._path = Path(state)
        self._cosigner = cosigner
        self._logs = {(log := NoteVerifier.parse(text)).name: log for text in logs}
        self._lock = threading.Lock()
        self._heads = self._load()

    def add_checkpoint(self, body: bytes) -> Answer:
        """Answer one `add-checkpoint` request."""
        try:
            head, gap, note = body.decode().partition("\n\n")
            lines = head.split("\n")
            old = _OLD.fullmatch(lines[0])
            proof = [decode_base64(line) for line in lines[1:]]
        except ValueError:
            return Answer(400, "malformed request\n")
        if not gap or old is None or len(proof) > MAX_PROOF:
            return Answer(400, "malformed request\n")
        log = self._logs.get(note.partition("\n")[0])
        if log is None:
            return Answer(404, "unknown log\n")
        try:
            checkpoint = parse_checkpoint(note, log)
        except LedgerTampered as exc:
            return Answer(403, f"{exc.message}\n")
        return self._extend(log.name, int(old[1]), proof, checkpoint)

    def _extend(self, log: str, old: int, proof: Sequence[bytes], new: Checkpoint) -> Answer:
        """Cosign `new` if it extends what was cosigned last; check and record under one lock."""
        if old > new.size:
            return Answer(400, "the old size is above the new one\n")
        with self._lock:
            size, root = self._heads.get(log, (0, EMPTY_ROOT.hex()))
            if old != size or (new.size == size and new.root != root):
                return Answer(409, f"{size}\n", "text/x.tlog.size")
            if not verify_consistency(size, new.size, bytes.fromhex(root), bytes.fromhex(new.root), proof):
                return Answer(422, "the checkpoint does not extend the one before\n")
            self._save({**self._heads, log: (new.size, new.root)})
        return Answer(200, self._cosigner.cosign(new.text))

    def _load(self) -> dict[str, tuple[int, str]]:
        try:
            rows = json.loads(self._path.read_bytes())
            heads = {str(name): (int(size), bytes.fromhex(root).hex()) for name, (size, root) in rows.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError) as exc:
            raise LedgerTampered(
                f"the state of the witness, {self._path}, cannot be read",
                hint="restore it; do not start afresh",
            ) from exc
        return heads

    def _save(self, heads: Mapping[str, tuple[int, str]]) -> None:
        """Make the state durable before anything is signed."""
        fresh = self._path.with_name(self._path.name + ".new")
        try:
            with fresh.open("w", encoding="utf-8") as stream:
                json.dump(heads, stream, indent=1, sort_keys=True)
                stream.flush()
                os.fsync(stream.fileno())
            fresh.replace(self._path)
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as exc:
            raise LedgerUnavailable(f"the state of the witness cannot be written: {exc.strerror}") from exc
        self._heads = dict(heads)


def serve(witness: Witness, host: str, port: int) -> ThreadingHTTPServer:
    """Return a server that answers `POST /add-checkpoint`; run it with `serve_forever`."""

    class Handler(BaseHTTPRequestHandler):
        timeout = TIMEOUT_S

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if self.path != "/add-checkpoint" or not length.isdecimal() or int(length) > MAX_BODY:
                answer = Answer(404 if self.path != "/add-checkpoint" else 413)
            else:
                try:
                    answer = witness.add_checkpoint(self.rfile.read(int(length)))
                except LedgerUnavailable as exc:
                    answer = Answer(503, f"{exc.message}\n")
            raw = answer.body.encode()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            """Stay silent: who asks is nobody's business."""

    return ThreadingHTTPServer((host, port), Handler)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a witness until it is interrupted."""
    parser = argparse.ArgumentParser(prog="witness", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--name", required=True, help="name of the witness, such as witness.example/w1")
    parser.add_argument("--state", required=True, help="file of what was cosigned")
    parser.add_argument("--key", required=True, help="file of its private key; made when absent")
    parser.add_argument("--log", action="append", required=True, help="verifier key of a log; repeatable")
    parser.add_argument("--listen", default="127.0.0.1:8765")
    options = parser.parse_args(arguments)
    cosigner = Cosigner(options.name, _key(Path(options.key), options.name))
    host, _, port = options.listen.rpartition(":")
    server = serve(Witness(options.state, cosigner, options.log), host, int(port))
    sys.stdout.write(f"{cosigner.key}\nhttp://{host}:{server.server_port}\n")
    sys.stdout.flush()
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()
    return 0


def _key(path: Path, name: str) -> bytes:
    """Read the private key; make one, readable by its owner only, where there is none."""
    try:
        if not path.exists():
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(handle, "wb") as stream:
                stream.write(NoteSigner.generate(name).to_pem())
        return path.read_bytes()
    except OSError as exc:
        raise KeyUnavailable(f"the key of the witness, {path}, cannot be read: {exc.strerror}") from exc


if __name__ == "__main__":
    raise SystemExit(main())
