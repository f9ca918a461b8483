"""Takes the defences of SECURITY.md out, one at a time, in a copy of the repository, and shows the tests that go red.

Run it with `make defences`. It ends with an error when a defence can be taken out without a test noticing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
COPIED = (
    "app",
    "deploy",
    "docs",
    "integrations",
    "migrations",
    "tests",
    "pyproject.toml",
    "docker-compose.yml",
    "README.md",
    "SECURITY.md",
    ".env.example",
    "alembic.ini",
)

RED, UNNOTICED, RED_ANYWAY = "red", "UNNOTICED", "RED ANYWAY"


@dataclass(frozen=True, slots=True)
class Defence:
    """What is taken out: `original` of `file` becomes `weakened`, and one of `tests` must fail.

    `only` names a word of the tests' names, where a file would take minutes.
    """

    name: str
    file: str
    original: str
    weakened: str
    tests: str
    only: str = ""


DEFENCES = (
    Defence(
        "the caller's user must be the attempt's",
        "app/flows/answers.py",
        "if attempt.user_id != user_id or (flow and attempt.flow is not flow):",
        "if flow and attempt.flow is not flow:",
        "tests/api/test_attacks.py",
    ),
    Defence(
        "the state is ours and this attempt's",
        "app/flows/exchange.py",
        "if state is None or attempt.omit_state or not self._signer.names(state, attempt):",
        "if state is None or attempt.omit_state:",
        "tests/api/test_attacks.py",
    ),
    Defence(
        "a response needs the state of its request",
        "app/flows/exchange.py",
        "if state is None or attempt.omit_state or not self._signer.names(state, attempt):",
        "if state is not None and (attempt.omit_state or not self._signer.names(state, attempt)):",
        "tests/api/test_attacks.py",
        "without_the_state",
    ),
    Defence(
        "the response's issuer is ours",
        "app/oidc/client.py",
        "elif not hmac.compare_digest(iss.encode(), self._config.issuer.encode()):",
        "elif False:",
        "tests/api/test_callbacks.py",
    ),
    Defence(
        "an error beside a code wins",
        "app/flows/exchange.py",
        "if response.error is not None:",
        "if response.error is not None and response.code is None:",
        "tests/api/test_callbacks.py",
    ),
    Defence(
        "the nonce is the request's",
        "app/oidc/id_token.py",
        "    _check_nonce(claims, nonce)\n",
        "",
        "tests/api/test_attacks.py",
    ),
    Defence(
        "PKCE",
        "app/oidc/client.py",
        '"code_challenge": pkce.code_challenge(code_verifier),',
        '"code_challenge": pkce.code_challenge("x" * 43),',
        "tests/api/test_relay.py",
    ),
    Defence(
        "the ID token's signature",
        "app/oidc/jws.py",
        "payload = jws.verify(token, _key(frozenset(key.items()), algorithm), algorithms=[algorithm])",
        "payload = jws.verify(token, _key(frozenset(key.items()), algorithm), algorithms=[algorithm], verify=False)",
        "tests/unit/oidc/test_jws.py",
    ),
    Defence(
        "the ID token's algorithm is on our list",
        "app/oidc/id_token.py",
        "if not isinstance(algorithm, str) or algorithm not in algorithms:",
        "if not isinstance(algorithm, str):",
        "tests/unit/oidc/test_id_token.py",
    ),
    Defence(
        "exactly one key fits",
        "app/oidc/jwks.py",
        "if len(fitting) > 1:",
        "if False:",
        "tests/unit/oidc/test_jwks.py",
    ),
    Defence(
        "the ID token is for us alone",
        "app/oidc/id_token.py",
        "any(member != expected.client_id for member in audiences)",
        "expected.client_id not in audiences",
        "tests/unit/oidc/test_id_token.py",
    ),
    Defence(
        "the ID token has not expired",
        "app/oidc/id_token.py",
        'if now >= _numeric_date(claims, "exp") + leeway:',
        'if now >= _numeric_date(claims, "exp") + 10**9:',
        "tests/unit/oidc/test_id_token.py",
    ),
    Defence(
        "the ID token belongs to the access token",
        "app/oidc/id_token.py",
        "    _check_access_token_hash(signed, access_token)\n",
        "",
        "tests/unit/oidc/test_id_token.py",
    ),
    Defence(
        "the ID token's authorized party is ours",
        "app/oidc/id_token.py",
        'if "azp" in claims and claims["azp"] != expected.client_id:',
        "if False:",
        "tests/unit/oidc/test_id_token.py",
    ),
    Defence(
        "the ID token was not issued in the future",
        "app/oidc/id_token.py",
        'if _numeric_date(claims, "iat") > now + leeway:',
        'if _numeric_date(claims, "iat") > now + leeway and False:',
        "tests/unit/oidc/test_id_token.py",
    ),
    Defence(
        "extensions that are not understood are refused",
        "app/oidc/id_token.py",
        'if "crit" in header or "b64" in header:',
        "if False:",
        "tests/unit/oidc/test_id_token.py",
    ),
    Defence(
        "a key is for signatures",
        "app/oidc/jwks.py",
        'and key.get("use", "sig") == "sig"',
        "",
        "tests/unit/oidc/test_jwks.py",
    ),
    Defence(
        "discovery names our issuer",
        "app/oidc/metadata.py",
        'if document.get("issuer") != issuer:',
        "if False:",
        "tests/unit/oidc/test_metadata.py",
    ),
    Defence(
        "an https issuer names https endpoints",
        "app/oidc/metadata.py",
        'if own.scheme == "https" and named.scheme != "https":',
        "if False:",
        "tests/unit/oidc/test_metadata.py",
    ),
    Defence(
        "no issuer names a link-local address",
        "app/oidc/metadata.py",
        "if address.is_link_local or address.is_multicast:",
        "if address.is_multicast:",
        "tests/unit/oidc/test_metadata.py",
    ),
    Defence(
        "only an issuer on this machine names addresses on it",
        "app/oidc/metadata.py",
        'return not (address.is_loopback or address.is_unspecified) or is_loopback(own.hostname or "")',
        "return True",
        "tests/unit/oidc/test_metadata.py",
    ),
    Defence(
        "ids and scores that no provider would send are refused",
        "app/flows/verdict.py",
        "        raise IdTokenInvalid(name)\n",
        "        return None\n",
        "tests/unit/flows/test_verdict.py",
    ),
    Defence(
        "a megabyte is no name",
        "app/core/evidence.py",
        'return value not in (None, "") and fits(value, MAX_PII_BYTES)',
        'return value not in (None, "")',
        "tests/unit/flows/test_verdict.py",
    ),
    Defence(
        "what a caller kept is taken over for nobody on file",
        "app/storage/store.py",
        "if self._seals.record(row) is None and not await",
        "if not await",
        "tests/api/test_moving_in.py",
        only="at_once",
    ),
    Defence(
        "a reset or an erasure is not undone by what others have kept",
        "app/storage/store.py",
        " and not await audit.withdrawn(connection.rows, self._seals, [user_id])",
        "",
        "tests/api/test_moving_in.py",
        only="reset or erased",
    ),
    Defence(
        "an import does not bring back who was erased while it waited",
        "app/storage/importing.py",
        "if taken else set()",
        "if not taken else set()",
        "tests/attacks/test_races.py",
        "an_import",
    ),
    Defence(
        "nobody is taken over while nobody can tell who was erased",
        "app/storage/audit.py",
        "    if opened.unreadable:\n        raise Unreadable\n",
        "",
        "tests/api/test_digest_keys.py",
        only="nobody_is_adopted",
    ),
    Defence(
        "a sub enrols nobody",
        "app/core/imports.py",
        "return frozenset(value for value in ids if isinstance(value, str))",
        "return frozenset()",
        "tests/unit/core/test_imports.py",
    ),
    Defence(
        "a verification of a time to come is not taken over",
        "app/core/imports.py",
        "if moment > now + timedelta(seconds=rules.clock_skew_seconds):",
        "if False:",
        "tests/unit/core/test_imports.py",
    ),
    Defence(
        "userinfo is about the same subject",
        "app/oidc/client.py",
        '        if claims["sub"] != subject:\n            raise UserinfoSubMismatch\n',
        "",
        "tests/api/test_provider.py tests/api/test_records.py tests/api/test_callbacks.py",
    ),
    Defence(
        "a redirect is no answer",
        "app/oidc/http.py",
        "        if answer.status != httpx.codes.OK:\n",
        "        if False:\n",
        "tests/conformance/test_transport.py",
        "redirect",
    ),
    Defence(
        "answers have a size limit",
        "app/oidc/http.py",
        "if len(body) > MAX_BODY_BYTES:",
        "if False:",
        "tests/conformance/test_transport.py",
        "MiB",
    ),
    Defence(
        "headers have a size limit",
        "app/oidc/transport.py",
        "if self._framing_bytes > MAX_FRAMING_BYTES:",
        "if False:",
        "tests/conformance/test_transport.py",
        "headers and without",
    ),
    Defence(
        "answers have a time limit, however they drip",
        "app/oidc/http.py",
        "async with asyncio.timeout(self._client.request_seconds), self._client.places:",
        "async with self._client.places:",
        "tests/conformance/test_transport.py",
        "given_up",
    ),
    Defence(
        "a callback has a time limit",
        "app/oidc/client.py",
        "async with asyncio.timeout_at(deadline.at):",
        "async with asyncio.timeout_at(deadline.at + 60):",
        "tests/conformance/test_transport.py",
        "whole_callback",
    ),
    Defence(
        "bytes that nobody asked for are nobody's answer",
        "app/oidc/transport.py",
        "self.is_usable = self.is_usable and not self._answer.done()",
        "pass",
        "tests/unit/oidc/test_lines.py",
    ),
    Defence(
        "a callback leaves no connection for the next",
        "app/oidc/http.py",
        "        closing.push_async_callback(self._direct.aclose)\n",
        "",
        "tests/unit/oidc/test_lines.py",
    ),
    Defence(
        "a code is not sent again",
        "app/oidc/transport.py",
        'if connection.exchanges == 1 or request.method != "GET":',
        "if connection.exchanges == 1:",
        "tests/unit/oidc/test_lines.py",
    ),
    Defence(
        "unknown keys cost one fetch a minute",
        "app/oidc/cache.py",
        "if now - self._forced_at < FORCED_REFETCH_SECONDS:",
        "if False:",
        "tests/conformance/test_availability.py",
        "unknown_keys",
    ),
    Defence(
        "JSON is read strictly",
        "app/oidc/strict_json.py",
        "if len(found) != len(pairs):",
        "if False:",
        "tests/unit/oidc/test_strict_json.py tests/api/test_refusals.py",
    ),
    Defence(
        "only an accepted status counts",
        "app/core/policy.py",
        "return None if status in rules.accepted_statuses else Failure(FailureCode.STATUS_NOT_ACCEPTED)",
        "return None",
        "tests/unit/core/test_policy.py",
    ),
    Defence(
        "another person than the enrolled one does not count",
        "app/core/policy.py",
        "if enrolled is None or came == enrolled or rules.allow_identity_change:",
        "if True:",
        "tests/api/test_attacks.py",
    ),
    Defence(
        "a step-up compares whatever the settings say",
        "app/core/policy.py",
        "return None if came == enrolled else Failure(FailureCode.IDENTITY_MISMATCH)",
        "return None",
        "tests/api/test_decisions.py",
    ),
    Defence(
        "the decision is taken on the record as it is then",
        "app/storage/store.py",
        "ruling = decide(self._seals.record(row) if row else None)",
        "ruling = decide(None)",
        "tests/api/test_attacks.py",
    ),
    Defence(
        "one callback exchanges the code",
        "app/storage/queries.py",
        '.where(verifications.c.id == bindparam("attempt_id"), _is_open())',
        '.where(verifications.c.id == bindparam("attempt_id"))',
        "tests/api/test_callbacks.py",
    ),
    Defence(
        "an answer is repeated for 5 minutes only",
        "app/core/lifetimes.py",
        "return attempt.finished_at is not None and _lasts(attempt.finished_at, REPEATABLE_FOR, now)",
        "return attempt.finished_at is not None",
        "tests/api/test_attacks.py",
    ),
    Defence(
        "a reset withdraws what was begun",
        "app/storage/queries.py",
        "            clear_at=None,\n            sealed_request=None,\n",
        "            clear_at=None,\n",
        "tests/api/test_attacks.py",
    ),
    Defence(
        "a reset withdraws what is under way",
        "app/storage/queries.py",
        "    goes_on = under_way | (row.status == Status.PENDING)\n",
        "    goes_on = row.status == Status.PENDING\n",
        "tests/api/test_attacks.py",
    ),
    Defence(
        "a reset withdraws the answers",
        "app/storage/queries.py",
        "            sealed_return=None,\n            sealed_answer=None,\n        )\n",
        "            sealed_return=None,\n        )\n",
        "tests/api/test_attacks.py",
    ),
    Defence(
        "an erased user is not brought back",
        "app/storage/store.py",
        "_require(await connection.rows(queries.RECORD_OUTCOME, values))",
        "await connection.rows(queries.RECORD_OUTCOME, values)",
        "tests/api/test_erasure.py",
        "under_way and postgresql",
    ),
    Defence(
        "an erased user is not brought back, on SQLite",
        "app/storage/sqlite.py",
        "for each in others if found else ():",
        "for each in others:",
        "tests/api/test_erasure.py",
        "under_way and sqlite",
    ),
    Defence(
        "an export waits for an erasure, and leaves no id of the erased user",
        "app/storage/store.py",
        "            row = await queries.lock_user(connection, user_id)\n"
        "            await audit.add(connection.rows, entry)\n"
        "            # With a stamp it is that of a start, which counts by it.\n"
        "            if self._seals.record(row) is None and row.stamp is None:\n"
        "                await connection.rows(delete(users).where(users.c.user_id == user_id))\n",
        "            await audit.add(connection.rows, entry)\n",
        "tests/attacks/test_races.py",
        "an_export",
    ),
    Defence(
        "an outcome is recorded only where the record is still what it was decided by",
        "app/storage/queries.py",
        '.where(_OF_USER, users.c.stamp.is_not_distinct_from(bindparam("seen", type_=users.c.stamp.type)))',
        ".where(_OF_USER)",
        "tests/attacks/test_races.py",
        "two_people and postgresql",
    ),
    Defence(
        "an outcome that has waited for the user's row looks at it again",
        "app/storage/queries.py",
        "        .with_for_update()\n",
        "",
        "tests/attacks/test_races.py",
        "two_people and postgresql",
    ),
    Defence(
        "an outcome is recorded only where the record is still what it was decided by, on SQLite",
        "app/storage/queries.py",
        "finish = _change_as_found().where(_user_is_as_seen()).values",
        "finish = _change_as_found().values",
        "tests/attacks/test_races.py",
        "two_people and sqlite",
    ),
    Defence(
        "the number of attempts is limited",
        "app/core/policy.py",
        "if not rules.attempt_limit or filled_at is None or",
        "if True or",
        "tests/api/test_decisions.py",
    ),
    Defence(
        "a start waits for another one that holds the user's row, and looks again",
        "app/storage/queries.py",
        'set_={"stamp": row.excluded.stamp}, where=users.c.stamp.is_(None)',
        'set_={"stamp": row.excluded.stamp}',
        "tests/attacks/test_races.py",
        "waits_for_whoever",
    ),
    Defence(
        "an attempt is put on file only where the record is still what it was decided by",
        "app/storage/queries.py",
        '_OF_USER, users.c.stamp == bindparam("seen")',
        "_OF_USER",
        "tests/attacks/test_races.py",
        "under_way and postgresql",
    ),
    Defence(
        "an attempt is put on file only where the record is still what it was decided by, on SQLite",
        "app/storage/queries.py",
        ".where(_user_is_as_seen(), is_free)",
        ".where(is_free)",
        "tests/attacks/test_races.py",
        "under_way and sqlite",
    ),
    Defence(
        "attempts are counted where one is put on file, on SQLite",
        "app/storage/queries.py",
        ".where(_user_is_as_seen(), is_free)",
        ".where(_user_is_as_seen())",
        "tests/attacks/test_races.py",
        "within_the_limit and sqlite",
    ),
    Defence(
        "an answer is about the attempt that the caller has in hand",
        "app/flows/hosted.py",
        "if (session.user_id, session.verification_id) != (attempt.user_id, attempt.id):",
        "if session.user_id != attempt.user_id:",
        "tests/attacks/test_tokens.py",
        "confirmation_of_one_payment",
    ),
    Defence(
        "the first browser wins",
        "app/storage/queries.py",
        "        verifications.c.browser_digest.is_(None),\n",
        "",
        "tests/api/test_hosted_attacks.py",
    ),
    Defence(
        "a foreign browser cannot launch",
        "app/flows/hosted.py",
        "if attempt.browser_digest is not None and not bound:",
        "if False:",
        "tests/api/test_hosted_attacks.py",
    ),
    Defence(
        "a foreign browser cannot come back",
        "app/flows/hosted.py",
        "if not _belongs(attempt, cookies):",
        "if False:",
        "tests/api/test_hosted_attacks.py",
    ),
    Defence(
        "link previews bind nothing",
        "app/api/browser.py",
        "    if _is_preview(request, says_a_person=person is not None):\n        return pages.preview(state)\n",
        "",
        "tests/api/test_hosted_attacks.py",
    ),
    Defence(
        "the cookie has the __Host- prefix",
        "app/api/cookies.py",
        'self._prefix = "__Host-" if self._secure else ""',
        'self._prefix = ""',
        "tests/api/test_hosted_attacks.py",
    ),
    Defence(
        "a repeated parameter is refused",
        "app/api/browser.py",
        "return len(set(names)) < len(names)",
        "return False",
        "tests/api/test_hosted_attacks.py",
    ),
    Defence(
        "return addresses are listed",
        "app/flows/addresses.py",
        'if address not in {entry.partition("?")[0] for entry in allowed}:',
        'if not any(address.startswith(entry.partition("?")[0]) for entry in allowed):',
        "tests/api/test_return_to.py",
    ),
    Defence(
        "our parameters are not the caller's",
        "app/flows/addresses.py",
        "return not names & _OURS",
        "return True",
        "tests/api/test_return_to.py",
    ),
    Defence(
        "a session token is about the caller's user",
        "app/flows/hosted.py",
        "if (session.user_id, session.verification_id) != (attempt.user_id, attempt.id):",
        "if session.verification_id != attempt.id:",
        "tests/attacks/test_tokens.py",
    ),
    Defence(
        "a session token counts only as it was issued",
        "app/flows/hosted.py",
        "if not hmac.compare_digest(returned.token_digest, token_digest):",
        "if False:",
        "tests/attacks/test_tokens.py",
        "whoever_knows",
    ),
    Defence(
        "a session token lives for 5 minutes",
        "app/flows/hosted.py",
        "now = lifetimes.as_of(attempt, self._clock())",
        "now = attempt",
        "tests/api/test_hosted.py",
    ),
    Defence(
        "a state is no session token",
        "app/oidc/jws.py",
        'if unverified_header(token).get("typ") != token_type:',
        "if False:",
        "tests/api/test_hosted_attacks.py",
    ),
    Defence(
        "the caller's state leads back only the browser that began",
        "app/flows/hosted.py",
        "            return Origin(address=site_of(way_back.return_to), locale=attempt.locale)\n",
        "            pass\n",
        "tests/api/test_pages.py",
    ),
    Defence(
        "a browser keeps only a few cookies",
        "app/api/cookies.py",
        "max(0, len(beside) - MOST_KEPT + 1)",
        "0",
        "tests/api/test_hosted_attacks.py",
    ),
    Defence(
        "a page moves to a clean address",
        "app/api/browser.py",
        "return await pages.page(needed, clean_address=True)",
        "return await pages.page(needed)",
        "tests/api/test_pages.py",
    ),
    Defence(
        "nobody puts words of his own on a page",
        "app/api/browser.py",
        "reference if _REFERENCE.fullmatch(reference) else None",
        "reference or None",
        "tests/api/test_pages.py",
    ),
    Defence(
        "API keys are checked",
        "app/api/keys.py",
        "    if caller is None:\n        raise Unauthorized\n",
        "    if caller is None:\n        caller = Caller('nobody', Role.ADMIN)\n",
        "tests/api/test_keys.py",
    ),
    Defence(
        "a key opens the routes of its role alone",
        "app/api/keys.py",
        "if caller.role not in admitted:",
        "if False:",
        "tests/api/test_keys.py",
    ),
    Defence(
        "tokens are shown to administrators only",
        "app/api/deps.py",
        "return services_of(request).store_tokens and caller_of(request).role is Role.ADMIN",
        "return True",
        "tests/api/test_records.py",
    ),
    Defence(
        "bodies have a size limit",
        "app/api/middleware.py",
        "        if self._size > self._max_bytes:\n            raise PayloadTooLarge\n",
        "",
        "tests/api/test_refusals.py",
    ),
    Defence(
        "bodies have a time limit",
        "app/api/middleware.py",
        "async with asyncio.timeout(self._deadline - now):",
        "async with asyncio.timeout(None):",
        "tests/api/test_bodies.py",
    ),
    Defence(
        "the key is checked before the body is read",
        "app/api/keys.py",
        "                request.state.caller = authenticated(",
        "                await request.body()\n                request.state.caller = authenticated(",
        "tests/api/test_bodies.py",
    ),
    Defence(
        "a request's head has an end",
        "app/operator/server.py",
        "if self._framing > MAX_FRAMING_BYTES and",
        "if False and",
        "tests/system/test_raw_http.py",
        only="without_end",
    ),
    Defence(
        "an invented method is nobody's label",
        "app/api/middleware.py",
        'scope["method"] if scope["method"] in METHODS else OTHER',
        'scope["method"]',
        "tests/api/test_metrics.py",
    ),
    Defence(
        "JSON is UTF-8",
        "app/api/answering.py",
        "json.loads(body.decode(),",
        "json.loads(body,",
        "tests/api/test_bodies.py",
    ),
    Defence(
        "a path with a newline is no other path",
        "app/api/middleware.py",
        '"\\n" in scope["path"] or ',
        "",
        "tests/api/test_refusals.py",
    ),
    Defence(
        "SQLite's file is its owner's alone",
        "app/storage/sqlite.py",
        "OWNER_ONLY = 0o600",
        "OWNER_ONLY = 0o644",
        "tests/api/test_storage.py",
        "owners_alone",
    ),
    Defence(
        "the database's address keeps its parts to itself",
        "app/storage/database_url.py",
        'known = name if name in _OF_OTHERS else "a parameter of an unknown name"',
        "known = name",
        "tests/unit/storage/test_database_url.py",
    ),
    Defence(
        "personal data is encrypted",
        "app/storage/encryption.py",
        'return self._fernet.encrypt(json.dumps([owner, value], separators=(",", ":")).encode("ascii"))',
        'return json.dumps([owner, value], separators=(",", ":")).encode("ascii")',
        "tests/unit/storage/test_encryption.py",
    ),
    Defence(
        "sealed values are bound to their row",
        "app/storage/encryption.py",
        "        if named != owner:\n            raise Unreadable\n",
        "",
        "tests/unit/storage/test_encryption.py",
    ),
    Defence(
        "what decides stands inside the sealed record as well",
        "app/storage/sealed.py",
        "return record if beside == sealed else NOT_AUTHENTIC",
        "return record",
        "tests/attacks/test_rows.py",
        "a_record_that_was_changed",
    ),
    Defence(
        "an older sealed record is told by the count of writes",
        "app/storage/sealed.py",
        '            value.get("revision"),\n            record.completed,\n',
        "            row.revision,\n            record.completed,\n",
        "tests/attacks/test_rows.py",
        "an_older_sealed_record",
    ),
    Defence(
        "an attempt's sealed values name the attempt and its times",
        "app/storage/sealed.py",
        "        timestamp(attempt.created_at),\n        timestamp(attempt.expires_at),\n",
        "",
        "tests/attacks/test_rows.py",
        "verifies_nobody_else and (created_at or expires_at)",
    ),
    Defence(
        "an attempt's sealed values name its flow and its purpose",
        "app/storage/sealed.py",
        '        attempt.flow,\n        attempt.purpose,\n        "omit_state"',
        '        "omit_state"',
        "tests/attacks/test_rows.py",
        "verifies_nobody_else and purpose",
    ),
    Defence(
        "nothing made up in a row brings the service to fall",
        "app/storage/store.py",
        "except (ValueError, RecursionError):",
        "except ValueError:",
        "tests/attacks/test_rows.py",
        "verifies_nobody_else and auth_overall",
    ),
    Defence(
        "a row with what is no text is as good as none, and hides no other",
        "app/storage/statements.py",
        "return lambda row: allowed.issuperset(map(type, texts(row)))",
        "return lambda row: True",
        "tests/attacks/test_rows.py",
        "verifies_nobody_else and started_by",
    ),
    Defence(
        "what is no token is not opened, of whatever kind it is",
        "app/storage/encryption.py",
        "_UNREADABLE = (InvalidToken, TypeError, ValueError)",
        "_UNREADABLE = (InvalidToken, ValueError)",
        "tests/attacks/test_rows.py",
        "verifies_nobody_else and sealed_request",
    ),
    Defence(
        "what an administrator does is recorded in the same transaction",
        "app/storage/store.py",
        "            await audit.add(connection.rows, entry)\n"
        "            await audit.forget_user(connection, self._seals, user_id)\n"
        "        await",
        "        async with self._database.transaction() as connection:\n"
        "            await audit.add(connection.rows, entry)\n"
        "            await audit.forget_user(connection, self._seals, user_id)\n"
        "        await",
        "tests/attacks/test_rows.py",
        "cannot_be_recorded",
    ),
    Defence(
        "what has served its time is cleared",
        "app/storage/keeping.py",
        "                sealed_request=None,\n"
        "                sealed_outcome=None,\n"
        "                sealed_return=None,\n"
        "                sealed_answer=None,\n",
        "",
        "tests/api/test_housekeeping.py",
    ),
    Defence(
        "what is erased is gone from the file",
        "app/storage/store.py",
        "        await self._database.forget_deleted()\n",
        "",
        "tests/api/test_erasure.py",
    ),
    Defence(
        "an exception's text is not logged",
        "app/api/middleware.py",
        '_log.error("unexpected_error", **fault_location(error))',
        '_log.error("unexpected_error", text=str(error))',
        "tests/api/test_answers.py",
    ),
    Defence(
        "a request id holds no e-mail address",
        "app/main.py",
        "[A-Za-z0-9._~+/=:-]{1,128}",
        "[A-Za-z0-9._~+/=:@-]{1,128}",
        "tests/api/test_answers.py",
    ),
    Defence(
        "the log names routes by their template",
        "app/api/middleware.py",
        'route = getattr(scope.get("route"), "path_format", None)',
        'route = scope["path"]',
        "tests/system/test_leaks.py",
    ),
    Defence(
        "plain http stops the start",
        "app/oidc/metadata.py",
        '(parts.scheme == "http" and (allow_http or is_loopback(parts.hostname)))',
        'parts.scheme == "http"',
        "tests/unit/settings",
    ),
    Defence(
        "a misspelt setting in .env stops the start",
        "app/settings/sources.py",
        "        self._mistakes += [line for line in map(self._mistake, entries) if line]\n",
        "",
        "tests/unit/settings",
    ),
    Defence(
        "a secret is no placeholder",
        "app/core/api_keys.py",
        "return len(set(secret)) == 1",
        "return False",
        "tests/unit/settings",
    ),
    Defence(
        "no secret serves two purposes",
        "app/settings/model.py",
        "not set(own).isdisjoint(_digests(info.data.get(name)))",
        "False",
        "tests/unit/settings",
    ),
    Defence(
        "a redirect URI holds none of the response's parameters",
        "app/settings/model.py",
        "if taken := names & _OF_THE_RESPONSE:",
        "if taken := names & set():",
        "tests/unit/settings",
    ),
    Defence(
        "an address begins in lower case, on which Secure, __Host- and HSTS depend",
        "app/settings/model.py",
        "return urlunsplit(parts._replace(scheme=parts.scheme.lower(), netloc=parts.netloc.lower()))",
        "return value",
        "tests/unit/settings",
    ),
    Defence(
        "one source cannot take every place at the entry",
        "deploy/haproxy.cfg",
        '    tcp-request connection reject if { sc0_conn_cur gt "${IDV_CONNECTIONS_PER_SOURCE}" }\n',
        "",
        "tests/system/test_entry.py",
        only="every_place",
    ),
    Defence(
        "a body that dribbles in is kept from the service",
        "deploy/haproxy.cfg",
        "    option http-buffer-request\n",
        "",
        "tests/system/test_entry.py",
        only="dribbles",
    ),
    Defence(
        "the service's role in the database is no superuser",
        "deploy/database-role.sh",
        "LOGIN PASSWORD :'password' NOSUPERUSER",
        "LOGIN PASSWORD :'password' SUPERUSER",
        "tests/system/test_database_role.py",
    ),
    Defence(
        "the database's superuser has no password",
        "deploy/database-role.sh",
        "ALTER ROLE postgres PASSWORD NULL;\n",
        "",
        "tests/system/test_database_role.py",
    ),
    Defence(
        "Auth0's transaction says which attempt it is about",
        "integrations/auth0/post-login.js",
        "verification_id: event.transaction?.metadata?.[VERIFICATION_ID]",
        "verification_id: arrived.verification_id ?? event.transaction?.metadata?.[VERIFICATION_ID]",
        "tests/integrations/auth0/test_actions.py",
        "scenario",
    ),
    Defence(
        "Keycloak's own session says which attempt it is about",
        "integrations/keycloak/src/main/java/idv/keycloak/VerificationAuthenticator.java",
        "context.getAuthenticationSession().getAuthNote(note(context)));",
        'Optional.ofNullable(context.getUriInfo().getQueryParameters().getFirst("verification_id"))'
        ".orElse(context.getAuthenticationSession().getAuthNote(note(context))));",
        "tests/integrations/keycloak/test_keycloak.py",
        "log_in",
    ),
    Defence(
        "a step-up at Keycloak takes the answer of a step-up",
        "integrations/keycloak/src/main/java/idv/keycloak/VerificationAuthenticator.java",
        '                && decision.path("verification").path("purpose").asText().equals(STEP_UP);',
        "                && !decision.isMissingNode();",
        "tests/integrations/keycloak/test_keycloak.py",
        "log_in",
    ),
    Defence(
        "only a 200 of the gateway's own counts at Keycloak",
        "integrations/keycloak/src/main/java/idv/keycloak/Gateway.java",
        "HttpClient.Redirect.NEVER",
        "HttpClient.Redirect.ALWAYS",
        "tests/integrations/keycloak/test_keycloak.py",
        "log_in",
    ),
    Defence(
        "only a 200 of the gateway's own counts at Auth0",
        "integrations/auth0/post-login.js",
        'redirect: "error",',
        'redirect: "follow",',
        "tests/integrations/auth0/test_actions.py",
        "scenario",
    ),
    Defence(
        "a password reset takes the answer of its own transaction",
        "integrations/auth0/password-reset.js",
        'api.redirect.validateToken({ secret: event.secrets.REDIRECT_SECRET, tokenParameterName: "session_token" })',
        'JSON.parse(Buffer.from(event.request.query.session_token.split(".")[1], "base64url"))',
        "tests/integrations/auth0/test_actions.py",
        "scenario",
    ),
    Defence(
        "a password reset takes the answer of a step-up",
        "integrations/auth0/password-reset.js",
        ' && decision.verification.purpose === "step_up"',
        "",
        "tests/integrations/auth0/test_actions.py",
        "scenario",
    ),
    Defence(
        "a claim of ours takes the place of none that a token has",
        "app/settings/model.py",
        "if value in _TAKEN_CLAIMS:",
        "if False:",
        "tests/unit/settings",
    ),
    Defence(
        "a hook is off until its settings are there",
        "app/hooks/hook.py",
        "                    raise HookOff\n",
        "                    raise AssertionError\n",
        "tests/api/test_hooks.py",
        only="off",
    ),
    Defence(
        "a stale claim is not given back",
        "app/hooks/hook.py",
        "for name, value in (beside or {}).items() if name != self.name}",
        "for name, value in (beside or {}).items()}",
        "tests/api/test_hooks_hydra.py tests/api/test_hooks_supabase.py",
    ),
    Defence(
        "a machine is not taken for a person",
        "app/hooks/hydra.py",
        'None if "client_credentials" in body.request.grant_types else session.id_token.subject',
        "session.id_token.subject",
        "tests/api/test_hooks_hydra.py",
    ),
    Defence(
        "a hook's key has the role",
        "app/hooks/authenticators.py",
        "_ADMITTED = (Role.IDP, Role.ADMIN)",
        "_ADMITTED = tuple(Role)",
        "tests/api/test_hooks.py",
        only="bearer",
    ),
    Defence(
        "a webhook is signed with our secret",
        "app/hooks/authenticators.py",
        "with suppress(WebhookVerificationError, ValueError):\n                webhook.verify(body, headers, "
        "json_parse=False)\n",
        "with suppress(ZeroDivisionError):\n",
        "tests/api/test_hooks_supabase.py",
    ),
    Defence(
        "a signature over a body is ours",
        "app/hooks/authenticators.py",
        "hmac.compare_digest(value.encode(), expected)",
        "value.encode()",
        "tests/api/test_hooks_zitadel.py",
    ),
    Defence(
        "a signature over a body lives for 5 minutes",
        "app/hooks/authenticators.py",
        " or abs(now() - int(times[0])) > TOLERANCE_SECONDS:",
        ":",
        "tests/api/test_hooks_zitadel.py",
    ),
    Defence(
        "a tenant's token is the tenant's",
        "app/hooks/authenticators.py",
        "and issuers.fullmatch(issuer) is not None",
        "",
        "tests/api/test_hooks_entra.py",
    ),
    Defence(
        "a tenant's token is for us",
        "app/hooks/authenticators.py",
        'and claims.get("aud") == audience',
        "",
        "tests/api/test_hooks_entra.py",
    ),
    Defence(
        "a tenant's token was issued to Microsoft's caller",
        "app/hooks/authenticators.py",
        'and claims.get("azp", claims.get("appid")) == _ENTRAS_CALLER',
        "",
        "tests/api/test_hooks_entra.py",
    ),
    Defence(
        "a tenant's token has not expired",
        "app/oidc/token_verifier.py",
        "        id_token.check_times(signed.claims, self._leeway, self._now())\n",
        "",
        "tests/api/test_hooks_entra.py",
    ),
    Defence(
        "a confirmation is of the caller's own transaction",
        "app/flows/hosted.py",
        "if session.caller_state != confirmation.caller_state:",
        "if False:",
        "tests/api/test_hooks_wso2.py",
        only="another_flow",
    ),
    Defence(
        "a hook's body has a size limit",
        "app/api/middleware.py",
        'self._max_hook_bytes if scope["path"].startswith("/v1/hooks/") else self._max_bytes',
        '10**9 if scope["path"].startswith("/v1/hooks/") else self._max_bytes',
        "tests/api/test_hooks.py",
        only="larger",
    ),
)


def take_out(defence: Defence, copy: Path) -> str:
    """What taking the defence out comes to: red, unnoticed, or red whether or not it is there, which shows nothing."""
    file = copy / defence.file
    original = file.read_text(encoding="utf-8")
    if original.count(defence.original) != 1:
        raise SystemExit(f"{defence.name}: its lines are not found once in {defence.file}; this script is out of date")
    file.write_text(original.replace(defence.original, defence.weakened), encoding="utf-8")
    try:
        ran = _test(copy, *defence.tests.split(), "-k", defence.only)
    finally:
        file.write_text(original, encoding="utf-8")
    if ran.returncode == 0 or " failed" not in ran.stdout.rpartition("\n!")[2]:
        return UNNOTICED
    # What has failed must pass again now.
    return RED if _test(copy, *defence.tests.split(), "--last-failed").returncode == 0 else RED_ANYWAY


def _test(copy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(copy)}  # before the repository that is installed
    return subprocess.run(  # noqa: S603  our own tests
        command, cwd=copy, env=environment, capture_output=True, text=True, check=False
    )


def main(wanted: list[str]) -> None:
    """Take out every defence, or those whose name holds one of the given words."""
    unnoticed = []
    with tempfile.TemporaryDirectory(prefix="idv-defences-") as folder:
        copy = Path(folder)
        for name in COPIED:
            source = REPOSITORY / name
            if source.is_dir():
                shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            elif source.exists():
                shutil.copy(source, copy / name)
        for defence in DEFENCES:
            if wanted and not any(word in defence.name for word in wanted):
                continue
            result = take_out(defence, copy)
            print(f"{result:<12}{defence.name}", flush=True)
            unnoticed += [] if result == RED else [defence.name]
    if unnoticed:
        raise SystemExit(f"No test shows: {', '.join(unnoticed)}")


if __name__ == "__main__":
    main(sys.argv[1:])
