"""When this process began and who started it, noted before anything slow is imported."""

from __future__ import annotations

import os
import time

STARTED = time.monotonic()
PARENT = os.getppid()
