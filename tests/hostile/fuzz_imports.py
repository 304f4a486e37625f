"""Mutated files at the reader of imports: no exception, and no record that is none.

    python -m tests.hostile.fuzz_imports --files 20000 --seed 0

Prints one line of JSON. A file that breaks the rule is written beside, so that it can become a test.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zstandard

from annotation_api.datasets.formats.reading import Reading
from annotation_api.datasets.formats.table import KINDS

ASKED = {"role": "user", "content": "Name a tree, 说一棵树。"}
OAK, SAND = {"role": "assistant", "content": "Oak."}, {"role": "assistant", "content": "Sand."}
ROWS: list[dict[str, Any]] = [
    {"prompt": "Q?", "chosen": "Oak.", "rejected": "Sand.", "margin": 1.0, "weight": 0.5},
    {"messages": [ASKED, OAK], "tools": [{"name": "f"}]},
    {"chosen": "\n\nHuman: Q?\n\nAssistant: Oak.", "rejected": "\n\nHuman: Q?\n\nAssistant: Sand."},
    {"prompt": "Q?", "responses": ["Oak.", "Sand.", {"text": "Elm."}], "scores": [1, 2, 3]},
    {"instruction": "Q?", "input": None, "output": "Oak."},
    {"conversation_a": [ASKED, OAK], "conversation_b": [ASKED, SAND], "winner": "tie (bothbad)"},
    {"prompt": {"role": "prompter", "text": "Q?", "replies": [
        {"role": "assistant", "text": "Oak.", "rank": 0, "replies": []},
        {"role": "assistant", "text": "Sand.", "rank": 1}]}},
    {"message_id": "a", "parent_id": None, "role": "prompter", "text": "Q?", "message_tree_id": "t"},
    {"data": {"rating": 1}, "meta": {"message_id": "b"}, "snapshot": {"chat": {"chat": {"history": {"messages": {
        "a": {**ASKED, "childrenIds": ["b", "c"]}, "b": {**OAK, "parentId": "a"}, "c": {**SAND, "parentId": "a"}}}}}}},
    {"data": {"prompt": "Q?", "items": [{"id": "1", "body": "x"}, {"id": "2", "body": "y"}]},
     "annotations": [{"result": [{"value": {"ranker": {"rank": ["2", "1"]}}}]}]},
    {"prompt": "Q?", "response_a": "x", "response_b": "y", "winner": "A"},
    {"text": "### Human: Q?### Assistant: Oak."},
]  # fmt: skip
WORDS = [b"null", b"NaN", b"-1e999", b"[]", b"{}", b'""', b"\x00", b"\xff\xfe", b"\r", b"\n", b'"', b"\\u0000",
         b"\\ud800", b"true", b"9" * 30, b"[" * 50, b"=1", "“".encode(), b",", b";", b":", b"}", b"]"]  # fmt: skip


def seeds() -> Iterator[bytes]:
    """Whole files in every wrapping."""
    for row in ROWS:
        lines = json.dumps(row, ensure_ascii=False).encode()
        yield lines + b"\n" + lines
        yield json.dumps([row, row], indent=1).encode()
        yield json.dumps({"data": [row]}).encode()
        yield gzip.compress(lines)
        yield zstandard.ZstdCompressor().compress(lines)
    table = 'prompt,chosen,rejected\r\n"Q, 1","Oak ""red"".",Sand.\r\n'
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "gb18030"):
        yield table.encode(encoding)
    yield table.replace(",", ";").encode()


def mutated(data: bytes, rng: random.Random) -> bytes:
    """One to four changes: a piece is cut out, doubled, flipped, or something is put in."""
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        size = rng.choice((1, 1, 2, 8, 40))
        piece = data[at : at + size]
        put = rng.choice(
            (b"", piece * 2, bytes(byte ^ 1 << rng.randrange(8) for byte in piece), rng.choice(WORDS) + piece)
        )
        data = data[:at] + put + data[at + size :]
    return data


def fault(data: bytes, kind: str, *, beginning: bool) -> str | None:
    """What is wrong with how the file was read."""
    reading = Reading(io.BytesIO(data), kind, beginning=beginning)
    try:
        for item in reading:
            KINDS[kind].from_line(item.record.canonical())
            item.record.canonical().encode()
    except Exception as error:  # any at all is what is looked for
        return f"{type(error).__name__}: {error}"
    if reading.broken and not reading.refusals:
        return "broken without a word"
    return None if reading.accepted or reading.refusals or reading.notes else "nothing came of it, without a word"


def run(files: int, seed: int, out: Path | None) -> dict[str, Any]:
    rng, corpus, found = random.Random(seed), list(seeds()), Counter[str]()
    began = time.monotonic()
    for number in range(files):
        data, kind = mutated(rng.choice(corpus), rng), rng.choice(list(KINDS))
        wrong = fault(data, kind, beginning=number % 4 == 0)
        if wrong is None:
            continue
        found[wrong[:200]] += 1
        if out is not None and found[wrong[:200]] == 1:
            (out / f"fuzz-{seed}-{number}-{kind}").write_bytes(data)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    seconds = round(time.monotonic() - began, 1)
    return {"files": files, "seed": seed, "faults": dict(found), "seconds": seconds, "peak_mb": peak}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    told = run(args.files, args.seed, args.out)
    print(json.dumps(told, ensure_ascii=False))
    sys.exit(1 if told["faults"] else 0)
