"""Signed notes and checkpoints, against a note signed elsewhere and against damage."""

import base64
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearmark.audits import NoteSigner, NoteVerifier
from clearmark.audits.ledger._notes import Checkpoint, open_note, parse_checkpoint, split_note
from clearmark.core.errors import KeyUnavailable, LedgerTampered, UsageError

# The example of the Go package sumdb/note (its documentation), signed by its author's key.
PETER_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6Ry"
    "yBwJnAM=\n"
)
SIGNER = NoteSigner.generate("example.com/log")
HEAD = Checkpoint(origin="example.com/log", size=3, root=hashlib.sha256(b"root").hexdigest())
NOTE = SIGNER.sign(HEAD.text)


def test_a_note_signed_by_another_implementation_opens():
    verifier = NoteVerifier.parse(PETER_KEY)
    assert verifier.verifier_key == PETER_KEY
    assert open_note(PETER_NOTE, [verifier]).endswith("what your problem is.\n")


def test_key_id_is_the_one_of_the_format():
    public = SIGNER.verifier.public
    expected = hashlib.sha256(b"example.com/log\n\x01" + public).digest()[:4]
    name, hexed, encoded = SIGNER.verifier_key.split("+", 2)
    assert (name, hexed) == ("example.com/log", expected.hex())
    assert base64.b64decode(encoded) == b"\x01" + public
    assert split_note(NOTE)[1][0][1][:4] == expected


def test_checkpoint_text_is_three_lines():
    root = base64.b64encode(bytes.fromhex(HEAD.root)).decode()
    assert NOTE.startswith(f"example.com/log\n3\n{root}\n\n— example.com/log ")
    assert parse_checkpoint(NOTE, SIGNER.verifier) == Checkpoint(
        origin=HEAD.origin, size=3, root=HEAD.root, note=NOTE
    )


def test_pem_gives_the_same_key():
    again = NoteSigner.from_pem(SIGNER.to_pem(), "example.com/log")
    assert again.verifier_key == SIGNER.verifier_key
    assert again.sign(HEAD.text) == NOTE
    assert "PRIVATE" not in repr(again)


def test_no_key():
    with pytest.raises(KeyUnavailable):
        NoteSigner.from_pem(b"nonsense", "example.com/log")
    with pytest.raises(UsageError):
        NoteSigner.generate("two words")
    for wrong in ("", "a+b", "name+00000000+AAAA", SIGNER.verifier_key[:-4] + "AAA="):
        with pytest.raises(UsageError):
            NoteVerifier.parse(wrong)


def test_unknown_signatures_are_passed_over():
    other = NoteSigner.generate("witness.example")
    both = NOTE + other.sign(HEAD.text).rpartition("\n\n")[2]
    assert parse_checkpoint(both, SIGNER.verifier).size == 3
    with pytest.raises(LedgerTampered):
        parse_checkpoint(other.sign(HEAD.text), SIGNER.verifier)


def test_another_origin_under_the_same_key_is_refused():
    moved = Checkpoint(origin="example.com/other", size=3, root=HEAD.root)
    with pytest.raises(LedgerTampered):
        parse_checkpoint(SIGNER.sign(moved.text), SIGNER.verifier)


@given(st.integers(0, len(NOTE.encode()) - 1), st.integers(1, 255))
@settings(max_examples=300, deadline=None)
def test_no_changed_byte_is_accepted(at, change):
    raw = bytearray(NOTE.encode())
    raw[at] ^= change
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return
    with pytest.raises(LedgerTampered):
        parse_checkpoint(text, SIGNER.verifier)


@given(st.text(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_text_is_refused_without_a_crash(text):
    for candidate in (text, text + "\n\n— example.com/log AAAA\n", NOTE + text):
        if candidate != NOTE:
            with pytest.raises(LedgerTampered):
                parse_checkpoint(candidate, SIGNER.verifier)
