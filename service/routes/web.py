"""`/` and `/web`: the operator's page. Static files, the same for everybody, without secrets."""

from typing import Final

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from service.context import Context
from service.web_files import WebFile

router = APIRouter(tags=["status"])

INDEX: Final = "index.html"
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
"""Nothing of another host, nothing inline, and no text ever read as markup.

Source: Content Security Policy Level 3; Trusted Types, section 4."""


@router.get("/", response_class=Response, responses={200: {"content": {"text/html": {}}}})
async def get_page(request: Request, context: Context) -> Response:
    """Show the operator's page. It asks for the key itself."""
    return _answer(request, context.web[INDEX])


@router.get("/web/{path:path}", include_in_schema=False)
async def get_web_file(path: str, request: Request, context: Context) -> Response:
    """Answer a file of the page."""
    file = context.web.get(path)
    if file is None:
        raise HTTPException(404)
    return _answer(request, file)


def _answer(request: Request, file: WebFile) -> Response:
    headers = {
        "Content-Security-Policy": POLICY,
        "Cache-Control": "no-cache",
        "Cross-Origin-Opener-Policy": "same-origin",
        "ETag": file.tag,
    }
    known = request.headers.get("if-none-match", "")
    if file.tag in (tag.strip().removeprefix("W/") for tag in known.split(",")):
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)
