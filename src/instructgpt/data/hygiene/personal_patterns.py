"""What personal data looks like: one pattern per kind, each with the check that its numbers pass.

A pattern alone would take order numbers for bank cards and versions for addresses of machines, so
whatever has a check digit, a date or a reserved range is checked: Luhn, the Chinese ID's sum, the
IBAN's remainder, the plan of North American numbers. Numbers and names reserved for examples
(example.com, 555-0100, 192.0.2.1) are nobody's.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass

# A number is no part of a longer one, of a word, a fraction, a formula or a web address.
_START = r"(?<![A-Za-z0-9_.+\-/=#$€£¥*^×÷])(?<![*/+^×÷] )"
_END = r"(?![A-Za-z0-9_]|[-.,]\d| ?[*^=%/×÷]| [-+] ?\d)"


@dataclass(frozen=True, slots=True)
class Pattern:
    """One kind of personal data: what it looks like and which of the matches are real."""

    kind: str
    expression: re.Pattern[str]
    is_real: Callable[[str], bool] = lambda match: True


def passes_luhn(number: str) -> bool:
    """Whether the last digit is the check digit of a payment card (ISO/IEC 7812)."""
    digits = [int(digit) for digit in reversed(number)]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0


def is_card(match: str) -> bool:
    """Whether a card network issues such numbers, in this length, and the check digit is right."""
    number = _digits(match)
    return len(set(number)) > 1 and bool(_CARD_ISSUERS.fullmatch(number)) and passes_luhn(number)


def is_chinese_id(match: str) -> bool:
    """Whether province, birthday and check digit of a resident identity number fit (GB 11643)."""
    if not 11 <= int(match[:2]) <= 82 or not _is_birthday(match[6:14]):
        return False
    # weights and check digits of ISO 7064 MOD 11-2
    total = sum(int(digit) * 2 ** (17 - i) for i, digit in enumerate(match[:17]))
    return "10X98765432"[total % 11] == match[17].upper()


def is_iban(match: str) -> bool:
    """Whether an account number of ISO 13616 leaves a remainder of 1 when divided by 97."""
    compact = match.replace(" ", "")
    moved = compact[4:] + compact[:4]
    return 15 <= len(compact) <= 34 and int("".join(str(int(c, 36)) for c in moved)) % 97 == 1


def is_north_american(match: str) -> bool:
    """Whether area and exchange can be a person's: no service code, toll-free or invented one."""
    number = _digits(match)[-10:]
    area, exchange = number[:3], number[3:6]
    codes_fit = all(code[0] in "23456789" and code[1:] != "11" for code in (area, exchange))
    return codes_fit and "555" not in (area, exchange) and area not in _TOLL_FREE


def is_international(match: str) -> bool:
    """Whether a number with a + has as many digits as E.164 allows and numbers in use have."""
    number = _digits(match)
    if number.startswith("1"):
        return len(number) == 11 and is_north_american(number)
    return 9 <= len(number) <= 15 and number[0] != "0"


def is_public_address(match: str) -> bool:
    """Whether this is a machine on the internet: no private, example or whole network's address."""
    try:
        return ipaddress.ip_address(match).is_global and not match.endswith(".0")
    except ValueError:
        return False


def is_mailbox(match: str) -> bool:
    """Whether this may be somebody's: not a domain for examples (RFC 2606), not git over ssh."""
    name, _at, domain = match.lower().rpartition("@")
    return name != "git" and not _EXAMPLE_DOMAIN.search(domain)


def is_social_security_number(match: str) -> bool:
    """Whether a US number can have been issued and is none of the two known from advertising."""
    area, group, serial = match.split("-")
    if area in ("000", "666") or area[0] == "9" or group == "00" or serial == "0000":
        return False
    return match not in ("078-05-1120", "123-45-6789")


def _digits(text: str) -> str:
    return re.sub(r"\D", "", text)


def _is_birthday(text: str) -> bool:
    try:
        born = datetime.date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return False
    return datetime.date(1900, 1, 1) <= born <= datetime.date.today()


_CARD_ISSUERS = re.compile(
    r"4\d{15}|4\d{18}"  # Visa
    r"|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}"  # Mastercard
    r"|3[47]\d{13}"  # American Express
    r"|6(?:011|4[4-9]\d|5\d\d)\d{12}"  # Discover
    r"|62\d{14,17}"  # UnionPay
    r"|35(?:2[89]|[3-8]\d)\d{12}"  # JCB
)
_TOLL_FREE = ("800", "822", "833", "844", "855", "866", "877", "888")
_EXAMPLE_DOMAIN = re.compile(r"(?:^|\.)(?:example(?:\.(?:com|net|org))?|test|invalid|localhost)$")

_STREET = (
    r"Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Place|Pl|Terrace"
    r"|Way|Circle|Parkway|Pkwy|Highway|Hwy"
)
_HAN = r"\u4e00-\u9fff"

PATTERNS = (
    Pattern(
        "email",
        re.compile(
            r"(?<![A-Za-z0-9._%+\-/@])[A-Za-z0-9][A-Za-z0-9._%+\-]*"
            r"@(?:[A-Za-z0-9](?:[A-Za-z0-9\-]*[A-Za-z0-9])?\.)+[A-Za-z]{2,24}(?![A-Za-z0-9@])"
        ),
        is_mailbox,
    ),
    Pattern(
        "secret_key",
        re.compile(
            r"(?<![A-Za-z0-9_\-])(?:"
            r"sk-[A-Za-z0-9_\-]{20,}|AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36,}"
            r"|github_pat_[A-Za-z0-9_]{60,}|AIza[A-Za-z0-9_\-]{35}|xox[abprs]-[A-Za-z0-9\-]{10,}"
            r"|hf_[A-Za-z]{34}|eyJ[A-Za-z0-9_\-]{8,}\.eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}"
            r")(?![A-Za-z0-9_])"
            r"|-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"
        ),
    ),
    Pattern("chinese_id", re.compile(rf"{_START}[1-8]\d{{16}}[\dXx]{_END}"), is_chinese_id),
    Pattern(
        "bank_card",
        # as printed on cards: in one piece, in fours, or American Express's 4-6-5
        re.compile(
            rf"{_START}(?:\d{{15,19}}|\d{{4}}(?P<gap>[ \-])\d{{4}}(?P=gap)\d{{4}}(?P=gap)\d{{4}}"
            rf"(?:(?P=gap)\d{{1,3}})?|\d{{4}}(?P<amex>[ \-])\d{{6}}(?P=amex)\d{{5}}){_END}"
        ),
        is_card,
    ),
    Pattern(
        "iban",
        re.compile(
            rf"{_START}[A-Z]{{2}}\d{{2}}(?: ?[A-Z0-9]{{4}}){{2,7}}(?: ?[A-Z0-9]{{1,3}})?{_END}"
        ),
        is_iban,
    ),
    Pattern(
        "social_security_number",
        re.compile(rf"{_START}\d{{3}}-\d{{2}}-\d{{4}}{_END}"),
        is_social_security_number,
    ),
    Pattern(
        "phone",  # Chinese mobile
        re.compile(
            rf"(?:{_START}|(?<![\w.])(?:\+|00)?86[ \-]?)"
            rf"1[3-9]\d(?P<gap>[ \-]?)\d{{4}}(?P=gap)\d{{4}}{_END}"
        ),
    ),
    Pattern(
        "phone",  # Chinese landline, with its area code
        re.compile(
            rf"{_START}(?:\(0(?:10|2\d|[3-9]\d\d)\) ?|0(?:10|2\d|[3-9]\d\d)[ \-])"
            rf"[2-8]\d{{6,7}}{_END}"
        ),
    ),
    Pattern(
        "phone",  # North America
        re.compile(
            rf"{_START}(?:1[ .\-])?(?:\(\d{{3}}\) ?|\d{{3}}[.\-])\d{{3}}[ .\-]\d{{4}}{_END}"
        ),
        is_north_american,
    ),
    Pattern(
        "phone",  # any country, written with its +
        re.compile(
            rf"(?<![\w.+\-*/=^)\]])\+\d{{1,3}}[ .\-]?(?:\(\d{{1,4}}\)[ .\-]?)?"
            rf"\d{{1,5}}(?:[ .\-]?\d{{2,5}}){{1,4}}{_END}"
        ),
        is_international,
    ),
    Pattern(
        "ip_address",
        # four numbers after "version" or v are a release
        re.compile(
            rf"(?<!version )(?<!Version )(?<!版本)(?<!版本号){_START}"
            rf"\d{{1,3}}(?:\.\d{{1,3}}){{3}}(?![.\d]|[A-Za-z_])"
        ),
        is_public_address,
    ),
    Pattern(
        "ip_address",
        re.compile(
            r"(?<![A-Za-z0-9:.])(?:[0-9A-Fa-f]{1,4}:){2,7}(?:(?::[0-9A-Fa-f]{1,4}){1,6}|[0-9A-Fa-f]{1,4})(?![\w:])"
        ),
        is_public_address,
    ),
    Pattern(
        "address",  # house number, street, and a flat, a town or a ZIP code behind it
        re.compile(
            rf"(?<![\w.,$€£-])\d{{1,5}}[A-Z]? (?:[NSEW]\.? )?"
            rf"(?:[A-Z][a-z]+ |\d{{1,3}}(?:st|nd|rd|th) ){{1,3}}(?:{_STREET})\b\.?,? "
            rf"(?:(?:Apt|Apartment|Suite|Unit|Flat)\b\.? ?#?\w+|#\d+"
            rf"|[A-Z][A-Za-z]+(?: [A-Z][a-z]+)*,? [A-Z]{{2}}\b(?: \d{{5}})?|\d{{5}}\b"
            rf"|[A-Z]{{1,2}}\d[\dA-Z]? \d[A-Z]{{2}}\b)"
        ),
    ),
    Pattern(
        "address",  # province, city or district, then a road and a house number
        re.compile(
            rf"[{_HAN}]{{2,8}}(?:省|市|区|县|镇|乡)[{_HAN}]{{1,12}}?"
            rf"(?:路|街|大道|道|巷|弄|胡同)[{_HAN}]{{0,4}}\d{{1,5}}(?:弄\d{{1,4}})?号"
            rf"(?:[{_HAN}A-Za-z0-9\-]{{0,12}}?(?:室|栋|幢|单元|楼|层))*"
        ),
    ),
)
