"""Names of questions in the store: keyed hashes of the conversation, for one caller of one experiment."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final, NamedTuple

from gateway.experiments.sealing_key import SealingKeys
from gateway.experiments.snapshot import LiveExperiment
from gateway.serving.exchange import Question
from gateway.serving.routing import UnitDraws, UnitKey

NAME_BYTES: Final = 16
_SECRET_BYTES: Final = 32


class TurnName(NamedTuple):
    """The name of a question under one sealing key.

    Attributes:
        digest: Its name in the store.
        secret: The secret of its answers' sketches.
    """

    digest: bytes
    secret: bytes

    @property
    def point(self) -> float:
        """The number that decides whether it takes part; the same for every repetition."""
        return UnitDraws(UnitKey(self.digest)).random()

    def attempt(self, question: Question) -> str:
        """A digest of the caller's own name of a request that puts the question; empty without one."""
        if question.attempt is None:
            return ""
        text = question.attempt.encode("utf-8", "surrogatepass")
        return blake2b(text, digest_size=NAME_BYTES, key=self.secret, person=b"llmpo attempt").hexdigest()


def turn_names(
    keys: SealingKeys, digest: bytes | None, experiment: LiveExperiment, question: Question
) -> tuple[TurnName, ...]:
    """The names that a question may have, by the newest sealing key first; none of no question.

    Args:
        keys: The keys in force.
        digest: The digest of the conversation up to the question.
        experiment: The experiment that is asked.
        question: The request, for its caller.
    """
    if digest is None:
        return ()
    scope = (experiment.name, question.key, question.session, question.voter, question.surface.name)
    # What comes before a question that names the answer before is not in the request.
    before = () if question.continued is None else (question.continued.response_id,)
    said = repr(scope + before).encode() + digest
    names = []
    for key in keys.all:
        secret = blake2b(key, digest_size=_SECRET_BYTES, person=b"llmpo turn").digest()
        made = blake2b(said, digest_size=NAME_BYTES + _SECRET_BYTES, key=secret).digest()
        names.append(TurnName(made[:NAME_BYTES], made[NAME_BYTES:]))
    return tuple(names)
