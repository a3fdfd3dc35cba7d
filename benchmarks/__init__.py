"""What the platform costs, measured: see README.md."""
