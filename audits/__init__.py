"""TODO"""

if not __name__.startswith("clearmark."):
    raise ImportError("import clearmark.audits, not audits: the bare name makes a second class object")
