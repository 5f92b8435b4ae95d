"""The backbone of one's own detector: a cell that is searched by crops of its photos, beside GEMNet-A's."""
