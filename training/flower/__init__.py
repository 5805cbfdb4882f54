"""Learning together on Flower: the same rounds as `training.federated`, simulated or on real
machines.
"""
