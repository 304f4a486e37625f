"""Forms that stand on the page of a thing, and come back on it."""
