"""Shop platforms: one folder each, one registry line each."""
