"""The shipped cells, as cell files."""
