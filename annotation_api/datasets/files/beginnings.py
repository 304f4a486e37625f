"""Files of other kinds, told by their first bytes, so that each is refused by its name."""

from __future__ import annotations

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
ZIP_MAGIC = b"PK\x03\x04"
PARQUET_MAGIC = b"PAR1"
ARROW_MAGIC = b"ARROW1"
ARROW_STREAM_MAGIC = b"\xff\xff\xff\xff"  # then the length of the schema
PICKLE = "a Python pickle, which is never opened; save it as JSON lines or Parquet"
PICTURE = "a picture; import text"
OTHERS = {  # how files of other kinds begin, and what to do with one
    b"PK\x05\x06": "a zip archive without a file in it",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word document; save the sheet as CSV in UTF-8",
    b"{\\rtf": "a text document (RTF); save its table as CSV in UTF-8",
    b"BZh": "packed with bzip2; unpack it, or pack it with gzip",
    b"\xfd7zXZ\x00": "packed with xz; unpack it, or pack it with gzip",
    b"\x5d\x00\x00": "packed with lzma; unpack it, or pack it with gzip",
    b"\x04\x22\x4d\x18": "packed with lz4; unpack it, or pack it with gzip",
    b"\xff\x06\x00\x00sNaPpY": "packed with snappy; unpack it, or pack it with gzip",
    b"x\x9c": "packed with zlib; unpack it, or pack it with gzip",
    b"x\xda": "packed with zlib; unpack it, or pack it with gzip",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; unpack it and import the files in it",
    b"Rar!": "a RAR archive; unpack it and import the files in it",
    b"FEA1": "a Feather file of the first version; save it as Parquet, or as Feather's second version (Arrow)",
    b"ORC\x08": "an ORC file; save it as Parquet or JSON lines",
    b"Obj\x01": "an Avro file; save it as Parquet or JSON lines",
    b"\x89HDF": "an HDF5 file; save its table as Parquet or JSON lines",
    b"\x93NUMPY": "an array of NumPy; save the texts as JSON lines or Parquet",
    b"GGUF\x03": "a model (GGUF), not data",
    b"X\n\x00\x00\x00": "an R object (RDS); save the table with write.csv",
    b"RDX3\n": "an R workspace (RData); save the table with write.csv",
    b"<stata_dta>": "a Stata file; export it as CSV in UTF-8",
    b"$FL2": "an SPSS file; export it as CSV in UTF-8",
    b"SQLite format 3": "an SQLite database; export its table as CSV or JSON lines",
    b"\x00\x01\x00\x00Standard": "an Access database; export its table as CSV in UTF-8",
    b"%PDF": "a PDF; export its table as CSV or JSON lines",
    b"\x89PNG": PICTURE,
    b"\xff\xd8\xff": PICTURE,
    b"GIF8": PICTURE,
    **dict.fromkeys((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"), PICKLE),
    **dict.fromkeys((b"(lp0", b"(dp0", b"]q\x00", b"}q\x00"), PICKLE),  # of the first two protocols
    b"version https://git-lfs": "a pointer of Git LFS, not the file itself; fetch it with git lfs pull",
}
DUCKDB = "a DuckDB database; export its table with COPY ... TO 'file.parquet'"
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


# What names a file that is a zip by its members, and what it is.
ARCHIVES = {
    ".iwa": "an Apple document (Numbers, Pages or Keynote); export the table as CSV",
    ".npy": "arrays of NumPy; save the texts as JSON lines or Parquet",
    "/data.pkl": "a file of PyTorch, which is never opened; save the texts as JSON lines or Parquet",
}


def other_archive(names: list[str]) -> str | None:
    """What a zip with these members is, if it is more than a zip."""
    return next((what for end, what in ARCHIVES.items() for name in names if name.endswith(end)), None)


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
    if start[8:12] == b"DUCK":
        return DUCKDB
    if start[257:262] == b"ustar":
        return "a tar archive; unpack it and import the files in it"
    page = start[:200].lstrip().lower()
    told = [what for magic, what in PAGES.items() if page.startswith(magic)]
    return next((what for magic, what in OTHERS.items() if start.startswith(magic)), told[0] if told else None)
