"""Links by which a user without a key gives one piece of feedback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest

from gateway.config.api_keys import hash_key
from gateway.config.gateway_file import GatewayConfig
from gateway.errors import InvalidFeedbackError
from gateway.experiments.feedback_links import FeedbackLink, FeedbackLinks
from gateway.experiments.sealing_key import SealingKeyHolder, SealingKeys
from tests.gateway.building import config_fields
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.whole import Reply, Whole, quick_settings, whole_gateway

PAGE: Final = {"accept": "text/html"}
ORIGIN: Final = "https://app.example.com"


class Clock:
    """Unix seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        """The time."""
        return self.now


@asynccontextmanager
async def served(
    upstream: FakeUpstream, url: str, clock: Clock, collect: str = "matched", share: float = 1.0
) -> AsyncIterator[Whole]:
    """A gateway called with the key `web`, which pages of one origin may call."""
    fields = config_fields(
        api_base=upstream.api_base,
        auth={"keys": {name: {"hash": hash_key(name)} for name in ("web", "app")}},
        traffic={"share": share, "collect": collect},
        promotion={"min_comparisons": 10_000},
    )
    config = GatewayConfig.model_validate({**fields, "cors_origins": [ORIGIN]})
    async with whole_gateway(config, quick_settings(url), key="web", clock=clock) as gateway:
        yield gateway


@pytest.fixture
def clock() -> Clock:
    """The gateway's."""
    return Clock()


@pytest.fixture
async def gateway(upstream: FakeUpstream, embedded_url: str, clock: Clock) -> AsyncIterator[Whole]:
    """Every request takes part."""
    async with served(upstream, embedded_url, clock) as found:
        yield found


async def linked(gateway: Whole, **fields: Any) -> tuple[str, str]:
    """The id of an answer, and the path of a link to report on it."""
    answer = str((await gateway.ask()).json["id"])
    made = await gateway.call("POST", "/v1/feedback/links", {"id": answer, "signal": "thumb", **fields})
    assert made.status == 200, made.body
    assert made.json["url"] == gateway.url + made.json["path"]
    return answer, str(made.json["path"])


async def used(gateway: Whole, method: str, path: str, **sent: Any) -> Reply:
    """What a browser without a key gets."""
    return await Whole(gateway.url, gateway.session).call(method, path, **sent)


async def test_looking_at_a_link_reports_nothing_and_pressing_its_button_does(gateway: Whole) -> None:
    """Programs look at links before users do; the page's form posts to the link, and that counts once."""
    answer, path = await linked(gateway, value=True)

    for _ in range(3):
        page = await used(gateway, "GET", path, headers=PAGE)
        assert (page.status, b'<form method="post">' in page.body) == (200, True)
        assert page.headers["cache-control"] == "no-store"
    form = {**PAGE, "content-type": "application/x-www-form-urlencoded"}
    first = await used(gateway, "POST", path, raw=b"value=true", headers=form)
    again = await used(gateway, "POST", path, raw=b"value=true", headers=form)

    assert b"Thank you" in first.body
    assert b"Kept until" in first.body
    assert b"Already received" in again.body
    assert (await gateway.feed(id=answer, signal="thumb", value=True)).json["status"] == "duplicate"


async def test_a_link_says_its_own_value_only(gateway: Whole) -> None:
    """What the request holds beside it changes nothing."""
    answer, path = await linked(gateway, value=False)
    told = await used(gateway, "POST", path, raw=b'{"value": true, "signal": "score"}')
    assert told.json["status"] == "pending"
    assert (await gateway.feed(id=answer, signal="thumb", value=False)).json["status"] == "duplicate"


@pytest.mark.parametrize("body", [b'{"value": true}', b"value=true"], ids=["JSON", "form"])
async def test_a_link_without_a_value_takes_it_from_its_user(gateway: Whole, body: bytes) -> None:
    """The value comes from the pressed button or from a page's script, and only for the link's signal."""
    answer, path = await linked(gateway)
    page = await used(gateway, "GET", path)
    assert (b"Good" in page.body, b"Bad" in page.body) == (True, True)

    for wrong in (b"", b"value=maybe", b"value=7", b"value=nan", b"[]"):
        refused = await used(gateway, "POST", path, raw=wrong)
        assert (refused.status, refused.code) == (422, "invalid_value"), wrong
    assert (await used(gateway, "POST", path, raw=b"value=" + b"1" * 5000)).status == 413

    assert (await used(gateway, "POST", path, raw=body)).json["status"] == "pending"
    assert (await gateway.feed(id=answer, signal="thumb", value=True)).json["status"] == "duplicate"


@pytest.mark.parametrize("part", ["id", "signal", "value", "expires", "signature"])
async def test_a_changed_link_is_refused_in_clear_words(gateway: Whole, part: str) -> None:
    """A change in any part is found; parameters that a mail system adds are ignored."""
    _, path = await linked(gateway, value=True)
    said = parse_qs(urlsplit(path).query)[part][0]
    other = {"value": "false", "signal": "copied", "expires": "9999999999"}.get(part, said[:-2] + "xx")
    changed = path.replace(f"{part}={said}", f"{part}={other}")
    assert changed != path

    refused = await used(gateway, "POST", changed)
    page = await used(gateway, "GET", changed, headers=PAGE)

    assert (refused.status, refused.code) == (400, "forged_link")
    assert (page.status, b"changed or cut short" in page.body) == (400, True)
    assert (await used(gateway, "POST", path + "&utm_source=mail")).json["status"] == "pending"


async def test_an_expired_link_says_so(gateway: Whole, clock: Clock) -> None:
    """A browser and a program both get the error, and nothing is counted."""
    answer, path = await linked(gateway, value=True, expires_in=60)
    clock.now += 61

    for method in ("GET", "POST"):
        page = await used(gateway, method, path, headers=PAGE)
        assert (page.status, b"has expired" in page.body) == (410, True)
    told = await used(gateway, "POST", path)

    assert (told.status, told.code) == (410, "expired_link")
    assert (await gateway.feed(id=answer, signal="thumb", value=True)).json["status"] == "pending"


async def test_a_link_lives_no_longer_than_feedback_counts(gateway: Whole, clock: Clock) -> None:
    """A link ends with the window of feedback even if a longer life is asked for."""
    _, path = await linked(gateway, value=True, expires_in=10**9)
    assert int(parse_qs(urlsplit(path).query)["expires"][0]) == clock.now + 24 * 3600


async def test_pages_of_declared_origins_post_to_links(gateway: Whole) -> None:
    """Scripts of declared origins may read the reply; those of other origins may not."""
    _, path = await linked(gateway, value=True)
    preflight = {"origin": ORIGIN, "access-control-request-method": "POST"}
    allowed = await used(gateway, "OPTIONS", path, headers=preflight)
    told = await used(gateway, "POST", path, headers={"origin": ORIGIN})
    foreign = await used(gateway, "POST", path, headers={"origin": "https://other.example.com"})
    assert allowed.headers["access-control-allow-origin"] == ORIGIN
    assert told.headers["access-control-allow-origin"] == ORIGIN
    assert "access-control-allow-origin" not in foreign.headers


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"signal": "applause"}, 422, "unknown_signal"),
        ({"value": 3}, 422, "invalid_value"),
        ({"expires_in": 0}, 400, "invalid_body"),
        ({"expires_in": "1h"}, 400, "invalid_body"),
        ({"id": "chatcmpl-1"}, 400, "malformed_id"),
        ({"signal": None, "preferred": 0}, 422, "wrong_kind"),
    ],
)
async def test_a_link_that_could_report_nothing_is_not_made(
    gateway: Whole, fields: dict[str, Any], status: int, code: str
) -> None:
    """A mistake shows where the application can see it, and not to its users."""
    answer = (await gateway.ask()).json["id"]
    body = {"id": answer, "signal": "thumb", **fields}
    reply = await gateway.call("POST", "/v1/feedback/links", body)
    assert (reply.status, reply.code) == (status, code)


async def test_only_a_key_that_may_report_makes_links(gateway: Whole) -> None:
    """A link gives away no more than its maker has."""
    answer = (await gateway.ask()).json["id"]
    body = {"id": answer, "signal": "thumb"}
    for key, status in (("app", 404), ("unknown", 401)):
        headers = {"authorization": f"Bearer {key}"}
        assert (await gateway.call("POST", "/v1/feedback/links", body, headers=headers)).status == status


async def test_a_link_names_the_better_of_two(
    upstream: FakeUpstream, embedded_url: str, clock: Clock
) -> None:
    """If two answers were shown, there is one link for each choice."""
    async with served(upstream, embedded_url, clock, collect="side_by_side") as gateway:
        answer = (await gateway.compare()).json["id"]
        made = await gateway.call("POST", "/v1/feedback/links", {"id": answer, "preferred": 0})
        told = await used(gateway, "POST", made.json["path"])
        assert told.json["status"] == "counted", told.body


async def test_a_link_does_not_tell_whether_its_answer_takes_part(
    upstream: FakeUpstream, embedded_url: str, clock: Clock
) -> None:
    """A link is made for any answer of an experiment."""
    async with served(upstream, embedded_url, clock, share=0.0) as gateway:
        _, path = await linked(gateway, value=True)
        assert (await used(gateway, "POST", path)).json["reason"] == "unassigned_id"


def test_links_outlive_a_rotation_of_the_key_and_not_its_removal() -> None:
    """A former key opens what it signed, as long as it opens response ids."""
    holder = SealingKeyHolder(SealingKeys(bytes(32)))
    links = FeedbackLinks(holder)
    link = FeedbackLink("chatcmpl-1", 100, "thumb", "true")
    query = {name: values[0] for name, values in parse_qs(links.signed(link)).items()}

    holder.current = SealingKeys(bytes([1] * 32), (bytes(32),))
    assert links.open(query, 99) == link
    holder.current = SealingKeys(bytes([1] * 32))
    with pytest.raises(InvalidFeedbackError, match="not from this gateway"):
        links.open(query, 99)
