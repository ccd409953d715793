"""From a face to motion, and from motion to a talking head. Knows no network."""
