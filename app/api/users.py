"""A user's status, and what an administrator may do with it."""

from __future__ import annotations

from typing import Annotated

from fastapi import Body, Path

from app.api.deps import CurrentActor, CurrentServices, MaySeeTokens
from app.api.keys import keyed_router
from app.api.problems import declared_answer, responses
from app.api.reference import examples
from app.api.schemas import ResetBody, UserId, UserStatusView
from app.core import errors
from app.core.domain import Role

_COMMON = (
    errors.Unauthorized,
    errors.Forbidden,
    errors.RequestInvalid,
    errors.InternalError,
    errors.DatabaseUnavailable,
)
_LONG_ID = ("path.user_id", "may have at most 255 characters")
UserIdInPath = Annotated[UserId, Path(openapi_examples=examples.USER_IDS)]

router = keyed_router(Role.IDP, Role.SUPPORT, prefix="/v1/users", tags=["Users"])
admin_router = keyed_router(Role.ADMIN, prefix="/v1/users", tags=["Users"])


@router.get(
    "/{user_id:path}",
    operation_id="getUserStatus",
    summary="Tell whether a user's verification stands now",
    responses={200: declared_answer("The user's status.", "getUserStatus"), **responses(*_COMMON, refused=_LONG_ID)},
)
async def status(user_id: UserIdInPath, services: CurrentServices, with_tokens: MaySeeTokens) -> UserStatusView:
    """Answered from the record, without asking the provider: fit for a hook that runs while a token is minted.

    A user whom the service has never met is simply not verified. Write a `/` in the id as `%2F`.
    """
    return UserStatusView.of(await services.users.status(user_id), with_tokens=with_tokens)


@admin_router.post(
    "/{user_id:path}/reset",
    operation_id="resetUser",
    summary="Make the user's next login verify again",
    responses={
        200: declared_answer("The user's status after the reset.", "resetUser"),
        **responses(
            *_COMMON, errors.PayloadTooLarge, errors.RequestTimeout, refused=("body.identity", "must be true or false")
        ),
    },
)
async def reset(
    user_id: UserIdInPath,
    services: CurrentServices,
    actor: CurrentActor,
    with_tokens: MaySeeTokens,
    body: Annotated[ResetBody | None, Body(openapi_examples=examples.RESET_REQUESTS)] = None,
) -> UserStatusView:
    """Clears `incode_idv_completed` and `incode_idv_completed_at`; what was begun before no longer counts.

    With `identity` the enrolled identity is forgotten, too, and the next verification may enrol another person.
    """
    forget_identity = body is not None and body.identity
    status_ = await services.users.reset(user_id, forget_identity=forget_identity, by=actor)
    return UserStatusView.of(status_, with_tokens=with_tokens)


@admin_router.delete(
    "/{user_id:path}",
    status_code=204,
    operation_id="eraseUser",
    summary="Erase a user's record and every attempt",
    response_description="Nothing is on file about this user any more.",
    responses=responses(*_COMMON, refused=_LONG_ID),
)
async def erase(user_id: UserIdInPath, services: CurrentServices, actor: CurrentActor) -> None:
    """An attempt that is under way cannot bring the user back.

    Erasing a user whom the service has never met is no error.
    """
    await services.users.erase(user_id, by=actor)
