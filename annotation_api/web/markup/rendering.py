"""Templates to answers. Everything in a template is escaped; names that are not given fail loudly."""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Semaphore
from typing import Any
from urllib.parse import quote

from fastapi.templating import Jinja2Templates
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from alignment.shared.config import Stage
from alignment.shared.sentence import unpacked
from alignment.shared.validation import Problem
from annotation_api.annotation.review.threads import count_waiting
from annotation_api.db.engine import DatabaseUnavailable
from annotation_api.db.jobs.differences import ABSENT, written
from annotation_api.db.tables import Person
from annotation_api.http import audit as recording
from annotation_api.http.dependencies import SESSION, get_sessions, signed_in
from annotation_api.http.errors import ApiError
from annotation_api.web.markup import language
from annotation_api.web.markup.language import translate as _
from annotation_api.web.markup.richtext import rich, within_bounds
from annotation_api.web.markup.sections import marked

log = logging.getLogger("rankloop.api")
HERE = Path(__file__).parents[1]
THEMES = ("auto", "light", "dark")
THEME_COOKIE = "rankloop_theme"
OVERLOADED = (429, 503, 507)  # whose pages ask nothing: there is too much to do, or the database is what fails


WRITTEN_OUT = (1e4, 1e5)  # where `g` writes an exponent and charts.js none
BACKTICKS = re.compile(r"`([^`]+)`")


def _coded(text: str) -> Markup:
    """A sentence whose `names` are set as code."""
    return Markup(BACKTICKS.sub(r"<code>\1</code>", str(escape(text))))


def _place(problem: Problem) -> str:
    """What a problem is about as people see it: what stands in the address, else the field's name."""
    where, _, name = problem.pointer.partition(":")
    if where in ("path", "query", "header"):
        return str(problem.value) if where == "path" else name
    return problem.pointer.strip("/").replace("/", ".")


def _when(value: datetime | None) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC") if value else "–"


def _number(value: float | None) -> str:
    """Four digits that count, as charts.js writes them."""
    if value is None:
        return "–"
    short = f"{value:.4g}"
    return f"{float(short):.0f}" if WRITTEN_OUT[0] <= abs(float(short)) < WRITTEN_OUT[1] else short


def _hundredths(value: float | None) -> str:
    """A share, a correlation, a strength: more places than its interval leaves sure say nothing."""
    return "–" if value is None else f"{value:.2f}"


def _setting(value: Any) -> str:
    """A setting as people type it, in the page's language where it is none."""
    return (
        _("unset")
        if value is None
        else _("absent")
        if value == ABSENT
        else value
        if isinstance(value, str)
        else written(value)
    )


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _span(seconds: float | None) -> str:
    """2 h 5 min, 3 min 20 s, 12 s."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return _("%(h)s h %(m)s min", h=hours, m=minutes)
    return _("%(m)s min %(s)s s", m=minutes, s=rest) if minutes else _("%(s)s s", s=rest)


def _size(count: int) -> str:
    """1.2 GB, 3.4 MB, 5 kB."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count / 1e3:.1f} kB"


def _since(value: datetime | None) -> float | None:
    """Seconds from then to now."""
    return (datetime.now(UTC) - value).total_seconds() if value else None


_environment = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters.update(
    when=_when,
    number=_number,
    hundredths=_hundredths,
    setting=_setting,
    count=_count,
    span=_span,
    size=_size,
    since=_since,
    rich=rich,
    metric=language.metric,
    coded=_coded,
    place=_place,
)
_environment.globals.update(
    _=_,
    language=language.current,
    metrics_known=language.metrics_known,
    told=language.told,
    unpacked=unpacked,
    why_it_ended=language.why_it_ended,
    LANGUAGES=language.LANGUAGES,
    LANGUAGE_TAGS=language.TAGS,
)
_templates = Jinja2Templates(env=_environment)


def stage_name(stage: Stage) -> str:
    """What pages call it, in the current language."""
    macros: Any = _environment.get_template("_macros.html").module
    return str(macros.stage_name(stage.value))


def render(request: Request, template: str, me: Person | None, status: int = 200, /, **context: Any) -> Response:
    """A page; `me` decides what the navigation shows."""
    if status >= 400:
        recording.nothing_done(request)
    shared: dict[str, Any] = {"me": me, "theme": theme_of(request), "here": here(request)}
    shared |= {"waiting": lambda: _waiting(request, me), "current": partial(marked, here(request))}
    with language.speaking(language.language_of(request, me)):
        values = {**shared, **context}
        return within_bounds(lambda: _templates.TemplateResponse(request, template, values, status_code=status))


def _waiting(request: Request, me: Person | None) -> int:
    """How many messages wait for the caller; asked by whole pages only."""
    session = request.scope.get(SESSION)
    return count_waiting(session, me) if me and session else 0


def theme_of(request: Request) -> str:
    """This browser's choice; auto follows the system."""
    choice = request.cookies.get(THEME_COOKIE, "auto")
    return choice if choice in THEMES else "auto"


def here(request: Request) -> str:
    """The page's own address on this site, to come back to."""
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


def render_error(request: Request, error: ApiError) -> Response:
    """What a person in a browser gets for an error: the sign-in page for 401, else a page with the reason.

    Who is signed in keeps the navigation and their language, unless the database does not say who that is.
    """
    if error.status == 401 and request.method == "GET":
        return RedirectResponse(f"/login?next={quote(here(request))}", 303)
    try:
        answer = _render_for_reader(request, error)
    except (SQLAlchemyError, DatabaseUnavailable):
        log.exception("who reads the page of the error %s cannot be asked", error.slug)
        answer = render(request, "error.html", None, error.status, error=error)
    answer.headers.update(error.headers)
    return answer


def _render_for_reader(request: Request, error: ApiError) -> Response:
    """In a session of its own: that of the request is over, or there was none. Without a cookie nothing is asked, nor
    while many ask: errors cost a stranger nothing, and must take no thread or connection from work."""
    places: Semaphore = request.app.state.error_pages
    if error.status in OVERLOADED or not places.acquire(blocking=False):
        return render(request, "error.html", None, error.status, error=error)
    try:
        with get_sessions(request)() as session:
            request.scope[SESSION] = session
            me = signed_in(request, session, request.app.state.settings)
            return render(request, "error.html", me, error.status, error=error)
    finally:
        places.release()


def see_other(path: str) -> Response:
    """After a form: the browser gets the next page with GET, so that a reload repeats nothing."""
    return RedirectResponse(path, 303)


def local_path(path: str) -> str:
    """A path of this site to go to after signing in; anything else becomes the home page."""
    inside = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if inside else "/"


async def read_form(request: Request) -> FormData:
    return await request.form()


def text_of(form: FormData, name: str) -> str:
    """A text field of a form; empty when it is absent."""
    value = form.get(name, "")
    return value if isinstance(value, str) else ""
