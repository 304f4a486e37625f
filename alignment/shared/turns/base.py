"""What every record is: frozen, checked when it is made, with one canonical JSON line."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def canonical(self) -> str:
        """One JSON line: sorted keys, no blanks, unset optional fields left out, text as UTF-8."""
        return canonical_json(self.model_dump(mode="json", exclude_none=True, exclude_defaults=True))

    @classmethod
    def from_line(cls, line: str | bytes) -> Self:
        return cls.model_validate_json(line)


def canonical_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def sha256_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def storable(value: Any) -> Any:
    """`value` as Postgres' jsonb takes it: numbers that are not finite become null, and characters
    that it refuses (NUL, lone surrogates; a byte-level tokenizer can make them) become U+FFFD."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Mapping):
        return {storable(str(key)): storable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [storable(item) for item in value]
    return (value if math.isfinite(value) else None) if isinstance(value, float) else value


def is_unset(value: object) -> bool:
    """Of a field that came later: where it says nothing it stands in no dump, so that older rows stay as they were."""
    return value is None or value == ()
