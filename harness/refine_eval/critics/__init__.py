"""Who judges? Token-classification critics and what runs them."""
