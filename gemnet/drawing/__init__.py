"""Pictures of cells, with matplotlib."""

from gemnet.core.extras import need

need("search", "matplotlib")
