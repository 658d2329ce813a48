"""Changing the mode of a rule in its file: into shadow, and from shadow into force.

Only the lines of `mode` and `expires` are touched; comments and layout stay. What comes out is read again and
compared with what went in before the file is replaced, so that nothing else can have changed.
"""

from __future__ import annotations

import datetime as dt
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from clearmark.core.errors import PolicyError
from clearmark.policies._nodes import Node, read_nodes
from clearmark.policies._sources import PolicyText, locate, read_policy_text
from clearmark.policies.differences import diff
from clearmark.policies.policy import Policy

__all__ = ["promote", "replace_file", "shadow"]


def shadow(path: str | Path, rule_id: str, *, expires: dt.date) -> Policy:
    """Put a rule of the policy file `path` into shadow until the day `expires`; return the new policy.

    Raises:
        PolicyError: when the rule is not in this file, is not written one key a line, or the file is faulty.
    """
    return _set_mode(path, rule_id, ["mode: shadow", f"expires: {expires.isoformat()}"])


def promote(path: str | Path, rule_id: str) -> Policy:
    """Put a rule that is in shadow or off into force; return the new policy.

    Raises:
        PolicyError: as for `shadow`.
    """
    return _set_mode(path, rule_id, [])


def _set_mode(path: str | Path, rule_id: str, keys: Sequence[str]) -> Policy:
    text = read_policy_text(path)
    before = Policy.parse(text.text, text.source, folder=text.folder)
    lines = text.text.splitlines(keepends=True)
    rule = _rule(text, rule_id)
    name = next(key for key, _ in rule.value if key.value == "id")
    rows = [key.line - 1 for key, _ in rule.value if key.value in ("mode", "expires")]
    by_hand = f"{text.source}: rule {rule_id} must be written one key a line, beginning with its id"
    if len({key.line for key, _ in rule.value}) < len(rule.value) or rule.value[0][0] is not name:
        raise PolicyError(by_hand, hint="change its mode by hand")
    lines[name.line - 1] = "".join(
        [lines[name.line - 1], *(f"{' ' * (name.col - 1)}{key}\n" for key in keys)]
    )
    for row in rows:
        lines[row] = ""
    new = "".join(lines)
    after = Policy.parse(new, text.source, folder=text.folder)
    allowed = {f"rules.{rule_id}.mode", f"rules.{rule_id}.expires"}
    if not {change.path for change in diff(before, after)} <= allowed:
        raise PolicyError(by_hand, hint="change its mode by hand")
    file, _ = locate(path)
    replace_file(file, new)
    return after


def _rule(text: PolicyText, rule_id: str) -> Node:
    root, _ = read_nodes(text.text, text.source)
    pairs = root.value if root is not None and root.kind == "map" else ()
    rows = next((value for key, value in pairs if key.value == "rules"), None)
    for row in rows.value if rows is not None and rows.kind == "list" else ():
        if any(key.value == "id" and value.value == rule_id for key, value in row.value):
            return row  # type: ignore[no-any-return]  # NOTE: the items of a list node are nodes
    raise PolicyError(
        f"{text.source} has no rule {rule_id} of its own",
        hint="a rule that is inherited is changed where it stands, or repeated in this file",
    )


def replace_file(path: Path, text: str) -> None:
    """Replace the file at once and as a whole: a reader sees the old text or the new one.

    Raises:
        PolicyError: when the folder cannot be written to.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.resolve().parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            Path(name).chmod(path.stat().st_mode & 0o777)
            Path(name).replace(path.resolve())
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as exc:
        raise PolicyError(
            f"policy {path} cannot be written: {exc.strerror}", hint="check its rights"
        ) from exc
