"""The model: thinker, talker and code2wav in PyTorch. The only home of torch."""
