"""Data sets as people have them: recognised, read, mended and checked, in three splits."""

from gemnet.detection.data.doctor import Diagnosis, check
from gemnet.detection.data.page import as_text, write_page
from gemnet.detection.data.prepared import Prepared, prepare

__all__ = ["Diagnosis", "Prepared", "as_text", "check", "prepare", "write_page"]
