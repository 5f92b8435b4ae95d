"""The parts of a reproduction by name, in the order in which `all` makes them."""

from search.experiments.paper.base import Part
from search.experiments.paper.encoder import ENCODER
from search.experiments.paper.figure1 import FIGURE1
from search.experiments.paper.figure4 import FIGURE4
from search.experiments.paper.figure5 import FIGURE5
from search.experiments.paper.figure6 import FIGURE6
from search.experiments.paper.protocols import PROTOCOLS101, PROTOCOLS201
from search.experiments.paper.ranking import NASBENCH101, NASBENCH201
from search.experiments.paper.tables34 import TABLE3, TABLE4
from search.experiments.paper.tabular_search import SEARCH

PARTS: dict[str, Part] = {
    part.name: part
    for part in (
        TABLE3,
        TABLE4,
        FIGURE1,
        FIGURE4,
        FIGURE5,
        SEARCH,
        NASBENCH201,
        NASBENCH101,
        PROTOCOLS201,
        PROTOCOLS101,
        ENCODER,
        FIGURE6,
    )
}
