"""The composition root: Settings to adapters to services. The only package that names an adapter."""
