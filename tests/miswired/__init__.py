"""A platform that is wired wrongly, for processes that must not start on it."""
