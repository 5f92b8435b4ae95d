"""The settings of a search: read from a config, checked, listed for people."""
