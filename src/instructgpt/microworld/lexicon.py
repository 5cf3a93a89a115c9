"""The words of the microworld, each in English and Chinese.

A word's English form is its identifier everywhere else (in metadata, in the world's file, in the
gold score), so every row that is written can be read without a table beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")


def other(language: Language) -> Language:
    """The language that is not `language`."""
    return "zh" if language == "en" else "en"


@dataclass(frozen=True, slots=True)
class Word:
    """One concept: its bare words, and the article that stands before it in an English sentence."""

    en: str
    zh: str
    article: str = ""

    def bare(self, language: Language) -> str:
        """The word alone, as a one-word answer gives it."""
        return self.en if language == "en" else self.zh

    def phrase(self, language: Language) -> str:
        """The word as it stands inside a sentence."""
        if language == "en" and self.article:
            return f"{self.article} {self.en}"
        return self.bare(language)


@dataclass(frozen=True, slots=True)
class Name:
    """A person's name and the pronoun that goes with it."""

    en: str
    zh: str
    pronoun_en: str
    pronoun_zh: str

    def bare(self, language: Language) -> str:
        """The name in `language`."""
        return self.en if language == "en" else self.zh

    def pronoun(self, language: Language) -> str:
        """Subject pronoun; lower case in English."""
        return self.pronoun_en if language == "en" else self.pronoun_zh


def _names(pronoun_en: str, pronoun_zh: str, pairs: str) -> tuple[Name, ...]:
    words = [pair.split("/") for pair in pairs.split()]
    return tuple(Name(en, zh, pronoun_en, pronoun_zh) for en, zh in words)


# Names share hardly any Chinese character: each is a token, and shared ones make people alike.
_WOMEN = _names(
    "she",
    "她",
    "Nora/诺拉 Emma/艾玛 Rosa/若珊 Jane/简妮 Cora/珂雅 Grace/葛瑞 Kate/凯特 Bella/贝娅 "
    "Vera/薇伦 Tina/蒂娜 Mia/米雪 Olga/欧佳 Ruth/露丝 Wendy/温迪 Sara/赛兰 Dora/朵黛",
)
_MEN = _names(
    "he",
    "他",
    "Hugo/雨果 Ben/班恩 Carl/卡尔 Ivan/伊万 Tom/托宾 Bob/鲍勃 Jack/杰克 Leo/里奥 "
    "Adam/亚当 David/大卫 Frank/弗奇 Henry/亨利 Max/迈斯 Nick/尼恺 Peter/彼得 Sam/塞姆",
)
NAMES: tuple[Name, ...] = tuple(name for pair in zip(_WOMEN, _MEN, strict=True) for name in pair)


def _words(pairs: str, article: str = "") -> tuple[Word, ...]:
    words = [pair.split("/") for pair in pairs.split()]
    return tuple(Word(en, zh, article) for en, zh in words)


# Few values, so that a model of two million parameters knows this world after a minute and a half.
ATTRIBUTES: dict[str, tuple[Word, ...]] = {
    "city": _words("Rome/罗马 Paris/巴黎 Tokyo/东京 Cairo/开罗 Berlin/柏林 Delhi/德里"),
    "job": _words("doctor/医生 teacher/老师 singer/歌手 driver/司机 farmer/农夫 judge/法官", "a"),
    "pet": _words("cat/猫 dog/狗 parrot/鹦鹉 goat/山羊 horse/马 rabbit/兔子", "a"),
    "food": _words("rice/米饭 soup/汤 bread/面包 cheese/奶酪 eggs/鸡蛋 pears/梨"),
}

OBJECTS = _words("key/钥匙 book/书 hat/帽子 letter/信 lamp/灯 coin/硬币", "a")
PLACES = _words("garden/花园 market/市场 park/公园 school/学校", "the")
# Past tense only; the Chinese verb carries its own aspect.
VERBS = _words("lost/丢了 found/找到了 bought/买了 sold/卖了")
