"""The paper's tables and figures, and the benchmarks of predictors and searches, made anew: `tools/reproduce.py`.

A part (`parts.py`) consists of units, each one row, setting and seed, whose results are kept in a file of JSON lines as they
come (`runner.py`). Tables, CSV files and plots are made from these results alone (`summary.py`, `output.py`). The
settings of what is measured are in `rows.py`, what others have published in `published.py`.
"""
