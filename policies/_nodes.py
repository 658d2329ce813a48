"""YAML text to a tree whose every node knows its line and column.

A small, strict part of YAML 1.2: one document; maps, lists and scalars; no anchors, aliases, merge keys, tags
or directives. What is left cannot grow when it is read, so a file costs time and memory by its length alone.
ruamel.yaml scans; plain scalars are resolved here by the YAML 1.2 core schema (10.3.2), so that `no`, `on`
and `2026-12-01` are text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from clearmark.policies.diagnostics import Diagnostic

__all__ = ["MAX_BYTES", "MAX_DEPTH", "Node", "read_nodes"]

MAX_BYTES = 256 * 1024
"""Longest file that is read."""

MAX_DEPTH = 16
"""Deepest nesting of maps and lists."""

MAX_NODES = 50_000
"""Most maps, lists and scalars in a file."""

_NULL = re.compile(r"(?:|~|null|Null|NULL)\Z")
_BOOL = re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z")
_INT = re.compile(r"[-+]?[0-9]{1,15}\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]{1,30}|[0-9]{1,30}(?:\.[0-9]{0,30})?)(?:[eE][-+]?[0-9]{1,3})?\Z")


@dataclass(frozen=True, slots=True)
class Node:
    """A node. `value` is a tuple of nodes for a `list`, of (key, value) pairs for a `map`, else the scalar.

    `line` and `col` count from 1. Where the text stands in the file as it is, on one line, `text_col` is
    where it begins (behind a quote), so that a position in the text is one in the file; else it is 0.
    """

    kind: str
    value: Any
    line: int
    col: int
    text_col: int = 0


class _Stop(Exception):
    """The text cannot be read further."""


class _Reader:
    def __init__(self, text: str, source: str) -> None:
        self.text = text
        self.source = source
        self.faults: list[Diagnostic] = []
        self.count = 0

    def fault(self, mark: Any, message: str, path: str = "") -> None:
        line, col = (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)
        self.faults.append(Diagnostic(self.source, line, col, path, message))

    def read(self) -> Node | None:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import MarkedYAMLError, YAMLError

        try:
            return self._tree(YAML(typ="safe", pure=True).parse(self.text))
        except MarkedYAMLError as exc:
            problem = " ".join(part for part in (exc.context, exc.problem) if part)
            self.fault(exc.problem_mark or exc.context_mark, f"not YAML: {problem}")
        except YAMLError as exc:
            self.fault(None, f"not YAML: {str(exc).splitlines()[0] if str(exc) else type(exc).__name__}")
        except _Stop:
            pass
        except (ValueError, LookupError, AttributeError, AssertionError, TypeError, RecursionError) as exc:
            # ruamel.yaml's scanner lets a few of its own faults through on broken text
            self.fault(None, f"not YAML: {type(exc).__name__}")
        return None

    def _tree(self, events: Any) -> Node | None:
        from ruamel.yaml import events as ev

        root: Node | None = None
        stack: list[tuple[str, Any, list[Node]]] = []
        documents = 0
        for event in events:
            node: Node | None = None
            if isinstance(event, ev.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self.fault(event.start_mark, "a second document: a policy file holds one")
                    raise _Stop
                if event.version is not None or event.tags:
                    self.fault(event.start_mark, "directives (%YAML, %TAG) are not allowed")
            elif isinstance(event, ev.AliasEvent):
                self.fault(event.start_mark, "anchors and aliases are not allowed: write the value out")
                node = self._node("null", None, event)
            elif isinstance(event, ev.ScalarEvent):
                self._plain_only(event)
                node = self._scalar(event)
            elif isinstance(event, ev.MappingStartEvent | ev.SequenceStartEvent):
                self._plain_only(event)
                if len(stack) >= MAX_DEPTH:
                    self.fault(event.start_mark, f"nested more than {MAX_DEPTH} deep")
                    raise _Stop
                kind = "map" if isinstance(event, ev.MappingStartEvent) else "list"
                stack.append((kind, event, []))
            elif isinstance(event, ev.MappingEndEvent | ev.SequenceEndEvent):
                kind, start, items = stack.pop()
                node = self._node(kind, self._pairs(items) if kind == "map" else tuple(items), start)
            if node is not None:
                if stack:
                    stack[-1][2].append(node)
                else:
                    root = node
        return root

    def _plain_only(self, event: Any) -> None:
        if event.anchor is not None:
            self.fault(event.start_mark, "anchors and aliases are not allowed: write the value out")
        if event.tag is not None:
            self.fault(event.start_mark, "tags (!…) are not allowed")

    def _node(self, kind: str, value: Any, event: Any, *, text_at: int = -1) -> Node:
        self.count += 1
        if self.count > MAX_NODES:
            self.fault(event.start_mark, f"more than {MAX_NODES:,} values")
            raise _Stop
        mark = event.start_mark
        return Node(
            kind, value, mark.line + 1, mark.column + 1, mark.column + 1 + text_at if text_at >= 0 else 0
        )

    def _scalar(self, event: Any) -> Node:
        text: str = event.value
        start, end = event.start_mark.index, event.end_mark.index
        if event.style is not None and event.style != "":
            exact = event.style in "'\"" and self.text[start + 1 : end - 1] == text
            return self._node("str", text, event, text_at=1 if exact else -1)
        if _NULL.match(text):
            return self._node("null", None, event)
        if _BOOL.match(text):
            return self._node("bool", text.lower() == "true", event)
        if _INT.match(text):
            return self._node("int", int(text), event)
        if _FLOAT.match(text):
            return self._node("float", float(text), event)
        return self._node("str", text, event, text_at=0 if self.text[start:end] == text else -1)

    def _pairs(self, items: list[Node]) -> tuple[tuple[Node, Node], ...]:
        seen: dict[str, Node] = {}
        pairs = []
        for key, value in zip(items[::2], items[1::2], strict=True):
            if key.kind != "str":
                self.faults.append(
                    Diagnostic(self.source, key.line, key.col, "", f"a key must be text, not {key.kind}")
                )
                continue
            if key.value in seen:
                first = seen[key.value]
                self.faults.append(
                    Diagnostic(
                        self.source,
                        key.line,
                        key.col,
                        "",
                        f"duplicate key {key.value[:80]}: first on line {first.line}",
                    )
                )
                continue
            seen[key.value] = key
            pairs.append((key, value))
        return tuple(pairs)


def read_nodes(text: str, source: str) -> tuple[Node | None, list[Diagnostic]]:
    """Return the root node of `text` (None where it cannot be read) and what is wrong with it so far."""
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        return None, [Diagnostic(source, 0, 0, "", f"longer than {MAX_BYTES:,} bytes")]
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        line = text.count("\n", 0, exc.start) + 1
        col = exc.start - text.rfind("\n", 0, exc.start)
        return None, [Diagnostic(source, line, col, "", "not UTF-8 text")]
    reader = _Reader(text, source)
    root = reader.read()
    if root is None and not reader.faults:
        reader.faults.append(Diagnostic(source, 0, 0, "", "the file is empty"))
    return root, reader.faults
