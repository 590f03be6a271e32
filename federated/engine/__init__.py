"""Flower carries the rounds' messages: the only folder that knows the engine."""
