"""The parts of a reproduction by name, in the order in which `all` makes them."""

from search.reproduce.base import Part
from search.reproduce.encoder import ENCODER
from search.reproduce.figure1 import FIGURE1
from search.reproduce.figure4 import FIGURE4
from search.reproduce.figure5 import FIGURE5
from search.reproduce.figure6 import FIGURE6
from search.reproduce.more_labels import MORE_LABELS
from search.reproduce.ranking import NASBENCH101, NASBENCH201
from search.reproduce.tables34 import TABLE3, TABLE4
from search.reproduce.tabular_search import SEARCH

PARTS: dict[str, Part] = {
    part.name: part
    for part in (TABLE3, TABLE4, FIGURE1, FIGURE4, FIGURE5, SEARCH, NASBENCH201, NASBENCH101, MORE_LABELS, ENCODER, FIGURE6)
}
