"""MimicMotion in PyTorch: poses, guidance, networks, sampling. Knows nothing of Ray, jobs or storage layout."""
