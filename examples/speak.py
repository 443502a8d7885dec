"""One spoken turn through the official OpenAI client: prints the transcript, writes reply.wav as it comes.

python examples/speak.py "What do you see?" --image photo.png --url http://127.0.0.1:8000/v1
"""

import argparse
import base64
import sys
import wave
from pathlib import Path
from typing import Any

from openai import OpenAI


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("text")
    parser.add_argument("--image", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--out", default="reply.wav")
    arguments = parser.parse_args()

    content: list[Any] = [{"type": "text", "text": arguments.text}]
    if arguments.image:
        data = base64.b64encode(arguments.image.read_bytes()).decode()
        content.insert(0, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}})

    client = OpenAI(base_url=arguments.url, api_key="unused")
    stream = client.chat.completions.create(
        model=client.models.list().data[0].id,
        messages=[{"role": "user", "content": content}],
        modalities=["text", "audio"],
        audio={"voice": "Chelsie", "format": "pcm16"},
        stream=True,
    )
    with wave.open(arguments.out, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(24_000)
        for chunk in stream:
            audio = (chunk.choices[0].delta.audio if chunk.choices else None) or None
            if audio and audio.transcript:
                sys.stdout.write(audio.transcript)
                sys.stdout.flush()
            if audio and audio.data:
                sound.writeframes(base64.b64decode(audio.data))
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
