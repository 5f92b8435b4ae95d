"""The record of a search: one SQLite file or JSON lines, and what is read from it."""
