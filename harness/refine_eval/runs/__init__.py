"""What is a run? From settings to a record: components assembled, a session, the way of a problem, the store."""
