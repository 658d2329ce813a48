"""TODO"""

if not __name__.startswith("clearmark."):
    raise ImportError("import clearmark.service, not service: the bare name makes a second class object")
