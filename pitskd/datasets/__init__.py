"""Series to learn from: simulators and readers of public data."""
