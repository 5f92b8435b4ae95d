"""The command lines of the search: messages, exit codes, work with records."""
