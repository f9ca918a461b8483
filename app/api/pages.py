"""The pages for a person whom no redirect can help. Their words are in `page_words`."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from asgi_correlation_id import correlation_id
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, select_autoescape
from markupsafe import Markup

from app.api.page_words import LABELS, PAGES, PREVIEW, Words
from app.core.messages import DEFAULT_LANGUAGE, Language
from app.flows.hosted import Origin, PageKind

_TRY_AGAIN: Final = frozenset({PageKind.IN_PROGRESS, PageKind.PROVIDER_DOWN, PageKind.UNAVAILABLE})
_FOLDER: Final = Path(__file__).parent
_STYLE: Final = (_FOLDER / "page.css").read_text(encoding="utf-8")
_COLOR: Final = re.compile(r"#[0-9a-fA-F]{6}")
_DEFAULT_COLOR: Final = "#1f5fbf"
_templates: Final = Environment(loader=FileSystemLoader(_FOLDER), autoescape=select_autoescape(), trim_blocks=True)


class Pages:
    """The pages under the name and in the colour (`#rrggbb`) of the product that they stand in for.

    Raises ValueError.
    """

    def __init__(self, *, product_name: str | None = None, product_color: str | None = None) -> None:
        color = product_color or _DEFAULT_COLOR
        if not _COLOR.fullmatch(color):
            raise ValueError("a colour is written as #rrggbb")
        self._product = product_name
        self._style = f":root {{ --accent: {color}; --on-accent: {_readable_on(color)}; }}\n{_STYLE}"
        digest = base64.b64encode(hashlib.sha256(self._style.encode()).digest()).decode("ascii")
        self._policy = (
            f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors "
            "'none'"
        )

    def page(
        self,
        kind: PageKind,
        reference: str | None,
        *,
        language: Language = DEFAULT_LANGUAGE,
        origin: Origin | None = None,
        moves_to: str | None = None,
    ) -> HTMLResponse:
        """Why this browser gets no redirect, with a way back to where the person came from, as far as that is known.

        `moves_to` is a clean address that the browser goes on to, so that no code stays in its bar.
        """
        status = 503 if kind in _TRY_AGAIN else 400
        link = None
        if origin and origin.address:
            link = (origin.address, LABELS[language].back.format(site=urlsplit(origin.address).netloc))
        return self._answer(PAGES[kind][language], status, language, reference, link=link, moves_to=moves_to)

    def preview(self, onward: str, *, language: Language = DEFAULT_LANGUAGE) -> HTMLResponse:
        """What a program sees that only looks at a link; a person who was taken for one goes on at `onward`."""
        return self._answer(PREVIEW[language], 200, language, None, link=(onward, LABELS[language].go_on))

    def _answer(
        self,
        words: Words,
        status: int,
        language: Language,
        reference: str | None,
        *,
        link: tuple[str, str] | None = None,
        moves_to: str | None = None,
    ) -> HTMLResponse:
        html = _templates.get_template("page.html").render(
            language=language,
            product=self._product,
            words=words,
            # Safe as markup: it is a file of this package behind a checked colour, and the policy names its hash.
            style=Markup(self._style),  # noqa: S704
            reference_label=LABELS[language].reference,
            reference=reference or correlation_id.get(),
            link=link,
            moves_to=moves_to,
        )
        headers = {"Content-Security-Policy": self._policy, "Content-Language": language, "Vary": "Accept-Language"}
        return HTMLResponse(html, status, headers)


def _readable_on(color: str) -> str:
    """Black or white, whichever has the better contrast on the colour.

    It is WCAG 2.2's contrast, with a plain power for sRGB's curve.
    """
    red, green, blue = ((int(color[at : at + 2], 16) / 255) ** 2.2 for at in (1, 3, 5))
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return "#fff" if 1.05 / (luminance + 0.05) >= (luminance + 0.05) / 0.05 else "#000"
