"""The decoder that thinker and talker share: network, paged memory, scheduling, choice of tokens."""
