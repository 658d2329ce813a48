"""Response headers as a crawler kept them: `Content-Usage`, `TDM-Reservation`, `X-Robots-Tag: noai`."""

from __future__ import annotations

from collections.abc import Mapping

from clearmark.provenance.training_data.items import Signal
from clearmark.provenance.training_data.opt_outs.states import quote
from clearmark.provenance.training_data.opt_outs.tdmrep import read_reservation
from clearmark.provenance.training_data.opt_outs.usage import read_usage

__all__ = ["read_headers"]

_NO_AI = {"noai", "noimageai"}
_MAX_HEADERS = 200


def read_headers(headers: Mapping[str, str], *, read_us: int = 0) -> tuple[Signal, ...]:
    """Return the signals in response headers; names are matched without regard to case."""
    lower = {name.lower(): value for name, value in list(headers.items())[:_MAX_HEADERS]}
    robots = lower.get("x-robots-tag", "")
    words = {word.strip().lower() for part in robots[:4000].split(",") for word in part.split(":")}
    found = [
        read_usage(lower.get("content-usage", ""), place="header Content-Usage", read_us=read_us),
        read_reservation(
            lower.get("tdm-reservation", ""),
            lower.get("tdm-policy", ""),
            place="header TDM-Reservation",
            read_us=read_us,
        ),
        Signal(
            kind="x-robots-tag",
            raw=quote(robots),
            reserved=True,
            place="header X-Robots-Tag",
            read_us=read_us,
        )
        if words & _NO_AI
        else None,
    ]
    return tuple(signal for signal in found if signal is not None)
