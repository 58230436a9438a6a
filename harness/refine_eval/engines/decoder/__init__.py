"""How does the transformers engine decode? Slots in a key-value cache, prefixes read once."""
