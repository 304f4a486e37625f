"""Empties rows of data sets and lines of snapshots, and what was made of those: prepared data, and its snapshots.

A snapshot keeps its hash and its number of rows, and says how many of them are empty now. Nothing reads it any more.
"""

from __future__ import annotations

# Rows of data sets that hold what is sought.
DATASET_ROWS = """
WITH chosen AS (
    SELECT d.dataset_id, d.row, d.part FROM dataset_rows d JOIN datasets s ON s.id = d.dataset_id
    WHERE {dataset_rows} AND d.erased_at IS NULL AND (d.dataset_id, d.row, d.part) > (
        %(dataset)s::uuid, %(row)s, %(part)s
    ) ORDER BY d.dataset_id, d.row, d.part LIMIT %(batch)s
), gone AS (
    UPDATE dataset_rows d SET record = '{{}}'::jsonb, erased_at = clock_timestamp() FROM chosen c
    WHERE d.dataset_id = c.dataset_id AND d.row = c.row AND d.part = c.part
)
SELECT dataset_id, row, part FROM chosen ORDER BY 1, 2, 3
"""
# Rows that a preparation made of lines: equal to one, or of one that it changed. Before the lines themselves go.
PREPARED_ROWS = """
WITH gone AS (
    UPDATE dataset_rows d SET record = '{{}}'::jsonb, erased_at = clock_timestamp()
    FROM datasets made JOIN snapshots s ON made.origin ->> 'snapshot' = s.id::text
    JOIN snapshot_rows r ON r.snapshot_id = s.id AND r.line <> ''
    WHERE {snapshot_rows} AND d.dataset_id = made.id AND d.erased_at IS NULL AND (
        coalesce(d.record #>> '{{lineage,original}}', d.record_hash) = encode(sha256(convert_to(r.line, 'UTF8')), 'hex')
    )
    RETURNING 1
)
SELECT count(*) AS n FROM gone
"""
# Lines, at most so many, with the mark on their snapshots.
LINES = """
WITH chosen AS (
    SELECT r.snapshot_id, r.position FROM snapshot_rows r JOIN snapshots s ON s.id = r.snapshot_id
    WHERE s.id = %(snapshot)s AND r.position >= %(first)s AND r.position < %(first)s + %(batch)s
        AND r.line <> '' AND {snapshot_rows}
), gone AS (
    UPDATE snapshot_rows r SET line = '' FROM chosen c
    WHERE r.snapshot_id = c.snapshot_id AND r.position = c.position
    RETURNING r.snapshot_id
), counted AS (
    SELECT count(*) AS n FROM gone
), marked AS (
    UPDATE snapshots SET erased_rows = erased_rows + n, erased_at = clock_timestamp(), seen = NULL
    FROM counted WHERE snapshots.id = %(snapshot)s AND n > 0
)
SELECT n FROM counted
"""
# Of rows of data sets that are empty now. A line says its row and part; prompts say the row alone.
OF_EMPTY_ROWS = """EXISTS (
    SELECT FROM dataset_rows d WHERE d.dataset_id = r.dataset_id AND d.row = r.dataset_row AND d.erased_at IS NOT NULL
        AND (NOT (CASE WHEN r.line <> '' THEN r.line::jsonb END) ? 'lineage'
            OR d.part = coalesce(((CASE WHEN r.line <> '' THEN r.line::jsonb END) #>> '{lineage,part}')::int, 0))
)"""
# Snapshots with what is sought, and how many of their lines hold it.
HOLDING = """
SELECT r.snapshot_id AS id, count(*) AS rows FROM snapshot_rows r JOIN snapshots s ON s.id = r.snapshot_id
WHERE r.line <> '' AND {snapshot_rows} GROUP BY r.snapshot_id ORDER BY r.snapshot_id
"""
