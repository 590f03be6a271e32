"""Watching a model that runs: bias, rejections, failures and drift, by bounds that hold at every look."""
