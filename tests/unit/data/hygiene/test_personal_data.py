"""Personal data is found, and the numbers of cooks, mathematicians and librarians are not it.

Numbers that must be found are published test numbers of card networks, worked examples of the
standards, or made to pass their check by hand; none belongs to a person.
"""

from __future__ import annotations

import time

import pytest

from instructgpt.data.hygiene.personal_data import (
    find_personal_data,
    mask,
    mask_record,
    obscure,
    personal_data_in,
)
from instructgpt.data.hygiene.personal_patterns import is_chinese_id, passes_luhn
from instructgpt.data.records import Demonstration, Document, Message, Prompt, Ranking


@pytest.mark.parametrize(
    ("text", "kind", "found"),
    [
        ("Write to jane.doe+x@mail.acme.co.uk, please", "email", "jane.doe+x@mail.acme.co.uk"),
        ("邮箱是li_wei@qq.com。", "email", "li_wei@qq.com"),
        ("ｌｉ＠qq.com 还是 li＠qq.com？", "email", "li＠qq.com"),
        ("我的电话13812345678，谢谢", "phone", "13812345678"),
        ("手机：138-1234-5678", "phone", "138-1234-5678"),
        ("１３８１２３４５６７８", "phone", "１３８１２３４５６７８"),
        ("ring +86 138 1234 5678.", "phone", "+86 138 1234 5678"),
        ("座机010-62345678", "phone", "010-62345678"),
        ("座机(0571) 8765432", "phone", "(0571) 8765432"),
        ("Call (212) 736-5000 now", "phone", "(212) 736-5000"),
        ("Call 212.736.5000", "phone", "212.736.5000"),
        ("tel:+442079460000 x", "phone", "+442079460000"),
        ("+49 30 901820", "phone", "+49 30 901820"),
        # the worked example of GB 11643
        ("身份证11010519491231002X。", "chinese_id", "11010519491231002X"),
        ("Visa 4111 1111 1111 1111 ok", "bank_card", "4111 1111 1111 1111"),
        ("5555-5555-5555-4444", "bank_card", "5555-5555-5555-4444"),
        ("378282246310005", "bank_card", "378282246310005"),
        ("卡号6250941006528599", "bank_card", "6250941006528599"),
        # the example of the IBAN registry
        ("pay to GB82 WEST 1234 5698 7654 32", "iban", "GB82 WEST 1234 5698 7654 32"),
        ("SSN 219-09-9998", "social_security_number", "219-09-9998"),
        ("server 93.184.216.34 is up", "ip_address", "93.184.216.34"),
        ("at 2606:2800:220:1:248:1893:25c8:1946", "ip_address", None),
        ("2001:4860:4860::8888", "ip_address", "2001:4860:4860::8888"),
        ("key sk-abcdefghijklmnopqrstuvwx1234", "secret_key", "sk-abcdefghijklmnopqrstuvwx1234"),
        ("AKIAABCDEFGHIJKLMNOP", "secret_key", "AKIAABCDEFGHIJKLMNOP"),
        ("-----BEGIN RSA PRIVATE KEY-----", "secret_key", "-----BEGIN RSA PRIVATE KEY-----"),
        (
            "He lives at 12 Rose Garden Street, Salem, OR 97301 now",
            "address",
            "12 Rose Garden Street, Salem, OR 97301",
        ),
        ("at 7 Elm St. Apt 4B, ok", "address", "7 Elm St. Apt 4B"),
        ("住在杭州市西湖区文三路123号4栋502室。", "address", None),
    ],
)
def test_is_found(text: str, kind: str, found: str | None) -> None:
    matches = find_personal_data(text)
    assert [one.kind for one in matches] == [kind]
    matched = text[matches[0].start : matches[0].end]
    assert found is None or matched == found
    assert mask(text) == text.replace(matched, f"[{kind}]")
    assert find_personal_data(mask(text)) == []


@pytest.mark.parametrize(
    "text",
    [
        "Mix 250 g flour, 1500 ml water and 2-3 eggs; bake 25-30 min at 180-200 degrees.",
        "配料：面粉250克，水1500毫升，盐3-5克，180度烤25分钟",
        "3.14159265358979323846264338327950288",
        "2^64 = 18446744073709551616 and 13812345678 * 2 = ?",
        "x = 13812345678 - 1; 99999999999 + 13800000000*3",
        "0.13812345678 and 1,381,234,567 and $13812345678",
        "15000000000000 kg, 1600000000000 ms, 1700000000 s",
        "from 1914-1918 to 1939-1945, 2024-11-24 12:30:45, 20241124123045",
        "Python 3.12.1.0, version 10.0.1.2, 版本8.1.2.3, Chrome 96.0.4664.110",
        "192.168.0.1, 127.0.0.1, 10.1.2.3, 192.0.2.7, 999.1.1.1",
        "ISBN 978-3-16-148410-0, ISBN 9783161484100, ISBN 0-306-40615-2",
        "https://example.org/item/13812345678?id=4111111111111111",
        "user@example.com, a@b.example, git@github.com:x/y.git, @handle, a @ b.com",
        "call 555-0100, (555) 123-4567, 212-555-0199, 123-456-7890, 1-800-273-8255, 911",
        "4111 1111 1111 1112 and 1234567812345678",  # no check digit; no issuer
        "1111111111111111, 0000 0000 0000 0000",
        "110105194912310021 110105194913310025",  # wrong sum; month 13
        "078-05-1120, 000-12-3456, 12-345-6789",
        "In 2008 Wall Street fell; 10 Downing Street; 5 Green Way is nice. Room 12, Main Street",
        "走了3公里路，15号线，长安街很长，北京市有16个区，第12号文件",
        "a+b-c=100-200+300, +1 -1, C++11, f(x)=+123456789*x",
        "scores 10-12, 123-45-678, 2020-2021-2022, 1-2-3-4-5-6-7-8-9-10",
        "MD5 d41d8cd98f00b204e9800998ecf8427e, #138123456789, v1.2.3.4, 12:34:56",
    ],
)
def test_is_not_taken_for_personal_data(text: str) -> None:
    assert [text[one.start : one.end] for one in find_personal_data(text)] == []


def test_check_digits_catch_every_single_wrong_digit() -> None:
    """What Luhn and MOD 11-2 are made for."""
    card, number = "4111111111111111", "11010519491231002X"
    for place in range(16):
        others = [card[:place] + digit + card[place + 1 :] for digit in "0123456789"]
        assert [one for one in others if passes_luhn(one)] == [card]
    for place in range(17):
        others = [number[:place] + digit + number[place + 1 :] for digit in "0123456789"]
        assert [one for one in others if is_chinese_id(one)] == [number]


def test_every_text_of_every_kind_is_read_and_masked() -> None:
    mail, masked = "a.b@mail.org", "[email]"
    turns = (Message("system", mail), Message("user", f"x {mail}"))
    prompt = Prompt(turns, id="1", user=mail, meta={"k": mail})
    for record, count in (
        (Document(mail), 1),
        (prompt, 2),
        (Demonstration(prompt, mail, labeler="l"), 3),
        (Ranking(prompt, ("a", mail, mail), (1, 2, 2)), 4),
    ):
        assert personal_data_in(record) == [("email", mail)] * count
        clean = mask_record(record)
        assert personal_data_in(clean) == []
        assert type(clean) is type(record)
        # who asked and what the source noted are not what somebody wrote
        assert str(clean).count(mail) == (0 if isinstance(record, Document) else 2)
        assert str(clean).count(masked) == count


def test_a_reviewer_sees_the_shape_and_not_the_number() -> None:
    assert obscure("13812345678") == "13*******78"
    assert obscure("a@b.cd") == "a****d"


@pytest.mark.parametrize(
    "text",
    [
        "12:34:" + "a" * 40,
        "a@" + "b-" * 40,
        "+1 " + "23 " * 40,
        "GB82 " + "WEST " * 40,
        "市北路" * 40,
    ],
)
def test_nothing_that_almost_fits_takes_long(text: str) -> None:
    """A pattern that can divide its text in many ways takes minutes for a page of it."""
    started = time.process_time()
    find_personal_data(f"{text} " * 500)
    assert time.process_time() - started < 2
