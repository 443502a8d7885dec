"""`python -m bench.engine`: the engine on a CUDA machine, in the published shapes."""
