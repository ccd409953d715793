"""Readers of published checkpoints, one module per system: from their pickles to weights of ours.

Pickles are read with `weights_only=True`: tensors and plain containers, no code.
"""
