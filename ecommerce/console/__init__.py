"""For operators: what the whole platform is doing, and whether all of it is right."""
