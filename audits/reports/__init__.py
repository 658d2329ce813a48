"""Reports for those outside: computed from the ledger, each figure with the query that gives it again.

>>> from clearmark.audits.reports import transparency
"""

from __future__ import annotations

from clearmark.audits.reports._figures import Column, Figure, Lineage, Report
from clearmark.audits.reports._transparency import transparency

__all__ = ["Column", "Figure", "Lineage", "Report", "transparency"]
