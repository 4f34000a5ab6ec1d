"""Models: plain Python over the kernels; none of them imports Numba."""
