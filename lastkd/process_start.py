"""Start time and parent of this process, recorded before anything slow is imported."""

from __future__ import annotations

import os
import time

STARTED = time.monotonic()
PARENT = os.getppid()
