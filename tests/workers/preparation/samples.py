"""Sentences with personal data in them, and sentences with numbers that only look like it.

Numbers are made here: with the right check digits where a kind has one, and belong to nobody.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from stdnum import luhn
from stdnum.cn import ric

FRAMES = {
    "zh": (
        "我的{what}是{value}，请记下。",
        "{what}：{value}",
        "请把资料发到{value}。谢谢！",
        "（{value}）",
        "他说{value}不对",
    ),
    "en": ("My {what} is {value}, please note it.", "{what}: {value}", "Use {value}. Thanks!", "({value})", "{value}"),
}
PLAIN = {
    "zh": ("订单号20240315{n:06d}已发货。", "价格是{n}元，共{n}件。",
           "版本1.2.3.{m}已发布。", "会议在2024-03-1{d} 10:30。",
           "圆周率是3.14159{n}。",
           "快递单号SF{n:012d}。", "第{n}章第{d}节", "比例为1:2:{d}", "邮编100{m:03d}",
           "共{n}人@所有人", "第3.4.2.{m}节"),
    "en": ("Order 20240315{n:06d} has shipped.", "It costs ${n}.99 for {d} pieces.", "Version 1.2.3.{m} is out.",
           "The meeting is on 2024-03-1{d} at 10:30.", "Pi is 3.14159{n}.", "Ticket #{n:08d} is closed.",
           "See section {d}.4.2.{m}",
           "ISBN 978-3-16-14841{d}-0", "Call me at {d} o'clock", "the ratio is 1:2:{d}", "user @name and a@b"),
}  # fmt: skip
WHAT = {
    "id_card": ("身份证号", "ID card"), "bank_card": ("银行卡号", "card number"), "phone": ("电话", "phone"),
    "email": ("邮箱", "e-mail"), "ip": ("服务器地址", "server address"), "secret": ("密钥", "key"),
}  # fmt: skip


def id_card(rng: random.Random) -> str:
    born = f"{rng.randint(1950, 2005)}{rng.randint(1, 12):02d}{rng.randint(1, 28):02d}"
    start = f"{rng.choice(('110105', '310101', '440305', '510104'))}{born}{rng.randint(0, 999):03d}"
    return start + ric.calc_check_digit(start + "0")


def bank_card(rng: random.Random) -> str:
    start, length = rng.choice((("4", 16), ("52", 16), ("6222", 19), ("6225", 16), ("37", 15)))
    body = start + "".join(rng.choice("0123456789") for _ in range(length - len(start) - 1))
    number = body + luhn.calc_check_digit(body)
    gap = rng.choice(("", " ", "-")) if length == 16 else ""
    return gap.join(number[i : i + 4] for i in range(0, length, 4)) if gap else number


def phone(rng: random.Random) -> str:
    last = "".join(rng.choice("0123456789") for _ in range(8))
    mobile = rng.choice(("138", "139", "150", "186", "177")) + last
    return rng.choice((
        mobile, f"+86 {mobile}", f"{mobile[:3]} {mobile[3:7]} {mobile[7:]}", f"{mobile[:3]}-{mobile[3:7]}-{mobile[7:]}",
        f"010-8{last[:7]}", f"(415) 555-{last[:4]}", f"+44 20 7946 0{last[:3]}", f"212-555-{last[:4]}",
    ))  # fmt: skip


def email(rng: random.Random) -> str:
    who, where = (
        rng.choice(("li.wei", "anna_b", "j+k", "wang88")),
        rng.choice(("mail.example.com", "qq.com", "x-y.org")),
    )
    return f"{who}{rng.randint(1, 999)}@{where}"


def ip(rng: random.Random) -> str:
    four = ".".join(str(rng.randint(1, 254)) for _ in range(4))
    return rng.choice((four, four, f"2001:db8:{rng.randint(1, 9999):x}::{rng.randint(1, 9999):x}"))


def secret(rng: random.Random) -> str:
    letters = "".join(rng.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") for _ in range(40))
    return rng.choice((f"AKIA{letters[:16]}", f"ghp_{letters[:36]}", f"sk-{letters[:32].lower()}"))


MADE = {"id_card": id_card, "bank_card": bank_card, "phone": phone, "email": email, "ip": ip, "secret": secret}


def sentences(count: int, seed: int = 0) -> Iterator[tuple[str, str, str | None, str | None]]:
    """(language, text, kind, value): `count` of each kind and language; as many numbers that are nobody's."""
    rng = random.Random(seed)
    for language, column in (("zh", 0), ("en", 1)):
        for kind, make in MADE.items():
            for _ in range(count):
                value, frame = make(rng), rng.choice(FRAMES[language])
                yield language, frame.format(what=WHAT[kind][column], value=value), kind, value
        for _ in range(count * len(MADE)):
            frame = rng.choice(PLAIN[language])
            yield language, frame.format(n=rng.randint(1, 99999), m=rng.randint(1, 99), d=rng.randint(1, 9)), None, None
