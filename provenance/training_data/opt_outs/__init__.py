"""Read what owners say about mining and training: one module per protocol, all yielding `Signal`s.

Nothing here opens a connection. A crawler reads addresses and keeps what it read; these readers say what it
means. Where statements contradict each other, the reservation counts.
"""

from clearmark.provenance.training_data.opt_outs.cawg import ManifestClaims, read_claims, read_manifest
from clearmark.provenance.training_data.opt_outs.headers import read_headers
from clearmark.provenance.training_data.opt_outs.listed import OPT_OUT_KINDS, OptOutList
from clearmark.provenance.training_data.opt_outs.robots import AI_AGENTS, read_robots
from clearmark.provenance.training_data.opt_outs.sites import Sites
from clearmark.provenance.training_data.opt_outs.states import state_of
from clearmark.provenance.training_data.opt_outs.tdmrep import read_tdmrep
from clearmark.provenance.training_data.opt_outs.usage import read_usage
from clearmark.provenance.training_data.opt_outs.xmp import read_xmp

__all__ = [
    "AI_AGENTS",
    "OPT_OUT_KINDS",
    "ManifestClaims",
    "OptOutList",
    "Sites",
    "read_claims",
    "read_headers",
    "read_manifest",
    "read_robots",
    "read_tdmrep",
    "read_usage",
    "read_xmp",
    "state_of",
]
