"""What a process must not hand on: whoever took a model over would find it in the environment."""

from __future__ import annotations

import os
import re

# RAY_AUTH_TOKEN stays: the actor answers its launcher with it, and it opens nothing but this attempt's own Ray.
SECRET = re.compile(r"(?!RAY_)\w*?(TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?|KEY|KEY_ID|DATABASE_URL)(_FILE)?")
ALSO = ("PGPASSFILE", "PGSERVICEFILE", "NETRC", "SSH_AUTH_SOCK")


def is_secret(name: str) -> bool:
    """A variable that holds a secret, or says where one lies, by its name."""
    return bool(SECRET.fullmatch(name.upper())) or name.upper() in ALSO


def forget_secrets(*prefixes: str) -> None:
    """Take every secret, or those whose names begin so, out of this process's environment."""
    for name in [name for name in os.environ if is_secret(name) and name.upper().startswith(prefixes or "")]:
        del os.environ[name]
