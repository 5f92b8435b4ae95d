"""Images on disk, read as untrusted: their formats, their folders, their pixels."""
