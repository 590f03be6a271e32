"""Whether a model serves every group of people alike: groups of cases, gaps between them, and what they can prove."""
