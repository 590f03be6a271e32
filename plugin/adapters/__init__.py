"""Adapters of the plugin's own ports."""
