"""Which controls are checked, what they answer to in which framework, and how a status follows from evidence."""
