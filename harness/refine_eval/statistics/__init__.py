"""How sure are we? Rates, intervals, paired differences, and how good critics and refiners are."""
