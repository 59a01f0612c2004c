"""One table of a server's error replies: their meaning, and whether another connection may help.

A server's error begins with a word. A script passes such an error on; in versions before 7, and for missing
permissions, inside a sentence of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from redis.exceptions import RedisError


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a server that answers refuses a command.

    Attributes:
        meaning: The meaning in words for an operator.
        reconnects: Whether connections are closed and made anew, because the address may lead to another
            server now, or this one needs a new login.
        stops_reads: Whether reads fail as well.
    """

    meaning: str
    reconnects: bool = False
    stops_reads: bool = False


REFUSALS: Final[Mapping[str, Refusal]] = {
    "READONLY": Refusal("the server became a replica, which takes no writes", reconnects=True),
    "MASTERDOWN": Refusal("the server is a replica that lost its primary", reconnects=True, stops_reads=True),
    "UNBLOCKED": Refusal("the server became a replica", reconnects=True),
    "NOAUTH": Refusal("the server asks for a password", reconnects=True, stops_reads=True),
    "WRONGPASS": Refusal("the server refuses the user name or password", reconnects=True, stops_reads=True),
    "LOADING": Refusal("the server is still reading its data", stops_reads=True),
    "BUSY": Refusal("the server is busy with another script", stops_reads=True),
    "OOM": Refusal("the server has used up its memory limit"),
    "MISCONF": Refusal("the server cannot save its data to disk"),
    "NOREPLICAS": Refusal("the server has fewer replicas than its settings require"),
    "NOPERM": Refusal("the server does not allow this user a command or a key"),
    "CLUSTERDOWN": Refusal("the cluster is not complete", reconnects=True, stops_reads=True),
    "TRYAGAIN": Refusal("the cluster is moving keys"),
    "MOVED": Refusal(
        "the server is a node of a cluster; write the address with redis+cluster",
        reconnects=True,
        stops_reads=True,
    ),
    "ASK": Refusal("the cluster is moving keys to another server", stops_reads=True),
    "CROSSSLOT": Refusal("the cluster keeps the keys on different servers"),
    "NOSCRIPT": Refusal("the server forgot a script"),
}
_UNNAMED: Final[Mapping[str, str]] = {
    "ACL failure in script": "NOPERM",
    "can't run this command": "NOPERM",
    "can't access at least one of the keys": "NOPERM",
    # The driver gives a script up after a number of attempts, and drops the word.
    "TTL exhausted": "TRYAGAIN",
    # Over a unix socket the driver drops the word of these errors.
    "invalid username-password pair": "WRONGPASS",
    "Authentication required": "NOAUTH",
}
_WORD: Final = re.compile(r"(?:^|[\s-])({})\b".format("|".join(REFUSALS)))


def word_of(error: RedisError) -> str | None:
    """The word in the table that matches a server's error; None for any other fault."""
    status = getattr(error, "status_code", None)
    if status in REFUSALS:
        return str(status)
    text = str(error)
    found = _WORD.search(text)
    if found is not None:
        return found[1]
    return next((word for phrase, word in _UNNAMED.items() if phrase in text), None)
