"""What makes the tables and figures of docs/. Nothing but tools imports it."""

from gemnet.core.extras import need

need("search")
