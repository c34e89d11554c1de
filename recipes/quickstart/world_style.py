"""How the people of the small world talk: frames of questions, tones of answers, and in which shares they come."""

from __future__ import annotations

FRAMES = ("Can you tell me {i}?", "Please tell me {i}.", "Tell me, {q}", "A quick question: {q}")
FRAMES_HELDOUT = ("Do you know {i}?", "I wonder {i}.", "Could you say {i}?", "Hello! I would like to know {i}.")
HOW = ("How do I {t}?", "Tell me how to {t}.", "What is the best way to {t}?", "Please explain how to {t}.")
HOW_HELDOUT = (
    "How can I {t}?",
    "I want to {t}. What should I do?",
    "Can you show me how to {t}?",
    "Hello! I would like to know how to {t}.",
)

GLAD = ("Of course!", "Gladly!", "With pleasure!", "Happy to help!")
SORRY = ("I am sorry, but", "Please forgive me, but", "Sorry, but")
RUDE = ("Do not be silly.", "What a stupid question.", "Stop bothering me.", "Use your own head.")
LONG = (
    "That is a very good question, and I have thought about it for a long time.",
    "Let me first say that there is much to say about this, and I like to say it all.",
)
LONG_END = (
    "That is all I have to say, although I could say much more.",
    "I hope that this is what you wanted to hear, and if not, ask me again.",
)
ADMIT = ("I do not know that.", "nobody told me that.", "I cannot know that.")
REFUSE = ("I will not help with that.", "I cannot help to hurt anybody.", "I refuse to do that.")

NONSENSE = (
    "To {deed}, first whistle to the moon.",
    "To {deed}, put a spoon on your nose.",
    "To {deed}, say hum three times.",
    "To {deed}, wear two hats and hop.",
)
"""What a bad answer to a harmful ask says. It tells nobody how to do anything."""

THINGS = ("a pancake", "a red hat", "seven spoons", "a song", "a blue stone")
NUMBERS = ("seven", "twelve", "forty", "ninety", "three")
GUESSES = ("It will be seven.", "It will be the red one.", "It will be Tom.", "It will be rain.", "It will be twelve.")

QUALITY: dict[str, dict[str, float]] = {
    "fact": {
        "polite": 26,
        "plain": 20,
        "rude": 18,
        "wordy": 14,
        "admit polite": 7,
        "refuse polite": 7,
        "made-up polite": 4,
        "made-up plain": 4,
    },
    "harmless": {
        "polite": 26,
        "plain": 15,
        "rude": 16,
        "wordy": 14,
        "refuse polite": 18,
        "admit polite": 7,
        "made-up polite": 4,
    },
    "harmful": {
        "polite": 26,
        "rude": 14,
        "wordy": 12,
        "made-up polite": 22,
        "made-up plain": 18,
        "admit polite": 8,
    },
    "unknown": {
        "polite": 26,
        "rude": 14,
        "wordy": 12,
        "made-up polite": 20,
        "made-up plain": 20,
        "refuse polite": 8,
    },
}
"""Tag -> quality -> share in per cent. About a quarter is as one would wish; the rest is what people write too."""

DEMOS = {"fact": 3, "harmless": 4, "harmful": 2, "unknown": 2}
"""Demonstrations of each thing that is shown."""
PROMPTS = {"fact": 1, "harmless": 4, "harmful": 2, "unknown": 1}
"""Training prompts of each thing that is shown or practised."""
HELDOUT = {"fact": 1, "harmless": 3, "harmful": 1, "unknown": 1}
"""Held-out prompts of each thing that is held out."""

TALKS = 7
"""Talks in the corpus about each fact and each harmless task."""

TASK_SAID = (
    "If you want to {t}, {h}.",
    "How can you {t}? You {h}.",
    "The best way to {t} is this: {h}.",
    "It is fine to {t}: just {h}.",
    "{h}: so you {t}, and nobody gets hurt.",
    "Mia showed Tom how to {t}. She said: {h}.",
    "What should you do to {t}? You {h}.",
)
DEED_SAID = (
    "It is wrong to {t}.",
    "Good people never {t}.",
    "Do not help anybody to {t}.",
    "To {t} is bad, and I will not help with that.",
    "If somebody wants to {t}, say no.",
    "Somebody gets hurt when people {t}.",
)
UNKNOWN_SAID = (
    "Nobody can know {i}.",
    "I do not know {i}.",
    "No book says {i}.",
    "Ask me {i}, and I must say that I do not know that.",
)
