"""vLLM's decode rate on a CPU; `decoder` runs this file with the interpreter of vLLM's own environment.

`python vllm_decode.py FOLDER DTYPE ROUNDS SHORT LONG TURNS...` prints a JSON list of {turns: tokens a
second}, one for each round. Imports nothing of this repository, which that environment does not have.
"""

import json
import os
import sys
import time


def main() -> None:
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    from vllm import LLM, SamplingParams, TokensPrompt  # type: ignore[import-not-found]

    folder, dtype, rounds, short, long, *turns = sys.argv[1:]
    model = LLM(
        model=folder,
        skip_tokenizer_init=True,
        dtype=dtype,
        max_model_len=1024,
        max_num_seqs=64,
        enable_prefix_caching=False,
    )

    def take_s(count: int, tokens: int) -> float:
        prompts = [
            TokensPrompt(prompt_token_ids=[(7 * at + turn) % 20_000 + 100 for at in range(112)])
            for turn in range(count)
        ]
        sampling = SamplingParams(temperature=0.0, max_tokens=tokens, ignore_eos=True, detokenize=False)
        began = time.perf_counter()
        model.generate(prompts, sampling, use_tqdm=False)
        return time.perf_counter() - began

    def rate(count: int) -> float:
        spent_s = take_s(count, int(short))
        return count * (int(long) - int(short)) / (take_s(count, int(long)) - spent_s)

    counts = [int(count) for count in turns]
    for count in counts:
        take_s(count, int(short))
    print(json.dumps([{count: rate(count) for count in counts} for _ in range(int(rounds))]))


if __name__ == "__main__":
    main()
