"""What Flower's server keeps of its nodes: bounded, however many rounds and nodes there were."""

from __future__ import annotations

from training.flower.nodes import Nodes


def test_no_more_is_kept_or_sent_than_the_weights_take():
    nodes = Nodes(n_bytes=100)
    nodes.hold(7, 0)
    for number in range(1000):
        nodes.tell(number, bytes(30))
        missed = nodes.missed(7, number + 1)
        assert (missed is None) == (number >= 3)
        assert missed is None or sum(map(len, missed.values())) <= 100
    assert sum(map(len, nodes._blobs.values())) <= 100
    nodes.hold(7, 998)
    assert nodes.missed(7, 1000) == {998: bytes(30), 999: bytes(30)}
    nodes.tell(1000, bytes(101))
    assert nodes.missed(7, 1001) is None


def test_nothing_is_kept_of_nodes_that_are_gone():
    nodes = Nodes(n_bytes=100)
    for node in range(1000):  # one that is restarted comes as another node
        nodes.are([node])
        nodes.hold(node, None)
        assert nodes.missed(node, 0) is None
    nodes.are([1000])
    assert not nodes._held
    assert nodes.missed(1000, 0) == {}
