"""Measurements behind the figures in the documentation; each module has `main(arguments)`."""

if not __name__.startswith("clearmark."):
    raise ImportError(
        "import clearmark.benchmarks, not benchmarks: the bare name makes a second class object"
    )
