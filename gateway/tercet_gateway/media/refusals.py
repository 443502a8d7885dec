"""Why a media part is not read, before it is known which field of the request it stood in.

Raised by everything in `media`, also from worker threads; `reader` adds the field's name and raises the
RequestError that the caller sees. The texts hold nothing of the media's own words, nor of a library's.
"""

from typing import Literal

from tercet_gateway.errors import RequestError

RefusalCode = Literal[
    "content_too_large",
    "invalid_audio",
    "invalid_base64",
    "invalid_image",
    "invalid_url",
    "invalid_video",
    "media_unavailable",
    "url_not_allowed",
]


class MediaError(Exception):
    def __init__(self, message: str, code: RefusalCode) -> None:
        super().__init__(message)
        self.message = message
        self.code: RefusalCode = code

    def at(self, param: str) -> RequestError:
        """The same, as the caller of the API sees it."""
        status = 413 if self.code == "content_too_large" else 400
        return RequestError(self.message, status=status, code=self.code, param=param)


def too_large(message: str) -> MediaError:
    return MediaError(message, "content_too_large")
