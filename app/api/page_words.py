"""Every word of the pages for browsers, in each language."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from app.core.messages import Language
from app.flows.hosted import PageKind


@dataclass(frozen=True, slots=True)
class Words:
    """What a page says: what it is about, what happened, and what the person can do."""

    title: str
    happened: str
    do_this: str


@dataclass(frozen=True, slots=True)
class Labels:
    """The words beside a page's own. `back` names the site that the link leads to."""

    back: str
    go_on: str
    reference: str


LABELS: Final[dict[Language, Labels]] = {
    "en": Labels("Back to {site}", "Continue", "If you ask for help, give this reference:"),
    "es": Labels("Volver a {site}", "Continuar", "Si pide ayuda, indique esta referencia:"),
    "pt": Labels("Voltar para {site}", "Continuar", "Se pedir ajuda, informe esta referência:"),
}

_LOG_IN_AGAIN: Final[dict[Language, str]] = {
    "en": "Go back to the website or app where you wanted to log in, and log in again.",
    "es": "Vuelva al sitio web o a la aplicación donde quería iniciar sesión e iníciela de nuevo.",
    "pt": "Volte ao site ou aplicativo em que queria entrar e entre de novo.",
}

PAGES: Final[dict[PageKind, dict[Language, Words]]] = {
    PageKind.BAD_LINK: {
        "en": Words(
            "This link does not work", "The link is incomplete, was changed, or is not known here.", _LOG_IN_AGAIN["en"]
        ),
        "es": Words(
            "Este enlace no funciona",
            "El enlace está incompleto, se modificó o no se conoce aquí.",
            _LOG_IN_AGAIN["es"],
        ),
        "pt": Words(
            "Este link não funciona",
            "O link está incompleto, foi alterado ou não é conhecido aqui.",
            _LOG_IN_AGAIN["pt"],
        ),
    },
    PageKind.EXPIRED: {
        "en": Words("This took too long", "The time for this verification is over.", _LOG_IN_AGAIN["en"]),
        "es": Words("Pasó demasiado tiempo", "El tiempo para esta verificación terminó.", _LOG_IN_AGAIN["es"]),
        "pt": Words("Demorou demais", "O tempo para esta verificação terminou.", _LOG_IN_AGAIN["pt"]),
    },
    PageKind.FINISHED: {
        "en": Words(
            "This verification is finished",
            "Nothing more needs to be done here.",
            "Go back to the website or app where you wanted to log in.",
        ),
        "es": Words(
            "Esta verificación ya terminó",
            "Aquí no hay nada más que hacer.",
            "Vuelva al sitio web o a la aplicación donde quería iniciar sesión.",
        ),
        "pt": Words(
            "Esta verificação já terminou",
            "Não há mais nada a fazer aqui.",
            "Volte ao site ou aplicativo em que queria entrar.",
        ),
    },
    PageKind.FOREIGN_BROWSER: {
        "en": Words(
            "Please use the other browser",
            "This verification was begun in another browser or on another device, or your browser does not keep "
            "cookies.",
            "Continue in the browser where you began. If you did not begin it yourself, close this page: somebody may "
            "have sent you a link that logs somebody else in.",
        ),
        "es": Words(
            "Use el otro navegador",
            "Esta verificación se empezó en otro navegador o en otro dispositivo, o su navegador no guarda cookies.",
            "Continúe en el navegador donde empezó. Si no la empezó usted, cierre esta página: es posible que alguien "
            "le haya enviado un enlace que inicia la sesión de otra persona.",
        ),
        "pt": Words(
            "Use o outro navegador",
            "Esta verificação foi iniciada em outro navegador ou em outro aparelho, ou o seu navegador não guarda "
            "cookies.",
            "Continue no navegador em que começou. Se não foi você que começou, feche esta página: alguém pode ter "
            "enviado a você um link que inicia a sessão de outra pessoa.",
        ),
    },
    PageKind.IN_PROGRESS: {
        "en": Words("Still working", "Your verification is being checked.", "Wait a moment and load this page again."),
        "es": Words(
            "Un momento, por favor",
            "Se está comprobando su verificación.",
            "Espere un momento y vuelva a cargar esta página.",
        ),
        "pt": Words(
            "Um momento, por favor",
            "A sua verificação está sendo conferida.",
            "Espere um momento e recarregue esta página.",
        ),
    },
    PageKind.OTHER_TAB: {
        "en": Words(
            "You began again in another tab",
            "This page belongs to another verification than the one that you began last in this browser.",
            "Continue in the tab where you began last, and close this one. If there is none, log in again.",
        ),
        "es": Words(
            "Empezó de nuevo en otra pestaña",
            "Esta página es de otra verificación, no de la última que empezó en este navegador.",
            "Continúe en la pestaña donde empezó la última vez y cierre esta. Si ya no está abierta, inicie sesión de "
            "nuevo.",
        ),
        "pt": Words(
            "Você começou de novo em outra aba",
            "Esta página é de outra verificação, não da última que você começou neste navegador.",
            "Continue na aba em que começou por último e feche esta. Se ela não estiver mais aberta, entre de novo.",
        ),
    },
    PageKind.PROVIDER_DOWN: {
        "en": Words(
            "Verification is not available at the moment",
            "The verification service does not answer.",
            "Wait a few minutes, then load this page again.",
        ),
        "es": Words(
            "La verificación no está disponible en este momento",
            "El servicio de verificación no responde.",
            "Espere unos minutos y vuelva a cargar esta página.",
        ),
        "pt": Words(
            "A verificação não está disponível no momento",
            "O serviço de verificação não responde.",
            "Espere alguns minutos e recarregue esta página.",
        ),
    },
    PageKind.UNAVAILABLE: {
        "en": Words(
            "Please try again in a moment",
            "This service cannot be used at the moment.",
            "Wait a moment, then load this page again.",
        ),
        "es": Words(
            "Inténtelo de nuevo en un momento",
            "Este servicio no se puede usar en este momento.",
            "Espere un momento y vuelva a cargar esta página.",
        ),
        "pt": Words(
            "Tente de novo em um momento",
            "Este serviço não pode ser usado no momento.",
            "Espere um momento e recarregue esta página.",
        ),
    },
    PageKind.UNREADABLE: {
        "en": Words(
            "This verification cannot go on",
            "What was kept about it cannot be read any more. It is not your fault.",
            _LOG_IN_AGAIN["en"],
        ),
        "es": Words(
            "Esta verificación no puede continuar",
            "Lo que se guardó sobre ella ya no se puede leer. No es culpa suya.",
            _LOG_IN_AGAIN["es"],
        ),
        "pt": Words(
            "Esta verificação não pode continuar",
            "O que foi guardado sobre ela não pode mais ser lido. A culpa não é sua.",
            _LOG_IN_AGAIN["pt"],
        ),
    },
}

PREVIEW: Final[dict[Language, Words]] = {
    "en": Words("Continue your login", "This link continues a login.", "Open it in the browser in which you log in."),
    "es": Words(
        "Continúe su inicio de sesión",
        "Este enlace continúa un inicio de sesión.",
        "Ábralo en el navegador en el que inicia sesión.",
    ),
    "pt": Words("Continue o seu login", "Este link continua um login.", "Abra-o no navegador em que está entrando."),
}
