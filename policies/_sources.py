"""Where policy texts come from: shipped profiles by name, files by path."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clearmark.core.errors import PolicyError
from clearmark.policies._nodes import MAX_BYTES
from clearmark.policies.diagnostics import Diagnostic, InvalidPolicy, did_you_mean

__all__ = ["PolicyText", "locate", "profiles", "read_policy_text"]

_PROFILE = re.compile(r"[a-z0-9][a-z0-9-]*\Z")
_HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class PolicyText:
    """The text of a policy, the name it goes by in messages, and the folder it stands in."""

    text: str
    source: str
    folder: Path


def profiles() -> tuple[str, ...]:
    """Return the names of the shipped profiles."""
    return tuple(sorted(path.stem for path in _HERE.glob("*.yaml")))


def locate(name_or_path: str | Path) -> tuple[Path, bool]:
    """Return the path of a profile or file, and whether it was named as a profile."""
    named = isinstance(name_or_path, str) and _PROFILE.match(name_or_path) is not None
    return (_HERE / f"{name_or_path}.yaml" if named else Path(name_or_path)), named


def read_policy_text(name_or_path: str | Path) -> PolicyText:
    """Return the text of a profile or file.

    Raises:
        PolicyError: when it is not there, is no regular file, is too long or is not UTF-8.
    """
    path, named = locate(name_or_path)
    source = str(name_or_path)
    try:
        with _open_regular(path) as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as exc:
        if named:
            near = did_you_mean(source, profiles())
            raise PolicyError(
                f"there is no profile {source}{near}",
                hint=f"one of {', '.join(profiles())}, or the path of a policy file",
            ) from exc
        why = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
        message = f"policy {source} cannot be read: {why}"
        raise PolicyError(message, hint="check the path and its rights") from exc
    source = f"{source}.yaml" if named else source
    if len(data) > MAX_BYTES:
        raise InvalidPolicy(source, [Diagnostic(source, 0, 0, "", f"longer than {MAX_BYTES:,} bytes")])
    try:
        return PolicyText(text=data.decode(), source=source, folder=path.parent)
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        col = exc.start - data.rfind(b"\n", 0, exc.start)
        raise InvalidPolicy(source, [Diagnostic(source, line, col, "", "not UTF-8 text")]) from exc


def _open_regular(path: Path) -> Any:
    # without O_NONBLOCK, opening a FIFO would wait for ever
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError("not a regular file")
    except BaseException:
        os.close(handle)
        raise
    return os.fdopen(handle, "rb")
