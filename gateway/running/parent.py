"""Worker processes that leave Ctrl-C to the process that started them, and end with it."""

from __future__ import annotations

import os
import signal
import threading
from multiprocessing import parent_process


def follow_parent() -> None:
    """Ignore SIGINT, and end as soon as the parent does, even when the parent was killed.

    A thread waits for the parent. A process that `multiprocessing` did not start has none to wait for.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is None:
        return

    def end_after_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_after_parent, daemon=True).start()
