"""Logins, step-ups, repeats, mix-ups, resets, erasures and time in any order: the service never diverges from the
model.
"""

import itertools
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from app.sandbox import OUTCOMES
from tests.fuzz import model
from tests.fuzz.driver import Callback, Driver, Login, Returned, Token, Visit
from tests.fuzz.model import Rules
from tests.harness.databases import SqliteFiles
from tests.harness.provider import ProviderHost

# A verified person comes first and often: what happens to a verification that stands is what there is to be seen.
ENDINGS = st.sampled_from([*["verified"] * 6, "no-identity", "no-status", "userinfo-down", *OUTCOMES])
BROWSERS = st.sampled_from(["first", "first", "second"])
USERS = st.sampled_from(["auth0|ana", "samlp|tenant|http://x/y"])
PEOPLE = ["ana@example.com", "mei@example.com"]
SLIPS = st.sampled_from([None, None, "another user", "another attempt", "another state", "no issuer"])
MIXED_UP = st.sets(st.sampled_from(["code", "state"]))
WAITS = st.sampled_from([0, 0, 0, 0, 30, 61, 3600])
TOKEN_WAITS = st.sampled_from([0, 0, 0, 299.9, 300])
ORDERS = ["reset", "reset with identity", "erase"]
MEANWHILE = st.sampled_from([*[None] * 6, *ORDERS])
LOGINS = st.builds(
    Login,
    user=USERS,
    email=st.sampled_from(PEOPLE),
    purpose=st.sampled_from([*["login"] * 4, "step_up"]),
    force=st.sampled_from([True, True, False]),
    person=st.sampled_from([*[None] * 6, *PEOPLE]),
)


class Machine(RuleBasedStateMachine):
    """Each rule does something to the service and to the model, and compares the two answers."""

    responses: Bundle[Returned] = Bundle("responses")
    callbacks: Bundle[Callback] = Bundle("callbacks")
    visits: Bundle[Visit] = Bundle("visits")
    tokens: Bundle[Token] = Bundle("tokens")

    def __init__(self, driver: Driver) -> None:
        super().__init__()
        self.driver = driver

    # A relay login: in one go, and step by step.

    @rule(target=callbacks, who=LOGINS, ending=ENDINGS, slip=SLIPS, wait=WAITS, meanwhile=MEANWHILE)
    def log_in(
        self, who: Login, ending: str, slip: str | None, wait: float, meanwhile: str | None
    ) -> Callback | MultipleResults[Callback]:
        returned = self.driver.act(self.driver.begin(who, ending))
        if returned is None:
            return multiple()
        right = Callback(who.user, returned.started.id, returned.parameters, returned, returned.started.id)
        if slip:
            self.driver.act(self.driver.call_back(_slipped(right, slip)))
        self.driver.clock.advance(seconds=wait)
        self.give_an_order(who.user, meanwhile)
        self.driver.act(self.driver.call_back(right))
        return right

    @rule(target=responses, who=LOGINS, ending=ENDINGS, omit_state=st.booleans())
    def begin(self, who: Login, ending: str, *, omit_state: bool) -> Returned | MultipleResults[Returned]:
        return self.driver.act(self.driver.begin(who, ending, omit_state=omit_state)) or multiple()

    @rule(target=callbacks, returned=responses)
    def call_back(self, returned: Returned) -> Callback:
        attempt_id = returned.started.id
        callback = Callback(returned.started.user, attempt_id, returned.parameters, returned, attempt_id)
        self.driver.act(self.driver.call_back(callback))
        return callback

    @rule(target=callbacks, returned=responses, other=responses, user=st.none() | USERS, what=MIXED_UP)
    def mix_up_two_callbacks(self, returned: Returned, other: Returned, user: str | None, what: set[str]) -> Callback:
        """The id and the user of one login with some of the parameters of another."""
        parameters = {
            **returned.parameters,
            **{name: other.parameters[name] for name in what & other.parameters.keys()},
        }
        callback = Callback(
            user or returned.started.user,
            returned.started.id,
            parameters,
            other if "code" in what & other.parameters.keys() else returned,
            (other if "state" in what & other.parameters.keys() else returned).started.id,
        )
        self.driver.act(self.driver.call_back(callback))
        return callback

    @rule(callback=callbacks, user=st.none() | USERS)
    def repeat_a_callback(self, callback: Callback, user: str | None) -> None:
        self.driver.act(self.driver.call_back(replace(callback, user=user or callback.user)))

    @rule(returned=responses)
    def call_back_twice_at_once(self, returned: Returned) -> None:
        started = returned.started
        callback = Callback(started.user, started.id, returned.parameters, returned, started.id)
        self.driver.act(self.driver.call_back(callback, times=2))

    # A hosted login: in one go, and step by step.

    @rule(
        target=tokens,
        who=LOGINS,
        ending=ENDINGS,
        browser=BROWSERS,
        user=st.none() | USERS,
        wait=WAITS,
        token_wait=TOKEN_WAITS,
        meanwhile=MEANWHILE,
    )
    def log_in_hosted(
        self,
        who: Login,
        ending: str,
        browser: str,
        user: str | None,
        wait: float,
        token_wait: float,
        meanwhile: str | None,
    ) -> Token | MultipleResults[Token]:
        """Another browser may come back first, another user may be confirmed first, and in the end the page is loaded
        again.
        """
        visit = self.driver.act(self.driver.begin_hosted(who, ending))
        if visit is None:
            return multiple()
        self.driver.clock.advance(seconds=wait)
        self.driver.act(self.driver.come_back(visit, browser))
        token = self.driver.act(self.driver.come_back(visit, "first"))
        assert token is not None
        self.driver.clock.advance(seconds=token_wait)
        self.give_an_order(who.user, meanwhile)
        for confirmed in (user or who.user, who.user):
            self.driver.act(self.driver.confirm(token, confirmed))
        self.driver.act(self.driver.come_back(visit, browser))
        return token

    @rule(target=visits, who=LOGINS, ending=ENDINGS)
    def begin_hosted(self, who: Login, ending: str) -> Visit | MultipleResults[Visit]:
        return self.driver.act(self.driver.begin_hosted(who, ending)) or multiple()

    @rule(visit=visits, browser=BROWSERS)
    def launch_again(self, visit: Visit, browser: str) -> None:
        self.driver.act(self.driver.launch(visit.returned.started, browser))

    @rule(visit=visits)
    def take_a_hosted_login_for_a_relay_login(self, visit: Visit) -> None:
        started, parameters = visit.returned.started, visit.returned.parameters
        self.driver.act(
            self.driver.call_back(Callback(started.user, started.id, parameters, visit.returned, started.id))
        )

    @rule(target=tokens, visit=visits, browser=BROWSERS)
    def come_back(self, visit: Visit, browser: str) -> Token | MultipleResults[Token]:
        return self.driver.act(self.driver.come_back(visit, browser)) or multiple()

    @rule(token=tokens, user=st.none() | USERS)
    def confirm(self, token: Token, user: str | None) -> None:
        self.driver.act(self.driver.confirm(token, user or token.started.user))

    # What an administrator does, and what time does.

    @rule(user=USERS, order=st.sampled_from(["reset", *ORDERS]))
    def order(self, user: str, order: str) -> None:
        self.give_an_order(user, order)

    def give_an_order(self, user: str, order: str | None) -> None:
        if order == "erase":
            self.driver.act(self.driver.erase(user))
        elif order:
            self.driver.act(self.driver.reset(user, identity=order == "reset with identity"))

    @rule(hours=st.sampled_from([0.01, 0.02, 0.5, 6, 20]))
    def let_time_pass(self, hours: float) -> None:
        self.driver.clock.advance(hours=hours)

    @rule(kind=st.sampled_from(["attempt", "token", "answer", "window", "verification"]), before=st.booleans())
    def wait_for_the_end_of_something(self, kind: str, *, before: bool) -> None:
        """To the very moment at which the newest of its kind ends, or to the last one before."""
        ends = max(self._ends(kind), default=self.driver.clock())
        self.driver.clock.now = max(self.driver.clock(), ends - timedelta(milliseconds=1 if before else 0))

    def _ends(self, kind: str) -> list[datetime]:
        attempts, records = self.driver.model.attempts.values(), self.driver.model.users.values()
        match kind:
            case "attempt":
                return [attempt.expires_at for attempt in attempts]
            case "token":
                return [attempt.returned_at + model.TOKEN_LASTS for attempt in attempts if attempt.returned_at]
            case "answer":
                return [attempt.finished_at + model.ANSWER_LASTS for attempt in attempts if attempt.finished_at]
            case "window":
                return [attempt.created_at + model.ATTEMPT_WINDOW for attempt in attempts]
            case _:
                return [each.completed_at + model.VERIFICATION_STANDS for each in records if each.completed_at]

    # What must hold after every step.

    @invariant()
    def every_user_is_as_the_model_says(self) -> None:
        self.driver.compare_users()

    @invariant()
    def every_attempt_is_as_the_model_says(self) -> None:
        self.driver.compare_attempts()

    @invariant()
    def every_code_was_sent_as_often_as_the_model_says(self) -> None:
        self.driver.compare_codes_sent()

    def teardown(self) -> None:
        try:
            self.driver.compare_lists_by_status()
        finally:
            self.driver.close()


def _slipped(callback: Callback, slip: str) -> Callback:
    """The callback of a caller who makes a mistake."""
    match slip:
        case "another user":
            return replace(callback, user="auth0|nobody")
        case "another attempt":
            return replace(callback, attempt_id="idv_" + "0" * 32)
        case "another state":
            return replace(callback, parameters={**callback.parameters, "state": "not ours"}, state_of=None)
        case _:
            return replace(callback, parameters={k: v for k, v in callback.parameters.items() if k != "iss"})


@pytest.mark.parametrize("changed", [False, True], ids=["settings of the contract", "settings turned round"])
def test_whatever_happens_in_whatever_order_the_service_agrees_with_the_model(
    provider_host: ProviderHost, sqlite_files: SqliteFiles, tmp_path: Path, *, changed: bool
) -> None:
    rules = Rules(block_on_failure=changed, allow_identity_change=changed, require_status=changed)
    numbers = itertools.count()

    class Bound(Machine):
        def __init__(self) -> None:
            folder = tmp_path / str(next(numbers))
            folder.mkdir()
            super().__init__(Driver(provider_host, sqlite_files.new(folder), rules))

    # The same cases each time, and other ones for each setting.
    run_state_machine_as_test(
        seed(changed)(Bound),
        settings=settings(
            max_examples=25,
            stateful_step_count=30,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
