"""Data about conversations: the assignments of sessions, and the makers of opaque parts of answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from policy_store.scripting import StorePart


class ConversationStore(StorePart):
    """Conversations in Redis or Valkey. Every call may be repeated."""

    async def assign_unit(
        self, name: str, generation: int, unit: str, proposal: str, ttl_seconds: int
    ) -> str:
        """The unit's assignment: an existing one (its time is not extended), otherwise `proposal`."""
        key = self._names.experiment(name).generation(generation).sticky(unit)
        assigned = await self._answer(self._redis.set(key, proposal, nx=True, get=True, ex=ttl_seconds))
        return proposal if assigned is None else str(assigned)

    async def assign_session(
        self, name: str, generation: int, unit: str, proposal: str, policy: str, ttl_seconds: int
    ) -> tuple[str, str]:
        """A session's assignment, like `assign_unit`, and the policy that it began with.

        Args:
            name: Experiment.
            generation: The current one.
            unit: The session.
            proposal: The assignment of a new session; empty to assign nothing.
            policy: Fingerprint of the policy that the proposal leads to; empty if it leads to two.
            ttl_seconds: How long a new session is remembered.

        Returns:
            The assignment; empty if the session began under another generation, or is new and there is no
            proposal. And the fingerprint of the policy that it began with, if that is known.
        """
        keys = self._names.experiment(name)
        _, assigned, began_with = await self._scripts.run(
            "assign_session",
            (keys.generation(generation).sticky(unit), keys.session(unit)),
            *(generation, proposal, policy, ttl_seconds),
        )
        return assigned, began_with

    async def note_makers(self, name: str, makers: Mapping[str, str], ttl_seconds: int) -> None:
        """Remember the policies that made the parts of answers with these digests."""
        keys = self._names.experiment(name)
        for digest, maker in makers.items():
            await self._answer(self._redis.set(keys.maker(digest), maker, ex=ttl_seconds))

    async def makers(self, name: str, digests: Sequence[str]) -> list[str | None]:
        """The policies that made the parts of answers with these digests, as far as they are known."""
        keys = self._names.experiment(name)
        found: list[str | None] = await self._answer(self._redis.mget([keys.maker(each) for each in digests]))
        return found

    async def assigned_unit(self, name: str, generation: int, unit: str) -> str | None:
        """The unit's assignment, if there is one."""
        key = self._names.experiment(name).generation(generation).sticky(unit)
        assigned: str | None = await self._answer(self._redis.get(key))
        return assigned
