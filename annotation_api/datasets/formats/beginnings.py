"""Files of other kinds, told by their first bytes, so that each is refused by its name."""

from __future__ import annotations

GZIP_MAGIC = b"\x1f\x8b"
OTHERS = {  # how files of other kinds begin, and what to do with one
    b"\xff\xfe\x00\x00": "UTF-32; save it as UTF-8",
    b"\x00\x00\xfe\xff": "UTF-32; save it as UTF-8",
    b"\xff\xfe": "UTF-16; save it as UTF-8",
    b"\xfe\xff": "UTF-16; save it as UTF-8",
    b"PAR1": "Parquet; save it as JSON lines",
    b"PK\x03\x04": "a zip archive; unpack it and import the files in it",
    b"PK\x05\x06": "a zip archive without a file in it",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word document; save the sheet as CSV in UTF-8",
    b"BZh": "packed with bzip2; unpack it, or pack it with gzip",
    b"\xfd7zXZ\x00": "packed with xz; unpack it, or pack it with gzip",
    b"\x28\xb5\x2f\xfd": "packed with zstd; unpack it, or pack it with gzip",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; unpack it and import the files in it",
    b"%PDF": "a PDF; export its table as CSV or JSON lines",
    b"ARROW1": "an Arrow file; save it as JSON lines",
    b"SQLite format 3": "an SQLite database; export its table as CSV or JSON lines",
}
SHEET_MARKS = (b"[Content_Types].xml", b"_rels/.rels", b"xl/")  # what a zip starts with when it is a workbook


def other_kind(start: bytes) -> str | None:
    """What a file that begins like this is, if it is none that is read here."""
    if start[:2] == GZIP_MAGIC:
        return "packed with gzip twice; unpack it once"
    if start[:2] == b"PK" and any(mark in start[:2000] for mark in SHEET_MARKS):
        return "an Excel workbook (xlsx); save the sheet as CSV in UTF-8"
    if found := next((what for magic, what in OTHERS.items() if start.startswith(magic)), None):
        return found
    if b"\x00" in start[1:4:2] and start[:4].replace(b"\x00", b"").isascii() and start[:4].count(b"\x00") == 2:
        return "UTF-16 without a mark; save it as UTF-8"
    return None
