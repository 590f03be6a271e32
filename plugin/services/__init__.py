"""Use cases as functions: what the plugin does, free of web, queue and database."""
