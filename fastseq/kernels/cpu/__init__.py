"""Bodies for the CPU: Numba, parallel."""
