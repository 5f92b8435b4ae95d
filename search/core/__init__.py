"""What every room uses: types, settings, progress, processes, records as lines. Imports nothing else."""
