"""What every room uses: errors, files, settings, tables, signals. Imports nothing else of gemnet."""
