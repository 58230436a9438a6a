"""Which model is this? Its files, its identity, its tokens; loading it."""
