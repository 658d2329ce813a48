"""Slips of the pen in a policy file, each with the line and column at which it must be reported."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

__all__ = ["SLIPS", "TEXT", "Slip", "slipped"]

TEXT = """\
schema: clearmark/policy/v1
name: acme
version: "2026.1"
owner: trust@example.org
effective: 2026-12-01
on_error: block
requires:
  output: [sexual, violence]
thresholds:
  prompt:
    sexual: 0.5
    hate: 0.4
    sexual/minors: 0.2
  output:
    sexual: {regenerate: 0.4, block: 0.8}
    violence: {label: 0.3, blur: 0.5, block: 0.9}
rules:
  - id: edit-nudity
    stage: output
    when: request.has_init_image && scores.sexual >= 0.2
    action: block
    on_error: review
    legal: [EU/2024/1689#5.1]
  - id: big-batch
    stage: prompt
    when: request.n > 8 && request.task == "text-to-image"
    action: review
    mode: shadow
    expires: 2027-01-01
reasons:
  hate: {code: HATE-1, public: No hate here.}
marking:
  label: {show: always, text: AI-generated, position: top-left}
  watermark: {codec: auto}
regenerate: {attempts: 2}
retention: {default: P6M}
tests:
  - name: blocks hate
    given: {stage: prompt, scores: {hate: 0.6}}
    expect: {verdict: block}
"""

Slip = tuple[str, int, int]
"""The text with the slip in it, and the line and column at which it must be reported."""


def place(text: str, at: int) -> tuple[int, int]:
    return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)


def spots(pattern: str) -> list[tuple[int, str]]:
    return [(match.start(1), match.group(1)) for match in re.finditer(pattern, TEXT, re.MULTILINE)]


KEYS = [spot for spot in spots(r"(?<![\w/.-])([a-z_]+(?:/[a-z]+)?): ?") if spot[1] not in ("trust",)]
NUMBERS = spots(r": ([0-9]\.[0-9])")
WORDS = spots(r"(?:on_error|stage|action|mode|show|position|verdict|schema): ([\w/-]+)")
CATEGORIES_IN_CEL = spots(r"scores\.(\w+)")
FIELDS_IN_CEL = spots(r"request\.(\w+)")
TASKS_IN_CEL = spots(r'== ("[a-z-]+")')
DATES = spots(r": (20[0-9-]{8})$")
LISTED = spots(r"\[(sexual), violence\]")


def typo(word: str, rng: random.Random) -> str:
    """Change a word by one letter so that no other word of the format comes out."""
    at = rng.randrange(len(word))
    return rng.choice([word[:at] + "q" + word[at:], word[:at] + "q" + word[at + 1 :], word + "x"])


def put(at: int, old: str, new: str, *, shift: int = 0) -> Slip:
    return (TEXT[:at] + new + TEXT[at + len(old) :], *place(TEXT, at + shift))


def misspelt_key(rng: random.Random) -> Slip:
    at, word = rng.choice(KEYS)
    return put(at, word, typo(word, rng))


def misspelt_word(rng: random.Random) -> Slip:
    at, word = rng.choice(WORDS + LISTED)
    return put(at, word, typo(word, rng))


def misspelt_in_condition(rng: random.Random) -> Slip:
    at, word = rng.choice(CATEGORIES_IN_CEL + FIELDS_IN_CEL)
    return put(at, word, typo(word, rng))


def wrong_task(rng: random.Random) -> Slip:
    at, word = rng.choice(TASKS_IN_CEL)
    return put(at, word, f'"{typo(word[1:-1], rng)}"')


def number_in_quotes(rng: random.Random) -> Slip:
    at, word = rng.choice(NUMBERS)
    return put(at, word, f"'{word}'")


def number_out_of_range(rng: random.Random) -> Slip:
    at, word = rng.choice(NUMBERS)
    return put(at, word, rng.choice(["1.5", "-0.2", "50", "1e9", ".inf", "0.5%", "yes", "true", "~"]))


def repeated_key(rng: random.Random) -> Slip:
    lines = TEXT.splitlines(keepends=True)
    row = rng.choice([i for i, line in enumerate(lines) if re.match(r"\s*[a-z_/]+: \S", line)])
    lines.insert(row + 1, lines[row])
    return "".join(lines), row + 2, len(lines[row]) - len(lines[row].lstrip()) + 1


def unknown_key(rng: random.Random) -> Slip:
    lines = TEXT.splitlines(keepends=True)
    row = rng.choice([i for i, line in enumerate(lines) if re.match(r"\s*[a-z_/]+: \S", line)])
    indent = len(lines[row]) - len(lines[row].lstrip())
    lines.insert(row + 1, " " * indent + rng.choice(["note", "enabled", "severity", "<<"]) + ": 1\n")
    return "".join(lines), row + 2, indent + 1


def anchor_or_tag(rng: random.Random) -> Slip:
    at, word = rng.choice(NUMBERS + WORDS + DATES)
    return put(at, word, rng.choice(["&a ", "!!str ", "!x "]) + word)


def alias(rng: random.Random) -> Slip:
    at, word = rng.choice(NUMBERS + WORDS + DATES)
    return put(at, word, "*a")


def no_such_day(rng: random.Random) -> Slip:
    at, word = rng.choice(DATES)
    return put(at, word, rng.choice(["2026-02-30", "2026-13-01", "26-01-01", "tomorrow", "20260101"]))


def map_for_a_value(rng: random.Random) -> Slip:
    at, word = rng.choice(WORDS + DATES)
    return put(at, word, rng.choice(["{a: 1}", "[a]", "3"]))


def tab(rng: random.Random) -> Slip:
    rows = list(re.finditer(r"^( +)(?=[a-z_/]+: )", TEXT, re.MULTILINE))
    match = rng.choice(rows)
    return TEXT[: match.start()] + "\t" + TEXT[match.end() :], *place(TEXT, match.start())


def broken_condition(rng: random.Random) -> Slip:
    at, word = rng.choice(spots(r"( && )"))
    return put(at, word, rng.choice([" & ", " @ ", " # "[:1] + "$ "]), shift=1)


def impossible_action(rng: random.Random) -> Slip:
    at, word = rng.choice(spots(r"action: (review)$"))
    return put(at, word, rng.choice(["blur", "label", "regenerate", "allow"]))


def unreachable_band(rng: random.Random) -> Slip:
    at, word = spots(r"label: (0\.3), blur")[0]
    return put(at, word, rng.choice(["0.5", "0.6", "0.7"]))


def minors(rng: random.Random) -> Slip:
    at, word = spots(r"minors: (0\.2)")[0]
    return put(at, word, rng.choice(["0.51", "0.6", "0.99"]))


def id_taken(rng: random.Random) -> Slip:
    one, other = rng.sample(spots(r"id: ([a-z-]+)$"), 2)
    # Whichever of the two gets the name of the other, the second place is the one that repeats it.
    later = max(one, other)
    earlier = min(one, other)
    return put(later[0], later[1], earlier[1])


SLIPS: list[Callable[[random.Random], Slip]] = [
    misspelt_key, misspelt_word, misspelt_in_condition, wrong_task, number_in_quotes, number_out_of_range,
    repeated_key, unknown_key, anchor_or_tag, alias, no_such_day, map_for_a_value, tab, broken_condition,
    impossible_action, unreachable_band, minors, id_taken,
]  # fmt: skip


def slipped(seed: int) -> tuple[str, Slip]:
    """Return the name of the kind of slip number `seed`, and the slip."""
    slip = SLIPS[seed % len(SLIPS)]
    return slip.__name__, slip(random.Random(seed))  # noqa: S311  repeatable, not secret
