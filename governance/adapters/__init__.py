"""Where governance meets databases, files and chains."""
