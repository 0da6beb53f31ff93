"""The dead letters of a host. Each change has an entry in the audit log, whoever makes it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence

from starlette_webhooks.audit import Action, Actor, record
from starlette_webhooks.dead_letters import DeadLetter, DeadLetters

__all__ = ["AuditedDeadLetters"]


class AuditedDeadLetters:
    """Lists, redrives and discards dead letters.

    Args:
        keepers: The backend and, if there is one, the outbox of the host.
        actor: Who makes changes.
    """

    def __init__(self, keepers: Sequence[DeadLetters], actor: Actor) -> None:
        self._keepers = keepers
        self._actor = actor

    async def list(self, *, tenant: str | None = None, limit: int = 100) -> Sequence[DeadLetter]:
        """Return the dead letters, of this tenant or of all, oldest first."""
        found = [letter for one in self._keepers for letter in await one.dead_letters(tenant=tenant, limit=limit)]
        return sorted(found, key=lambda letter: letter.dead_lettered_at)[:limit]

    async def redrive(self, tenant: str | None = None, *, ids: Collection[str] | None = None) -> int:
        """Queue dead letters again: all, or only those of a tenant, or with these ids. Returns how many."""
        if ids is not None:
            return await self._change("dead_letters.redriven", lambda one, ids: one.redrive(ids=ids), ids, tenant)
        count = sum([await one.redrive(tenant) for one in self._keepers])
        if count:
            record("dead_letters.redriven", tenant or "", self._actor, count=str(count))
        return count

    async def discard(self, ids: Collection[str]) -> int:
        """Delete the dead letters with these ids. Returns how many."""
        return await self._change("dead_letters.discarded", lambda one, ids: one.discard(ids), ids)

    async def _change(
        self,
        action: Action,
        change: Callable[[DeadLetters, Collection[str]], Awaitable[int]],
        ids: Collection[str],
        tenant: str | None = None,
    ) -> int:
        """Change dead letters by their ids, and record for each tenant which ones these were."""
        total = 0
        for keeper in self._keepers:
            # Only the database knows whose they are, and afterwards they are gone.
            found = await keeper.dead_letter_tenants(ids)
            mine: dict[str, list[str]] = {}
            for id, owner in found.items():
                if tenant is None or owner == tenant:
                    mine.setdefault(owner, []).append(id)
            for owner, chosen in sorted(mine.items()):
                count = await change(keeper, chosen)
                total += count
                if count:
                    record(action, owner, self._actor, ids=sorted(chosen))
        return total
