"""bodies of requests, over HTTP and MQTT -> counted while they are held: the memory for all of them
is bounded, and each owner has at most half of what the others leave. So one owner has at most half
of it, two have three quarters, and ten leave a thousandth, of which the next one has half.
"""

from __future__ import annotations

from collections import Counter

from codec.serve.problems import busy, crowding
from codec.serve.tokens import NOT_ONE


class Bodies:
    """The bodies that are held, in one event loop.

    Args:
        most_bytes: of all of them together.

    Attributes:
        n_bytes: that they have now.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes, self.n_bytes = most_bytes, 0
        self._of: Counter[str] = Counter()  # of each owner; none has 0

    def held(self, owner: str) -> Held:
        """A request of an owner, of whose body nothing has come yet."""
        return Held(self, owner)

    def count(self, owner: str, n_bytes: int) -> None:
        """So many bytes of an owner's are held more, or less where `n_bytes` is below 0."""
        self.n_bytes += n_bytes
        self._of[owner] += n_bytes
        if not self._of[owner]:
            del self._of[owner]

    def check(self, owner: str) -> None:
        """Whether what an owner holds may be held.

        Raises:
            ProblemError: it has more than half of what the others leave; 429 where it has more than
                they have together, 503 where it has not, or is not one device.
        """
        own = self._of[owner]
        if own + self.n_bytes <= self._most_bytes:  # own <= (most - what others have) / 2
            return
        if owner in NOT_ONE or own <= self.n_bytes - own:
            raise busy("the bodies of other requests fill the memory for them")
        raise crowding("the bodies of this device's requests fill its share of the memory for them")


class Held:
    """The body of one request.

    Args:
        bodies: that it is one of.
        owner: whose it is.
    """

    def __init__(self, bodies: Bodies, owner: str) -> None:
        self._bodies, self._owner, self._n_bytes = bodies, owner, 0

    def add(self, n_bytes: int) -> None:
        """More of the body came. It is counted also where it may not be held, until `end`.

        Raises:
            ProblemError: 429 or 503, as `Bodies.check`.
        """
        self._n_bytes += n_bytes
        self._bodies.count(self._owner, n_bytes)
        if n_bytes:
            self._bodies.check(self._owner)

    def end(self) -> None:
        """The body is held no more; once is enough, and twice does no harm."""
        self._bodies.count(self._owner, -self._n_bytes)
        self._n_bytes = 0
