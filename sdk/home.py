"""The state folder: ledger database, keys, caches. The only module that puts a key on a disk.

Keys are made once, on the first run, and then only read: a key that is missing later is an error, never a
reason to make a new one, because a new ledger key or signer would quietly start a second history.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from clearmark.core.errors import KeyUnavailable

__all__ = ["DEFAULT_HOME", "Home"]

DEFAULT_HOME = ".clearmark"

_LEDGER_KEY = "ledger.pem"
_LEDGER_NAME = "ledger.name"
_VAULT_KEY = "vault.key"
_WATERMARK_KEY = "watermark.key"
_ROOT = "ca-root.pem"
_CHAIN = "signer-chain.pem"
_SIGNER = "signer.pem"
_IDENTITY_CHAIN = "identity-chain.pem"
_IDENTITY = "identity.pem"
_KEY_BYTES = 32


@dataclass(frozen=True)
class Home:
    """The state folder at `path`. Making the value touches no disk."""

    path: Path

    @classmethod
    def locate(cls, path: str | Path | None = None) -> Home:
        """Return the folder given, else `CLEARMARK_HOME`, else `.clearmark` in the working folder."""
        return cls(Path(path or os.environ.get("CLEARMARK_HOME") or DEFAULT_HOME))

    @property
    def database(self) -> Path:
        """The ledger's SQLite file."""
        return self.path / "ledger.db"

    @property
    def manifests(self) -> Path:
        """The file of the manifests that were signed, by which pictures that lost theirs are led back."""
        return self.path / "manifests.db"

    @property
    def manifest_store(self) -> str | Path:
        """Where they are kept: `CLEARMARK_MANIFESTS`, such as `s3://BUCKET/PREFIX`, or else the file."""
        return os.environ.get("CLEARMARK_MANIFESTS") or self.manifests

    @property
    def sessions(self) -> Path:
        """What is kept for a day of refused prompts, by person: sealed sketches, no text."""
        return self.path / "sessions.db"

    @property
    def latent_models(self) -> Path:
        """The record of the models whose initial noise was marked."""
        return self.path / "latent-models.json"

    @property
    def keys(self) -> Path:
        """The folder of keys, mode 0700, files 0600."""
        return self.path / "keys"

    @property
    def exists(self) -> bool:
        """Whether a first run has set this folder up."""
        return self.keys.is_dir()

    def ensure(self) -> Home:
        """Make the folder and its keys if there are none, and return self.

        Raises:
            KeyUnavailable: when the folder cannot be made.
        """
        if self.exists:
            return self
        if self.database.exists():
            raise KeyUnavailable(
                f"{self.database} exists but {self.keys} does not",
                hint="restore the keys folder from its backup, or use another --home",
            )
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._make_keys()
        except OSError as exc:
            raise KeyUnavailable(
                f"cannot set up {self.path}: {exc.strerror}", hint="choose a writable --home with space left"
            ) from exc
        return self

    def _make_keys(self) -> None:
        # All keys are written into a private folder that takes its name in one step, so two first runs at the
        # same time end with one set of keys, and a first run that is cut off leaves none.
        draft = self.path / f".keys-{os.getpid()}-{secrets.token_hex(4)}"
        draft.mkdir(mode=0o700)
        try:
            for name, data in _new_keys().items():
                _write_private(draft / name, data)
            with contextlib.suppress(FileExistsError):
                if not self.exists:
                    draft.rename(self.keys)
        except OSError:
            if not self.exists:  # another first run that came in ahead is no failure
                raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def key(self, name: str) -> bytes:
        """Return the bytes of the key file `name`.

        Raises:
            KeyUnavailable: when it is missing, not a plain file, unreadable, or readable by others.
        """
        path = self.keys / name
        try:
            found = path.lstat()
        except OSError as exc:
            raise KeyUnavailable(
                f"key {path}: {exc.strerror}",
                hint="restore it from its backup; a new one starts a new history",
            ) from exc
        if not stat.S_ISREG(found.st_mode):
            raise KeyUnavailable(f"key {path} is not a plain file", hint="put the key itself there")
        if found.st_mode & 0o077:
            raise KeyUnavailable(f"key {path} may be read by others", hint=f"chmod 600 {path}")
        if not found.st_mode & 0o400:  # also for root, whom the kernel would let read it
            raise KeyUnavailable(f"key {path} is not readable", hint=f"chmod 600 {path}")
        try:
            return path.read_bytes()
        except OSError as exc:
            raise KeyUnavailable(f"key {path}: {exc.strerror}", hint=f"chmod 600 {path}") from exc

    @property
    def training_index(self) -> Path:
        """Where the index of the training data lies that pictures are compared with, if there is one."""
        return self.path / "training.index"

    @property
    def guidance(self) -> Path:
        """The calibrations of models by `clearmark memorization calibrate`, if there are any."""
        return self.path / "guidance.json"

    @property
    def trust_lists(self) -> list[Path]:
        """The PEM files of further authorities whose Content Credentials are trusted."""
        return sorted((self.path / "trust").glob("*.pem"))

    @property
    def identity_trust_lists(self) -> list[Path]:
        """The PEM files of authorities that vouch for who somebody is, in identity assertions."""
        return sorted((self.path / "trust-identities").glob("*.pem"))

    @property
    def ledger_key(self) -> bytes:
        """The PEM of the ledger's signing key."""
        return self.key(_LEDGER_KEY)

    @property
    def ledger_name(self) -> str:
        """The name under which the ledger signs its checkpoints."""
        return self.key(_LEDGER_NAME).decode().strip()

    @property
    def vault_key(self) -> bytes:
        """The 32 bytes that wrap the keys of personal data."""
        return self._secret(_VAULT_KEY)

    @property
    def watermark_key(self) -> bytes:
        """The 32 bytes that a keyed watermark is drawn from."""
        return self._secret(_WATERMARK_KEY)

    @property
    def signer(self) -> tuple[bytes, bytes]:
        """The certificate chain and the private key that sign Content Credentials, both PEM."""
        return self.key(_CHAIN), self.key(_SIGNER)

    @property
    def identity(self) -> tuple[bytes, bytes] | None:
        """The chain and the key that sign for pictures in a name of one's own, both PEM; None without any.

        Nothing makes them: who wants them puts both files into the folder of keys.
        """
        names = (_IDENTITY_CHAIN, _IDENTITY)
        if not any((self.keys / name).exists() for name in names):
            return None
        return self.key(names[0]), self.key(names[1])

    @property
    def trust_anchors(self) -> bytes:
        """The development CA's root certificate, PEM."""
        return self.key(_ROOT)

    def _secret(self, name: str) -> bytes:
        try:
            secret = bytes.fromhex(self.key(name).decode().strip())
        except ValueError as exc:
            raise KeyUnavailable(
                f"key {self.keys / name} is damaged", hint="restore it from its backup"
            ) from exc
        if len(secret) != _KEY_BYTES:
            raise KeyUnavailable(f"key {self.keys / name} is damaged", hint="restore it from its backup")
        return secret


def _new_keys() -> Mapping[str, bytes]:
    from clearmark.audits import NoteSigner
    from clearmark.provenance import make_development_ca

    name = f"clearmark.local/{secrets.token_hex(4)}"
    ca = make_development_ca()
    secret: Callable[[], bytes] = lambda: secrets.token_hex(_KEY_BYTES).encode() + b"\n"  # noqa: E731
    return {
        _LEDGER_KEY: NoteSigner.generate(name).to_pem(),
        _LEDGER_NAME: name.encode() + b"\n",
        _VAULT_KEY: secret(),
        _WATERMARK_KEY: secret(),
        _ROOT: ca.root_pem,
        _CHAIN: ca.chain_pem,
        _SIGNER: ca.key_pem,
    }


def _write_private(path: Path, data: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
