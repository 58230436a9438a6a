"""`python -m refine_eval` is `refine-eval`."""

from refine_eval.cli import main

main()
