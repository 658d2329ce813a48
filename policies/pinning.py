"""Bringing the digests in `extends` up to date, after whoever does it has seen what changed."""

from __future__ import annotations

from pathlib import Path

from clearmark.core.errors import PolicyError
from clearmark.policies._nodes import Node, read_nodes
from clearmark.policies._sources import locate, read_policy_text
from clearmark.policies.editing import replace_file
from clearmark.policies.policy import Policy

__all__ = ["pin"]


def pin(path: str | Path) -> list[str]:
    """Write the present digests of what the policy file `path` extends into it; return the changes in words.

    Only the digests are touched; comments and layout stay. The file is not checked otherwise.

    Raises:
        PolicyError: when the file or what it extends cannot be read or is faulty.
    """
    file, _ = locate(path)
    text = read_policy_text(path)
    root, _ = read_nodes(text.text, text.source)
    lines = text.text.splitlines(keepends=True)
    changes = []
    for policy, digest in _parents(root):
        _, profile = locate(policy.value)
        actual = Policy.load(policy.value if profile else text.folder / policy.value).ref.digest
        if actual == digest.value:
            continue
        if not digest.text_col:
            raise PolicyError(f"{text.source}: line {digest.line}: write the digest on one line")
        line, at = lines[digest.line - 1], digest.text_col - 1
        lines[digest.line - 1] = line[:at] + actual + line[at + len(digest.value) :]
        changes.append(f"{policy.value}: {digest.value[:19]}… -> {actual[:19]}…")
    if changes:
        replace_file(file, "".join(lines))
    return changes


def _parents(root: Node | None) -> list[tuple[Node, Node]]:
    """Return the nodes of `policy` and `digest` of every parent that has both as text."""
    if root is None or root.kind != "map":
        return []
    rows = next((value for key, value in root.value if key.value == "extends"), None)
    out = []
    for row in () if rows is None else rows.value if rows.kind == "list" else (rows,):
        by_name = {key.value: value for key, value in row.value} if row.kind == "map" else {}
        pair = by_name.get("policy"), by_name.get("digest")
        if pair[0] is not None and pair[1] is not None and pair[0].kind == pair[1].kind == "str":
            out.append((pair[0], pair[1]))
    return out
