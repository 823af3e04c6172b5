"""One file a workload, named by its number: see ``benchmarks.bench``."""
