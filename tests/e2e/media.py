"""Content parts of every kind, small enough to be asked about hundreds of times."""

import base64
from typing import Any

from tests.gateway.media_samples import data_url, picture, tone, video, wav

IMAGE = {"type": "image_url", "image_url": {"url": data_url(picture(size=(64, 48)), "image/png")}}
SOUND = {
    "type": "input_audio",
    "input_audio": {"data": base64.b64encode(wav(tone(1.0, 16_000), 16_000)).decode(), "format": "wav"},
}
VIDEO = {"type": "video_url", "video_url": {"url": data_url(video(2.0, sound_s=2.0), "video/mp4")}}
INPUTS: dict[str, list[dict[str, Any]]] = {
    "text": [],
    "image": [IMAGE],
    "sound": [SOUND],
    "video": [VIDEO],
    "all four": [IMAGE, SOUND, VIDEO],
}
