"""How do several copies write as one? Any engine as Ray actors: the cluster, the pool that feeds them, the engine."""
