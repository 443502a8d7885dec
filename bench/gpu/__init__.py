"""`python -m bench.gpu`: the engine on a CUDA machine, in the published shapes."""
