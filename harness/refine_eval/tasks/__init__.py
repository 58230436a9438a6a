"""Who grades? lm-eval's tasks, metrics and models; the only room that imports lm_eval."""
