"""From the text of a policy to its resolved values, following `extends`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clearmark.core import digest
from clearmark.core.errors import PolicyError
from clearmark.policies._build import build_content, required
from clearmark.policies._content import Content
from clearmark.policies._inherit import Parent, inherit
from clearmark.policies._nodes import Node, read_nodes
from clearmark.policies._shapes import Faults
from clearmark.policies._sources import locate, read_policy_text
from clearmark.policies.diagnostics import Diagnostic
from clearmark.policies.schema import POLICY

__all__ = ["digest_of", "resolve"]

_DEEPEST = 8
_MOST_FAULTS = 1000


def resolve(
    text: str, source: str, folder: Path | None = None, *, depth: int = 0
) -> tuple[dict[str, Any] | None, list[Diagnostic]]:
    """Return the values of a policy over what it extends, and everything wrong with it, in file order.

    The values are None where the text has no root map; where there are errors, they are not to be used.
    """
    root, found = read_nodes(text, source)
    faults = Faults(source)
    faults.found.extend(found)
    values: dict[str, Any] | None = POLICY.check(root, "", faults) if root is not None else None
    if values is not None and root is not None and not _errors(faults):
        named = values.pop("extends", None)
        parents = _parents([named] if isinstance(named, dict) else named or [], root, folder, faults, depth)
        if parents and not _errors(faults):
            values = inherit(values, root, parents, faults)
        values["requires"] = {stage.value: list(needed) for stage, needed in required(values).items()}
    return values, sorted(set(faults.found))[:_MOST_FAULTS]


def digest_of(values: dict[str, Any], content: Content) -> str:
    """Return `sha256:…` of the canonical form of resolved values."""
    return digest(content.form(values["name"], values["version"]))


def _errors(faults: Faults) -> bool:
    return any(fault.severity == "error" for fault in faults.found)


def _parents(
    rows: list[dict[str, str]], root: Node, folder: Path | None, faults: Faults, depth: int
) -> list[Parent]:
    out = []
    for index, row in enumerate(rows):
        policy_node, digest_node = _nodes_of(root, index)
        path = f"extends[{index}]" if len(rows) > 1 else "extends"
        try:
            values, actual = _load(row["policy"], folder, depth)
        except PolicyError as exc:
            faults.add(policy_node, f"{path}.policy", exc.message)
            continue
        if actual != row["digest"]:
            message = f"{row['policy']} now has {actual}: see what changed, then pin that"
            faults.add(digest_node, f"{path}.digest", message)
            continue
        out.append((row["policy"], actual, values))
    return out


def _load(name: str, folder: Path | None, depth: int) -> tuple[dict[str, Any], str]:
    if depth >= _DEEPEST:
        raise PolicyError(f"policies extend each other more than {_DEEPEST} deep")
    path, profile = locate(name)
    if not profile and folder is None:
        raise PolicyError(f"{name}: only profiles can be extended by a policy that is not in a file")
    text = read_policy_text(name if profile or folder is None else folder / path)
    values, faults = resolve(text.text, text.source, text.folder, depth=depth + 1)
    errors = [fault for fault in faults if fault.severity == "error"]
    if values is None or errors:
        raise PolicyError(f"{name} is no valid policy: {errors[0].render()}")
    return values, digest_of(values, build_content(values))


def _nodes_of(root: Node, index: int) -> tuple[Node, Node]:
    """Return the nodes of `policy` and `digest` of a parent."""
    spot = next(value for key, value in root.value if key.value == "extends")
    row = spot.value[index] if spot.kind == "list" else spot
    by_name = {key.value: value for key, value in row.value}
    return by_name["policy"], by_name["digest"]
