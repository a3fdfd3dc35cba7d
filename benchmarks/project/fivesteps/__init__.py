"""A service with five steps, one small row in each: the platform's kernel as a peer."""
