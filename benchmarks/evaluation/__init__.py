"""How good generators are, on clips that they were not made with: what `visavis evaluate` runs.

`clips` reads test clips with their landmarks, `contenders` are what is compared (generators, the still source, a flat
warp), `metrics` measures rendered frames, `same_identity` and `cross_identity` are the two protocols, `figures` makes
means and counts of them, `sheets` pictures, `report` the page.
"""
