"""For the repository of refine-eval only: its own test run does not collect the example's tests (see test_plugins)."""

collect_ignore = ["tests"]
