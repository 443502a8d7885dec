"""Small checkpoints with the shape of Qwen2.5-Omni, for a first look, tests and benchmarks.

`ensure_demo` is what callers want: it returns a demo's folder. `tercet` is trained and talks; it comes with the
package. `tiny` and `bench` are random and built once: their words mean nothing, but every part works: text that
ends, speech in proportion to it, two voices, pictures and sound.
"""

from tercet_engine.demo.build import DemoName, build_demo, ensure_demo
from tercet_engine.demo.sizes import RandomName

__all__ = ["DemoName", "RandomName", "build_demo", "ensure_demo"]
