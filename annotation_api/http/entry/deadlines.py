"""How long a connection is waited for: never less than is promised, and not equally long for all.

What a crowd began together would end together, too: two hundred bodies that run out of time in one turn of the event
loop keep everybody else waiting for half a second; spread over two seconds nobody notices them.
"""

from __future__ import annotations

import random

MORE = 0.25  # of what is promised, at most


def at_least(seconds: float) -> float:
    """So many seconds, and by chance up to a quarter more."""
    return seconds * random.uniform(1.0, 1.0 + MORE)
