"""Which of the paper's claims hold: docs/findings.md, from the committed run records only."""
