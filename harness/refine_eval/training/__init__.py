"""Where do the models come from? One training stage, its loop, and what the trainers of plugins share.

Nothing is imported here: the modules need torch and transformers, which `refine-eval --help` must not load.
"""
