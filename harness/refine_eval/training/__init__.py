"""What the trainers of critics and refiners share: tokenizer, batches, the loop, sampling, step labels.

Nothing is imported here: the modules need torch and transformers, which `refine-eval --help` must not load.
"""
