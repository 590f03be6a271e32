"""The Celery application of the worker and the timer."""

from plugin.bootstrap.processes import build_celery
from plugin.settings import load_settings

app = build_celery(load_settings())
