"""The published files of benchmarks as compact ones."""
