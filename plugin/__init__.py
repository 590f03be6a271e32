"""The hospital plugin: entrypoints, use cases and wiring."""
