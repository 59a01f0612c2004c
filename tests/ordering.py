"""In which order the processes of a run get the tests: what takes longest first, so that all end together.

A process gets a file at a time. Folders whose tests share servers go to one process as a whole; those servers
are started once.
"""

from __future__ import annotations

from typing import Final

from xdist.scheduler import LoadFileScheduling

LONGEST: Final = (
    "tests/e2e/real_models/",
    "tests/gateway/api/openapi/",
    "tests/e2e/test_demo.py",
    "tests/chaos/test_draining.py",
    "tests/chaos/test_gateway_faults.py",
    "tests/chaos/test_reloading.py",
    "tests/chaos/test_shadow.py",
    "tests/chaos/test_store_faults.py",
    "tests/deploy/test_replicas_disagree.py",
    "tests/gateway/serving/test_failures.py",
    "tests/gateway/serving/failures/test_matrix.py",
    "tests/gateway/upstream/test_differential.py",
    "tests/gateway/simulation/test_estimate.py",
    "tests/simulation/test_wrong_promotions.py",
    "tests/gateway/cli/test_simulating.py",
    "tests/gateway/offline/test_resuming.py",
    "tests/examples/test_examples.py",
    "tests/deploy/test_live_dashboard.py",
    "tests/deploy/test_prometheus.py",
    "tests/chaos/test_asking_again.py",
    "tests/chaos/test_campaign.py",
    "tests/policy_store/test_failover.py",
    "tests/policy_store/test_states.py",
)
"""Files, and folders that stay together, of a quarter of a minute and more."""


def unit(test: str) -> str:
    """What of the tests one process runs as a whole: the folder or file that `test` is in."""
    file = test.partition("::")[0]
    return next((folder for folder in LONGEST if folder.endswith("/") and file.startswith(folder)), file)


def place(test: str) -> int:
    """Where `test` comes in the order: its unit's place in `LONGEST`, or after all of them."""
    its_unit = unit(test)
    return LONGEST.index(its_unit) if its_unit in LONGEST else len(LONGEST)


class InOrder(LoadFileScheduling):
    """Hands out units in the order of the tests, instead of by their number of tests."""

    def _split_scope(self, nodeid: str) -> str:
        return unit(nodeid)
