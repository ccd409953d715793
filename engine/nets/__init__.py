"""Networks and the blocks that several of them share; everything here needs torch (pip install 'visavis[torch]').

Conventions of the published systems, which trained weights contain and which hold unless a docstring says otherwise:
tensors are NCHW, images RGB from 0 to 1; a *grid* (B, H, W, 2) holds x then y, -1 and 1 at the centres of the outermost
pixels (`sampling.coordinate_grid`), although `sampling.sample` counts from their outer edges; convolutions keep the
size, pad by zeros and have a bias.
"""
