"""Speech synthesis, codec, DiT, vocoder and talker of the demo, and a listener that judges them."""
