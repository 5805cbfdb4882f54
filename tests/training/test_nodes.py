"""What Flower's server keeps of its nodes: bounded, however many rounds and nodes there were."""

from __future__ import annotations

import pytest

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


def test_a_node_stays_the_client_that_it_was_and_no_other_node_is_it():
    nodes = Nodes(n_bytes=100)
    nodes.are([5, 6])
    nodes.know(5, 0)
    nodes.know(5, 0)
    with pytest.raises(ValueError, match="that it is client 1, and is client 0"):
        nodes.know(5, 1)
    with pytest.raises(ValueError, match="that it is client 0, which is node 5"):
        nodes.know(6, 0)
    nodes.are([6])  # a device that is started again is another node
    nodes.know(6, 0)
