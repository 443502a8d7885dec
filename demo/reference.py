"""transformers' own model on a checkpoint, loaded unchanged: what its `generate` writes and says.

One masked token stands before each prompt: where nothing is padded, transformers 5.23 drops the attention
mask before the talker's first step, and the talker adds the codec pad and start only where it has one.
"""

from pathlib import Path
from typing import Any

import torch
from tercet_wire.messages import TextPart, Turn
from transformers import Qwen2_5OmniForConditionalGeneration, Qwen2_5OmniProcessor

from demo.voice.synthesis import Wave


class Reference:
    def __init__(self, checkpoint: Path) -> None:
        # Any: transformers' model and processor classes are typed loosely.
        self._model: Any = Qwen2_5OmniForConditionalGeneration.from_pretrained(
            checkpoint, dtype=torch.float32
        ).eval()
        self._processor: Any = Qwen2_5OmniProcessor.from_pretrained(checkpoint)

    def speak(self, turn: Turn, voice: str) -> tuple[str, Wave]:
        """To a turn of text: the likeliest text, and its sound, 24 kHz in [-1, 1]."""
        chat = [
            {
                "role": message.role,
                "content": [
                    {"type": "text", "text": part.text}
                    for part in message.content
                    if isinstance(part, TextPart)
                ],
            }
            for message in turn.messages
        ]
        text = self._processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        inputs = self._processor(text=text, return_tensors="pt")
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        ids = torch.cat([ids[:, :1], ids], 1)
        mask = torch.cat([torch.zeros_like(mask[:, :1]), mask], 1)
        tokens, wave = self._model.generate(
            input_ids=ids, attention_mask=mask, speaker=voice, thinker_do_sample=False
        )
        said = tokens[:, ids.shape[1] :]
        return self._processor.batch_decode(said, skip_special_tokens=True)[0], wave.numpy()
