"""Benchmarks: `dmd-bench`, and studies with a command each; runs of record are in `results/`."""
