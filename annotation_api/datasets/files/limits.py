"""What one file may hold. Checked while reading, so that neither a bomb nor an endless line can fill the memory."""

from __future__ import annotations

MAX_ROW_BYTES = 8 * 2**20  # one line, array element or CSV cell
MAX_UNPACKED_BYTES = 4 * 2**30  # the whole file, unpacked
MAX_ROWS = 5_000_000  # lines, array elements or CSV records; bounds the time that one file can take
MAX_SECONDS = 600  # of computing on one file; a file of 2,000,000 records needs about 200
MAX_DEPTH = 200  # lists and objects inside one another; a long conversation tree needs about 60
CHUNK = 2**16
