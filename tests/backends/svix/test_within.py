"""Events of the host's transactions reach Svix once each, whether or not Svix is available at the commit."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from starlette_webhooks import Webhooks
from starlette_webhooks.backends.svix import SvixBackend
from starlette_webhooks.events import EventQuery
from starlette_webhooks.outbox import Outbox
from starlette_webhooks.settings import WebhooksSettings
from tests.backends.svix.fake_server import FakeSvix
from tests.eventually import eventually


async def test_committed_events_reach_svix(
    fake: FakeSvix, svix_settings: WebhooksSettings, tenant: str, tmp_path: Path
) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'host.db'}")
    outbox = Outbox(engine)
    outbox.metadata.create_all(engine)
    backend = SvixBackend(svix_settings, relay_poll=0.02)
    webhooks = Webhooks(event_types=["invoice.paid"], settings=svix_settings, backend=backend, outbox=outbox)

    def commit(number: int) -> str:
        with Session(engine) as session:
            emitter = webhooks.emitter(tenant)
            event = emitter.emit("invoice.paid", {"number": number}, event_id=f"order-{number}", within=session).event
            session.commit()
        # Svix assigns the ids that customers see.
        assert event.id == ""
        return event.event_id

    keys = [commit(1)]
    async with webhooks.lifespan():
        keys.append(commit(2))

        async def there() -> bool:
            page = await webhooks.backend.list_events(tenant, EventQuery())
            return [event.event_id for event in reversed(page.items)] == keys

        await eventually(there)
        fake.go_down()
        keys.append(commit(3))
        fake.heal()
        await eventually(there)
        with engine.connect() as connection:
            await eventually(lambda: not connection.execute(text("SELECT count(*) FROM webhooks_outbox")).scalar_one())
    engine.dispose()
