"""`Content-Usage`: the usage preferences that the IETF working group AIPREF is defining.

A dictionary of structured fields (RFC 9651, 3.2) in a response header or in a line of robots.txt. Categories
lie inside each other: training of generative models is training, training is automated processing. The
narrowest one that is stated counts.
"""

from __future__ import annotations

import re

from clearmark.provenance.training_data.items import Signal
from clearmark.provenance.training_data.opt_outs.states import quote

__all__ = ["read_usage"]

_NARROWEST_FIRST = ("train-genai", "genai", "train-ai", "ai", "tdm", "bots", "all")
_MEMBER = re.compile(r"\s*([a-z*][a-z0-9_.*-]{0,63})\s*(?:=\s*([^,;\s]{1,64}))?\s*(?:;[^,]{0,200})?")
_MAX = 4000
_MAX_MEMBERS = 100


def read_usage(value: str, *, place: str = "Content-Usage", read_us: int = 0) -> Signal | None:
    """Read one `Content-Usage` value; None when it is empty. What does not parse says neither yes nor no."""
    if not value.strip():
        return None
    preferences: dict[str, str] = {}
    for member in value[:_MAX].split(",")[:_MAX_MEMBERS]:
        found = _MEMBER.fullmatch(member)
        if found:
            preferences[found[1]] = found[2] or "?1"  # a key alone is the Boolean true (RFC 9651, 3.2)
    word = next((preferences[name] for name in _NARROWEST_FIRST if name in preferences), "")
    reserved = {"n": True, "?0": True, "y": False, "?1": False}.get(word)
    return Signal(kind="content-usage", raw=quote(value), reserved=reserved, place=place, read_us=read_us)
