"""What a supervisor starts: `python -m gateway.cli.worker_program CONFIG LISTENER_FD PARENT_FD REPORT_FD`.

The process that computes a worker's plans imports the program of its parent anew, under another name. So this
program imports the gateway only when it runs.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from gateway.running.memory import starting

    with starting():
        from gateway.cli.worker import main

        sys.exit(main(*sys.argv[1:]))
