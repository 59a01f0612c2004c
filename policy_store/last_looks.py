"""The number of a generation's last look: committed to at its start, revealed at the end of its budget.

    secret (32 random bytes)  ->  commitment, logged when the generation begins
                              ->  uniform number, from the secret and the generation's definition

So the number is fixed before anything is counted, and nothing that is counted can change it. Anyone who has
the log can check both.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

_BITS: Final = 53  # as many as a float holds exactly


def commitment_to(secret: str) -> str:
    """What is logged in advance: the SHA-256 of a secret, both in hex.

    Raises:
        ValueError: If the secret is no hex.
    """
    return sha256(bytes.fromhex(secret)).hexdigest()


def uniform_number(secret: str, fingerprint: str) -> float:
    """The number in (0, 1]: the first 53 bits of the SHA-256 of secret and fingerprint, plus 1, over 2^53.

    Args:
        secret: In hex; its bytes are hashed.
        fingerprint: `Experiment.fingerprint`; hashed as text, after the secret.

    Raises:
        ValueError: If the secret is no hex.
    """
    digest = sha256(bytes.fromhex(secret) + fingerprint.encode()).digest()
    number = int.from_bytes(digest[:8], "big") >> (64 - _BITS)
    return (number + 1) / (1 << _BITS)
