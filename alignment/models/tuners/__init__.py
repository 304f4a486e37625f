"""Tuners of ours, made as PEFT's own are, for methods that it does not have."""
