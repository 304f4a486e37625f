"""Which link of the page's head leads to where one is: its own page, or a page of its section."""

from __future__ import annotations

from markupsafe import Markup

# Of each link, what else stands under it. `/compare?model=...` is about models, and comes before `/compare`.
UNDER = {
    "/": ("/projects",),
    "/mine": (),
    "/datasets": ("/snapshots", "/freezes"),
    "/models": ("/leaderboard", "/compare?model="),
    "/jobs": ("/pipelines", "/compare"),
    "/people": ("/erasures",),
    "/audit": (),
    "/waiting": ("/threads",),
    "/account": ("/keys",),
}


def marked(here: str, link: str) -> Markup:
    """`aria-current` for a link: `page` on its own page, `true` on the other pages of its section."""
    path = here.partition("?")[0]
    if path == link:
        return Markup(' aria-current="page"')
    return Markup(' aria-current="true"' if section_of(here) == link else "")


def section_of(here: str) -> str | None:
    """The link above an address; None where there is none, as at the sign-in."""
    found = (link for link, others in UNDER.items() if any(_lies_in(here, place) for place in (link, *others)))
    return next(found, None)


def _lies_in(here: str, place: str) -> bool:
    path = here.partition("?")[0]
    return path == place or path.startswith(f"{place}/") or ("?" in place and here.startswith(place))
