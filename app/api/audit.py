"""What administrators did."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from app.api.deps import CurrentServices
from app.api.keys import keyed_router
from app.api.problems import declared_answer, responses
from app.api.schemas import AuditEntryPage, AuditQuery
from app.core import errors
from app.core.domain import Role

router = keyed_router(Role.SUPPORT, prefix="/v1/audit", tags=["Audit"])


@router.get(
    "",
    operation_id="listAudit",
    summary="List what administrators did, newest first",
    responses={
        200: declared_answer("A page of entries.", "listAudit"),
        **responses(
            errors.Unauthorized,
            errors.Forbidden,
            errors.RequestInvalid,
            errors.InternalError,
            errors.DatabaseUnavailable,
            refused=("query.action", "must be 'reset', 'reset_identity', 'erase', 'export' or 'import'"),
        ),
    },
)
async def browse(query: Annotated[AuditQuery, Query()], services: CurrentServices) -> AuditEntryPage:
    """Who reset, erased, exported or imported whom, and when. Of an erased user the id itself is kept no more."""
    return AuditEntryPage.of(await services.audit.entries(query.wanted()))
