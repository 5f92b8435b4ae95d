"""Search spaces: what cells there are, drawn at random or listed in the tables of benchmarks."""
