"""The feeds of all tenants with streams, and how long they stay in memory without streams."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from starlette_webhooks.feed import Entry, StreamFilter
from starlette_webhooks.streams.buffer import Buffer
from starlette_webhooks.streams.frames import Frame
from starlette_webhooks.streams.past import LogSource
from starlette_webhooks.streams.views import TenantFeed, View
from starlette_webhooks.waiting import Waiter

__all__ = ["Feeds"]

_IDLE_VIEWS = 256


class Feeds:
    """Feeds by tenant. The backend watches a tenant for as long as it has a feed.

    Nothing here awaits, so no method can be cancelled halfway.
    """

    def __init__(self, backend: LogSource, buffer: Buffer) -> None:
        self._backend = backend
        self._buffer = buffer
        self._feeds: dict[str, TenantFeed] = {}
        self._idle: dict[View, float] = {}

    @property
    def tenants(self) -> Collection[str]:
        """The tenants with open streams, or with streams that closed recently and may reconnect."""
        return self._feeds.keys()

    @property
    def open(self) -> int:
        """The number of tenants with open streams."""
        return sum(feed.streams > 0 for feed in self._feeds.values())

    @property
    def views(self) -> int:
        """Views of all tenants."""
        return sum(len(feed.views) for feed in self._feeds.values())

    def streams_of(self, tenant: str) -> int:
        """Return the number of a tenant's open streams."""
        feed = self._feeds.get(tenant)
        return 0 if feed is None else feed.streams

    # Events

    def publish(self, entries: Sequence[Entry]) -> list[Waiter]:
        """Add new entries, in order of position. Returns the streams to wake."""
        woken: list[Waiter] = []
        for entry in entries:
            feed = self._feeds.get(entry.event.tenant)
            if feed is None:
                continue
            feed.last = entry
            frame = None
            for view in feed.views.values():
                if view.filter.matches(entry.event):
                    frame = frame or Frame(entry)
                    self._buffer.append(view, frame)
                    if view.waiting:
                        woken += view.waiting
                        view.waiting.clear()
        return woken

    def restart(self) -> None:
        """Drop all memory, and make all streams read the log, in which positions start again."""
        for feed in self._feeds.values():
            feed.last = None
            for view in feed.views.values():
                self._buffer.clear(view)
                view.leave_behind()

    def forget(self, tenant: str) -> None:
        """Drop a tenant's events from memory."""
        feed = self._feeds.get(tenant)
        if feed is not None:
            for view in feed.views.values():
                self._buffer.clear(view)

    # Streams

    def view(self, tenant: str, filter: StreamFilter) -> View:
        """Return the view that a stream reads. Creates it if necessary."""
        feed = self._feeds.get(tenant)
        if feed is None:
            feed = self._feeds[tenant] = TenantFeed(tenant)
            self._backend.watch(tenant)
        view = feed.views.get(filter)
        if view is None:
            view = feed.views[filter] = View(feed, filter)
        return view

    def remember(self, tenant: str, filter: StreamFilter, after: str) -> bool:
        """Return whether all events after this one are in memory."""
        feed = self._feeds.get(tenant)
        view = None if feed is None else feed.views.get(filter)
        if view is None:
            return False
        return view.cursor_after(after) is not None or view.history_after(after) is not None

    def join(self, view: View) -> None:
        """Count a stream that reads this view."""
        self._idle.pop(view, None)
        view.streams += 1
        view.feed.streams += 1

    def leave(self, view: View, now: float) -> None:
        """Count a stream that no longer reads this view. After the last one, it stays for clients that reconnect."""
        view.streams -= 1
        view.feed.streams -= 1
        if not view.streams:
            self._idle[view] = now
            if len(self._idle) > _IDLE_VIEWS:
                self._drop(next(iter(self._idle)))

    # Memory

    def expire(self, before: float) -> None:
        """Drop replays and views that have been unused since that time."""
        self._buffer.expire(before)
        while self._idle:
            view, since = next(iter(self._idle.items()))
            if since >= before:
                return
            self._drop(view)

    def drop_all(self) -> None:
        """Drop all views, and stop watching their tenants."""
        for feed in tuple(self._feeds.values()):
            for view in tuple(feed.views.values()):
                self._drop(view)

    def _drop(self, view: View) -> None:
        feed = view.feed
        self._idle.pop(view, None)
        self._buffer.clear(view)
        del feed.views[view.filter]
        if not feed.views:
            del self._feeds[feed.tenant]
            self._backend.unwatch(feed.tenant)
