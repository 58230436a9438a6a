"""What is a plugin? Base classes, hooks, options, the registry, and what outputs are held to."""
