"""What every room uses: types, settings, progress, processes, records as lines. Imports nothing else.

The search needs more than the core of gemnet: whoever imports it without is told so here, in one line.
"""

from gemnet.core.extras import need

need("search")
