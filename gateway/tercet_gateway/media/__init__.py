"""Pictures, sound and video of a request: fetched, decoded and bounded here, so that no stage sees a URL.

`reader.MediaReader` is the way in and `encode.encode_audio` the way out. Nothing in here knows a message or
a route.
"""
