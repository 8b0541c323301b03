"""DMDNet in PyTorch, and its export to bundles that `runtime` opens."""
