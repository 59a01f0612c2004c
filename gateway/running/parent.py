"""Makes a worker process ignore Ctrl-C, which its parent handles, and end with its parent."""

from __future__ import annotations

import os
import signal
import threading
from multiprocessing import parent_process


def follow_parent() -> None:
    """Ignore SIGINT, and end as soon as the parent ends, even if the parent is killed.

    A thread waits for the parent. A process that `multiprocessing` did not start has no parent to wait for.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is None:
        return

    def end_after_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_after_parent, daemon=True).start()
