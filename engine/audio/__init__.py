"""Sound: what a voice says about the face that speaks."""
