"""What the server engine is made of: HTTP with somebody else's server, its answers, and what to say of them."""
