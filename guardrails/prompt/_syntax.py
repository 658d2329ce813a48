"""What a prompt asks for and what it asks to avoid, beneath the syntax of image generators.

Knows weights `(word:1.3)`, `((word))`, `[word]`, `{word}`, `word::2`; schedules `[a:b:0.5]` and `[a|b]`, both
sides of which are drawn; `<lora:name:0.8>`, whose name is a word too; `BREAK` and `AND`; `--no things` and
`###`, after which comes what to avoid; `--ar 16:9` and other switches; `__wildcards__`.

The parts keep their length: syntax is blanked, so that every position stays that of the original.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Part", "parse"]

# Every pattern is linear: no nested repeats, and runs are bounded.
_WEIGHT = re.compile(r":[ \t]{0,4}-?(?:\d{0,3}\.\d{1,4}|\d)[ \t]{0,4}(?=[)\]}>|])")
_DOUBLE = re.compile(r"::-?\d{0,3}(?:\.\d{1,4})?")
_TAG = re.compile(r"<([A-Za-z]{2,12}):([^<>]{1,200})>")
_SWITCH = re.compile(r"(?<![\w-])--([A-Za-z]{1,16})\b")
_VALUE = re.compile(r"[ \t]{1,4}[\d.:]{1,12}|[ \t]{1,4}(?:raw|relax|fast|turbo)\b")
_JOINT = re.compile(r"\b(?:BREAK|AND)\b")
_BRACKETS = str.maketrans("()[]{}<>|\\", "          ")
_AGE_BEFORE = re.compile(r"\bage[ds]?[ \t]{0,4}$", re.IGNORECASE)


@dataclass(frozen=True)
class Part:
    """A stretch of text of the original's positions: `text[i]` stands for character `offset + i`."""

    text: str
    offset: int
    avoid: bool
    field: str = "prompt"


def parse(prompt: str, negative_prompt: str = "") -> tuple[Part, ...]:
    """Split a prompt and its negative prompt into what is asked for and what is to be avoided."""
    wanted, _, rest = prompt.partition("###")
    parts = _switches(wanted)
    if rest:
        parts.append(Part(_blank(rest), len(wanted) + 3, avoid=True))
    if negative_prompt:
        parts.append(Part(_blank(negative_prompt), 0, avoid=True, field="negative_prompt"))
    return tuple(parts)


def _switches(text: str) -> list[Part]:
    parts: list[Part] = []
    start, avoid = 0, False
    for match in _SWITCH.finditer(text):
        parts.append(Part(_blank(text[start : match.start()]), start, avoid=avoid))
        start, avoid = match.end(), match.group(1).lower() == "no"
        if not avoid and (value := _VALUE.match(text, start)):
            start = value.end()
    parts.append(Part(_blank(text[start:]), start, avoid=avoid))
    return [part for part in parts if part.text.strip()]


def _blank(text: str) -> str:
    """Replace syntax by as many spaces. A number after `age` is an age, not a weight."""

    def weight(match: re.Match[str]) -> str:
        if _AGE_BEFORE.search(text, max(0, match.start() - 8), match.start()):
            return " " + match.group()[1:]
        return " " * len(match.group())

    def tag(match: re.Match[str]) -> str:
        kind, name = match.groups()
        bare = re.sub(r"[:\d._-]", " ", name)
        return " " * (len(kind) + 2) + bare + " "

    # Most prompts hold nothing of this, and a look for one letter takes no time.
    if "<" in text:
        text = _TAG.sub(tag, text)
    if ":" in text:
        text = _WEIGHT.sub(weight, text)
        text = _DOUBLE.sub(lambda match: " " * len(match.group()), text)
    if "BREAK" in text or "AND" in text:
        text = _JOINT.sub(lambda match: "," + " " * (len(match.group()) - 1), text)
    return text.translate(_BRACKETS)
