"""The TDM Reservation Protocol (W3C community group report): `/.well-known/tdmrep.json`, and its words.

Where several rules match an address, one that reserves counts, whatever stands before it.
"""

from __future__ import annotations

import json
from typing import Any

from clearmark.provenance.training_data.items import Signal
from clearmark.provenance.training_data.opt_outs.robots import _path, matches_path
from clearmark.provenance.training_data.opt_outs.states import quote

__all__ = ["read_reservation", "read_tdmrep"]

_MAX = 512 * 1024
_MAX_RULES = 5000


def read_tdmrep(text: str, url: str, *, place: str = "tdmrep.json", read_us: int = 0) -> tuple[Signal, ...]:
    """Read a tdmrep.json for `url`. A file that is no such JSON says nothing, and is kept as a signal."""
    try:
        rules = json.loads(text[:_MAX])
    except (ValueError, RecursionError):
        return (Signal(kind="tdmrep", raw=quote(text), reserved=None, place=place, read_us=read_us),)
    path = _path(url)
    found: list[Signal] = []
    for rule in rules[:_MAX_RULES] if isinstance(rules, list) else []:
        location = rule.get("location") if isinstance(rule, dict) else None
        if isinstance(location, str) and matches_path(location, path):  # a path pattern; a folder is a prefix
            found.append(_signal(rule, place, read_us))
    return tuple(sorted(found, key=lambda signal: signal.reserved is not True)[:1])


def read_reservation(value: str, policy: str = "", *, place: str, read_us: int = 0) -> Signal | None:
    """Read a `tdm-reservation` of a header, a meta element or an XMP property; None when there is none."""
    if not value.strip():
        return None
    return _signal({"tdm-reservation": value.strip(), "tdm-policy": policy}, place, read_us)


def _signal(rule: dict[str, Any], place: str, read_us: int) -> Signal:
    value = str(rule.get("tdm-reservation", ""))
    raw = f"tdm-reservation: {value}"
    if isinstance(rule.get("location"), str):
        raw = f"{rule['location']} {raw}"
    if isinstance(rule.get("tdm-policy"), str) and rule["tdm-policy"]:
        raw += f", tdm-policy: {rule['tdm-policy']}"
    reserved = {"1": True, "0": False}.get(value)
    return Signal(kind="tdmrep", raw=quote(raw), reserved=reserved, place=place, read_us=read_us)
