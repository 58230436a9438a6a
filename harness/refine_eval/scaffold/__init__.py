"""How does a plugin begin? An installable package made from a template (`refine-eval plugins new`)."""
