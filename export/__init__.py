"""DMDNet in PyTorch, and its export to the bundles that `runtime` opens."""
