"""What every room uses: types and protocols, settings, progress, processes, records as lines. Imports nothing else of search."""
