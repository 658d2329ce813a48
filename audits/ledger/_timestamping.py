"""Checkpoints stamped by a time-stamping authority (RFC 3161): the keeper of the log has no say in it.

A token shows that a checkpoint stood at a time, signed by somebody else. Tokens lie in a file beside the
checkpoint log, one JSON line each; copies of it elsewhere are worth as much as the file itself.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from clearmark.core import der
from clearmark.core.errors import LedgerError, LedgerTampered, LedgerUnavailable, MediaError

__all__ = ["Timestamp", "TimestampLog", "ask_authority", "read_token"]

MAX_ANSWER = 100_000
MAX_LINE = 400_000
MAX_CERTIFICATES = 16

_TST_INFO = der.oid("1.2.840.113549.1.9.16.1.4")
_SIGNED_DATA = der.oid("1.2.840.113549.1.7.2")
_CONTENT_TYPE = der.oid("1.2.840.113549.1.9.3")
_MESSAGE_DIGEST = der.oid("1.2.840.113549.1.9.4")
_SHA256 = der.oid("2.16.840.1.101.3.4.2.1")
_HASHES: dict[bytes, hashes.HashAlgorithm] = {
    _SHA256: hashes.SHA256(),
    der.oid("2.16.840.1.101.3.4.2.2"): hashes.SHA384(),
    der.oid("2.16.840.1.101.3.4.2.3"): hashes.SHA512(),
}
_BROKEN: tuple[type[Exception], ...] = (
    MediaError,
    ValueError,
    TypeError,
    LookupError,
    StopIteration,
    UnsupportedAlgorithm,
    InvalidSignature,
    x509.InvalidVersion,
    x509.ExtensionNotFound,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What reading a hostile token can raise."""


@dataclass(frozen=True, kw_only=True)
class Timestamp:
    """A stamped checkpoint: when (UTC), by whom, and whether that is somebody under the given roots."""

    note: str
    time: datetime
    authority: str
    trusted: bool
    token: bytes

    @property
    def size(self) -> int:
        """Events that the checkpoint covers."""
        return int(self.note.split("\n", 2)[1])

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "tree_size": self.size,
            "time": self.time.isoformat(),
            "authority": self.authority,
            "trusted": self.trusted,
            "token": base64.b64encode(self.token).decode(),
        }


def ask_authority(url: str, note: str, *, roots: Sequence[x509.Certificate], timeout_s: float) -> Timestamp:
    """Have a note stamped by the authority at `url`.

    Raises:
        LedgerUnavailable: when it does not answer.
        LedgerError: when it refuses, or what it answers does not hold for this note and request.
    """
    import httpx

    nonce = secrets.randbits(63)
    imprint = der.sequence(der.sequence(_SHA256, der.null()), der.octets(_digest(note)))
    wants = b"\x01\x01\xff"
    request = der.sequence(der.integer(1), imprint, der.integer(nonce), wants)
    headers = {"content-type": "application/timestamp-query"}
    try:
        with httpx.stream("POST", url, content=request, headers=headers, timeout=timeout_s) as answer:
            raw = b""
            for part in answer.iter_bytes():
                raw += part
                if len(raw) > MAX_ANSWER:
                    break
            status = answer.status_code
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        raise LedgerUnavailable(
            f"the time-stamping authority at {url} does not answer: {type(exc).__name__}",
            hint="try again later",
        ) from exc
    try:
        parts = der.children(_only(raw, 0x30))
        granted = der.children(parts[0][1])[0][2] in {der.integer(0), der.integer(1)}
    except _BROKEN as exc:
        raise LedgerError(f"the authority at {url} answered with no time stamp (status {status})") from exc
    if status != 200 or not granted or len(parts) != 2:
        raise LedgerError(f"the authority at {url} refused to stamp", hint="does it stamp SHA-256 digests?")
    try:
        return read_token(parts[1][2], note, roots=roots, nonce=nonce)
    except LedgerTampered as exc:
        raise LedgerError(f"what the authority at {url} answered does not hold: {exc.message}") from exc


def read_token(
    token: bytes, note: str, *, roots: Sequence[x509.Certificate] = (), nonce: int | None = None
) -> Timestamp:
    """Check a token over `note` (and over the `nonce` of a request); tell whether it leads to one of `roots`.

    Raises:
        LedgerTampered: when it is malformed, over something else, or its signature is wrong.
    """
    try:
        outer = der.children(_only(token, 0x30))
        if outer[0][2] != _SIGNED_DATA:
            raise MediaError("no signed data")
        signed = der.children(_only(_only(outer[1][1], 0x30, whole=True), 0x30))
        kind, content = der.children(signed[2][1])
        info = _only(content[1], 0x04)
        if kind[2] != _TST_INFO:
            raise MediaError("no time stamp")
        when = _read_info(info, note, nonce)
        rest = {tag: inner for tag, inner, _ in signed[3:]}
        chain = [
            x509.load_der_x509_certificate(whole)
            for _, _, whole in der.children(rest.get(0xA0, b""))[:MAX_CERTIFICATES]
        ]
        leaf = _check_signer(der.children(rest[0x31])[0][1], info, chain)
    except _BROKEN as exc:
        raise LedgerTampered(f"a time stamp that does not hold: {str(exc) or type(exc).__name__}") from exc
    return Timestamp(
        note=note,
        time=when,
        authority=leaf.subject.rfc4514_string(),
        trusted=_leads_to(leaf, chain, roots, when),
        token=token,
    )


class TimestampLog:
    """The file of tokens at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, stamp: Timestamp) -> None:
        """Add a token; it is on the disk when this returns.

        Raises:
            LedgerUnavailable: when it cannot be written.
        """
        row = {"note": stamp.note, "token": base64.b64encode(stamp.token).decode()}
        line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
        try:
            handle = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o600)
            try:
                end = os.fstat(handle).st_size
                if end and os.pread(handle, 1, end - 1) != b"\n":
                    line = b"\n" + line  # what a crash left unfinished stays a line of its own
                if os.write(handle, line) != len(line):
                    os.ftruncate(handle, end)
                    raise OSError(28, "the disk is full")
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as exc:
            raise LedgerUnavailable(
                f"the time stamps in {self.path} cannot be written: {exc.strerror}", hint="check the disk"
            ) from exc

    def rows(self) -> Iterator[tuple[str, bytes] | None]:
        """Yield note and token of every line, and None for a whole line without them."""
        try:
            with self.path.open("rb") as stream:
                while line := stream.readline(MAX_LINE):
                    if not line.endswith(b"\n"):
                        return
                    try:
                        row = json.loads(line)
                        yield str(row["note"]), base64.b64decode(row["token"], validate=True)
                    except (ValueError, KeyError, TypeError, RecursionError):
                        yield None
        except FileNotFoundError:
            return
        except OSError as exc:
            raise LedgerUnavailable(f"the time stamps in {self.path} cannot be read: {exc.strerror}") from exc


def _digest(note: str) -> bytes:
    return hashlib.sha256(note.encode()).digest()


def _only(raw: bytes, tag: int, *, whole: bool = False) -> bytes:
    """Return the content of the one value that `raw` is."""
    ((found, content, all_of_it),) = der.children(raw)
    if found != tag:
        raise MediaError("a value of another type than expected")
    return all_of_it if whole else content


def _read_info(info: bytes, note: str, nonce: int | None) -> datetime:
    parts = der.children(_only(info, 0x30))
    algorithm, imprint = der.children(parts[2][1])
    if der.children(algorithm[1])[0][2] != _SHA256 or imprint[1] != _digest(note):
        raise MediaError("it is over something else than this checkpoint")
    if nonce is not None and der.integer(nonce) not in [whole for _, _, whole in parts[5:]]:
        raise MediaError("it answers another request")
    if parts[4][0] != 0x18:
        raise MediaError("it names no time")
    text = parts[4][1].decode("ascii").removesuffix("Z").partition(".")[0]
    return datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=UTC)


def _check_signer(signer: bytes, info: bytes, chain: Sequence[x509.Certificate]) -> x509.Certificate:
    """Return the certificate that signed, once its signature and its purpose are checked (RFC 5652, 5.4)."""
    _, identity, digest, attributes, _, signature, *_ = der.children(signer)
    issuer, serial = der.children(identity[1])
    algorithm = _HASHES[der.children(digest[1])[0][2]]
    leaf = next(
        one
        for one in chain
        if one.issuer.public_bytes() == issuer[2] and der.integer(one.serial_number) == serial[2]
    )
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    if not usage.critical or list(usage.value) != [x509.oid.ExtendedKeyUsageOID.TIME_STAMPING]:
        raise MediaError("its signer is no time-stamping authority")
    if attributes[0] != 0xA0 or signature[0] != 0x04:
        raise MediaError("its signature is not over attributes")
    said = {
        parts[0][2]: parts[1][1] for _, one, _ in der.children(attributes[1]) if (parts := der.children(one))
    }
    hashed = hashes.Hash(algorithm)
    hashed.update(info)
    if said[_CONTENT_TYPE] != _TST_INFO or said[_MESSAGE_DIGEST] != der.octets(hashed.finalize()):
        raise MediaError("its signature is over something else")
    _check_signature(leaf, signature[1], b"\x31" + attributes[2][1:], algorithm)
    return leaf


def _check_signature(
    leaf: x509.Certificate, signature: bytes, message: bytes, algorithm: hashes.HashAlgorithm
) -> None:
    key = leaf.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, message, ec.ECDSA(algorithm))
    elif isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, message, padding.PKCS1v15(), algorithm)
    else:
        raise MediaError("its signer has a key of an unknown kind")


def _leads_to(
    leaf: x509.Certificate,
    chain: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
    when: datetime,
) -> bool:
    """Tell whether a certificate leads to one of `roots`, all of them valid at that time."""
    here = leaf
    for _ in range(MAX_CERTIFICATES):
        if not here.not_valid_before_utc <= when <= here.not_valid_after_utc:
            return False
        if here in roots:
            return True
        above = next((one for one in (*roots, *chain) if _issued(one, here)), None)
        if above is None or above == here:
            return False
        here = above
    return False


def _issued(issuer: x509.Certificate, subject: x509.Certificate) -> bool:
    try:
        subject.verify_directly_issued_by(issuer)
        return issuer.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except _BROKEN:
        return False
