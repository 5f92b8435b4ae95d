"""Formats of image files: which are read, the suffixes that they have, and what another file is by its first bytes."""

from __future__ import annotations

import re

from PIL import features

FORMATS: dict[str, tuple[str, ...]] = {
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "ICO": (".ico",),
    "JPEG": (".jfif", ".jpe", ".jpeg", ".jpg", ".mpo"),
    "JPEG2000": (".j2c", ".j2k", ".jp2", ".jpc", ".jpf", ".jpx"),
    "PNG": (".apng", ".png"),
    "PPM": (".pbm", ".pfm", ".pgm", ".pnm", ".ppm"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "AVIF": (".avif",),
}
"""Pillow's decoders that are used, and the suffixes of their files. What a file holds decides, not its suffix."""
for _name, _part in {"AVIF": "avif", "JPEG2000": "jpg_2000", "WEBP": "webp"}.items():
    if not features.check(_part):
        del FORMATS[_name]

SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)
"""The endings, in lower case, of the images that a folder is searched for."""

CONVERT = "convert it to JPEG or PNG"
_VIDEO = ("a video", "save its frames as JPEG or PNG")
_RAW = ("a raw photo of a camera", "develop it to JPEG, PNG or TIFF")
_HEIC = ("HEIC", CONVERT)
_AVIF = ("AVIF, which this Pillow does not decode", "install a newer Pillow, or " + CONVERT)
_PAGE = ("a document", "save its pages as JPEG or PNG")
_ARCHIVE = ("an archive", "unpack it")

_UNREAD_SUFFIXES: dict[tuple[str, str], str] = {
    _VIDEO: "3gp avi flv m2ts m4v mkv mov mp4 mpeg mpg mts ogv webm wmv",
    _RAW: "3fr arw cr2 cr3 dng erf iiq kdc mef mos mrw nef nrw orf pef raf raw rw2 rwl sr2 srf srw x3f",
    _HEIC: "heic heics heif heifs hif",
    _AVIF: "avif avifs",
    _PAGE: "djvu eps pdf ps",
    _ARCHIVE: "7z bz2 gz rar tar tgz xz zip zst",
    ("an SVG drawing", "draw it to PNG"): "svg svgz",
    ("a DICOM image", CONVERT): "dcm dicom",
    ("JPEG XL", CONVERT): "jxl",
    ("an image with a high dynamic range", CONVERT): "exr hdr",
    ("a picture of a kind that is not read", CONVERT): "cur dds fit fits icns pcx psb psd qoi ras sgi tga wbmp xbm xcf xpm",
}
UNREAD = {
    f".{suffix}": told
    for told, suffixes in _UNREAD_SUFFIXES.items()
    for suffix in suffixes.split()
    if f".{suffix}" not in SUFFIXES
}
"""Suffixes of pictures that are not read: what they are, and the remedy."""
RAW_SUFFIXES = frozenset(suffix for suffix, told in UNREAD.items() if told is _RAW)

_SIGNATURES: tuple[tuple[bytes, tuple[str, str]], ...] = (
    (rb"....ftyp(heic|heix|heim|heis|hevc|hevx|mif1|msf1)", _HEIC),
    (rb"....ftypavi[fs]", _AVIF),
    (rb"....ftypcrx ", _RAW),
    (rb"....(ftyp|moov|mdat|wide)", _VIDEO),
    (
        rb"RIFF....AVI |\x1aE\xdf\xa3|FLV\x01|OggS|\x30\x26\xb2\x75\x8e\x66\xcf\x11|\x00\x00\x01[\xb3\xba]|\x47.{187}\x47",
        _VIDEO,
    ),
    (rb"FUJIFILMCCD-RAW|FOVb|II(RO|RS|U\x00)|MMOR", _RAW),
    (rb"%PDF|%!PS|AT&TFORM", _PAGE),
    (rb"PK\x03\x04|\x1f\x8b|BZh|7z\xbc\xaf|Rar!|\xfd7zXZ|.{257}ustar", _ARCHIVE),
    (rb"(\xef\xbb\xbf)?\s*(<\?xml.*)?(<!--.*-->\s*)?(<!DOCTYPE svg.*)?<svg[\s/>]", ("an SVG drawing", "draw it to PNG")),
    (rb"(?i)(\xef\xbb\xbf)?\s*(<!doctype html|<html)", ("a web page, perhaps of a failed download", "fetch it again")),
    (rb"version https://git-lfs", ("a pointer of Git LFS to a file that is not here", "run `git lfs pull`")),
    (rb".{128}DICM", ("a DICOM image", CONVERT)),
    (rb"\xff\x0a|\x00\x00\x00\x0cJXL ", ("JPEG XL", CONVERT)),
    (rb"\x76\x2f\x31\x01|#\?RADIANCE|#\?RGBE", ("an image with a high dynamic range", CONVERT)),
    (rb"8BPS|DDS |SIMPLE  =|qoif|gimp xcf|icns", ("a picture of a kind that is not read", CONVERT)),
    (rb"\x93NUMPY", ("an array of NumPy", "save it as PNG or TIFF")),
)
_READABLE = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBP|II[*+]\x00|MM\x00[*+]|P[1-6fF]\s|BM.{12}[\x0c\x28\x40\x6c\x7c]\x00{3}"
    rb"|\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51|....ftypavi[fs]",
    re.DOTALL,
)
SIGNATURE_BYTES = 1024


def unread_kind(start: bytes) -> tuple[str, str] | None:
    """What a file that begins with `start` (SIGNATURE_BYTES) is, and the remedy; None for what is not known."""
    if is_readable(start):  # but broken
        return None
    return next((told for pattern, told in _SIGNATURES if re.match(pattern, start, re.DOTALL)), None)


def is_readable(start: bytes) -> bool:
    """Whether a file that begins with `start` (SIGNATURE_BYTES) is, by these, an image of a format that is read."""
    return bool(_READABLE.match(start)) and not (start[4:8] == b"ftyp" and "AVIF" not in FORMATS)
