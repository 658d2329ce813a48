"""robots.txt (RFC 9309), read for one address and for the crawlers that gather training data.

`Content-Usage` lines of the matching group are read, too (draft-ietf-aipref-attach). The same reader takes
`ai.txt`, which has the same grammar.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from clearmark.provenance.training_data.items import Signal
from clearmark.provenance.training_data.opt_outs.states import quote
from clearmark.provenance.training_data.opt_outs.usage import read_usage

__all__ = ["AI_AGENTS", "matches_path", "read_robots"]

AI_AGENTS = (
    "AI2Bot", "Amazonbot", "anthropic-ai", "Applebot-Extended", "Bytespider", "CCBot", "ClaudeBot",
    "cohere-training-data-crawler", "Diffbot", "FacebookBot", "Google-Extended", "GPTBot", "ImagesiftBot",
    "img2dataset", "Meta-ExternalAgent", "omgili", "PetalBot", "Timpibot", "VelenPublicWebCrawler",
)  # fmt: skip
"""Product tokens of crawlers that gather training data. Shutting out any of them is read as a reservation."""

_MAX = 512 * 1024
_MAX_LINES = 20_000


@dataclass(slots=True)
class _Group:
    agents: list[str] = field(default_factory=list)
    rules: list[tuple[bool, str]] = field(default_factory=list)
    usages: list[tuple[str, str]] = field(default_factory=list)


def read_robots(
    text: str,
    url: str,
    *,
    agents: Sequence[str] = AI_AGENTS,
    place: str = "robots.txt",
    kind: str = "robots",
    read_us: int = 0,
) -> tuple[Signal, ...]:
    """Say what a robots.txt means for `url`: nothing, or a reservation with the lines that make it."""
    groups = _groups(text)
    path = _path(url)
    signals: list[Signal] = []
    for agent in agents:
        named = [group for group in groups if agent.lower() in group.agents]
        if named and (rule := _deciding(named, path)) and not rule[0]:
            raw = f"User-agent: {agent} / Disallow: {rule[1]}"
            signals.append(Signal(kind=kind, raw=quote(raw), reserved=True, place=place, read_us=read_us))
            break
    everyone = [group for group in groups if "*" in group.agents]
    if not signals and (rule := _deciding(everyone, path)) and not rule[0]:
        raw = f"User-agent: * / Disallow: {rule[1]}"
        signals.append(Signal(kind=kind, raw=quote(raw), reserved=True, place=place, read_us=read_us))
    tokens = {agent.lower() for agent in agents} | {"*"}
    spoken = (usage for group in groups if tokens & set(group.agents) for usage in group.usages)
    usages = [usage for usage in spoken if matches_path(usage[0], path)]
    if usages:
        where, value = max(usages, key=lambda usage: len(usage[0]))
        if usage := read_usage(value, place=f"{place} {where}".strip(), read_us=read_us):
            signals.append(usage)
    return tuple(signals)


def matches_path(pattern: str, path: str) -> bool:
    """Match a path pattern (RFC 9309, 2.2.3): `*` is anything, `$` at the end is the end. Linear time."""
    anchored = pattern.endswith("$")
    first, *rest = (pattern[:-1] if anchored else pattern).split("*")
    if not path.startswith(first):
        return False
    at = len(first)
    for number, part in enumerate(rest, 1):
        if anchored and number == len(rest):
            return len(path) - len(part) >= at and path.endswith(part)
        found = path.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return not anchored or at == len(path)


def _groups(text: str) -> list[_Group]:
    groups: list[_Group] = []
    open_head = False
    for line in text[:_MAX].splitlines()[:_MAX_LINES]:
        name, colon, value = line.split("#", 1)[0].partition(":")
        name, value = name.strip().lower(), value.strip()
        if not colon:
            continue
        if name == "user-agent":
            if not open_head:
                groups.append(_Group())
            groups[-1].agents.append(value.lower())
            open_head = True
            continue
        open_head = False
        if groups and name in {"allow", "disallow"} and value:
            groups[-1].rules.append((name == "allow", value))
        elif groups and name == "content-usage" and value:
            where, _, usage = value.partition(" ") if value.startswith("/") else ("/", "", value)
            groups[-1].usages.append((where, usage.strip()))
    return groups


def _deciding(groups: Sequence[_Group], path: str) -> tuple[bool, str] | None:
    """Return the rule that decides: the longest that matches; between equals, the one that allows."""
    found = [rule for group in groups for rule in group.rules if matches_path(rule[1], path)]
    return max(found, key=lambda rule: (len(rule[1]), rule[0]), default=None)


def _path(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "/"
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
