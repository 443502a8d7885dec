"""Small random checkpoints with the shape of Qwen2.5-Omni, for tests, benchmarks and a first look.

`ensure_demo` is what callers want: it builds a demo once and returns its folder. The model's words mean
nothing, but every part works: text that ends, speech in proportion to it, two voices, pictures and sound.
"""

from tercet_engine.demo.build import build_demo, ensure_demo
from tercet_engine.demo.sizes import DemoName

__all__ = ["DemoName", "build_demo", "ensure_demo"]
