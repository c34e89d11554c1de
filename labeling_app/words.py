"""The words of the login pages, in English and Chinese."""

from __future__ import annotations

from typing import Literal

Language = Literal["en", "zh"]

_WORDS: dict[str, tuple[str, str]] = {
    "login": ("Log in", "登录"),
    "join": ("Create account", "创建账号"),
    "login-with": ("Log in with {name}", "使用 {name} 登录"),
    "join-with": ("Create account with {name}", "使用 {name} 创建账号"),
    "quality": ("Quality", "质量"),
    "for-reviewers": (
        "This page is for reviewers and administrators. Ask an administrator if you should see it.",
        "此页面仅供审核员和管理员查看。如需查看，请联系管理员。",
    ),
    "back": ("Back to ranking", "返回排序"),
    "elsewhere": ("Another address", "地址不符"),
    "other-site": (
        "This is not the address that the labeling app was started for. Open it there, or have it started with "
        "--origin and yours.",
        "标注应用启动时指定的不是当前地址。请在下方地址打开；如需使用当前地址，请在启动时用 --origin 指定。",
    ),
    "name": ("Name", "用户名"),
    "password": ("Password", "密码"),
    "throttled": ("Too many attempts. Wait a few minutes.", "尝试次数过多，请几分钟后再试。"),
    "form": ("The page was too old. Please try again.", "页面已过期，请重试。"),
    "bad-invitation": (
        "This invitation was used, or is over. If you have made your account, log in. If not, ask for a new link.",
        "邀请已被使用或已过期。如果您已创建账号，请登录；否则请索取新链接。",
    ),
    "provider-down": (
        "The login service cannot be reached. Try again later, or use your password.",
        "登录服务暂时无法访问，请稍后重试，或使用密码登录。",
    ),
    "provider-refused": ("The login service did not let you in. Please try again.", "登录服务未通过，请重试。"),
    "declined": ("The login was cancelled.", "登录已取消。"),
    "no-account": (
        "You have no account here yet, or it was closed. Ask for an invitation.",
        "您在此尚无账号，或账号已停用，请索取邀请。",
    ),
    "name-taken": ("This name is taken.", "该用户名已被占用。"),
    "bad-name": ("Use 1 to 60 letters, digits and . @ + - _", "请使用 1 到 60 个字母、数字或 . @ + - _"),
    "bad-password": ("Use 10 to 200 characters.", "请使用 10 到 200 个字符。"),
}
"""Key, or code of `Refused` → English, Chinese."""
_WRONG = ("Name or password is wrong.", "用户名或密码错误。")


def words(language: Language) -> dict[str, str]:
    """Key → the words in a language."""
    column = 1 if language == "zh" else 0
    return {key: pair[column] for key, pair in _WORDS.items()} | {"wrong": _WRONG[column]}


def language_of(accept: str) -> Language:
    """The language a browser asks for first (`Accept-Language`), of those there are; English if it asks for others."""
    for part in accept.split(","):
        code = part.split(";")[0].strip().lower()
        if code.startswith("zh"):
            return "zh"
        if code.startswith("en"):
            return "en"
    return "en"
