"""Commands that measure, and write what they measured; imported by nothing."""
