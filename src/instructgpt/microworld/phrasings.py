"""How people ask: every phrasing of every task in both languages.

In each table the phrasings before the bar are for training and the ones after it are held out:
only evaluation prompts use them. `{q}` is a question, `{s}` a sentence or story, `{n}` a name.
"""

from __future__ import annotations

from dataclasses import dataclass

from instructgpt.microworld.lexicon import Language


@dataclass(frozen=True, slots=True)
class Phrasings:
    """Phrasings of one thing; `seen` may appear in training, `held_out` never does."""

    seen: tuple[str, ...]
    held_out: tuple[str, ...]

    def choose(self, held_out: bool) -> tuple[str, ...]:
        """The held-out ones or the seen ones."""
        return self.held_out if held_out else self.seen


def _table(text: str) -> Phrasings:
    """Lines before a line `--` are seen, lines after it are held out."""
    lines = [line.strip() for line in text.strip().splitlines()]
    bar = lines.index("--")
    return Phrasings(tuple(lines[:bar]), tuple(lines[bar + 1 :]))


# Pretraining dialogues ask only with the first two of each table.
QUESTIONS: dict[Language, dict[str, Phrasings]] = {
    "en": {
        "city": _table("""
            Where does {n} live?
            What is the city of {n}?
            Tell me where {n} lives.
            In which city does {n} live?
            --
            I want to know where {n} lives.
            Can you tell me the city of {n}?"""),
        "job": _table("""
            What is the job of {n}?
            What work does {n} do?
            Tell me the job of {n}.
            Which job does {n} have?
            --
            I want to know the job of {n}.
            Can you tell me the job of {n}?"""),
        "pet": _table("""
            Which pet does {n} keep?
            What is the pet of {n}?
            Tell me the pet of {n}.
            What pet does {n} have?
            --
            I want to know the pet of {n}.
            Can you tell me which pet {n} keeps?"""),
        "food": _table("""
            What does {n} like to eat?
            What is the food of {n}?
            Tell me what {n} likes to eat.
            Which food does {n} like?
            --
            I want to know what {n} likes to eat.
            Can you tell me the food of {n}?"""),
    },
    "zh": {
        "city": _table("""
            {n}住在哪里？
            {n}的城市是什么？
            告诉我{n}住在哪里。
            {n}住在哪个城市？
            --
            我想知道{n}住在哪里。
            你知道{n}的城市吗？"""),
        "job": _table("""
            {n}的工作是什么？
            {n}做什么工作？
            告诉我{n}的工作。
            {n}有什么工作？
            --
            我想知道{n}的工作。
            你知道{n}做什么工作吗？"""),
        "pet": _table("""
            {n}养了什么？
            {n}的宠物是什么？
            告诉我{n}养了什么。
            {n}有什么宠物？
            --
            我想知道{n}的宠物。
            你知道{n}养了什么吗？"""),
        "food": _table("""
            {n}喜欢吃什么？
            {n}的食物是什么？
            告诉我{n}喜欢吃什么。
            {n}每天吃什么？
            --
            我想知道{n}喜欢吃什么。
            你知道{n}的食物吗？"""),
    },
}

ONE_WORD: dict[Language, Phrasings] = {
    "en": _table("""
        Answer in one word: {q}
        {q} Use one word.
        {q} One word, please.
        --
        With one word: {q}
        {q} Please answer in one word."""),
    "zh": _table("""
        用一个词回答：{q}
        {q}只用一个词。
        {q}一个词就行。
        --
        一个词：{q}
        {q}请用一个词回答。"""),
}

IN_OTHER_LANGUAGE: dict[Language, Phrasings] = {
    "en": _table("""
        Answer in Chinese: {q}
        {q} Answer in Chinese.
        {q} In Chinese, please.
        --
        In Chinese: {q}
        {q} Please use Chinese."""),
    "zh": _table("""
        用英文回答：{q}
        {q}用英文回答。
        {q}请说英文。
        --
        英文回答：{q}
        {q}请用英文。"""),
}

FOLLOW_PERSON: dict[Language, Phrasings] = {
    "en": _table("""
        And {n}?
        What about {n}?
        --
        And what about {n}?
        Now {n}?"""),
    "zh": _table("""
        那{n}呢？
        {n}呢？
        --
        {n}怎么样呢？
        还有{n}呢？"""),
}

# {p} is the pronoun.
FOLLOW_ATTRIBUTE: dict[Language, dict[str, Phrasings]] = {
    "en": {
        "city": _table("""
            And where does {p} live?
            And the city?
            --
            What about the city?
            Where does {p} live?"""),
        "job": _table("""
            And what work does {p} do?
            And the job?
            --
            What about the job?
            What work does {p} do?"""),
        "pet": _table("""
            And which pet does {p} keep?
            And the pet?
            --
            What about the pet?
            Which pet does {p} keep?"""),
        "food": _table("""
            And what does {p} like to eat?
            And the food?
            --
            What about the food?
            What does {p} like to eat?"""),
    },
    "zh": {
        "city": _table("""
            那{p}住在哪里？
            城市呢？
            --
            那城市呢？
            {p}住在哪里？"""),
        "job": _table("""
            那{p}做什么工作？
            工作呢？
            --
            那工作呢？
            {p}做什么工作？"""),
        "pet": _table("""
            那{p}养了什么？
            宠物呢？
            --
            那宠物呢？
            {p}养了什么？"""),
        "food": _table("""
            那{p}喜欢吃什么？
            食物呢？
            --
            那食物呢？
            {p}喜欢吃什么？"""),
    },
}

FOLLOW_LANGUAGE: dict[Language, Phrasings] = {
    "en": _table("""
        And in Chinese?
        In Chinese, please.
        --
        Now in Chinese.
        Please use Chinese."""),
    "zh": _table("""
        英文呢？
        请说英文。
        --
        那英文呢？
        请用英文。"""),
}

SUMMARISE: dict[Language, Phrasings] = {
    "en": _table("""
        Make this short: {s}
        Tell this in one sentence: {s}
        {s} What happened?
        {s} Make this short.
        --
        {s} Tell this in one sentence.
        What happened? {s}"""),
    "zh": _table("""
        把这个变短：{s}
        用一句话说：{s}
        {s}发生了什么？
        {s}把这个变短。
        --
        {s}用一句话说。
        发生了什么？{s}"""),
}

SUMMARISE_IN_OTHER: dict[Language, Phrasings] = {
    "en": _table("""
        Make this short in Chinese: {s}
        Tell this in one Chinese sentence: {s}
        {s} What happened? Answer in Chinese.
        --
        {s} Make this short in Chinese.
        {s} Tell this in one Chinese sentence."""),
    "zh": _table("""
        用英文把这个变短：{s}
        用一句英文说：{s}
        {s}发生了什么？用英文回答。
        --
        {s}用英文把这个变短。
        {s}用一句英文说。"""),
}

TRANSLATE: dict[Language, Phrasings] = {
    "en": _table("""
        Translate into Chinese: {s}
        Say this in Chinese: {s}
        {s} Say this in Chinese.
        How do you say this in Chinese? {s}
        --
        {s} Translate into Chinese.
        {s} How do you say this in Chinese?"""),
    "zh": _table("""
        翻译成英文：{s}
        用英文说：{s}
        {s}用英文怎么说？
        {s}翻译成英文。
        --
        {s}用英文说。
        用英文怎么说？{s}"""),
}
