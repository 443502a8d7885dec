"""What the three Triton adapters in `model_repo/` share: the only code that knows both Triton and a stage.

It runs inside Triton's Python backend, beside one stage. It knows tensors, sessions and response senders;
what a stage does with its inputs it must not know.
"""
