"""The usual build of the status: FastAPI, a response model, and an ORM session for each request."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict
from sqlalchemy import DateTime
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

_engine = create_async_engine(os.environ["DATABASE_URL"], pool_size=10, max_overflow=10)
_sessions = async_sessionmaker(_engine, expire_on_commit=False)
_key = hashlib.sha256(os.environ["API_KEY"].encode()).digest()


class _Tables(DeclarativeBase):
    """The tables of this program."""


class User(_Tables):
    """A row of the peers' users."""

    __tablename__ = "peer_users"
    user_id: Mapped[str] = mapped_column(primary_key=True)
    completed: Mapped[bool]
    completed_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    interview_id: Mapped[str | None]
    identity_id: Mapped[str | None]
    error: Mapped[str | None]
    data: Mapped[str | None]


class UserView(BaseModel):
    """What is answered."""

    model_config = ConfigDict(from_attributes=True)
    user_id: str
    completed: bool
    completed_at: datetime
    interview_id: str | None
    identity_id: str | None
    error: str | None
    data: str | None


async def _session() -> AsyncIterator[AsyncSession]:
    async with _sessions() as session:
        yield session


async def _authenticated(sent: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]) -> None:
    if not hmac.compare_digest(hashlib.sha256(sent.credentials.encode()).digest(), _key):
        raise HTTPException(401)


app = FastAPI(dependencies=[Depends(_authenticated)])


@app.get("/v1/users/{user_id}", response_model=UserView)
async def status(user_id: str, session: Annotated[AsyncSession, Depends(_session)]) -> User:
    """One user."""
    user = await session.get(User, user_id)
    if user is None:
        raise HTTPException(404)
    return user
