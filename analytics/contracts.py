"""The analytics service owns no messages: it only listens."""
