"""What an operator should know of the builds that serve policies: whether another one took over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from policy_store.counts import Counts


def changed_builds(counts: Counts, policies: Sequence[str]) -> Iterator[str]:
    """A sentence on each policy that another build began to serve in the middle of the experiment."""
    for policy, served in counts.builds.items():
        if served.changed_at is not None:
            yield (
                f"Another build of its model serves {policies[policy]} since comparison {served.changed_at}: "
                "the provider names another model or fingerprint in its answers. What was counted before is "
                "about the build before."
            )
