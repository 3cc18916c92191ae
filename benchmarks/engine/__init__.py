"""How fast the engine draws, against the floor of its own products and against diffusers."""
