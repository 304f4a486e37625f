"""What the stage must not know: a model that took it over would find it in the environment."""

from __future__ import annotations

import os
import re

# RAY_AUTH_TOKEN stays: the actor answers its launcher with it, and it opens nothing but this attempt's own Ray.
SECRET = re.compile(r"(?!RAY_)\w*?(TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?|KEY|KEY_ID|DATABASE_URL)(_FILE)?")
ALSO = ("PGPASSFILE", "PGSERVICEFILE", "NETRC", "SSH_AUTH_SOCK")


def is_secret(name: str) -> bool:
    """A variable that holds a secret, or says where one lies, by its name."""
    return bool(SECRET.fullmatch(name.upper())) or name.upper() in ALSO


def forget_secrets() -> None:
    """Take every secret out of this process's environment."""
    for name in [name for name in os.environ if is_secret(name)]:
        del os.environ[name]
