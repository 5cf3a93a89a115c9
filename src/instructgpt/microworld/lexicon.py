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
    """One concept: its bare words, and what stands before them in a sentence (article, measure)."""

    en: str
    zh: str
    article: str = ""
    measure: str = ""

    def bare(self, language: Language) -> str:
        """The word alone, as a one-word answer gives it."""
        return self.en if language == "en" else self.zh

    def phrase(self, language: Language) -> str:
        """The word as it stands inside a sentence."""
        before = f"{self.article} " if language == "en" and self.article else ""
        return before + self.en if language == "en" else self.measure + self.zh


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


# No two names share a Chinese character: with a small vocabulary such names become one token apart.
_WOMEN = _names(
    "she",
    "她",
    "Nora/诺拉 Emma/艾玛 Rosa/若珊 Jane/简妮 Cora/珂雅 Grace/葛瑞 Kate/凯特 Bella/贝娅 "
    "Vera/薇伦 Tina/蒂娜 Mia/米雪 Olga/欧佳 Ruth/露丝 Wendy/温迪 Sara/赛兰 Dora/朵黛",
)
_MEN = _names(
    "he",
    "他",
    "Hugo/雨果 Ben/班恩 Carl/卡尔 Ivan/伊万 Tom/托米 Bob/鲍勃 Jack/杰克 Leo/里奥 "
    "Adam/亚当 David/大卫 Frank/弗兰 Henry/亨利 Max/迈斯 Nick/尼恺 Peter/彼得 Sam/塞姆",
)
NAMES: tuple[Name, ...] = tuple(name for pair in zip(_WOMEN, _MEN, strict=True) for name in pair)


def _words(triples: str, article: str = "", measure: str = "") -> tuple[Word, ...]:
    """Parse `english/chinese[/measure]` entries; `a` becomes `an` before a vowel."""
    words = []
    for entry in triples.split():
        en, zh, *own = entry.split("/")
        own_article = "an" if article == "a" and en[0] in "aeiou" else article
        words.append(Word(en, zh, own_article, own[0] if own else measure))
    return tuple(words)


ATTRIBUTES: dict[str, tuple[Word, ...]] = {
    "city": _words(
        "Rome/罗马 Paris/巴黎 Tokyo/东京 Cairo/开罗 Seoul/首尔 Berlin/柏林 London/伦敦 Delhi/德里"
    ),
    "job": _words(
        "doctor/医生 teacher/老师 singer/歌手 driver/司机 farmer/农夫 painter/画家 "
        "cook/厨师 judge/法官",
        article="a",
    ),
    "pet": _words(
        "cat/猫/一只 dog/狗/一只 parrot/鹦鹉/一只 goat/山羊/一只 horse/马/一匹 duck/鸭子/一只 "
        "fish/鱼/一条 rabbit/兔子/一只",
        article="a",
    ),
    "food": _words("rice/米饭 soup/汤 bread/面包 cheese/奶酪 cake/蛋糕 eggs/鸡蛋 beans/豆子 pears/梨"),
}

OBJECTS = _words(
    "key/钥匙/一把 book/书/一本 hat/帽子/一顶 letter/信/一封 lamp/灯/一盏 coin/硬币/一枚 "
    "umbrella/伞/一把 watch/手表/一块",
    article="a",
)
PLACES = _words("garden/花园 market/市场 station/车站 park/公园 library/图书馆 school/学校", "the")
DAYS = _words("Monday/星期一 Tuesday/星期二 Wednesday/星期三 Thursday/星期四 Friday/星期五 Sunday/星期天")
# Past tense only; the Chinese verb carries its own aspect.
VERBS = _words("lost/丢了 found/找到了 bought/买了 sold/卖了 saw/看见了 drew/画了")
