"""The XMP packet inside a picture: the PLUS data mining property of the IPTC standard, and TDMRep's.

IPTC Photo Metadata Standard 2023.1, "Data Mining"; vocabulary http://ns.useplus.org/LDF/ldf-XMPSpecification.
"""

from __future__ import annotations

from collections.abc import Mapping

from clearmark.provenance.training_data.items import Signal
from clearmark.provenance.training_data.opt_outs.states import quote
from clearmark.provenance.training_data.opt_outs.tdmrep import read_reservation

__all__ = ["read_xmp"]

_PLUS = "http://ns.useplus.org/ldf/xmp/1.0/"
_TDM = "http://www.w3.org/ns/tdmrep/"
_VOCABULARY = "http://ns.useplus.org/ldf/vocab/"
_MEANING: Mapping[str, bool | None] = {
    "DMI-UNSPECIFIED": None,
    "DMI-ALLOWED": False,
    "DMI-PROHIBITED-AIMLTRAINING": True,
    "DMI-PROHIBITED-GENAIMLTRAINING": True,
    "DMI-PROHIBITED-EXCEPTSEARCHENGINEINDEXING": True,
    "DMI-PROHIBITED": True,
    # Both point to terms that a machine cannot weigh, so they are not a permission.
    "DMI-PROHIBITED-SEECONSTRAINT": True,
    "DMI-PROHIBITED-SEEEMBEDDEDRIGHTSEXPR": True,
}


def read_xmp(fields: Mapping[tuple[str, str], str], *, read_us: int = 0) -> tuple[Signal, ...]:
    """Return the signals among the properties of an XMP packet, keyed by namespace and local name."""
    found: list[Signal] = []
    value = fields.get((_PLUS, "DataMining"), "").strip()
    if value:
        word = value.removeprefix(_VOCABULARY)
        constraint = fields.get((_PLUS, "OtherConstraints"), "")
        raw = f"plus:DataMining {word}" + (f", plus:OtherConstraints {constraint}" if constraint else "")
        # An unknown word that begins like a prohibition is read as one.
        reserved = _MEANING.get(word, True if word.startswith("DMI-PROHIBITED") else None)
        found.append(
            Signal(kind="plus-data-mining", raw=quote(raw), reserved=reserved, place="XMP", read_us=read_us)
        )
    reservation = read_reservation(
        fields.get((_TDM, "reservation"), ""), fields.get((_TDM, "policy"), ""), place="XMP", read_us=read_us
    )
    return (*found, reservation) if reservation else tuple(found)
