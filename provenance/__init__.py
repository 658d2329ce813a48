"""Provenance."""

if not __name__.startswith("clearmark."):
    raise ImportError(
        "import clearmark.provenance, not provenance: the bare name makes a second class object"
    )
