"""The state of the fake Svix server: its data, its clock, and its faults."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tests.backends.svix.fake_store import Application, Message, invalid, ksuid, refusal

NO_PORTAL = "https://docs.svix.com/app-portal/oss"


class FakeState:
    """Applications, event types, and settings that tests change.

    Attributes:
        clock: The time at Svix.
        skew: By how many seconds the clock is wrong on the node that mints the next id.
        commit_delay: Seconds after which the next message can be read.
        ignores_filters: Whether it drops `eventTypes` of endpoints, as before 1.99.
        queue_fails: Whether messages are stored, not delivered, and answered with 500.
        on_commit: Called when a message is stored, before the answer.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.clock: Callable[[], float] = time.time
        self.skew: Callable[[], float] = lambda: 0.0
        self.commit_delay: Callable[[], float] = lambda: 0.0
        self.portal_url = NO_PORTAL
        self.ignores_filters = False
        self.queue_fails = False
        self.on_commit: Callable[[Message], None] | None = None
        self.applications: dict[str, Application] = {}
        self.event_types: dict[str, dict[str, Any]] = {}

    def application(self, uid: str) -> Application:
        """The application with that uid."""
        return next(application for application in self.applications.values() if application.uid == uid)

    def new_application(self, uid: str) -> Application:
        """Create an application without a call."""
        now = self.clock()
        application = Application(ksuid("app_", now), uid, uid, now)
        self.applications[application.id] = application
        return application

    def messages(self, uid: str) -> list[Message]:
        """The messages of an application in the order of their arrival. None if there is no such application.

        Lists are in the order of ids, which is not the same for messages of the same 4 ms.
        """
        return [message for known in self.applications.values() if known.uid == uid for message in known.arrived]

    def store(self, application: Application, event_type: str, payload: Any, **fields: Any) -> Message:
        """Store a message as if another process had sent it."""
        now = self.clock()
        minted = ksuid("msg_", fields.pop("at", now) + self.skew())
        visible_at = now + self.commit_delay()
        message = Message(minted, event_type, payload, visible_at=visible_at, **fields)
        application.add(message)
        return message

    def find(self, key: str) -> Application:
        """An application by its id or uid, or the error that Svix answers."""
        for application in self.applications.values():
            if key in (application.id, application.uid):
                return application
        raise refusal(404, "not_found", "Entity not found")

    def check_event_types(self, names: list[str] | None) -> None:
        """Refuse types that do not exist."""
        if names is not None and not names:
            raise invalid("eventTypes", "length must be at least 1")
        missing = [name for name in names or () if self.event_types.get(name, {"archived": True})["archived"]]
        if missing:
            raise invalid("eventTypes", f"The following event types don't exist: {', '.join(missing)}")
