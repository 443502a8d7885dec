"""Questions about a picture, a sound or a video, and what the demo answers."""

from random import Random
from typing import Final

from demo.conversations import words
from demo.conversations.numbers import spell_number
from demo.conversations.scenes import Direction, Part, Picture, Sound, Video
from demo.conversations.texts import capitalised, with_article

Shown = tuple[str, tuple[Part, ...], str]
"""A topic, the user's parts, the reply."""

SPOKEN_WORDS: Final = (
    "yes no hello stop go left right up down cat dog house water green red blue music morning night thank "
    "sun moon"
).split()
_SEE: Final = (
    "What do you see?",
    "What is in the picture?",
    "What is this?",
    "Describe the picture.",
    "Tell me what you see.",
    "What can you see here?",
    "Look at this picture. What is it?",
    "",
)
_WHICH_COLOR: Final = (
    "What color is it?",
    "Which color do you see?",
    "What colour is this?",
    "Tell me the color.",
)
_WHICH_SHAPE: Final = (
    "Which shape is it?",
    "What shape do you see?",
    "What shape is this?",
    "Tell me the shape.",
)
_HOW_MANY: Final = (
    "How many shapes are there?",
    "How many do you see?",
    "Count the shapes.",
    "How many are there?",
)
_HEAR: Final = (
    "What do you hear?",
    "What is this sound?",
    "Tell me what you hear.",
    "What can you hear?",
    "Listen. What is it?",
    "What was that?",
    "",
)
_HAPPENS: Final = (
    "What happens?",
    "What happens in the video?",
    "What do you see?",
    "Describe the video.",
    "What is going on here?",
    "What moves?",
    "",
)
_WHERE: Final = (
    "Where does it move?",
    "Which way does it move?",
    "Where does it go?",
    "In which direction does it move?",
)


def show_picture(random: Random) -> Shown:
    color, shape = random.choice(words.COLORS), random.choice(words.SHAPES)
    count = random.choice([1, 1, 1, 2, 3])
    picture = Picture(color=color, shape=shape, count=count, seed=random.getrandbits(32))
    named = (
        with_article(f"{color} {shape}") if count == 1 else f"{spell_number(count)} {color} {_several(shape)}"
    )
    topic, questions, reply = random.choice(
        [
            ("picture", _SEE, f"I see {named}."),
            ("picture", _SEE, f"I see {named}."),
            ("picture's color", _WHICH_COLOR, f"It is {color}." if count == 1 else f"They are {color}."),
            (
                "picture's shape",
                _WHICH_SHAPE,
                f"It is {with_article(shape)}." if count == 1 else f"They are {_several(shape)}.",
            ),
            (
                "picture's count",
                _HOW_MANY,
                "There is one." if count == 1 else f"There are {spell_number(count)}.",
            ),
        ]
    )
    return topic, _with_question(random, picture, random.choice(questions)), reply


def play_sound(random: Random) -> Shown:
    seed = random.getrandbits(32)
    topic = random.choice(["digit", "digit", "digit", "word", "word", "beeps", "beeps", "tone", "noise"])
    match topic:
        case "digit":
            name = spell_number(random.randint(0, 10))
            sound, reply = Sound(kind="speech", what=name, seed=seed), f"I hear the number {name}."
        case "word":
            word = random.choice(SPOKEN_WORDS)
            sound, reply = Sound(kind="speech", what=word, seed=seed), f"I hear the word {word}."
        case "beeps":
            count = random.randint(1, 5)
            sound = Sound(kind="beeps", what=str(count), seed=seed)
            reply = f"I hear {spell_number(count)} {'beep' if count == 1 else 'beeps'}."
        case "tone":
            pitch = random.choice(["high", "low"])
            sound, reply = Sound(kind="tone", what=pitch, seed=seed), f"I hear a {pitch} tone."
        case _:
            sound, reply = Sound(kind="noise", what="", seed=seed), "I hear noise."
    return topic, _with_question(random, sound, random.choice(_HEAR)), reply


def show_video(random: Random) -> Shown:
    color, shape = random.choice(words.COLORS), random.choice(words.SHAPES)
    direction: Direction = random.choice(["left", "right", "up", "down"])
    way = words.DIRECTIONS[direction]
    questions, reply = random.choice(
        [
            (_HAPPENS, capitalised(f"{with_article(f'{color} {shape}')} moves {way}.")),
            (_HAPPENS, capitalised(f"{with_article(f'{color} {shape}')} moves {way}.")),
            (_WHERE, f"It moves {way}."),
            (_WHICH_COLOR, f"It is {color}."),
            (_WHICH_SHAPE, f"It is {with_article(shape)}."),
        ]
    )
    question = random.choice(questions)
    spoken = bool(question) and questions is not _HAPPENS and random.random() < 0.6
    video = Video(
        color=color,
        shape=shape,
        direction=direction,
        seed=random.getrandbits(32),
        question=question if spoken else "",
    )
    if spoken:
        return "spoken question", (video,), reply
    return "video", _with_question(random, video, question), reply


def list_spoken_texts() -> list[str]:
    """All that is ever spoken in a sound or a video."""
    numbers = [spell_number(number) for number in range(11)]
    return [*numbers, *SPOKEN_WORDS, *_WHERE, *_WHICH_COLOR, *_WHICH_SHAPE]


def _with_question(random: Random, part: Part, question: str) -> tuple[Part, ...]:
    if not question:
        return (part,)
    if random.random() < 0.15:
        question = question.lower()
    return (part, question) if random.random() < 0.7 else (question, part)


def _several(shape: str) -> str:
    return f"{shape}es" if shape.endswith("s") else f"{shape}s"
