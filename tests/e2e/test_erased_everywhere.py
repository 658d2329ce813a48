"""After a person was erased, no file under the home holds anything of what was asked for, in any encoding.

Real requests of every kind (made, refused, held for review and decided), an export, a report, a backup of
the home from before; then every file is read byte by byte. Receipts given out before stay valid.
"""

import base64
import contextlib
import datetime as dt
import hashlib
import json
import shutil
import subprocess
import sys
import urllib.parse
import zlib
from pathlib import Path

import pytest
from doubting import doubting

from clearmark.sdk import Studio

WORDS = ("Quorzimbel", "Vandrathuin", "žluťoučkýkůň")
PROMPT = f"an apple named {WORDS[0]} beside {WORDS[1]} and {WORDS[2]}"
ACTOR = "ada-wendelgard"
STANDALONE = Path(__file__).parents[2] / "audits" / "verify_standalone.py"


def needles():
    """Yield each text in every form in which a program could have written it down, with its name."""
    for text in (PROMPT, ACTOR, *WORDS):
        for form in {text, text.lower(), text.upper()}:
            plain = form.encode()
            encodings = ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]
            for encoding in encodings:
                yield f"{form} in {encoding}", form.encode(encoding)
            escaped = json.dumps(form)[1:-1]
            yield f"{form} escaped as JSON", escaped.encode()
            yield f"{form} escaped twice", json.dumps(escaped)[1:-1].encode()
            yield f"{form} escaped as a URL", urllib.parse.quote(form).encode()
            for encoding in encodings[:2]:
                raw = form.encode(encoding)
                yield f"{form} in hex of {encoding}", raw.hex().encode()
                yield f"{form} in HEX of {encoding}", raw.hex().upper().encode()
                for shift in range(3):
                    # Of base64, what does not depend on the bytes around it.
                    coded = base64.b64encode(b"\0" * shift + raw)
                    inner = coded[(0, 2, 3)[shift] : len(coded) // 4 * 4 - 4]
                    yield f"{form} in base64 of {encoding}", inner
                    yield f"{form} in base64 for URLs", inner.translate(bytes.maketrans(b"+/", b"-_"))
            for name in ("sha256", "sha1", "md5", "blake2b"):
                unsalted = hashlib.new(name, plain)
                yield f"{name} of {form}", unsalted.digest()
                yield f"{name} of {form} in hex", unsalted.hexdigest().encode()


def contents(raw):
    """Yield a file as it is, and what is packed in it: every zlib stream."""
    yield raw
    for start in (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"):
        at = raw.find(start)
        while at >= 0:
            unpacker = zlib.decompressobj()
            with contextlib.suppress(zlib.error):
                yield unpacker.decompress(raw[at:], 4 << 20)
            at = raw.find(start, at + 1)


def scan(folder):
    """Return what of the needles is found, and in which file; and how many bytes were looked through."""
    wanted = [(name, needle) for name, needle in needles() if len(needle) >= 8]
    found, looked = [], 0
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        for raw in contents(path.read_bytes()):
            looked += len(raw)
            found += [f"{name}: {path.relative_to(folder)}" for name, needle in wanted if needle in raw]
    return found, looked


@pytest.mark.parametrize("form", [PROMPT.encode("utf-16-le"), base64.b64encode(b"1" + PROMPT.encode())])
def test_the_scan_finds_what_is_there(tmp_path, form):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(b"\0" * 7777 + form + b"\0")
    (tmp_path / "packed").write_bytes(b"x" * 100 + zlib.compress(PROMPT.encode() * 3))
    found = "; ".join(scan(tmp_path)[0])
    assert "deep/file" in found
    assert "packed" in found


def test_nothing_of_an_erased_person_is_in_any_file(clearmark, apple, tmp_path):
    home = clearmark.home
    backend = f"file:{apple}"
    asked = ("--negative", WORDS[1], "--backend", backend, "--actor", ACTOR, "--out", "out", "--json")
    assert clearmark("generate", PROMPT, *asked).code in {0, 3}  # as the guards see it today
    refused = clearmark(
        "generate", f"{PROMPT}, naked, explicit porn", "--backend", backend, "--actor", ACTOR, "--json"
    )
    assert refused.code == 3
    with doubting(tmp_path, home=home, backend=backend, violence=0.0) as studio:
        assert studio.generate(PROMPT, negative_prompt=WORDS[1], actor=ACTOR).assets
    with doubting(tmp_path, home=home, backend=backend) as studio:
        held, waiting = (studio.generate(PROMPT, actor=ACTOR) for _ in range(2))
        assert held.reviews
        assert waiting.reviews
    review = held.reviews[0]
    assert clearmark("review", "claim", review, "--reviewer", "ann").code == 0
    assert clearmark("review", "decide", review, "--approve", "--reviewer", "ann").code == 0
    assert clearmark("review", "release", review, "--out", "released").code == 0
    (home / "exports").mkdir()
    assert clearmark("ledger", "export", home / "exports" / "all.jsonl").code == 0
    today = dt.datetime.now(dt.UTC).date()
    period = ("--from", f"{today - dt.timedelta(2)}", "--to", f"{today + dt.timedelta(2)}")
    report = home / "exports" / "report.html"
    assert clearmark("report", "transparency", *period, "--out", report).code == 0
    assert clearmark("policy", "replay", "strict", "--json").code == 0
    shutil.copytree(home, home / "backup", ignore=shutil.ignore_patterns("keys"))

    with Studio.from_policy("default", home=home, backend=backend) as studio:
        ledger = studio.ledger
        events = list(ledger.events())
        receipts = {event.event_id: ledger.receipt(event.event_id) for event in events}
        before = [value for event in events for value in ledger.personal(event.event_id).values()]
        assert sum(value is not None and WORDS[0].encode() in value for value in before) >= 4
        key = ledger.verifier_key

    assert clearmark("ledger", "erase", ACTOR, "--json").json["erased"] >= 4
    assert clearmark("ledger", "verify").code == 0
    found, looked = scan(home)
    assert found == []
    assert looked > 200_000

    with Studio.from_policy("default", home=home, backend=backend) as studio:
        ledger = studio.ledger
        after = [value for event in events for value in ledger.personal(event.event_id).values()]
        assert not any(value is not None and WORDS[0].encode() in value for value in after)
        assert len(after) == len(before)
        for event in events:
            assert receipts[event.event_id].verify(key, envelope=event.envelope)
    for event in events[:3]:
        path = tmp_path / "one.receipt"
        path.write_text(receipts[event.event_id].text)
        done = subprocess.run(
            [sys.executable, STANDALONE, path, "--key", key], capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
