"""Comparison with peers: ``python asv_benchmarks/compare`` measures, prints and writes one table of ratios."""
