"""TODO"""

if not __name__.startswith("clearmark."):
    raise ImportError("import clearmark.benchmarks, not benchmarks: the bare name makes a second class object")
