"""TFRecord files and protocol buffers, read without TensorFlow: as much of both as NAS-Bench-101's published file needs.

A record is its length (8 bytes, little endian), a checksum of the length (4 bytes), its content, a checksum of the content. The
checksum is CRC-32C, rotated and shifted ("masked") so that files of files do not look like their own checksums.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

import numpy as np
from numba import njit

from gemnet.core.files import open_regular
from search.core.types import SearchError

MAX_RECORD_BYTES = 16 * 2**20
_POLYNOMIAL = 0x82F63B78  # Castagnoli's, bits reversed
_MASK = 0xA282EAD8


def _table() -> np.ndarray:
    table: np.ndarray = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ np.uint32(_POLYNOMIAL), table >> 1).astype(np.uint32)
    return table


_TABLE = _table()


@njit(cache=True)
def _crc32c(content: np.ndarray, table: np.ndarray) -> np.uint32:
    crc = np.uint32(0xFFFFFFFF)
    for byte in content:
        crc = table[(crc ^ byte) & np.uint32(0xFF)] ^ (crc >> np.uint32(8))
    return crc ^ np.uint32(0xFFFFFFFF)


def crc32c(content: bytes) -> int:
    """CRC-32C (RFC 3720, section 12.1)."""
    return int(_crc32c(np.frombuffer(content, np.uint8), _TABLE))


def masked_crc32c(content: bytes) -> int:
    """CRC-32C as TFRecord files hold it."""
    crc = crc32c(content)
    return ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF


def read_records(path: str | os.PathLike[str]) -> Iterator[tuple[int, bytes]]:
    """Yields for each record the place in the file where it ends, in bytes, and its content.

    Raises SearchError, naming the file and the place, where a record is cut off or its checksum is wrong.
    """
    with open_regular(path) as file:
        place = 0
        while head := file.read(12):
            if len(head) == 12 and masked_crc32c(head[:8]) != struct.unpack("<I", head[8:])[0]:
                what = "no TFRecord file, or damaged" if place else "no TFRecord file"
                raise SearchError(f"{path}: byte {place}: the checksum of a record's length is wrong: {what}")
            length = struct.unpack("<Q", head[:8])[0] if len(head) == 12 else 0
            if length > MAX_RECORD_BYTES:
                raise SearchError(f"{path}: byte {place}: a record of {length} bytes; expected at most {MAX_RECORD_BYTES}")
            body = file.read(length + 4)
            if len(head) < 12 or len(body) < length + 4:
                raise SearchError(f"{path}: byte {place}: the file ends within a record: fetch it again, whole")
            content = body[:length]
            if masked_crc32c(content) != struct.unpack("<I", body[length:])[0]:
                raise SearchError(f"{path}: byte {place}: the checksum of a record is wrong: the file is damaged")
            place += 16 + length
            yield place, content


def message_fields(message: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """Yields number and value of each field of an encoded protocol buffer, in order.

    Variable-length integers come as unsigned int, 64-bit fields as float (double), 32-bit ones as float, others as bytes.
    Raises ValueError for what is not one.
    """
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield number, value
            continue
        if kind not in (1, 2, 5):
            raise ValueError(f"field {number} has the unknown wire type {kind}")
        size = {1: 8, 5: 4}.get(kind)
        if size is None:
            size, at = _varint(message, at)
        content = message[at : at + size]
        if len(content) < size:
            raise ValueError(f"field {number} is cut off")
        at += size
        yield number, content if kind == 2 else struct.unpack("<d" if kind == 1 else "<f", content)[0]


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """The integer at `at`, seven bits a byte, the lowest first; and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError("an integer is cut off")
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
    raise ValueError("an integer has more than 10 bytes")
