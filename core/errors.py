"""Every error that clearmark raises on purpose.

The tree, with the exit code that the command line gives each::

    Error                       1
    ├── UsageError              2   the call itself is wrong
    │   ├── InvalidRequest      2   a request outside what a backend or a limit allows
    │   ├── PolicyError         2   a policy file that does not parse or does not hold together
    │   └── MediaError          2   bytes that are no picture we can read safely
    │       └── MediaTooLarge   2   more pixels or bytes than the limit
    ├── Unavailable             6   a needed model, server or key is missing
    │   ├── ExtraMissing        6   an optional package is not installed
    │   ├── ModelMissing        6   weights are not where they should be
    │   ├── ModelCorrupt        6   weights whose digest is not the one on record
    │   ├── KeyUnavailable      6   a key cannot be read, or may be read by others
    │   └── BackendUnavailable  6   a generator or server does not answer
    ├── GuardUnavailable        6   a guard could not measure; the policy's `on_error` decides
    ├── GenerationFailed        1   the generator failed on a valid request
    ├── MarkingFailed           1   a picture could not be marked, so it is not released
    │   ├── LabelFailed         1
    │   ├── MetadataFailed      1
    │   ├── WatermarkFailed     1
    │   └── SigningFailed       1
    ├── LedgerError             1   the ledger could not do what was asked
    │   ├── LedgerUnavailable   1   an event could not be made durable
    │   └── LedgerTampered      4   what is on record is not what was recorded
    └── Blocked                 3   only from `Result.raise_for_verdict()`
"""

from __future__ import annotations

__all__ = [
    "BackendUnavailable",
    "Blocked",
    "Error",
    "ExtraMissing",
    "GenerationFailed",
    "GuardUnavailable",
    "InvalidRequest",
    "KeyUnavailable",
    "LabelFailed",
    "LedgerError",
    "LedgerTampered",
    "LedgerUnavailable",
    "MarkingFailed",
    "MediaError",
    "MediaTooLarge",
    "MetadataFailed",
    "ModelCorrupt",
    "ModelMissing",
    "PolicyError",
    "SigningFailed",
    "Unavailable",
    "UsageError",
    "WatermarkFailed",
]


class Error(Exception):
    """The root. `str(error)` says what happened; `hint` says what to do about it."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def diagnostics(self) -> str:
        """Say what happened and what to do, in words fit for a terminal."""
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UsageError(Error):
    """The call itself is wrong."""

    exit_code = 2


class InvalidRequest(UsageError):
    """A request that a backend cannot serve or a limit does not allow."""


class PolicyError(UsageError):
    """A policy that does not parse or does not hold together. `diagnostics()` lists every fault."""


class MediaError(UsageError):
    """Bytes that are no picture that can be read safely."""


class MediaTooLarge(MediaError):
    """A picture beyond the limit of bytes or pixels."""


class Unavailable(Error):
    """A needed model, server or key is missing."""

    exit_code = 6


class ExtraMissing(Unavailable):
    """An optional package is not installed; the hint names the pip command."""


class ModelMissing(Unavailable):
    """Weights are not where they should be."""


class ModelCorrupt(Unavailable):
    """Weights whose digest is not the one on record."""


class KeyUnavailable(Unavailable):
    """A key cannot be read, or others than its owner may read it."""


class BackendUnavailable(Unavailable):
    """A generator or server does not answer."""


class GuardUnavailable(Error):
    """A guard could not measure. The policy's `on_error` decides what that means (default: block)."""

    exit_code = 6


class GenerationFailed(Error):
    """The generator failed on a valid request."""


class MarkingFailed(Error):
    """A picture could not be marked, so it is not released."""


class LabelFailed(MarkingFailed):
    """The visible label could not be drawn."""


class MetadataFailed(MarkingFailed):
    """The metadata could not be written."""


class WatermarkFailed(MarkingFailed):
    """The watermark could not be embedded so that its own decoder reads it back."""


class SigningFailed(MarkingFailed):
    """The Content Credentials could not be signed."""


class LedgerError(Error):
    """The ledger could not do what was asked."""


class LedgerUnavailable(LedgerError):
    """An event could not be made durable; whatever waited for it must not be released."""


class LedgerTampered(LedgerError):
    """What is on record is not what was recorded."""

    exit_code = 4


class Blocked(Error):
    """A verdict that lets nothing out, for callers that want an exception."""

    exit_code = 3
