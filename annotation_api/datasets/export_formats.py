"""What a snapshot can be downloaded as, by name; the standard library only, as the command line asks."""

from __future__ import annotations

from enum import StrEnum


class ExportFormat(StrEnum):
    """What a snapshot can be downloaded as."""

    TRL = "trl"  # TRL's columns as JSON lines
    JSONL = "jsonl"  # the records in full: the very lines of the snapshot's hash
    PARQUET = "parquet"  # TRL's columns
    RECORDS_PARQUET = "records-parquet"  # the records in full
    CSV = "csv"  # TRL's columns for spreadsheets; formulas are disarmed


TABLES = frozenset({ExportFormat.PARQUET, ExportFormat.RECORDS_PARQUET, ExportFormat.CSV})  # columns are told first
