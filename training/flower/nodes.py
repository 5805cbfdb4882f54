"""messages about rounds -> what each of Flower's nodes is sent of them: what the server keeps of
its nodes from one round to the next.

It keeps no more than the weights take in float32, and nothing of a node that is gone.
"""

from __future__ import annotations

from collections.abc import Collection


class Nodes:
    """What the server knows of its nodes.

    Args:
        n_bytes: of the weights in float32; who has missed more is sent these.

    Attributes:
        clients: which client each node is, from its first reply on.
    """

    def __init__(self, n_bytes: int) -> None:
        self.n_bytes = n_bytes
        self.clients: dict[int, int] = {}
        self._held: dict[int, int | None] = {}
        self._blobs: dict[int, bytes] = {}

    def are(self, nodes: Collection[int]) -> None:
        """These are there now; forget all others."""
        self._held = {node: held for node, held in self._held.items() if node in nodes}
        self.clients = {node: client for node, client in self.clients.items() if node in nodes}

    def know(self, node: int, client: int) -> None:
        """The node says that it is this client.

        Raises:
            ValueError: it was another one before, or the client is another node that is there.
        """
        known = self.clients.get(node, client)
        if known != client:
            raise ValueError(f"it says that it is client {client}, and is client {known}")
        others = [other for other, of in self.clients.items() if of == client and other != node]
        if others:
            raise ValueError(f"it says that it is client {client}, which is node {others[0]}")
        self.clients[node] = client

    def tell(self, number: int, blob: bytes) -> None:
        """Keep the message about the end of round `number`, and of earlier ones those that take no
        more bytes with it than the weights.
        """
        self._blobs[number] = blob
        while sum(map(len, self._blobs.values())) > self.n_bytes:
            del self._blobs[min(self._blobs)]

    def hold(self, node: int, number: int | None) -> None:
        """The node holds the weights that round `number` began at; None for other ones."""
        self._held[node] = number

    def missed(self, node: int, number: int) -> dict[int, bytes] | None:
        """The messages that lead from what a node holds to what round `number` begins at, by their
        round; None where it has to be sent the weights.

        Who has not been heard of holds the weights of the recipe.
        """
        held = self._held.get(node, 0)
        if held is None or any(n not in self._blobs for n in range(held, number)):
            return None
        return {n: self._blobs[n] for n in range(held, number)}
