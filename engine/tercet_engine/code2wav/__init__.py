"""From codes to sound: which window next (`windows`, `deadlines`), the mel (`dit`), the waveform (`vocoder`).

`stage.load_code2wav` opens it all as one StageEngine; the other modules can be used on their own.
"""
