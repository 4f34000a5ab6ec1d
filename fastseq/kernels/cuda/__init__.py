"""Bodies for CUDA devices: twins of those for the CPU."""
