"""Variational quantum circuits: declared once, executed by interchangeable backends that agree."""

import os

# qdk reports its use to its maker unless told not to; a hospital's process sends nothing that nobody permitted. It
# reads this when it is imported, so it is set before anything in this package can import qdk.
os.environ["QDK_PYTHON_TELEMETRY"] = "none"
