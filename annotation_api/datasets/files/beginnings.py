"""Files of other kinds, told by their first bytes, so that each is refused by its name."""

from __future__ import annotations

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
ZIP_MAGIC = b"PK\x03\x04"
PARQUET_MAGIC = b"PAR1"
ARROW_MAGIC = b"ARROW1"
ARROW_STREAM_MAGIC = b"\xff\xff\xff\xff"  # then the length of the schema
OTHERS = {  # how files of other kinds begin, and what to do with one
    b"PK\x05\x06": "a zip archive without a file in it",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word document; save the sheet as CSV in UTF-8",
    b"BZh": "packed with bzip2; unpack it, or pack it with gzip",
    b"\xfd7zXZ\x00": "packed with xz; unpack it, or pack it with gzip",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; unpack it and import the files in it",
    b"Rar!": "a RAR archive; unpack it and import the files in it",
    b"FEA1": "a Feather file of the first version; save it as Parquet, or as Feather's second version (Arrow)",
    b"%PDF": "a PDF; export its table as CSV or JSON lines",
    b"SQLite format 3": "an SQLite database; export its table as CSV or JSON lines",
    b"\x89PNG": "a picture; import text",
    b"\xff\xd8\xff": "a picture; import text",
    b"GIF8": "a picture; import text",
    b"\x80\x04": "a Python pickle, which is never opened; save it as JSON lines or Parquet",
    b"version https://git-lfs": "a pointer of Git LFS, not the file itself; fetch it with git lfs pull",
    b"\x80\x05": "a Python pickle, which is never opened; save it as JSON lines or Parquet",
}
PAGES = {  # in any letter case, behind blanks
    b"<!doctype html": "a page of HTML, perhaps an error or a sign-in in place of the file; download it again",
    b"<html": "a page of HTML, perhaps an error or a sign-in in place of the file; download it again",
    b"<?xml": "XML; export its table as CSV or JSON lines",
}
DOCUMENTS = {b"word/": "a Word document; save its table as CSV in UTF-8", b"ppt/": "a presentation; import text"}
OPEN_DOCUMENT = b"mimetypeapplication/vnd.oasis.opendocument"  # what a LibreOffice file has behind its first header
SHEET_MARKS = (b"[Content_Types].xml", b"_rels/.rels", b"xl/")  # what a zip starts with when it is a workbook


def is_workbook(start: bytes) -> bool:
    """Whether a zip is a document of an office program."""
    marks = (*SHEET_MARKS, OPEN_DOCUMENT)
    return start.startswith(ZIP_MAGIC) and any(mark in start[:2000] for mark in marks)


def is_columnar(start: bytes) -> bool:
    """Parquet or Arrow."""
    return start.startswith((PARQUET_MAGIC, ARROW_MAGIC, ARROW_STREAM_MAGIC))


def other_kind(start: bytes) -> str | None:
    """What a file that begins like this is, if it is none that is read here."""
    if is_workbook(start):
        if OPEN_DOCUMENT in start[:2000]:
            return "an OpenDocument file (ods, odt); save the sheet as CSV in UTF-8"
        if b"xl/" not in start[:2000] and (found := next((mark for mark in DOCUMENTS if mark in start[:2000]), None)):
            return DOCUMENTS[found]
        return "an Excel workbook (xlsx); save the sheet as CSV in UTF-8"
    if start[257:262] == b"ustar":
        return "a tar archive; unpack it and import the files in it"
    page = start[:200].lstrip().lower()
    told = [what for magic, what in PAGES.items() if page.startswith(magic)]
    return next((what for magic, what in OTHERS.items() if start.startswith(magic)), told[0] if told else None)
