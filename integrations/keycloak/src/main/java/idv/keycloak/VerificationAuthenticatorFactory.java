package idv.keycloak;

import java.util.List;
import org.keycloak.Config;
import org.keycloak.authentication.Authenticator;
import org.keycloak.authentication.AuthenticatorFactory;
import org.keycloak.models.AuthenticationExecutionModel.Requirement;
import org.keycloak.models.KeycloakSession;
import org.keycloak.models.KeycloakSessionFactory;
import org.keycloak.provider.ProviderConfigProperty;

/** Offers the verification as a step of authentication flows. */
public final class VerificationAuthenticatorFactory implements AuthenticatorFactory {

    static final String PURPOSE = "idv.purpose";
    static final String LOGIN = "login";
    static final String STEP_UP = "step_up";

    private static final List<ProviderConfigProperty> PROPERTIES =
            Settings.properties("Refuse the login when the gateway does not answer. Off: go on, without the claim. "
                            + "Choose the same as the gateway's BLOCK_ON_FAILURE. A step-up is always refused.")
                    .property()
                    .name(PURPOSE)
                    .label("Purpose")
                    .helpText("login: verify the person's identity, again when it is due. step_up: now, whatever was "
                            + "before, and only the identity on file counts; for a sub-flow with the condition Level of "
                            + "Authentication.")
                    .type(ProviderConfigProperty.LIST_TYPE)
                    .options(LOGIN, STEP_UP)
                    .defaultValue(LOGIN)
                    .add()
                    .build();

    @Override
    public String getId() {
        return "idv-verification";
    }

    @Override
    public String getDisplayType() {
        return "Identity verification (IDV Gateway)";
    }

    @Override
    public String getHelpText() {
        return "Has the person's identity verified by the IDV Gateway. Put it after the step that knows who they are.";
    }

    @Override
    public String getReferenceCategory() {
        return null;
    }

    @Override
    public boolean isConfigurable() {
        return true;
    }

    @Override
    public List<ProviderConfigProperty> getConfigProperties() {
        return PROPERTIES;
    }

    /** No alternative: another step's success must not stand in for it. */
    @Override
    public Requirement[] getRequirementChoices() {
        return new Requirement[] {Requirement.REQUIRED, Requirement.DISABLED};
    }

    @Override
    public boolean isUserSetupAllowed() {
        return false;
    }

    @Override
    public Authenticator create(KeycloakSession session) {
        return new VerificationAuthenticator();
    }

    @Override
    public void init(Config.Scope config) {}

    @Override
    public void postInit(KeycloakSessionFactory factory) {}

    @Override
    public void close() {}
}
