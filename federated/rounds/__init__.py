"""Federated rounds: what coordinator and sites say to each other, and what either does about it. No engine in here."""
