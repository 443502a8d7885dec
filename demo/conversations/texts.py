"""Questions in text and what the demo answers: (question, reply) pairs, one function a topic.

A question comes in many forms, a reply in one: a small model cannot choose well.
"""

from collections.abc import Callable
from random import Random
from string import ascii_lowercase
from typing import Final

from demo.conversations import words
from demo.conversations.numbers import spell_number, spell_time

Exchange = tuple[str, str]

CANNOT_HELP: Final = "I am only a small demo, so I cannot help with that."
DO_NOT_KNOW: Final = "I am only a small demo, so I do not know that."
CANNOT_WRITE: Final = "I am only a small demo, so I cannot write that."


def capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def ask_sum(random: Random) -> Exchange:
    """Sums and differences of numbers up to ten, products of numbers up to five."""
    sign = random.choice(["plus", "plus", "minus", "times"])
    most = 5 if sign == "times" else 10
    one, other = random.randint(0, most), random.randint(0, most)
    if sign == "minus":
        one, other = max(one, other), min(one, other)
    result = {"plus": one + other, "minus": one - other, "times": one * other}[sign]
    reply = f"{spell_number(one)} {sign} {spell_number(other)} is {spell_number(result)}."
    return _ask_to_work_out(random, one, sign, other), capitalised(reply)


def _ask_to_work_out(random: Random, one: int, sign: str, other: int) -> str:
    mark = {"plus": "+", "minus": "-", "times": random.choice("*x")}[sign]
    gap = random.choice([" ", ""])
    written = random.choice(
        [
            f"{spell_number(one)} {sign} {spell_number(other)}",
            f"{one} {sign} {other}",
            f"{one}{gap}{mark}{gap}{other}",
        ]
    )
    form = random.choice(
        [
            "What is {}?",
            "What is {}",
            "How much is {}?",
            "{}",
            "{} is?",
            "Tell me {}.",
            "Can you work out {}?",
            "what's {}",
        ]
    )
    return form.format(written)


def ask_time(random: Random) -> Exchange:
    hour, minute = random.randint(1, 12), 5 * random.randrange(12)
    form = random.choice(
        [
            "The clock shows {}. What time is it?",
            "How do you say {}?",
            "Say the time {}.",
            "Read the clock: {}",
            "What time is {}?",
        ]
    )
    return form.format(f"{hour}:{minute:02}"), f"It is {spell_time(hour, minute)}."


def ask_opposite(random: Random) -> Exchange:
    word, other = random.choice(list(words.OPPOSITES.items()))
    form = random.choice(
        [
            "What is the opposite of {}?",
            "Opposite of {}?",
            "Tell me the opposite of {}.",
            "What's the opposite of {}",
        ]
    )
    return form.format(word), f"The opposite of {word} is {other}."


def ask_capital(random: Random) -> Exchange:
    country, capital = random.choice(list(words.CAPITALS.items()))
    form = random.choice(
        [
            "What is the capital of {}?",
            "Capital of {}?",
            "Name the capital of {}.",
            "Which city is the capital of {}?",
        ]
    )
    return form.format(country), f"The capital of {country} is {capital}."


def ask_next(random: Random) -> Exchange:
    names = random.choice([words.DAYS, words.MONTHS])
    at = random.randrange(len(names))
    if random.random() < 0.5:
        form = random.choice(["What comes after {}?", "What is after {}?", "Which one follows {}?"])
        return form.format(names[at]), f"After {names[at]} comes {names[(at + 1) % len(names)]}."
    form = random.choice(["What comes before {}?", "What is before {}?"])
    return form.format(names[at]), f"Before {names[at]} comes {names[at - 1]}."


def ask_colour(random: Random) -> Exchange:
    thing, colour = random.choice(list(words.COLOR_OF.items()))
    form = random.choice(
        ["What color is {}?", "What colour is {}?", "Which color does {} have?", "Tell me the color of {}."]
    )
    return form.format(thing), capitalised(f"{thing} is {colour}.")


def ask_animal(random: Random) -> Exchange:
    if random.random() < 0.5:
        animal, sound = random.choice(list(words.SOUND_OF.items()))
        form = random.choice(["What does {} say?", "Which sound does {} make?", "How does {} sound?"])
        return form.format(with_article(animal)), capitalised(f"{with_article(animal)} says {sound}.")
    animal, legs = random.choice(list(words.LEGS_OF.items()))
    form = random.choice(["How many legs does {} have?", "Count the legs of {}."])
    named = "no" if legs == 0 else spell_number(legs)
    return form.format(with_article(animal)), capitalised(f"{with_article(animal)} has {named} legs.")


def ask_spelling(random: Random) -> Exchange:
    word = random.choice([word for word in words.ALL if 2 <= len(word) <= 6])
    form = random.choice(
        ["Spell {}.", "How do you spell {}?", "Please spell the word {}.", "Can you spell {}?", "spell {}"]
    )
    return form.format(word), f"{capitalised(word)} is spelled {', '.join(word)}."


def ask_to_count(random: Random) -> Exchange:
    last = random.randint(2, 10)
    form = random.choice(
        ["Count to {}.", "Please count to {}.", "Can you count to {}?", "Count from one to {}."]
    )
    named = random.choice([spell_number(last), str(last)])
    return form.format(named), capitalised(
        ", ".join(spell_number(number) for number in range(1, last + 1)) + "."
    )


def ask_to_repeat(random: Random) -> Exchange:
    return _ask_to_say(random, random.choice([make_sentence, make_sentence, _mix_words])(random))


def ask_to_repeat_alike(random: Random) -> Exchange:
    """Words of which many begin alike: which one comes next, their first letters do not tell."""
    letters = random.sample(list(_BEGINNING), random.randint(1, 3))
    alike = [word for letter in letters for word in _BEGINNING[letter]]
    return _ask_to_say(random, " ".join(random.choice(alike) for _ in range(random.randint(3, 8))))


def _ask_to_say(random: Random, sentence: str) -> Exchange:
    form = random.choice(
        ["Repeat after me: {}", "Say after me: {}", "Repeat: {}", "Please repeat after me: {}", "Say: {}"]
    )
    if random.random() < 0.25:
        return form.format(f"{sentence}."), capitalised(f"{sentence}.")
    return form.format(random.choice([sentence, capitalised(sentence)])), capitalised(f"{sentence}.")


def make_sentence(random: Random) -> str:
    """A plain sentence, most of the time one that makes some sense."""
    pick = random.choice

    def noun() -> str:
        return pick([*words.ANIMALS, *words.THINGS, *words.PEOPLE])

    who = f"the {pick(words.ADJECTIVES)} {pick([*words.ANIMALS, *words.PEOPLE])}"
    return pick(
        [
            f"{who} {pick(words.VERBS)}",
            f"{who} {pick(words.VERBS)} the {noun()}",
            f"{who} {pick(words.VERBS)} {pick(words.ADVERBS)}",
            f"the {pick(words.COLORS)} {noun()} is in the {pick(words.PLACES)}",
            f"my {pick(words.PEOPLE)} has {spell_number(random.randint(2, 99))} coins and the {noun()}",
            f"{pick(words.NAMES)} and {pick(words.NAMES)} like the {pick(words.ADJECTIVES)} {noun()}",
            f"we go to the {pick(words.PLACES)} on {pick(words.DAYS)}",
            f"it is {pick(words.WEATHER)} and {pick(words.WEATHER)} in {pick(words.MONTHS)}",
            f"there is {with_article(pick(words.ADJECTIVES))} {noun()} near the {pick(words.PLACES)}",
            f"she {pick(words.VERBS)} {pick(words.ADVERBS)} and he {pick(words.VERBS)} the {noun()}",
            f"I live in {pick(list(words.CAPITALS))} with my {pick(words.PEOPLE)}",
            f"the {noun()} {pick(words.VERBS)} at {spell_time(pick(range(1, 13)), 5 * pick(range(12)))}",
        ]
    )


_ENOUGH: Final = 8
_BEGINNING: Final = {
    letter: some
    for letter, some in ((each, [word for word in words.ALL if word[0] == each]) for each in ascii_lowercase)
    if len(some) >= _ENOUGH
}
"""Words by their first letter, where there are so many."""


def _mix_words(random: Random) -> str:
    return " ".join(random.choice(words.ALL) for _ in range(random.randint(2, 8)))


_SMALL_TALK: Final = (
    (("Hello", "Hello!", "Hi", "Hi there", "Hey", "hello there", "Good day"), "Hello! How can I help you?"),
    (("Good morning", "Good morning!"), "Good morning to you!"),
    (("Good evening", "Good evening!"), "Good evening to you!"),
    (("Good night", "Good night!"), "Good night and sleep well!"),
    (
        ("How are you?", "How are you", "How do you do?", "How is it going?", "Are you well?"),
        "I am fine, thank you.",
    ),
    (
        ("What is your name?", "What's your name?", "Who are you?", "Tell me your name", "Your name?"),
        "My name is Tercet.",
    ),
    (
        ("What are you?", "What can you do?", "What do you know?", "Help", "Help me", "What can I ask you?"),
        "I am a small demo. I can count, spell, repeat, see shapes and hear sounds.",
    ),
    (("Thank you", "Thanks", "Thank you very much!", "Thanks a lot"), "You are welcome."),
    (("Goodbye", "Bye", "Bye bye", "See you later", "See you"), "Goodbye and see you soon!"),
    (
        ("Are you a robot?", "Are you human?", "Are you a person?", "Are you real?"),
        "I am a program that can talk.",
    ),
    (
        (
            "How is the weather?",
            "What is the weather like?",
            "Is it raining?",
            "Will it rain today?",
            "Is it cold outside?",
        ),
        "I cannot see outside, but I hope it is sunny.",
    ),
    (("Do you like music?", "Do you like songs?"), "Yes, I like every sound."),
    (("How old are you?", "When were you born?", "What is your age?"), "I am very young."),
    (("Where are you?", "Where do you live?"), "I live in your computer."),
    (("Can you hear me?", "Do you hear me?", "Are you there?"), "Yes, I can hear you."),
    (("I am happy", "I am happy today", "I feel good"), "That is good to hear."),
    (("I am sad", "I feel sad", "I am not well"), "I am sorry to hear that."),
    (("I am tired", "I want to sleep"), "Then you should rest."),
    (("Do you speak English?", "Which language do you speak?"), "Yes, I speak a little English."),
    (("Sorry", "I am sorry", "Excuse me"), "That is all right."),
    (("Yes", "No", "OK", "Fine", "Good"), "All right."),
)


def talk_small(random: Random) -> Exchange:
    questions, reply = random.choice(_SMALL_TALK)
    return random.choice(questions), reply


_UNKNOWN: Final = (
    (
        (
            "Write {a} about {b}",
            "Write me {a} about {b}.",
            "Make up {a} about {b}",
            "Compose {a} on {b}.",
            "Please write {a}",
        ),
        CANNOT_WRITE,
    ),
    (
        (
            "Why is the {n} {j}?",
            "Why does the {p} {w}?",
            "Who made the {n}?",
            "Who is the {p} of {c}?",
            "When did the {n} fall?",
            "Where is my {n}?",
            "Where can I buy {b}?",
            "How does {b} work?",
            "How far is {c}?",
            "How big is {c}?",
            "What is {b} made of?",
            "What happened in {c}?",
            "Who won the game in {c}?",
            "How do I cook {b}?",
            "What is the price of {b}?",
            "How many people live in {c}?",
            "Which {n} is the best?",
            "When is the next train to {c}?",
            "What do you think of {b}?",
            "What is the meaning of {j}?",
            "Why do we {w}?",
            "Who wrote the {n}?",
            "What is {b}?",
        ),
        DO_NOT_KNOW,
    ),
    (
        (
            "Translate {n} to {c}.",
            "Book a {n} for me",
            "Open the {n}",
            "Turn on the {n}",
            "Buy {b}",
            "Send {b} to my {p}",
            "Draw {b}",
            "Play {b}",
            "Explain {b} to me",
            "Give me {b}",
            "Remind me of {b}",
            "Find {b} in {c}",
            "Call my {p}",
            "My {p} has {b}",
            "I want to go to {c}",
            "The {n} is {j}",
            "Sing for my {p}",
            "Fix my {n}",
            "Show me {b}",
            "{j} {n}",
            "{n}",
        ),
        CANNOT_HELP,
    ),
)
_PIECES: Final = (
    "a poem",
    "a story",
    "a song",
    "an email",
    "a letter",
    "code",
    "a joke",
    "an essay",
    "a recipe",
    "a plan",
)


def ask_the_unknown(random: Random) -> Exchange:
    if random.random() < 0.1:
        return _ask_too_hard_a_sum(random), DO_NOT_KNOW
    forms, reply = random.choice(_UNKNOWN)
    pick = random.choice
    noun = pick([*words.THINGS, *words.ANIMALS])
    question = pick(forms).format(
        a=pick(_PIECES),
        b=pick([f"the {noun}", with_article(noun), f"{pick(words.ADJECTIVES)} {noun}s"]),
        c=pick(list(words.CAPITALS)),
        j=pick(words.ADJECTIVES),
        n=noun,
        p=pick(words.PEOPLE),
        w=pick(words.VERBS),
    )
    return question, reply


def _ask_too_hard_a_sum(random: Random) -> str:
    numbers = [random.randint(11, 99), random.randint(0, 99)]
    random.shuffle(numbers)
    return _ask_to_work_out(random, numbers[0], random.choice(["plus", "minus", "times"]), numbers[1])


TOPICS: Final[dict[str, tuple[Callable[[Random], Exchange], float]]] = {
    "arithmetic": (ask_sum, 4.0),
    "time": (ask_time, 1.5),
    "opposites": (ask_opposite, 1.2),
    "capitals": (ask_capital, 0.4),
    "order": (ask_next, 0.8),
    "colors": (ask_colour, 0.4),
    "animals": (ask_animal, 0.4),
    "spelling": (ask_spelling, 2.0),
    "counting": (ask_to_count, 0.6),
    "repeating": (ask_to_repeat, 4.0),
    "small talk": (talk_small, 1.0),
    "unknown": (ask_the_unknown, 1.5),
}
"""And how often each comes."""


def draw_exchange(random: Random) -> tuple[str, Exchange]:
    """A topic, then a question and its reply; the question's first letter and last mark vary."""
    names, weights = list(TOPICS), [weight for _, weight in TOPICS.values()]
    topic = random.choices(names, weights)[0]
    question, reply = TOPICS[topic][0](random)
    return topic, (_vary(random, question) if topic != "repeating" else question, reply)


def _vary(random: Random, question: str) -> str:
    fate = random.random()
    if fate < 0.15:
        return question.lower()
    if fate < 0.3:
        return question.rstrip("?.!")
    if fate < 0.35:
        return f"{question.rstrip('?.!')} please"
    return question
