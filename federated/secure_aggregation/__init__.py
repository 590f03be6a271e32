"""The coordinator learns the sum of the sites' updates and no single one (Bonawitz et al. 2017, post-quantum keys)."""
