"""Where a model's training data came from: a register, item by item.

>>> from clearmark.provenance.training_data import Register, import_source, open_source
>>> with Register("register.db") as register:
...     register.put_dataset(Dataset(name="openclipart"))
...     import_source(register, open_source("openclipart"), dataset="openclipart")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clearmark.provenance.training_data._pictures import Look
    from clearmark.provenance.training_data.auditing import Audit, AuditSummary, ItemAudit, audit
    from clearmark.provenance.training_data.data_policy import DataPolicy
    from clearmark.provenance.training_data.documents import ModelFacts, write_documents
    from clearmark.provenance.training_data.importers import IMPORTERS, Source, open_source
    from clearmark.provenance.training_data.importing import ImportOptions, Screen, import_source
    from clearmark.provenance.training_data.items import (
        Candidate,
        Dataset,
        Fault,
        Item,
        Licence,
        Signal,
        Use,
        Version,
    )
    from clearmark.provenance.training_data.opt_outs import OptOutList, Sites
    from clearmark.provenance.training_data.register import Register
    from clearmark.provenance.training_data.removal import (
        RemovalProof,
        Selection,
        check_removal,
        remove_items,
    )
    from clearmark.provenance.training_data.screens import HashList
    from clearmark.provenance.training_data.summary import Summary, summarize
    from clearmark.provenance.training_data.using import UseCheck, check_use, read_keys

_HOMES = {
    "_pictures": ("Look",),
    "auditing": ("Audit", "AuditSummary", "ItemAudit", "audit"),
    "data_policy": ("DataPolicy",),
    "documents": ("ModelFacts", "write_documents"),
    "importers": ("IMPORTERS", "Source", "open_source"),
    "importing": ("ImportOptions", "Screen", "import_source"),
    "items": ("Candidate", "Dataset", "Fault", "Item", "Licence", "Signal", "Use", "Version"),
    "opt_outs": ("OptOutList", "Sites"),
    "register": ("Register",),
    "removal": ("RemovalProof", "Selection", "check_removal", "remove_items"),
    "screens": ("HashList",),
    "summary": ("Summary", "summarize"),
    "using": ("UseCheck", "check_use", "read_keys"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "IMPORTERS",
    "Audit",
    "AuditSummary",
    "Candidate",
    "DataPolicy",
    "Dataset",
    "Fault",
    "HashList",
    "ImportOptions",
    "Item",
    "ItemAudit",
    "Licence",
    "Look",
    "ModelFacts",
    "OptOutList",
    "Register",
    "RemovalProof",
    "Screen",
    "Selection",
    "Signal",
    "Sites",
    "Source",
    "Summary",
    "Use",
    "UseCheck",
    "Version",
    "audit",
    "check_removal",
    "check_use",
    "import_source",
    "open_source",
    "read_keys",
    "remove_items",
    "summarize",
    "write_documents",
]


def __getattr__(name: str) -> Any:
    """Import a public name where it is first used: the database is not needed to name an importer."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
