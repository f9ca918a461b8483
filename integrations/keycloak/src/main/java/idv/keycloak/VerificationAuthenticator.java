package idv.keycloak;

import static idv.keycloak.VerificationAuthenticatorFactory.LOGIN;
import static idv.keycloak.VerificationAuthenticatorFactory.PURPOSE;
import static idv.keycloak.VerificationAuthenticatorFactory.STEP_UP;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.MissingNode;
import jakarta.ws.rs.core.Response;
import jakarta.ws.rs.core.UriBuilder;
import java.net.URI;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import org.keycloak.authentication.AuthenticationFlowContext;
import org.keycloak.authentication.Authenticator;
import org.keycloak.events.Errors;
import org.keycloak.models.Constants;
import org.keycloak.models.KeycloakSession;
import org.keycloak.models.RealmModel;
import org.keycloak.models.UserModel;
import org.keycloak.utils.StringUtil;

/** Sends the person through the gateway's hosted flow, and goes on or refuses as it decides. */
final class VerificationAuthenticator implements Authenticator {

    private static final String NO_REASON = "identity_verification_failed";

    @Override
    public void authenticate(AuthenticationFlowContext context) {
        JsonNode decision = answer(gateway(context).start(startRequest(context)));
        if (decision.path("action").asText().equals("redirect")) {
            // Whom and what it is about crosses the redirect in Keycloak's own session, never in the address.
            context.getAuthenticationSession().setAuthNote(note(context), decision.path("verification").path("id").asText());
            context.forceChallenge(Response.seeOther(URI.create(decision.path("redirect_url").asText())).build());
        } else {
            conclude(context, decision);
        }
    }

    @Override
    public void action(AuthenticationFlowContext context) {
        Map<String, String> request = new HashMap<>();
        request.put("user_id", context.getUser().getId());
        request.put("verification_id", context.getAuthenticationSession().getAuthNote(note(context)));
        request.put("session_token", context.getUriInfo().getQueryParameters().getFirst("session_token"));
        conclude(context, answer(gateway(context).finish(request)));
    }

    private static Map<String, String> startRequest(AuthenticationFlowContext context) {
        UserModel user = context.getUser();
        Map<String, String> request = new HashMap<>();
        request.put("user_id", user.getId());
        request.put("purpose", purpose(context));
        request.put("flow", "hosted");
        request.put("return_to", returnTo(context));
        request.put("locale", context.getSession().getContext().resolveLocale(user).toLanguageTag());
        if (purpose(context).equals(LOGIN) && StringUtil.isNotBlank(user.getEmail())) {
            request.put("email", user.getEmail());
        }
        return request;
    }

    /** The way back into this login, without the application's own request, which is nobody else's business. */
    private static String returnTo(AuthenticationFlowContext context) {
        return UriBuilder.fromUri(context.getActionUrl(context.generateAccessCode()))
                .replaceQueryParam(Constants.CLIENT_DATA)
                .build()
                .toString();
    }

    private static void conclude(AuthenticationFlowContext context, JsonNode decision) {
        String action = decision.path("action").asText();
        if (purpose(context).equals(STEP_UP) ? isStepUp(decision) : action.equals("continue")) {
            context.success();
        } else if (action.equals("deny") || blocks(context)) {
            refuse(context, decision);
        } else {
            context.success();
        }
    }

    /** A login's outcome in this place would let in whoever enrols first: only a step-up compares with the record. */
    private static boolean isStepUp(JsonNode decision) {
        return decision.path("action").asText().equals("continue")
                && decision.path("verification").path("purpose").asText().equals(STEP_UP);
    }

    /** The page is a challenge, not a failure: brute force detection must not take a refusal for a wrong password. */
    private static void refuse(AuthenticationFlowContext context, JsonNode decision) {
        context.getEvent()
                .user(context.getUser())
                .detail("idv_reason", decision.path("reason").asText(NO_REASON))
                .error(Errors.ACCESS_DENIED);
        String message = decision.path("error").path("message").asText("access-denied");
        context.forceChallenge(context.form().setError(message).createErrorPage(Response.Status.FORBIDDEN));
    }

    private static JsonNode answer(Optional<JsonNode> answer) {
        return answer.orElse(MissingNode.getInstance());
    }

    private static boolean blocks(AuthenticationFlowContext context) {
        return purpose(context).equals(STEP_UP) || Settings.blockOnFailure(config(context));
    }

    private static String purpose(AuthenticationFlowContext context) {
        return config(context).getOrDefault(PURPOSE, LOGIN);
    }

    private static Gateway gateway(AuthenticationFlowContext context) {
        return Gateway.of(context.getSession(), config(context));
    }

    private static Map<String, String> config(AuthenticationFlowContext context) {
        var model = context.getAuthenticatorConfig();
        return model == null || model.getConfig() == null ? Map.of() : model.getConfig();
    }

    /** Of its own for each place in the flow. */
    private static String note(AuthenticationFlowContext context) {
        return "idv.verification." + context.getExecution().getId();
    }

    @Override
    public boolean requiresUser() {
        return true;
    }

    @Override
    public boolean configuredFor(KeycloakSession session, RealmModel realm, UserModel user) {
        return true;
    }

    @Override
    public void setRequiredActions(KeycloakSession session, RealmModel realm, UserModel user) {}

    @Override
    public void close() {}
}
