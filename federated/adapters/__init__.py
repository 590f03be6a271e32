"""What touches the world: quantum services."""
