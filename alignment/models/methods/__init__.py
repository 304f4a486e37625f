"""The light methods that are no adapters: parts of a model's own weights, and soft prompts before the text."""
