"""Small checkpoints with the shape of Qwen2.5-Omni: `tercet` was trained and talks (docs/demo-model.md),
`tiny` and `bench` are random, for tests and benchmarks.

`ensure_demo` is what callers want: the folder of a demo. A random one is built once; its words mean
nothing, but every part works: text that ends, speech in proportion to it, two voices, pictures and sound.
"""

from tercet_engine.demo.build import DemoName, build_demo, ensure_demo

__all__ = ["DemoName", "build_demo", "ensure_demo"]
