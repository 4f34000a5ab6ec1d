"""Oracles: NumPy in float64, written to be read. They are the specification of the kernels."""
