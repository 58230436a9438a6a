"""Where do the data come from? Samples, labels by rollouts, and the folders that hold them."""
