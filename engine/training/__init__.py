"""The training room: one loop for every generator, recipes that say what it does, and the losses they choose from."""
