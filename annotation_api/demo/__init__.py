"""`rankloop demo`: the closed loop on the toy world, through every real part, with a report at the end.

Nothing here reaches around the service: the scripted annotators sign in and rank over HTTP, the
engineer triggers jobs over REST, and the gold scorer judges only what a job's artifact holds.
"""

from annotation_api.demo.run import main

__all__ = ["main"]
