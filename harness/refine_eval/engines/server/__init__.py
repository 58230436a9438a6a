"""What comes of a request to somebody else's server? HTTP within bounds, checked answers, words for failures."""
