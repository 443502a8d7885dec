"""A demo model that knows nothing yet, laid out as the trained one, and a pool of words nobody spoke."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tercet_engine.demo.vocabulary import SPEAKERS
from tercet_engine.demo.weights import build_speakers
from torch import nn
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import (
    Qwen2_5OmniTalkerForConditionalGeneration,
    Qwen2_5OmniToken2WavBigVGANModel,
    Qwen2_5OmniToken2WavDiTModel,
)

from demo.assembling import assemble
from demo.conversations.shown import list_spoken_texts
from demo.media.sounds import RATE_HZ, SpokenPool
from demo.size import SIZE, build_demo_config
from demo.thinker.model import ThinkerNet


@pytest.fixture(scope="session")
def pool(tmp_path_factory: pytest.TempPathFactory) -> SpokenPool:
    """Each text is a tone of its own."""
    folder = tmp_path_factory.mktemp("spoken")
    texts = list_spoken_texts()
    time = np.arange(RATE_HZ // 2) / RATE_HZ
    waves = [(9000 * np.sin(2 * np.pi * (200 + 20 * i) * time)).astype(np.int16) for i in range(len(texts))]
    starts = np.arange(len(texts) + 1) * len(time)
    np.savez(folder / "spoken.npz", waves=np.concatenate(waves), starts=starts, texts=np.array(texts))
    return SpokenPool(folder)


@pytest.fixture(scope="session")
def thinker() -> Any:
    torch.manual_seed(1)
    net = ThinkerNet(build_demo_config().thinker_config).eval()
    nn.init.normal_(net.lm_head.weight, std=0.3)  # so that tokens differ clearly
    return _round(net)


@pytest.fixture(scope="session")
def talker() -> Any:
    torch.manual_seed(2)
    config = build_demo_config().talker_config
    net = Qwen2_5OmniTalkerForConditionalGeneration._from_config(config, attn_implementation="sdpa").eval()
    nn.init.normal_(net.codec_head.weight, std=0.3)
    nn.init.normal_(net.model.embed_tokens.weight, std=0.5)
    return _round(net)


@pytest.fixture(scope="session")
def checkpoint(
    thinker: Any,
    talker: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    config = build_demo_config()
    parts = {
        "thinker": thinker.state_dict(),
        "talker": talker.state_dict(),
        "dit": Qwen2_5OmniToken2WavDiTModel(config.token2wav_config.dit_config).state_dict(),
        "vocoder": Qwen2_5OmniToken2WavBigVGANModel(config.token2wav_config.bigvgan_config).state_dict(),
    }
    folder = tmp_path_factory.mktemp("demo") / "checkpoint"
    assemble(config, parts, build_speakers(SIZE, SPEAKERS), folder)
    return folder


def _round(net: Any) -> Any:
    """As a checkpoint holds it."""
    return net.half().float()
